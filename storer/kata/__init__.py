"""One kata: its manifest, its avatars, their lights and history."""
