"""Output for people: harmless text, tables, progress, lights."""
