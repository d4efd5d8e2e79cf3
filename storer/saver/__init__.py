"""Reads the katas of a saver, the service that keeps them for the dojo server of today."""
