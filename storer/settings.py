"""What the storer is told."""

from dataclasses import dataclass
from pathlib import Path

from dojo.settings import CommonSettings, absolute_path, address, setting


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
