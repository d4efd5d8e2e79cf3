"""Verify katas and archived katas: find damage, and mend what can be mended."""
