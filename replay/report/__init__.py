"""What a replay tells: how far it is, and what it came to."""
