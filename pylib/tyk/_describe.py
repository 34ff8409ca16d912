"""Exceptions as text for logs: what plugin authors need, without our frames."""

from __future__ import annotations

import linecache
import re
import sys
import traceback
from types import CodeType

from tyk._errors import HookTimeout, PluginError
from tyk._imports import FINDER
from tyk._limits import cut
from tyk._names import PREFIX

_PACKAGE = re.compile(PREFIX + r"\d+\.")

# How many frames of a traceback are shown, the innermost ones: rendering the
# thousand of a RecursionError would keep the interpreter for 100 ms.
_MOST_FRAMES = 100


def _own_prefix(code: CodeType) -> str:
    name = code.co_filename
    return name[: len(name) - len("describe.py")]


def describe(error: BaseException) -> tuple[str, str, str]:
    """Return the type, a one-line message and the full traceback of ``error``.

    Frames of this runtime and of importlib are left out unless there are no
    others. Each is cut to a length that logs can take. It never raises.
    """
    name = type(error).__name__
    lines = set(linecache.cache)
    try:
        name = cut(_type_name(type(error)))
        message = _PACKAGE.sub("", " ".join(cut(_message(error)).split()))
    except Exception as inner:  # noqa: BLE001 (a plugin's __str__ may do anything)
        message = f"(its message raised {type(inner).__name__})"
    try:
        text = _PACKAGE.sub("", cut(_traceback(error)))
    except Exception as inner:  # noqa: BLE001
        text = f"{name}: {message}\n(its traceback raised {type(inner).__name__})"
    for file in [file for file in list(linecache.cache) if file not in lines and not FINDER.serves(file)]:
        linecache.cache.pop(file, None)  # of a bundle that is gone, or was not loaded
    return name, message, text


def stack(thread: int) -> str:
    """Return where the thread of that identifier is; empty when it has ended."""
    frame = sys._current_frames().get(thread)
    if frame is None:
        return ""
    frames = traceback.StackSummary.extract(traceback.walk_stack(frame), limit=_MOST_FRAMES)
    frames.reverse()
    frames[:] = [one for one in frames if not _is_internal(one.filename)]
    return _PACKAGE.sub("", cut("".join(frames.format()))).rstrip("\n")


def _type_name(kind: type[BaseException]) -> str:
    if kind.__module__ in ("builtins", "__main__") or issubclass(kind, (PluginError, HookTimeout)):
        return kind.__qualname__
    return _PACKAGE.sub("", f"{kind.__module__}.{kind.__qualname__}")


def _message(error: BaseException) -> str:
    if isinstance(error, SyntaxError) and error.filename:
        return f"{error.msg} ({error.filename}, line {error.lineno})"
    if isinstance(error, HookTimeout):
        return "the time limit has passed"
    return str(error)


def _traceback(error: BaseException) -> str:
    # Our frames are outermost. Rendering them would read our source files.
    outermost = error.__traceback__
    while outermost is not None and _is_internal(outermost.tb_frame.f_code.co_filename):
        outermost = outermost.tb_next
    rendered = traceback.TracebackException(type(error), error, outermost or error.__traceback__, limit=-_MOST_FRAMES)
    pending, seen = [rendered], {id(rendered)}
    while pending:
        one = pending.pop()
        frames = [frame for frame in one.stack if not _is_internal(frame.filename)]
        if frames or isinstance(error, PluginError):
            one.stack[:] = frames
        for other in (one.__cause__, one.__context__, *(getattr(one, "exceptions", None) or ())):
            if other is not None and id(other) not in seen:
                seen.add(id(other))
                pending.append(other)
    text = "".join(rendered.format()).rstrip("\n")
    depth = sum(1 for _ in traceback.walk_tb(error.__traceback__))
    if depth > _MOST_FRAMES:
        return f"(the last {_MOST_FRAMES} of {depth} frames)\n{text}"
    return text


def _is_internal(filename: str) -> bool:
    return filename.startswith((_OWN, "<frozen importlib"))


_OWN = _own_prefix(_own_prefix.__code__)
