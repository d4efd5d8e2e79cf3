"""`cyber-dojo replay`: recorded lights are run again, and their colours compared."""
