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

# --- tars that callers send

MAX_KATA_BYTES = 8 * 1024**3
"""What a kata may unpack to; zeros compress to almost nothing."""

MAX_KATA_MEMBERS = 1_000_000
"""Files, folders and links of a kata."""

MAX_TAR_HEADER_BYTES = 1024**2
"""All extended headers of one member of a tar."""

MAX_EXTENTS = 65_536
"""Pieces of data between the holes of one sparse file."""

MAX_SPARSE_FILE_BYTES = 1024**4
"""The size of one sparse file, its holes included: the largest that a run may be allowed."""

# --- JSON files of katas

MAX_JSON_BYTES = 8 * 48 * 1024**2
"""A JSON file: JSON makes six bytes of some bytes of visible files."""

MAX_JSON_VALUES = 1_000_000
"""Values in one JSON file: each takes dozens of bytes of memory."""
