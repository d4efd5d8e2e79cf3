"""The services that a replay starts for itself, and its calls of them."""
