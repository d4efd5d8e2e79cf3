"""Tars: written from a snapshot of a kata, and read from callers that are not trusted."""
