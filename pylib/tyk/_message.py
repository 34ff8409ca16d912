"""The message of a call, of which no more is read and written than is needed.

A hook that does not look at the request needs none of it parsed, and its
changes are all that has to be serialised. Large bodies that a hook leaves alone
need not be serialised either. What a plugin gets are protobuf's own messages
all the same.
"""

from __future__ import annotations

import threading

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

Bodies = tuple[bytes, str, bytes, str]
NO_BODIES: Bodies = (b"", "", b"", "")


class _Reading:
    """Lets one thread at a time parse a request."""

    def __init__(self) -> None:
        self.after_fork()

    def after_fork(self) -> None:
        """Forget a thread that is not in this process."""
        # A finaliser that looks at a request can run in the midst of another.
        self.lock = threading.RLock()


READING = _Reading()


class Unread:
    """The request of a message, which nobody has looked at yet."""

    __slots__ = ("_apart", "_payload", "bodies", "message", "pending")

    def __init__(self, payload: bytes, apart: int) -> None:
        """Parse ``payload``, a serialised Object, but for its request.

        That is the first ``apart`` bytes and nothing else.

        Raises:
            google.protobuf.message.DecodeError: ``payload`` is no such message.
        """
        self.message = Object.FromString(payload[apart:])
        self._payload = payload
        self._apart = apart
        self.bodies = (b"", "")
        self.pending = True

    def read(self) -> None:
        """Parse the request, if nobody has, into the message."""
        if not self.pending:
            return
        with READING.lock:
            if not self.pending:
                return
            # What a hook has set meanwhile stays, in fields that the gateway
            # leaves empty. It goes into the request itself: old protobuf packages
            # would not show it in a wrapper that they gave out before.
            self.message.request.MergeFromString(_content(self._payload, self._apart))
            if self._apart >= LARGE:
                self.bodies = self.message.request.raw_body, self.message.request.body
            self._payload = b""
            self.pending = False


def _content(payload: bytes, end: int) -> bytes:
    """Return the submessage that ends at ``end``, without its tag of one byte and its length."""
    start = 1
    while payload[start] & 0x80:
        start += 1
    return payload[start + 1 : end]


def bodies(message: Object) -> Bodies:
    """Return the bodies of ``message`` in the order of _BODIES."""
    request = message.request
    if not message.HasField("response"):
        return request.raw_body, request.body, b"", ""
    response = message.response
    return request.raw_body, request.body, response.raw_body, response.body


def serialise(message: Object, unread: Unread | None, before: Bodies, tickets: Tickets, ticket: int) -> bytes:
    """Return ``message`` without what is as it was; that is noted under ``ticket``.

    ``before`` are its bodies as they were, or empty where nobody has to compare.
    """
    left_out = 0
    if unread is not None:
        if unread.pending:
            left_out = REQUEST
        else:
            before = (*unread.bodies, *before[2:])
    unchanged = []
    if before != NO_BODIES:
        after = bodies(message)
        for bit, (part, field) in enumerate(_BODIES):
            if before[bit] and after[bit] == before[bit]:
                left_out |= 1 << bit
                unchanged.append((getattr(message, part), field, before[bit]))
    if left_out:
        tickets.leave_out(ticket, left_out)
    for owner, field, _ in unchanged:
        owner.ClearField(field)
    try:
        data = message.SerializeToString()
    finally:
        # A plugin may have kept the message.
        for owner, field, body in unchanged:
            setattr(owner, field, body)
    if left_out & REQUEST and unread is not None and not unread.pending:
        # A thread of the plugin has looked meanwhile. What it may have changed
        # counts as a whole or, when it comes later, not at all.
        tickets.leave_out(ticket, 0)
        return serialise(message, unread, before, tickets, ticket)
    return data
