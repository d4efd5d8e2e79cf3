"""Every bound on what comes in, beside those of visible files and of requests.

`docs/running.md` has them in a table, which a test compares with this module. A bound is what a
caller may reach; one more is refused, and the refusal names the bound.
"""

MIB = 1024 * 1024

# What the runner reads of an avatar's own files, to learn the names of visible files. The second
# one has the contents too, which JSON can make several times as large.
MAX_SUBMITTED_NAMES_BYTES = 8 * MIB
MAX_AVATAR_MANIFEST_BYTES = 64 * MIB

# Runs that wait or go on. One avatar, or one kata, does not fill the queue of all.
MAX_RUNS_OF_AVATAR = 8
MAX_RUNS_OF_KATA = 128

# The requests of all runs that wait or go on. In memory each takes three times its size: as bytes,
# as a message, and as files.
MAX_BYTES_OF_RUNS = 160 * MIB

# Requests that the runner receives at the same time, each of up to 64 MiB. Further ones stay with
# their senders. A sender that takes longer than the seconds no longer keeps others waiting.
MAX_RECEIVED_AT_ONCE = 2
MAX_RECEIVING_SECONDS = 2

# Images that the runner pulls at the same time. Callers who pull the same one share its pull.
MAX_PULLS = 8
