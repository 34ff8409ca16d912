"""Decorators that mark the functions a gateway may call.

A decorated function stays the function that it was: call it directly in a
unit test.
"""

from __future__ import annotations

from typing import Any, Callable, TypeVar

__all__ = ["CustomKeyCheck", "Event", "Hook", "Post", "PostKeyAuth", "Pre"]

_Function = TypeVar("_Function", bound=Callable[..., Any])


def _mark(function: _Function, kind: str) -> _Function:
    try:
        if not callable(function):
            raise TypeError
        function.__krait__ = kind  # type: ignore[attr-defined]
    except (AttributeError, TypeError):
        raise TypeError(f"@{kind} is put on a function, not on {function!r}") from None
    return function


def Hook(function: _Function) -> _Function:
    """Mark ``function`` as a hook of any type.

    The number of its arguments decides what it gets: ``(request, session,
    spec)``, ``(request, session, metadata, spec)`` or ``(request, response,
    session, metadata, spec)``. ``async def`` functions are allowed.

    Raises:
        TypeError: ``function`` is not a function.

    >>> @Hook
    ... def Nothing(request, session, spec):
    ...     return request, session
    >>> Nothing("request", "session", {})
    ('request', 'session')
    """
    return _mark(function, "Hook")


def Event(function: _Function) -> _Function:
    """Mark ``function`` as an event handler; it gets ``(event, spec)``.

    Raises:
        TypeError: ``function`` is not a function.

    >>> @Event
    ... def OnAuthFailure(event, spec):
    ...     print(event.message["Event"])
    """
    return _mark(function, "Event")


def Pre(function: _Function) -> _Function:
    """Mark ``function(request, session, spec)`` as a ``pre`` hook.

    Raises:
        TypeError: ``function`` is not a function.
    """
    return _mark(function, "Pre")


def Post(function: _Function) -> _Function:
    """Mark ``function(request, session, spec)`` as a ``post`` hook.

    Raises:
        TypeError: ``function`` is not a function.
    """
    return _mark(function, "Post")


def PostKeyAuth(function: _Function) -> _Function:
    """Mark ``function(request, session, spec)`` as a ``post_key_auth`` hook.

    Raises:
        TypeError: ``function`` is not a function.
    """
    return _mark(function, "PostKeyAuth")


def CustomKeyCheck(function: _Function) -> _Function:
    """Mark ``function(request, session, metadata, spec)`` as ``auth_check``.

    Raises:
        TypeError: ``function`` is not a function.
    """
    return _mark(function, "CustomKeyCheck")
