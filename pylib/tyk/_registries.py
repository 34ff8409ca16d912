"""Tables of Python that remember the modules which filled them.

What a bundle has put there would keep it in memory after it is unloaded.
"""

from __future__ import annotations

import sys
import typing


def forget(prefix: str) -> None:
    """Remove what the modules whose names begin with ``prefix`` have left."""
    # Vendored packages (six, for one) add finders of their own.
    for finder in list(sys.meta_path):
        kind = finder if isinstance(finder, type) else type(finder)
        if kind.__module__.startswith(prefix):
            sys.meta_path.remove(finder)
    # typing remembers overloads by module, from 3.11 on,
    overloads = getattr(typing, "_overload_registry", {})
    for module in [name for name in overloads if name.startswith(prefix)]:
        overloads.pop(module, None)
    # and parameters of generics in caches.
    for clear in getattr(typing, "_cleanups", ()):
        clear()
