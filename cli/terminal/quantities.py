"""Numbers for people."""


def size(count: int) -> str:
    """Return a number of bytes, such as `1.5 MiB`."""
    value = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if value < 1024 or unit == "GiB":
            break
        value /= 1024
    return f"{count} B" if unit == "B" else f"{value:.1f} {unit}"


def counted(count: int, one: str) -> str:
    """Return a number of things, such as `1 kata` or `2 katas`."""
    return f"{count} {one}{'' if count == 1 else 's'}"
