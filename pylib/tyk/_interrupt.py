"""HookTimeout inside the thread of the event loop."""

from __future__ import annotations

import asyncio
import sys
import threading
from typing import Any

from tyk._errors import HookTimeout

# They take a lock in one statement and guard it in the next: an exception in
# between would leave it taken for ever.
_KEEP_LOCKS = (
    "importlib",
    "/threading.py",
    "/logging/",
    "/queue.py",
    "/concurrent/futures/",
    "/tyk/_imports.py",
    "/tyk/_message.py",
)
# Python looks for exceptions from outside once in each turn of a loop.
_CHECKS = 100


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
        try:
            raise_in(ctypes.c_ulong(threading.get_ident()), error)
            absorb()
        except HookTimeout:
            pass
    return True


def absorb() -> None:
    """Let a HookTimeout be raised that is on its way to this thread.

    Before CPython 3.13 one that is taken back keeps the whole interpreter
    looking for it until another has been raised, in whichever thread. In 3.11
    a thread that is traced or profiled never gets past that.
    """
    for _ in range(_CHECKS):
        pass


def _may_be_interrupted(thread: int) -> bool:
    frame = sys._current_frames().get(thread)
    return frame is not None and not any(part in frame.f_code.co_filename for part in _KEEP_LOCKS)
