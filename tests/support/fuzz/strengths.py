"""How hard the fuzzers' inputs hit: the largest and the oddest that they may hold.

The inputs reach what the services promise to withstand. Where a service does not yet, the value
here is lower, and the comment says what the full value is.
"""

# A tar's header may claim this many bytes. Full: 2**63.
CLAIMED_BYTES = 2**20
# Fields of a tar's header that may hold numbers out of range, or text. Full: with b"mode".
TAR_FIELDS = ("size", "mtime", "uid", "gid", "kind", "magic", "checksum", "name")
# Whether a pax record may hold NUL bytes. Full: True.
PAX_WITH_NUL = False
# What a compressed part of an input may expand to. Full: 450 * 1024**2.
EXPANDED_BYTES = 4 * 1024**2

# Lines of a file that is compared. Full: 16 * 1024**2 (a file of empty lines).
COMPARED_LINES = 3_000
# Files of each light that are compared. Full: 2_000.
COMPARED_FILES = 12
# Bytes of a recorded file or output, which can be any bytes. Full: 48 * 1024**2 in all.
RECORDED_BYTES = 20_000

# Files with arbitrary content in a repository. Full: with "index", "packed-refs".
JUNK_IN_GIT = ("description", "hooks/post-checkout", "info/grafts", "objects/info/alternates")
# References beside those of lights. Full: with "refs/tags/2/3".
MORE_REFERENCES = ("refs/heads/other", "refs/notes/commits", "refs/tags/v1")
# Names in the git trees of lights besides usual ones. Full: with b"../x", b".", b"..", b"x" * 300,
# b"/abs", b"\xff".
TREE_NAMES = (b"a b", "ä".encode(), b"CON", b"-rf", b"'", b'"')
# Trees within each other. Full: 1_200.
TREE_DEPTH = 20
# Whether objects of a repository may be damaged in a light that is not the newest. Full: True.
DAMAGED_OLDER_LIGHTS = False

# Levels of arrays or objects within each other, in JSON. Full: 100_000.
JSON_DEPTH = 100
# Bytes of a JSON file. Full: 20 * 1024**2.
JSON_BYTES = 20_000
# JSON files of a kata that may be mutated. Full: with "whale/increments.json",
# "whale/submission.json", "light.json".
JSON_FILES = ("manifest.json", "whale/manifest.json")
# Whether CreateKata's `other` may hold any key with any value. Full: True.
ANY_OTHER_KEYS = False
# Whether runs are cancelled. Full: True.
CANCELLED_RUNS = False

# Whether a kata that was accepted must never be told to be damaged. Full: True.
ACCEPTED_IS_READABLE = False

# Cases that do harm still, and are tried by name alone. Full: ().
HARMFUL_CASES: tuple[str, ...] = ()
