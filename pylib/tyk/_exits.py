"""What bundles register with ``atexit`` runs when they are unloaded.

Python itself would keep it until its end, and the bundle with it.
"""

from __future__ import annotations

import sys
import threading
import traceback
from typing import Any, Callable, TypeVar

Function = TypeVar("Function", bound=Callable[..., Any])


class Exits:
    """The exit handlers of one bundle; safe for concurrent use."""

    def __init__(self) -> None:
        self._handlers: list[tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]] = []
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._handlers)

    def register(self, func: Function, /, *args: Any, **kwargs: Any) -> Function:
        """Take the place of ``atexit.register``."""
        if not callable(func):
            raise TypeError("the first argument must be callable")
        with self._lock:
            self._handlers.append((func, args, kwargs))
        return func

    def unregister(self, func: Callable[..., Any], /) -> None:
        """Take the place of ``atexit.unregister``."""
        with self._lock:
            self._handlers = [one for one in self._handlers if one[0] != func]

    def clear(self) -> None:
        """Forget all handlers."""
        with self._lock:
            self._handlers = []

    def run(self) -> None:
        """Call the handlers, the last first, each once; errors are printed."""
        while True:
            with self._lock:
                if not self._handlers:
                    return
                func, args, kwargs = self._handlers.pop()
            try:
                func(*args, **kwargs)
            except BaseException:  # noqa: BLE001 (as Python does: the others have to run)
                sys.stderr.write("an exit handler raised:\n" + traceback.format_exc())
