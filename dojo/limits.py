"""Every bound on what comes in, beside those of visible files and of requests.

`docs/running.md` has them in a table, which a test compares with this module. A bound is what a
caller may reach; one more is refused, and the refusal names the bound.
"""

MIB = 1024 * 1024

# What the runner reads of an avatar's own files, to learn the names of visible files. The second
# one has the contents too, which JSON can make several times as large.
MAX_SUBMITTED_NAMES_BYTES = 8 * MIB
MAX_AVATAR_MANIFEST_BYTES = 64 * MIB
