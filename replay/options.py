"""The options of a replay."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Light:
    """The light that --show names."""

    kata_id: str
    avatar: str
    number: int


@dataclass(frozen=True)
class Options:
    """The options of a replay, as `cyber-dojo replay --help` explains them."""

    sources: list[Path]
    storer: str
    images: list[str]
    katas: list[str]
    replacements: dict[str, str]
    start_points: Path | None
    jobs: int
    json: Path | None
    state: Path
    is_fresh: bool
    show: Light | None
    min_same: float
    min_ran: float
    min_seconds: int
