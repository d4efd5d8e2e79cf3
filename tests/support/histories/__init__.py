"""Histories of calls, and how they are recorded."""
