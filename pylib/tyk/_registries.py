"""Tables of Python that remember the modules which filled them.

What a bundle has put there would keep it in memory after it is unloaded.
"""

from __future__ import annotations

import linecache
import os
import sys
import typing


def _kind(finder: object) -> type:
    return finder if isinstance(finder, type) else type(finder)


def forget(prefix: str) -> None:
    """Remove what the modules whose names begin with ``prefix`` have left."""
    # Vendored packages (six, for one) add finders of their own. Imports of
    # other threads iterate the list: removing from it would make them skip one.
    left = [finder for finder in sys.meta_path if not _kind(finder).__module__.startswith(prefix)]
    if len(left) < len(sys.meta_path):
        sys.meta_path = left
    # typing remembers overloads by module, from 3.11 on,
    overloads = getattr(typing, "_overload_registry", {})
    for module in [name for name in overloads if name.startswith(prefix)]:
        overloads.pop(module, None)
    # and parameters of generics in caches.
    for clear in getattr(typing, "_cleanups", ()):
        clear()


def forget_lines(directory: str) -> None:
    """Remove the source lines below ``directory`` that tracebacks have read."""
    below = os.path.join(directory, "")
    for name in [name for name in list(linecache.cache) if name.startswith(below)]:
        linecache.cache.pop(name, None)
