"""What makes a process a service: settings, logs, statuses, serving, health."""
