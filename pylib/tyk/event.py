"""The event as an event handler sees it."""

from __future__ import annotations

import json
from typing import Any

__all__ = ["Event", "TykEvent"]


class Event:
    """An event; each member of its JSON document is an attribute.

    >>> event = Event('{"message": {"Event": "AuthFailure"}, "spec": {"APIID": "1"}}')
    >>> event.message["Event"], event.handler_name, event.spec["APIID"]
    ('AuthFailure', '', '1')
    """

    message: Any
    """What happened: a dict with ``Event``, ``MetaData`` and ``TimeStamp``."""
    handler_name: str
    """The name of the handler that was called."""
    spec: dict[str, str]
    """``APIID`` and ``OrgID`` of the API that the event belongs to."""

    def __init__(self, event_json: str | bytes) -> None:
        """Read ``event_json``.

        Raises:
            ValueError: it is not a JSON object.
        """
        members = json.loads(event_json)
        if not isinstance(members, dict):
            raise ValueError(f"an event is a JSON object, not {type(members).__name__}")
        self.message = None
        self.handler_name = ""
        self.spec = {}
        self.__dict__.update(members)

    def __repr__(self) -> str:
        """Show all members."""
        return f"Event({self.__dict__!r})"


TykEvent = Event
