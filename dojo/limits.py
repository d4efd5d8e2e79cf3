"""Every bound on what comes in, beside those of visible files and of requests.

`docs/running.md` has them in a table, which a test compares with this module. A bound is what a
caller may reach; one more is refused, and the refusal names the bound.
"""

# How many calls of the storer work at the same time. At most half of them are long ones: lists,
# streams, and what deletes or archives a kata.
WORKING_CALLS = 64

# How many of them read all files of a light, which can be large, at the same time.
LARGE_WORKING_CALLS = 4

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

# The largest gRPC message: all visible files of an avatar, and the names and output beside them.
MESSAGE_BYTES = 64 * 1024 * 1024

# What a service may take, unless its container has less.
MEMORY_BYTES = 2 * 1024**3

# The parts of that for messages while they arrive (half of them slow ones), and for calls that hold
# large files. The rest is for the program, and for files between the disk and a response.
RECEIVED_MEMORY_PERCENT = 13
CALLS_MEMORY_PERCENT = 25

# A call that holds less than this takes none of it.
SMALL_BYTES = 256 * 1024

# How many bytes a request takes, for each byte that arrived; and a response, for each that is sent.
REQUEST_FACTOR = 8
RESPONSE_FACTOR = 2

# How long a request may take to arrive before it counts as slow, and how long after that.
FAST_RECEIVE_SECONDS = 0.5
RECEIVE_SECONDS = 20.0
