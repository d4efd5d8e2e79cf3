"""Ruby lambdas, the colour rules of legacy katas: what both services check of them."""

MAX_SOURCE_BYTES = 16 * 1024


def fault(source: str) -> str | None:
    """Say why `source` can't be a rule; None if it can. Only Ruby can tell whether it is one."""
    try:
        size_bytes = len(source.encode())
    except UnicodeEncodeError:
        return "is not UTF-8"
    if size_bytes > MAX_SOURCE_BYTES:
        return f"{size_bytes} bytes are more than {MAX_SOURCE_BYTES}"
    if not source.strip():
        return "is empty"
    return None
