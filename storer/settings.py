"""The storer's settings."""

from dataclasses import dataclass
from pathlib import Path

from dojo import kata_ids
from dojo.service.settings import (
    CommonSettings,
    absolute_path,
    address,
    one_of,
    setting,
    whole_number,
)
from storer.archive import location

DAY_SECONDS = 24 * 3600


@dataclass(frozen=True)
class StorerSettings(CommonSettings):
    """All settings of the storer, with those that both services have."""

    listen: str = setting(
        "CYBER_DOJO_STORER_LISTEN",
        address,
        "127.0.0.1:4577",
        "the host and port to listen on; with port 0 the storer takes a free port and logs it",
    )
    katas_directory: Path | None = setting(
        "CYBER_DOJO_KATAS_DIRECTORY",
        absolute_path,
        None,
        "a katas directory to import from",
    )
    katas_directory_mode: str = setting(
        "CYBER_DOJO_KATAS_DIRECTORY_MODE",
        one_of("ro", "rw"),
        "ro",
        "ro: the katas directory is never written. rw: a kata is removed there once it is in a "
        "data-container and verified, and when it is deleted",
    )
    saver_directory: Path | None = setting(
        "CYBER_DOJO_SAVER_DIRECTORY",
        absolute_path,
        None,
        "the directory of a saver, with its groups and katas, to import from; it is never written",
    )
    start_points: Path | None = setting(
        "CYBER_DOJO_START_POINTS",
        absolute_path,
        None,
        "a folder with the start points of katas; the storer never writes there",
    )
    archive: str = setting(
        "CYBER_DOJO_ARCHIVE",
        location.check,
        "",
        "the archive of idle katas: a directory (/path), or s3://bucket/prefix; "
        "by default no kata is archived",
    )
    archive_after_seconds: int = setting(
        "CYBER_DOJO_ARCHIVE_AFTER_SECONDS",
        whole_number(1, 3650 * DAY_SECONDS),
        30 * DAY_SECONDS,
        "seconds without use after which a kata is archived",
    )
    max_data_containers: int = setting(
        "CYBER_DOJO_MAX_DATA_CONTAINERS",
        whole_number(0, 1_000_000),
        5000,
        "data-containers above which the least recently used katas are archived before their "
        "time; katas that were used within five minutes never are",
    )
    archive_build_products: str = setting(
        "CYBER_DOJO_ARCHIVE_BUILD_PRODUCTS",
        one_of("keep", "drop"),
        "keep",
        "whether files that runs left in sandboxes are archived too: keep or drop. Visible files "
        "and history always are",
    )
    archive_copy_seconds: int = setting(
        "CYBER_DOJO_ARCHIVE_COPY_SECONDS",
        whole_number(0, 3600),
        0,
        "seconds within which recorded tests are copied to the archive, so that a lost machine "
        "loses no older ones; 0: only idle katas are archived",
    )
    node_storer: str = setting(
        "CYBER_DOJO_NODE_STORER",
        address,
        "",
        "the host and port at which other machines reach this storer; by default where it listens",
    )
    node_runner: str = setting(
        "CYBER_DOJO_NODE_RUNNER",
        address,
        "",
        "the host and port at which other machines reach the runner beside this storer",
    )
    audit_file: Path | None = setting(
        "CYBER_DOJO_AUDIT_FILE",
        absolute_path,
        None,
        "a file to which the audit log is appended; by default it is in the log",
    )
    shortest_partial_id: int = setting(
        "CYBER_DOJO_SHORTEST_PARTIAL_ID",
        whole_number(kata_ids.SHORTEST_PARTIAL, kata_ids.LENGTH),
        kata_ids.SHORTEST_PARTIAL,
        "characters of an id that CompleteKataId requires; with more of them, ids are harder to "
        "guess",
    )
