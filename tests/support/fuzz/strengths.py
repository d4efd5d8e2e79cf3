"""How hard the fuzzers' inputs hit: the largest and the oddest that they may hold.

The inputs go beyond what the services take (`dojo.limits`). Most are small, so that there are many;
`sizes` makes few of them large. `largest` has one input beyond each bound.
"""

from hypothesis import strategies as st

from dojo import limits

# A tar's header may claim this many bytes.
CLAIMED_BYTES = 2**63
# Fields of a tar's header that may hold numbers out of range, or text.
TAR_FIELDS = ("size", "mode", "mtime", "uid", "gid", "kind", "magic", "checksum", "name")
# Whether a pax record may hold NUL bytes.
PAX_WITH_NUL = True
# What a compressed part of an input may expand to.
EXPANDED_BYTES = 450 * 1024**2

# Lines of a file that is compared: a file of empty lines.
COMPARED_LINES = 16 * 1024**2
# Files of each light that are compared.
COMPARED_FILES = 2_000
# Bytes of a recorded file or output, which can be any bytes. A request may have fewer.
RECORDED_BYTES = limits.MESSAGE_BYTES

# Files with arbitrary content in a repository.
JUNK_IN_GIT = (
    "index",
    "packed-refs",
    "description",
    "hooks/post-checkout",
    "info/grafts",
    "objects/info/alternates",
)
# References beside those of lights.
MORE_REFERENCES = ("refs/heads/other", "refs/notes/commits", "refs/tags/v1", "refs/tags/2/3")
# Names in the git trees of lights besides usual ones.
TREE_NAMES = (
    b"../x",
    b".",
    b"..",
    b"x" * 300,
    b"/abs",
    b"\xff",
    b"a b",
    "ä".encode(),
    b"CON",
    b"-rf",
    b"'",
    b'"',
)
# Trees within each other.
TREE_DEPTH = 1_200
# Whether objects of a repository may be damaged in a light that is not the newest.
DAMAGED_OLDER_LIGHTS = True

# Levels of arrays or objects within each other, in JSON.
JSON_DEPTH = 100_000
# Bytes of a JSON file.
JSON_BYTES = 20 * 1024**2
# JSON files of a kata that may be mutated.
JSON_FILES = (
    "manifest.json",
    "whale/manifest.json",
    "whale/increments.json",
    "whale/submission.json",
    "light.json",
)
# Whether CreateKata's `other` may hold any key with any value.
ANY_OTHER_KEYS = True
# Whether runs are cancelled.
CANCELLED_RUNS = True

# Whether a kata that was accepted must never be told to be damaged.
ACCEPTED_IS_READABLE = True

# Cases that do harm still, and are tried by name alone.
HARMFUL_CASES: tuple[str, ...] = ()


def sizes(usual: int, largest: int, *, one_in: int = 40) -> st.SearchStrategy[int]:
    """Return sizes up to the usual one, of which one in so many is up to the largest instead.

    An input of the largest size takes seconds, or a minute.
    """
    # Neither end of the numbers, which hypothesis tries more often than the others.
    turns = st.integers(0, one_in - 1).map(lambda turn: turn == one_in // 2)
    large = st.sampled_from([largest // 8, largest // 2, largest])
    return turns.flatmap(lambda is_large: large if is_large else st.integers(0, usual))
