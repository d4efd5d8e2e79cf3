"""Every bound on what comes in, beside those of visible files and of requests.

`docs/running.md` has them in a table, which a test compares with this module. A bound is what a
caller may reach; one more is refused, and the refusal names the bound.
"""

# How many calls of the storer work at the same time. At most half of them are long ones: lists,
# streams, and what deletes or archives a kata.
WORKING_CALLS = 64

# How long a call for one kata waits for a lock: of the kata, or of one of its avatars.
LOCK_WAIT_SECONDS = 30.0

# The same for a call about many katas, which must not miss one because it is busy.
MANY_KATAS_LOCK_WAIT_SECONDS = 600.0

# How many katas are fetched from the archive or the katas directory at the same time.
MAX_FETCHES = 16

# How many calls may wait for one lock in one service.
MAX_WAITING_FOR_ONE_LOCK = 256

# How many calls may wait for a lock or for the archive in one service. Each has a thread.
MAX_WAITING_CALLS = 512
