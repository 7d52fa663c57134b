"""The run directory: states, logs, curves."""
