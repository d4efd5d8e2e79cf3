"""Katas as tars: backups, downloads, and restoring from either."""
