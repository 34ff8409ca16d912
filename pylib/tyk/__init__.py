"""Python API for plugins: decorators, messages, and calls into the gateway.

>>> from tyk.decorators import Hook
>>> from gateway import TykGateway as tyk
>>> @Hook
... def AddHeader(request, session, spec):
...     request.add_header("X-Plugin", "yes")
...     return request, session
"""

from __future__ import annotations

__all__: list[str] = []
