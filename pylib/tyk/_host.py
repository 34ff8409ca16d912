"""The host's functions: the gateway's, or a stand-in outside of it.

The stand-in lets authors import and test plugins with plain pytest.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from typing import Protocol, Union

from tyk._limits import cut
from tyk._origin import ORIGIN

_LEVELS = {"debug": b"debug", "info": b"info", "warning": b"warning", "error": b"error"}
_MAX_TTL = 2**31 - 1

Text = Union[str, bytes, bytearray, memoryview]


class Host(Protocol):
    """What a host offers; all text is UTF-8.

    ``store_data`` and ``get_data`` raise RuntimeError when the store fails.
    """

    def log(
        self, level: bytes, message: bytes, request_id: bytes, api_id: bytes, bundle: bytes, hook: bytes, /
    ) -> None: ...
    def store_data(self, key: bytes, value: bytes, ttl: int, /) -> None: ...
    def get_data(self, key: bytes, /) -> bytes: ...
    def trigger_event(self, name: bytes, payload: bytes, api_id: bytes, request_id: bytes, /) -> None: ...


class Tickets(Protocol):
    """How the gateway's bridge gets what a call does not return."""

    def keep(self, ticket: int, /) -> None: ...
    def settle(self, ticket: int, payload: bytes, /) -> None: ...
    def fail(self, ticket: int, error: BaseException, /) -> None: ...
    def leave_out(self, ticket: int, parts: int, /) -> None: ...


class StandIn:
    """A host in memory that logs to ``sys.stderr``."""

    def __init__(self) -> None:
        self._data: dict[bytes, tuple[bytes, float]] = {}

    def log(
        self, level: bytes, message: bytes, request_id: bytes, api_id: bytes, bundle: bytes, hook: bytes, /
    ) -> None:
        where = b"/".join(part for part in (bundle, hook) if part)
        self._write(b": ".join(part for part in (level, where, message) if part) + b"\n")

    def _write(self, line: bytes) -> None:
        if sys.stderr is not None:
            sys.stderr.write(line.decode("utf-8", "replace"))

    def store_data(self, key: bytes, value: bytes, ttl: int, /) -> None:
        self._data[key] = (value, time.monotonic() + ttl if ttl > 0 else float("inf"))

    def get_data(self, key: bytes, /) -> bytes:
        value, expires = self._data.get(key, (b"", float("inf")))
        if expires <= time.monotonic():
            self._data.pop(key, None)
            return b""
        return value

    def trigger_event(self, name: bytes, payload: bytes, api_id: bytes, request_id: bytes, /) -> None:
        self.log(b"info", b"event " + name + b": " + payload, b"", api_id, b"", b"")


class ForkedHost(StandIn):
    """The host of a forked child, which has no gateway: only its stderr.

    The gateway's threads are not in the child: a call of it would never
    return.
    """

    def _write(self, line: bytes) -> None:
        while line:
            line = line[os.write(2, line) :]


def _find() -> Host:
    try:
        import _krait  # noqa: PLC0415 (exists inside a gateway only)
    except ImportError:
        return StandIn()
    return _krait


class Bound:
    """The host in use. Tests put another one in."""

    __slots__ = ("host",)

    def __init__(self, host: Host) -> None:
        self.host = host


BOUND = Bound(_find())


def printable(text: str) -> bytes:
    """Encode ``text`` for people to read; it never raises."""
    return text.encode("utf-8", "backslashreplace")


def data(value: Text, what: str) -> bytes:
    """Encode ``value`` so that it comes back as it was.

    Raises:
        TypeError: it is neither text nor bytes; the message begins with ``what``.
    """
    if isinstance(value, str):
        try:
            return value.encode("utf-8", "surrogateescape")
        except UnicodeEncodeError:
            return value.encode("utf-8", "surrogatepass")
    if isinstance(value, (bytes, bytearray, memoryview)):
        return bytes(value)
    raise TypeError(f"{what} is str or bytes, not {type(value).__name__}: convert it first, for example with str()")


def seconds(ttl: int) -> int:
    """Check a time to live and bring it into the host's range.

    Raises:
        TypeError: it is not an int.
    """
    if not isinstance(ttl, int):
        raise TypeError(f"ttl is an int (seconds), not {type(ttl).__name__}")
    return max(0, min(ttl, _MAX_TTL))


def log(level: str, message: str) -> None:
    """Log ``message``, cut to LONGEST, with the origin of the running call.

    A log that fails must not fail the hook that wrote to it, and there is no
    better place to report its failure to.
    """
    origin = ORIGIN.get()
    with contextlib.suppress(Exception):
        BOUND.host.log(
            _LEVELS.get(level, b"info"),
            printable(cut(message)),
            printable(origin.request_id),
            printable(origin.api_id),
            printable(origin.bundle),
            printable(origin.hook),
        )
