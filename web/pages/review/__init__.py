"""The review of a session: its page, and what one takes from there, as forks and downloads."""
