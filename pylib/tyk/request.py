"""The request as a hook sees it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from coprocess_mini_request_object_pb2 import MiniRequestObject
from tyk._message import Unread

__all__ = ["TykCoProcessRequest"]


class TykCoProcessRequest:
    """A request and what a hook wants changed about it.

    ``object`` is the protobuf message itself.

    >>> request = TykCoProcessRequest(MiniRequestObject(headers={"Accept": "*/*"}))
    >>> request.get_header("accept")
    '*/*'
    >>> request.add_header("X-Plugin", "yes")
    >>> dict(request.object.set_headers)
    {'X-Plugin': 'yes'}
    """

    object: MiniRequestObject

    def __init__(self, request: MiniRequestObject, unread: Unread | None = None) -> None:
        """Wrap ``request``; changes go to that message.

        With ``unread``, whose request it is, ``object`` is not there before
        somebody looks at it.
        """
        if unread is None:
            self.object = request
        else:
            self._unread = unread

    if not TYPE_CHECKING:

        def __getattr__(self, name):
            unread = self.__dict__.get("_unread")
            if name != "object" or unread is None:
                raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
            unread.read()
            self.object = unread.message.request
            return self.object

    def __getstate__(self) -> dict[str, Any]:
        # A copy gets all of the message.
        state = {**vars(self), "object": self.object}
        state.pop("_unread", None)
        return state

    def _changed(self) -> MiniRequestObject:
        """Return the message for changes, which may be unread."""
        if "object" in self.__dict__:
            return self.object
        return self._unread.message.request

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
        self._changed().set_headers[key] = value

    def delete_header(self, key: str) -> None:
        """Remove the header ``key``."""
        self._changed().delete_headers.append(key)

    def add_param(self, key: str, value: str) -> None:
        """Set the query parameter ``key`` to ``value``, replacing what it has."""
        self._changed().add_params[key] = value

    def delete_param(self, key: str) -> None:
        """Remove the query parameter ``key``."""
        self._changed().delete_params.append(key)

    def __repr__(self) -> str:
        """Name the method and the URL, no headers: they may hold secrets."""
        return f"<TykCoProcessRequest {self.object.method} {self.object.url}>"
