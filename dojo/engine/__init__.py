"""The docker engine: the connection, the data-containers, and its events."""
