"""A run: its container, its pipes, its limits, and the containers that wait for one."""
