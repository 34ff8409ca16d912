"""HookTimeout inside the thread of the event loop."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

from tyk._errors import HookTimeout

# They take a lock in one statement and guard it in the next: an exception in
# between would leave it taken for ever.
_KEEP_LOCKS = ("importlib", "/threading.py", "/logging/", "/queue.py", "/concurrent/futures/", "/tyk/_imports.py")


def interrupt(thread: int, loop: asyncio.AbstractEventLoop, task: asyncio.Task[Any]) -> bool:
    """Raise HookTimeout in ``thread`` if ``loop`` runs ``task`` there now.

    False when it does not, or stands where that would do harm.
    """
    # Needed in this rare case only, and not every Python has it.
    import ctypes  # noqa: PLC0415

    raise_in = ctypes.pythonapi.PyThreadState_SetAsyncExc
    target, error = ctypes.c_ulong(thread), ctypes.py_object(HookTimeout)
    if not _may_be_interrupted(thread) or asyncio.current_task(loop) is not task:
        return False
    raise_in(target, error)
    if asyncio.current_task(loop) is not task:
        # It has ended, perhaps by itself: what comes too late must not hit
        # what runs next.
        raise_in(target, None)
    return True


def _may_be_interrupted(thread: int) -> bool:
    frame = sys._current_frames().get(thread)
    return frame is not None and not any(part in frame.f_code.co_filename for part in _KEEP_LOCKS)
