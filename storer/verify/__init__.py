"""Checking katas and archived katas: what is not as it should be."""
