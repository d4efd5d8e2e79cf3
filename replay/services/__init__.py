"""The services that a replay starts for itself."""
