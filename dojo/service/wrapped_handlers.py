"""The handlers of methods, as an interceptor wraps them: once, and not for each call."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import grpc

Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"


class WrappedHandlers:
    """Each method's handler, wrapped. Belongs to the event loop's thread."""

    def __init__(self, wrap: Callable[[str, Handler], Handler]) -> None:
        """`wrap` takes a method's full name (/package.Service/Method) and its handler."""
        self._wrap = wrap
        self._found: dict[str, tuple[Handler, Handler]] = {}

    def of(self, method: str, handler: Handler) -> Handler:
        """Return the handler of a method, wrapped."""
        found = self._found.get(method)
        if found is None or found[0] is not handler:
            found = self._found[method] = handler, self._wrap(method, handler)
        return found[1]
