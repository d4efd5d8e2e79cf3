"""Measure how fast the services are, each figure against a yardstick in the same run."""
