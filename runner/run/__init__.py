"""A run: its container, its pipes, its limits, and the pool of warm containers."""
