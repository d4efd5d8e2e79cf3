"""Git repositories: reads and writes as fast as the disk allows."""
