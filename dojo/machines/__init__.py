"""Several machines that are one installation: which ones live, and which owns a kata."""
