"""How many calls were refused because of who called."""

from collections import Counter

from grpc import StatusCode


class Denials:
    """Counts refused calls. Belongs to the event loop's thread."""

    def __init__(self) -> None:
        self.counts: Counter[tuple[str, StatusCode]] = Counter()
        """How often each RPC (`/package.Service/Name`) was refused with each status. The RPCs are
        those that a server has, so there are no more than a few dozen."""

    def count(self, method: str, code: StatusCode) -> None:
        """Count a refused call."""
        self.counts[method, code] += 1
