"""Differences of two lights, side by side."""
