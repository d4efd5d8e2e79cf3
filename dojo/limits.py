"""Every bound on what comes in, beside those of visible files and of requests.

`docs/running.md` has them in a table, which a test compares with this module. A bound is what a
caller may reach; one more is refused, and the refusal names the bound.
"""

# --- Comparing two lights (DiffLights, DownloadPatch)

# Lines of both lights, and their bytes, that one call compares. A file that exceeds what is left is
# told as too large: DiffLights has none of its lines, a patch has it as a binary file.
MAX_COMPARED_LINES = 500_000
MAX_COMPARED_BYTES = 32 * 1024 * 1024

# Pairs of a deleted and a created file that are compared to find renames. For more, only a file
# with the same content is a rename. git compares 1000 files with 1000 (diff.renameLimit).
MAX_RENAME_PAIRS = 1_000_000

# What is compared in the storer's own process: libgit2 holds Python's lock, so all other calls wait
# meanwhile, for 50 ms at most. What is larger is compared in a process of its own.
SMALL_COMPARED_BYTES = 512 * 1024
SMALL_COMPARED_LINES = 10_000
SMALL_RENAME_PAIRS = 10_000

# The processes that compare at the same time, and what each may take.
MAX_COMPARING_PROCESSES = 2
COMPARING_PROCESS_BYTES = 512 * 1024 * 1024
MAX_COMPARING_SECONDS = 60

# How long a call waits for such a process, before it is told to come again.
COMPARING_WAIT_SECONDS = 10
