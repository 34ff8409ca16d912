"""The request as a hook sees it."""

from __future__ import annotations

from typing import Any

from coprocess_mini_request_object_pb2 import MiniRequestObject
from tyk._message import Unread

__all__ = ["TykCoProcessRequest"]


class TykCoProcessRequest:
    """A request and what a hook wants changed about it.

    >>> request = TykCoProcessRequest(MiniRequestObject(headers={"Accept": "*/*"}))
    >>> request.get_header("accept")
    '*/*'
    >>> request.add_header("X-Plugin", "yes")
    >>> dict(request.object.set_headers)
    {'X-Plugin': 'yes'}
    """

    def __init__(self, request: MiniRequestObject, unread: Unread | None = None) -> None:
        """Wrap ``request``; changes go to that message.

        ``unread`` is read before anybody looks at it.
        """
        self._message = request
        self._unread = unread

    @property
    def object(self) -> MiniRequestObject:
        """The protobuf message itself."""
        unread = self._unread
        if unread is not None:
            unread.read()
            self._unread = None
        return self._message

    @object.setter  # noqa: A003 (the property)
    def object(self, message: MiniRequestObject) -> None:
        self._message = message
        self._unread = None

    def __getstate__(self) -> dict[str, Any]:
        # A copy gets all of the message.
        return {**vars(self), "_message": self.object, "_unread": None}

    def get_header(self, key: str) -> str | None:
        """Return the header ``key``, or ``None`` when the request has none.

        The exact name is looked up first, then any spelling of its case.
        """
        headers = self.object.headers
        if key in headers:
            return headers[key]
        wanted = key.lower()
        for name in headers:
            if name.lower() == wanted:
                return headers[name]
        return None

    def add_header(self, key: str, value: str) -> None:
        """Set the header ``key`` to ``value``, replacing what it has."""
        self._message.set_headers[key] = value

    def delete_header(self, key: str) -> None:
        """Remove the header ``key``."""
        self._message.delete_headers.append(key)

    def add_param(self, key: str, value: str) -> None:
        """Set the query parameter ``key`` to ``value``, replacing what it has."""
        self._message.add_params[key] = value

    def delete_param(self, key: str) -> None:
        """Remove the query parameter ``key``."""
        self._message.delete_params.append(key)

    def __repr__(self) -> str:
        """Name the method and the URL, no headers: they may hold secrets."""
        return f"<TykCoProcessRequest {self.object.method} {self.object.url}>"
