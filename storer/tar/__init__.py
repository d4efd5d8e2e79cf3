"""Tars: written from a kata as it is at one moment, and read from callers who are not trusted."""
