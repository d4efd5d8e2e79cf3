"""The bounds fit each other: what our own limits let exist can come back."""

from dojo import avatars, limits
from dojo.visible_files import MAX_TOTAL_BYTES
from runner.settings import RunnerSettings

AVATARS = len(avatars.NAMES)
# JSON makes six bytes of some bytes.
JSON_FACTOR = 6


def test_a_kata_with_all_sandboxes_full_can_be_restored() -> None:
    sandboxes = AVATARS * limits.SANDBOX_BYTES
    manifests = AVATARS * JSON_FACTOR * MAX_TOTAL_BYTES
    newest_lights = AVATARS * limits.GIT_BLOB_BYTES
    names = AVATARS * limits.MAX_SUBMITTED_NAMES_BYTES
    needed = sandboxes + limits.GIT_BYTES + manifests + newest_lights + names
    assert needed <= limits.MAX_KATA_BYTES


def test_as_many_files_as_all_sandboxes_and_histories_may_have_can_be_restored() -> None:
    # A light has a tag, and at least a commit, a tree and a blob.
    histories = limits.GIT_OBJECTS + limits.GIT_OBJECTS // 3
    object_folders = AVATARS * 256
    others = AVATARS * 100
    needed = AVATARS * limits.SANDBOX_FILES + histories + object_folders + others
    assert needed <= limits.MAX_KATA_MEMBERS


def test_a_sandbox_is_as_large_as_the_bounds_count_with() -> None:
    settings = RunnerSettings()
    assert settings.max_sandbox_bytes == limits.SANDBOX_BYTES
    assert settings.max_sandbox_files == limits.SANDBOX_FILES


def test_every_file_that_a_kata_may_have_can_be_in_a_light() -> None:
    assert limits.GIT_BLOB_BYTES >= MAX_TOTAL_BYTES
    assert JSON_FACTOR * MAX_TOTAL_BYTES <= limits.MAX_JSON_BYTES


def test_as_many_deltas_of_the_largest_file_as_git_makes_can_be_read() -> None:
    deltas = 50  # git's pack.depth
    assert (deltas + 1) * limits.GIT_BLOB_BYTES <= limits.GIT_CHAIN_BYTES
