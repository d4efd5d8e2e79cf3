"""The docker engine, for runs and colour rules: images, seccomp, removing containers."""
