"""The messages that a session consists of.

>>> session = SessionState(rate=1000.0, per=1.0)
>>> right = AccessDefinition(api_name="a", allowed_urls=[AccessSpec(url="/", methods=["GET"])])
>>> session.access_rights["id"].CopyFrom(right)
"""

from __future__ import annotations

from coprocess_session_state_pb2 import (
    AccessDefinition,
    AccessSpec,
    BasicAuthData,
    JWTData,
    Monitor,
    SessionState,
)

__all__ = [
    "AccessDefinition",
    "AccessSpec",
    "BasicAuthData",
    "JWTData",
    "Monitor",
    "SessionState",
    "TykSession",
]

TykSession = SessionState
