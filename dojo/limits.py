"""Every bound on what comes in, beside those of visible files and of requests.

`docs/running.md` has them in a table, which a test compares with this module. A bound is what a
caller may reach; one more is refused, and the refusal names the bound.
"""

# --- git objects that come in, and those of katas

GIT_BYTES = 8 * 1024**3
"""All git objects of a kata together, expanded: as many bytes as its tar may have."""

GIT_OBJECTS = 1_000_000
"""The git objects of a kata."""

GIT_BLOB_BYTES = 64 * 1024**2
"""A blob: a file, or the JSON of a legacy light with all of its files."""

GIT_TREE_BYTES = 4 * 1024**2
"""A git tree: a folder's list."""

GIT_OTHER_BYTES = 1024**2
"""A git commit or tag."""

GIT_HELD_DELTA_BYTES = 256 * 1024**2
"""The objects that are held while a pack's deltas are applied to them."""

GIT_TREE_FILES = 20_000
"""The files in the git commit of a light, whether or not they are visible ones."""

GIT_DEPTH = 130
"""Folders inside folders in a light's git commit: a visible file's name has 255 bytes."""
