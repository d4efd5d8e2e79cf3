"""The docker engine: the connection, its volumes and events, and the data-containers."""
