"""A service process: its settings, logs, statuses, serving and health."""
