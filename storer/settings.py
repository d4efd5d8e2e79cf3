"""What the storer is told."""

from dataclasses import dataclass
from pathlib import Path

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
    """The storer's settings."""

    listen: str = setting(
        "CYBER_DOJO_STORER_LISTEN",
        address,
        "127.0.0.1:4577",
        "the host and port to listen on; port 0 takes any that is free and logs it",
    )
    katas_directory: Path | None = setting(
        "CYBER_DOJO_KATAS_DIRECTORY",
        absolute_path,
        None,
        "a katas directory to import from; it is never written",
    )
    start_points: Path | None = setting(
        "CYBER_DOJO_START_POINTS",
        absolute_path,
        None,
        "a folder with the start points that katas begin from; it is never written",
    )
    archive: str = setting(
        "CYBER_DOJO_ARCHIVE",
        location.check,
        "",
        "where idle katas go: a directory (/path), or s3://bucket/prefix; by default none goes",
    )
    archive_after_seconds: int = setting(
        "CYBER_DOJO_ARCHIVE_AFTER_SECONDS",
        whole_number(1, 3650 * DAY_SECONDS),
        30 * DAY_SECONDS,
        "seconds after which a kata that nobody touched is archived",
    )
    max_data_containers: int = setting(
        "CYBER_DOJO_MAX_DATA_CONTAINERS",
        whole_number(0, 1_000_000),
        5000,
        "data-containers above which the katas that were not touched for longest are archived "
        "before their time; none that was touched within five minutes is",
    )
    archive_build_products: str = setting(
        "CYBER_DOJO_ARCHIVE_BUILD_PRODUCTS",
        one_of("keep", "drop"),
        "keep",
        "whether what runs left in sandboxes is archived too: keep or drop. Visible files and "
        "history always are",
    )
    archive_copy_seconds: int = setting(
        "CYBER_DOJO_ARCHIVE_COPY_SECONDS",
        whole_number(0, 3600),
        0,
        "seconds within which recorded tests are copied to the archive, so that a lost machine "
        "costs no more than those; 0: only idle katas are there",
    )
