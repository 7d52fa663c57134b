"""The training loop, and what it moves."""
