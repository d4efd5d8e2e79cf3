"""Every bound on what comes in, beside those of visible files and of requests.

`docs/running.md` has them in a table, which a test compares with this module. A bound is what a
caller may reach; one more is refused, and the refusal names the bound.
"""

# --- git objects that come in, and those of katas

GIT_BYTES = 8 * 1024**3
"""All git objects of a kata together, expanded."""

GIT_OBJECTS = 1_000_000
"""The git objects of a kata, and the other files in its repositories."""

GIT_BLOB_BYTES = 64 * 1024**2
"""A blob: a file, or the JSON of a legacy light with all of its files."""

GIT_TREE_BYTES = 4 * 1024**2
"""A git tree: a folder's list."""

GIT_OTHER_BYTES = 1024**2
"""A git commit or tag."""

GIT_CHAIN_BYTES = 4 * 1024**3
"""A packed object and the bases of its delta, all together: git makes 50 deltas of one object."""

GIT_SECONDS = 1800
"""The check of a kata's git objects, where the caller sets no earlier deadline."""

GIT_REFERENCES_BYTES = 16 * 1024**2
"""All references that a repository has in one file (packed-refs)."""

GIT_HELD_DELTA_BYTES = 256 * 1024**2
"""The objects that are held while a pack's deltas are applied to them."""

GIT_TREE_FILES = 20_000
"""The files in the git commit of a light, whether or not they are visible ones."""

GIT_DEPTH = 130
"""Folders inside folders in a light's git commit: a visible file's name has 255 bytes."""

HELD_ENTRY_BYTES = 400
"""What is remembered of each git object while those of a kata are checked."""

# --- tars that callers send

MAX_KATA_BYTES = 64 * 1024**3
"""What a kata may unpack to: the sandboxes of all avatars, their histories, and their lists."""

MAX_KATA_MEMBERS = 5_000_000
"""Files, folders and links of a kata: of all sandboxes and all histories."""

MEMBERS_PER_SECOND = 8_192
"""The members that all restores together read in a second: twice as many as are made files of."""

MAX_TAR_HEADER_BYTES = 1024**2
"""All extended headers of one member of a tar."""

MAX_TAR_RECORDS = 1024
"""The records in these headers."""

MAX_EXTENTS = 65_536
"""Pieces of data between the holes of one sparse file."""

MAX_SPARSE_FILE_BYTES = 1024**4
"""The size of one sparse file, its holes included: the largest that a run may be allowed."""

# What restores leave free of a disk, so that other calls can record: the less of the two.
FREE_DISK_BYTES = 1024**3
FREE_DISK_PERCENT = 1

# --- JSON files of katas

MAX_JSON_BYTES = 8 * 48 * 1024**2
"""A JSON file: JSON makes six bytes of some bytes of visible files."""

MAX_JSON_VALUES = 1_000_000
"""Values in one JSON file: each takes dozens of bytes of memory."""

MAX_MANIFEST_BYTES = 1024**2
"""The JSON of a manifest that a kata is created from, its visible files not counted."""

MAX_INDEX_BYTES = 64 * 1024**2
"""The index.json of the start points of a kind, with the instructions that menus show."""

MAX_OPTIONS_BYTES = 64 * 1024
"""The file of a kata's options: those of 64 avatars take a fifth of it, unknown keys up to half."""

LARGE_JSON_BYTES = 1024**2
"""A JSON file of a kata; of larger ones, one is read at a time, and one manifest.json is held."""

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

# --- Other processes of the storer: its own would hold up all other calls meanwhile

# A light is large with more bytes of files than this, and a manifest.json with more of its own.
# It is read, and written into a new kata, in a process.
LARGE_LIGHT_BYTES = 1024 * 1024

# The processes that read and record large lights and fork avatars, and that check katas, at the
# same time; and the memory of each.
MAX_LARGE_LIGHT_PROCESSES = 2
MAX_CHECKING_PROCESSES = 1
PROCESS_BYTES = 512 * 1024 * 1024

# The git objects of a history that comes along in a fork, and their bytes as they are read: folders
# and commits are read twice.
FORKED_OBJECTS = 50_000
FORKED_BYTES = 512 * 1024**2

# What is checked in the storer's own process: a small kata that comes in, now and then; and of one
# call the small avatars, for so long.
SMALL_CHECKED_FILES = 2000
SMALL_CHECKED_BYTES = 1024 * 1024
SMALL_CHECKED_SECONDS = 0.2

# --- What the runner reads, and runs

# The disk space of a sandbox, and its files and folders, unless settings of the runner differ.
SANDBOX_BYTES = 512 * 1024**2
SANDBOX_FILES = 50_000

# What the runner reads of an avatar's own files, to learn the names of visible files. The second
# one has the contents too, which JSON can make several times as large.
MAX_SUBMITTED_NAMES_BYTES = 8 * 1024 * 1024
MAX_AVATAR_MANIFEST_BYTES = 64 * 1024 * 1024

# Runs that wait or go on. One avatar, or one kata, does not fill the queue of all.
MAX_RUNS_OF_AVATAR = 8
MAX_RUNS_OF_KATA = 128

# The requests of all runs that wait or go on. In memory each takes three times its size: as bytes,
# as a message, and as files.
MAX_BYTES_OF_RUNS = 160 * 1024 * 1024

# Images that the runner pulls at the same time. Callers who pull the same one share its pull.
MAX_PULLS = 8

# --- Reads that many make

MAX_OUTPUTS = 256
"""Lights whose outputs one GetOutputs reads."""

MAX_WATCHED_KATAS = 64
"""Katas that one WatchKatas streams."""

PAGE_BYTES = 3 * 1024**2
"""The lights and edits on a page: gRPC's clients take 4 MiB by default, with the rest of it."""

# --- Calls of the storer, and what all of them hold together

# How many calls of the storer work at the same time. At most half of them are long ones: lists,
# streams, and what deletes or archives a kata.
WORKING_CALLS = 64

# How long a call for one kata waits for a lock: of the kata, or of one of its avatars.
LOCK_WAIT_SECONDS = 30.0

# The same for a call about many katas, which must not miss one because it is busy.
MANY_KATAS_LOCK_WAIT_SECONDS = 600.0

# How many katas are fetched from the archive or the katas directory at the same time.
MAX_FETCHES = 16

# How many of them are for one call, and how many katas come from a saver at the same time.
MAX_FETCHES_FOR_ONE = 4

# How many calls may wait for one lock in one service.
MAX_WAITING_FOR_ONE_LOCK = 256

# How many calls may wait for a lock or for the archive in one service. Each has a thread.
MAX_WAITING_CALLS = 512

# The largest gRPC message: all visible files of an avatar, and the names and output beside them.
MESSAGE_BYTES = 64 * 1024 * 1024

# What a service may take, unless its container has less.
MEMORY_BYTES = 2 * 1024**3

# The parts of that for large messages while they arrive, for calls of the storer that hold large
# files, for restores, and for streams to callers. The rest is for the program, and
# for files between the disk and a response.
RECEIVED_MEMORY_PERCENT = 13
CALLS_MEMORY_PERCENT = 25
RESTORES_MEMORY_PERCENT = 25
DOWNLOADS_MEMORY_PERCENT = 12

# A message of a restore, and what a restore takes: gRPC can hold a larger message before anybody
# knows how large it is.
STREAM_MESSAGE_BYTES = 1024 * 1024 + 64 * 1024
RESTORE_BYTES = MESSAGE_BYTES

# How long a caller who restores katas may leave the report of one unread.
UNREAD_SECONDS = 60.0

# How slow a caller may send a restore, on average, after the first minute.
MIN_SENT_BYTES_PER_SECOND = 4096

# What a stream to a caller takes: three chunks, which are read, sent, and on their way.
DOWNLOAD_BYTES = 3 * 1024 * 1024

# A call that holds less than this takes none of it.
SMALL_BYTES = 256 * 1024

# How many bytes a request takes, for each byte that arrived, in a storer and in a runner; and a
# response, for each that is sent.
REQUEST_FACTOR = 8
RUN_REQUEST_FACTOR = 3
RESPONSE_FACTOR = 2

# How many bytes of requests and responses that are not small a service copies in a second, which
# takes a tenth of the time that it has for all calls. More are kept waiting. The larger ones of the
# next bound have as many for themselves.
LARGE_MESSAGES_BYTES_PER_SECOND = 32 * 1024 * 1024

# A larger message stops all other calls for long, while it is copied: for 3 to 4 ms for each MiB.
# Such ones wait for each other, and each counts as many times as it is larger than this. So a class
# with files of 5 MiB is as fast as it can be, and 45 MiB stop others once in eight seconds, if the
# callers wait for their turn.
QUICK_MESSAGE_BYTES = 8 * 1024 * 1024

# How long a call for which others leave no room is kept, before it is told to come again. A caller
# who comes again at once would take the time of others. A request that is not small waits for its
# turn among the others too, until shortly before its deadline.
REFUSED_SECONDS = 0.5

# How long a request may take to arrive before it counts as large, and how long then, before it can
# be given up for another one, and in any case.
SMALL_RECEIVE_SECONDS = 0.25
FAST_RECEIVE_SECONDS = 0.5
RECEIVE_SECONDS = 20.0
