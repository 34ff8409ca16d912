"""Bodies that a hook left alone, which need not be serialised again."""

from __future__ import annotations

from coprocess_object_pb2 import Object

LARGE = 8 * 1024
"""From this length of a message on, in bytes, looking at bodies takes less time
than serialising them."""

_Bodies = tuple[bytes, str, bytes, str]


def bodies(message: Object) -> _Bodies:
    """Return the bodies of ``message``: the request's, then the response's."""
    request = message.request
    if not message.HasField("response"):
        return request.raw_body, request.body, b"", ""
    response = message.response
    return request.raw_body, request.body, response.raw_body, response.body


def leave_out(message: Object, before: _Bodies) -> int:
    """Remove the bodies that are as ``before`` and return which, as bits.

    They are those of ``struct krait_call.unchanged``, in the order of ``bodies``.
    """
    after = bodies(message)
    unchanged = 0
    for bit, (part, field) in enumerate(_FIELDS):
        if before[bit] and after[bit] == before[bit]:
            getattr(message, part).ClearField(field)
            unchanged |= 1 << bit
    return unchanged


_FIELDS = (("request", "raw_body"), ("request", "body"), ("response", "raw_body"), ("response", "body"))
