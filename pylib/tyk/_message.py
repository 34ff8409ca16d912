"""The message of a call, of which no more is read and written than is needed.

A hook that does not look at the request needs none of it parsed, and its
changes are all that has to be serialised. Large bodies that a hook leaves alone
need not be serialised either. What a plugin gets are protobuf's own messages
all the same.
"""

from __future__ import annotations

import threading
from typing import Union

from coprocess_mini_request_object_pb2 import MiniRequestObject
from coprocess_object_pb2 import Object
from tyk._host import Tickets

LARGE = 8 * 1024
"""From this length of a message on, in bytes, looking at bodies takes less time
than serialising them."""

REQUEST = 16
"""Says that nobody has looked at the request: of it, the outcome has only what
a hook sets without looking. The smaller bits are the bodies of _BODIES that are
left out. ``enum krait_part`` of the bridge is the same."""

_BODIES = (("request", "raw_body"), ("request", "body"), ("response", "raw_body"), ("response", "body"))

_Body = Union[bytes, str]
_parse = Object.FromString


class _Reading:
    """Lets one thread at a time parse a request."""

    def __init__(self) -> None:
        self.after_fork()

    def after_fork(self) -> None:
        """Forget a thread that is not in this process."""
        # A finaliser that looks at a request can run in the midst of another.
        self.lock = threading.RLock()


READING = _Reading()


class Message:
    """The Object of one call.

    ``request`` is its request, empty at first when that is serialised on its
    own: plugin code gets at it through :meth:`read_request`.
    """

    __slots__ = ("_before", "_unread", "object", "request")

    def __init__(self, payload: bytes, request: bytes = b"") -> None:
        """Parse ``payload``, a serialised Object.

        ``request`` is the serialised request when ``payload`` has none.

        Raises:
            google.protobuf.message.DecodeError: ``payload`` is no such message.
        """
        self.object = _parse(payload)
        self.request = self.object.request
        self._unread = request
        self._before: list[_Body] | None = None
        if len(payload) >= LARGE:
            self._before = self._bodies()

    def read_request(self) -> MiniRequestObject:
        """Return the request, all of which is there from now on."""
        if self._unread:
            with READING.lock:
                if self._unread:
                    # What a hook has set meanwhile stays, in fields that the
                    # gateway leaves empty.
                    self.request.MergeFromString(self._unread)
                    if len(self._unread) >= LARGE:
                        self._note_request()
                    self._unread = b""
        return self.request

    def serialise(self, tickets: Tickets, ticket: int) -> bytes:
        """Return the serialised Object.

        What is not in it is noted under ``ticket``; without one, everything is.
        """
        if not ticket:
            self.read_request()
        elif self._before is not None:
            return self._without_bodies(tickets, ticket)
        elif self._unread:
            tickets.leave_out(ticket, REQUEST)
        return self.object.SerializeToString()

    def _without_bodies(self, tickets: Tickets, ticket: int) -> bytes:
        before, after = self._before or [], self._bodies()
        left_out = REQUEST if self._unread else 0
        taken = []
        for bit, (part, field) in enumerate(_BODIES):
            if before[bit] and after[bit] == before[bit]:
                left_out |= 1 << bit
                taken.append((getattr(self.object, part), field, before[bit]))
        for owner, field, _ in taken:
            owner.ClearField(field)
        tickets.leave_out(ticket, left_out)
        try:
            return self.object.SerializeToString()
        finally:
            # A plugin may have kept the message.
            for owner, field, body in taken:
                setattr(owner, field, body)

    def _bodies(self) -> list[_Body]:
        request = self.request
        if not self.object.HasField("response"):
            return [request.raw_body, request.body, b"", ""]
        response = self.object.response
        return [request.raw_body, request.body, response.raw_body, response.body]

    def _note_request(self) -> None:
        # The hook may have changed the response by now.
        response = [b"", ""] if self._before is None else self._before[2:]
        self._before = [self.request.raw_body, self.request.body, *response]
