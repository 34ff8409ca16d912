"""Output of plugins: print, stderr, warnings and stray exceptions go to the log."""

from __future__ import annotations

import io
import os
import sys
import threading
import warnings
from collections.abc import Iterable
from typing import Any, TextIO

from tyk import _host
from tyk._describe import describe
from tyk._limits import LONGEST
from tyk._origin import ORIGIN, UNKNOWN, Origin


class LogStream(io.TextIOBase):
    """A text stream whose lines are log records.

    An unfinished line belongs to the call and the thread that wrote it, so
    that pieces of different calls never mix. No lock is held while logging.
    """

    def __init__(self, name: str, level: str) -> None:
        super().__init__()
        self.name = name
        self._level = level
        self._threads = threading.local()
        self.buffer = _Bytes(self)

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return "utf-8"

    @property
    def errors(self) -> str:  # type: ignore[override]
        return "backslashreplace"

    @property
    def line_buffering(self) -> bool:
        return True

    def reconfigure(self, **_: object) -> None:
        """Accept what ``TextIOWrapper.reconfigure`` accepts; nothing changes."""

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        if not isinstance(text, str):
            raise TypeError(f"write() argument must be str, not {type(text).__name__}")
        pieces = self._pieces()
        key = (self._level, threading.get_ident())
        piece, (first, *others) = pieces.pop(key, ""), text.split("\n")
        if len(piece) + len(first) > LONGEST:
            self._log(piece)
            piece = ""
        *lines, rest = (piece + first, *others)
        for line in lines:
            self._log(line)
        if len(rest) > LONGEST:
            self._log(rest)
        elif rest:
            pieces[key] = rest
        return len(text)

    def flush(self) -> None:
        """Log the unfinished line of the running call and thread."""
        self._log(self._pieces().pop((self._level, threading.get_ident()), ""))

    def close(self) -> None:
        """Stay open: there is nothing to free, and others still print."""

    def forget(self) -> None:
        """Drop unfinished lines of threads; a forked child has the parent's."""
        self._threads = threading.local()

    def _pieces(self) -> dict[tuple[str, int], str]:
        origin = ORIGIN.get()
        if origin is not UNKNOWN:
            if origin.pieces is None:
                origin.pieces = {}
            return origin.pieces
        pieces: dict[tuple[str, int], str] | None = getattr(self._threads, "pieces", None)
        if pieces is None:
            pieces = self._threads.pieces = {}
        return pieces

    def _log(self, line: str) -> None:
        line = line.rstrip("\r")
        if line:
            _host.log(self._level, line)


class _Bytes(io.RawIOBase):
    """``sys.stdout.buffer``: bytes go to the text stream."""

    def __init__(self, text: LogStream) -> None:
        super().__init__()
        self._text = text

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        raw = bytes(data)
        self._text.write(raw.decode("utf-8", "backslashreplace"))
        return len(raw)

    def writelines(self, lines: Iterable[Any]) -> None:
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        """Leave flushing to the text stream."""

    def close(self) -> None:
        """Stay open, as the text stream does."""


def finish(origin: Origin) -> None:
    """Log the unfinished lines of ``origin``; called when its call has ended."""
    while origin.pieces:
        (level, _), text = origin.pieces.popitem()
        _host.log(level, text.rstrip("\r"))


def _show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    if file is not None:
        file.write(warnings.formatwarning(message, category, filename, lineno, line))
        return
    _host.log("warning", f"{filename}:{lineno}: {category.__name__}: {message}")


def _thread_died(args: threading.ExceptHookArgs) -> None:
    if args.exc_value is None or isinstance(args.exc_value, SystemExit):
        return
    name = args.thread.name if args.thread is not None else "unknown"
    _host.log("error", f"thread {name!r} ended with an exception\n{describe(args.exc_value)[2]}")


def _unraisable(args: Any) -> None:
    if args.exc_value is None:
        return
    note = args.err_msg or "exception ignored in"
    _host.log("error", f"{note} {args.object!r}\n{describe(args.exc_value)[2]}")


def redirect() -> None:
    """Send everything that Python would print to the log; read nothing.

    The gateway's standard input is a terminal's when it runs in one.
    """
    sys.stdin = open(os.devnull, encoding="utf-8")  # noqa: SIM115 (for the life of the interpreter)
    sys.stdout = LogStream("<stdout>", "info")
    sys.stderr = LogStream("<stderr>", "error")
    warnings.showwarning = _show_warning
    threading.excepthook = _thread_died
    sys.unraisablehook = _unraisable
