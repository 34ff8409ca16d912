"""The module under which plugins import the gateway's functions.

>>> from gateway import TykGateway as tyk
"""

from __future__ import annotations

from tyk.gateway import TykGateway

__all__ = ["TykGateway"]
