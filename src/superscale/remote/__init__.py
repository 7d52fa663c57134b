"""Object stores: listing as a stream, reading, and writing that is whole or not at all; and the manifest of a run."""
