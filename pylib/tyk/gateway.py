"""What a plugin can ask of the gateway around it."""

from __future__ import annotations

import sys
from typing import Union

from tyk import _host
from tyk._origin import ORIGIN

__all__ = ["TykGateway"]

_Text = Union[str, bytes, bytearray, memoryview]


def _text(value: object) -> str:
    if isinstance(value, str):
        return value
    try:
        if isinstance(value, (bytes, bytearray)):
            return value.decode("utf-8", "replace")
        return str(value)
    except Exception as error:  # noqa: BLE001 (a log call never fails a hook)
        return f"<{type(value).__name__} whose text raised {type(error).__name__}>"


class TykGateway:
    """The gateway's functions; safe to call from any thread.

    >>> from gateway import TykGateway as tyk
    >>> tyk.store_data("counter", "1", 60)
    >>> tyk.get_data("counter")
    b'1'
    """

    @staticmethod
    def log(message: object, level: str = "info") -> None:
        """Log ``str(message)``.

        ``level`` is ``debug``, ``info``, ``warning`` or ``error``; anything
        else is ``info``. It never raises and never waits for a disk.
        """
        _host.log(level if isinstance(level, str) else "info", _text(message))

    @staticmethod
    def log_error(*args: object) -> None:
        """Log an error: one argument as it is, none or more with the exception.

        With no argument the exception being handled is logged; with several,
        they are joined by spaces and that exception is added.
        """
        message = " ".join(_text(arg) for arg in args)
        error = sys.exc_info()[1]
        if error is not None and len(args) != 1:
            message = f"{message} {type(error).__name__}: {_text(error)}".lstrip()
        _host.log("error", message)

    @staticmethod
    def store_data(key: _Text, value: _Text, ttl: int = 0) -> None:
        """Store ``value`` under ``key`` for ``ttl`` seconds (0 or less: for good).

        Text is stored as UTF-8; bytes are stored as they are. A store that does
        not answer is logged, and nothing is stored.

        Raises:
            TypeError: an argument is of another type.
        """
        wanted = (_host.data(key, "store_data: key"), _host.data(value, "store_data: value"), _host.seconds(ttl))
        try:
            _host.BOUND.host.store_data(*wanted)
        except RuntimeError as error:
            _host.log("error", f"store_data: {error}")

    @staticmethod
    def get_data(key: _Text) -> bytes:
        """Return what is stored under ``key``; ``b""`` when there is nothing.

        A store that does not answer is logged, and counts as empty.

        Raises:
            TypeError: ``key`` is neither str nor bytes.
        """
        wanted = _host.data(key, "get_data: key")
        try:
            return _host.BOUND.host.get_data(wanted)
        except RuntimeError as error:
            _host.log("error", f"get_data: {error}")
            return b""

    @staticmethod
    def trigger_event(name: _Text, payload: _Text) -> None:
        """Fire the event ``name``; it returns before any handler has run.

        Raises:
            TypeError: an argument is neither str nor bytes.
        """
        origin = ORIGIN.get()
        _host.BOUND.host.trigger_event(
            _host.data(name, "trigger_event: name"),
            _host.data(payload, "trigger_event: payload"),
            _host.printable(origin.api_id),
            _host.printable(origin.request_id),
        )
