"""Figures, their tables, and the file results.json."""

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Figure:
    """One result and its target, if it has one: at most (`<=`) or at least (`>=`) that value."""

    name: str
    value: float
    unit: str
    comparison: str = ""
    target: float | None = None

    @property
    def is_ok(self) -> bool:
        """Whether the target is met; true if there is none."""
        if self.target is None:
            return True
        return self.value <= self.target if self.comparison == "<=" else self.value >= self.target

    def to_json(self) -> dict[str, object]:
        """Return the figure for results.json."""
        target = None if self.target is None else f"{self.comparison} {self.target:g}"
        value = round(self.value, 4)
        return {
            "name": self.name,
            "value": value,
            "unit": self.unit,
            "target": target,
            "ok": self.is_ok,
        }


def percentile(values: Iterable[float], percent: float) -> float:
    """Return the smallest value that `percent` of the values do not exceed (nearest rank)."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)]


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return a Markdown table."""
    lines = [f"### {title}", "", f"| {' | '.join(columns)} |"]
    lines.append("|---|" + "---:|" * (len(columns) - 1))
    lines += [f"| {' | '.join(map(_shown, row))} |" for row in rows]
    return "\n".join([*lines, ""])


def figures_table(figures: Iterable[Figure]) -> str:
    """Return the figures as a Markdown table."""
    rows = [
        (
            figure.name,
            f"{figure.value:.3g} {figure.unit}".strip(),
            "" if figure.target is None else f"{figure.comparison} {figure.target:g}",
            "" if figure.target is None else "yes" if figure.is_ok else "**no**",
        )
        for figure in figures
    ]
    return table("Figures", ("figure", "value", "target", "met"), rows)


def write(figures: Iterable[Figure], path: Path) -> None:
    """Write results.json; figures that were not measured this time stay as they were."""
    new = {figure.name: figure.to_json() for figure in figures}
    old = json.loads(path.read_text()) if path.exists() else []
    every = {each["name"]: each for each in old} | new
    path.write_text(
        "[\n" + ",\n".join(f"  {json.dumps(each)}" for each in every.values()) + "\n]\n"
    )


def _shown(value: object) -> str:
    return f"{value:.1f}" if isinstance(value, float) else str(value)
