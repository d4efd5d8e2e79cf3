"""git repositories, read and written as fast as the disk allows."""
