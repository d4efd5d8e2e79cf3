"""What runs and colour rules both need of the engine: images, output, system calls, leftovers."""
