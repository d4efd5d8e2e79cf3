"""`python -m runner replay`: recorded lights are run again, and their colours compared."""
