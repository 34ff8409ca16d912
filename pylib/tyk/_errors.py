"""The errors that the runtime itself raises."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class HookTimeout(BaseException):
    """The time limit of a hook has passed; raised inside the overdue hook."""


class PluginError(Exception):
    """A fault of a plugin that its message explains without a traceback."""


class HookNotFoundError(PluginError, LookupError):
    """The entry module does not define what was asked for."""


class HookSignatureError(PluginError, TypeError):
    """A hook takes a number of arguments that no hook gets."""


class HookResultError(PluginError, TypeError):
    """A hook returned something that it cannot return."""


class NotLoadedError(PluginError, LookupError):
    """A handle does not name a loaded bundle (any more)."""


def missing_text(kind: str, name: str, defined: Iterable[str], note: str = "") -> str:
    """Say that ``name`` is missing, what there is, and what may be meant."""
    names = sorted(defined)
    text = f'{kind} "{name}" is not defined{note}'
    close = difflib.get_close_matches(name, names, n=3, cutoff=0.6)
    if not close:
        lower = name.lower()
        close = [other for other in names if other.lower() == lower]
    if close:
        text += "; did you mean " + " or ".join(f'"{other}"' for other in close) + "?"
    elif names:
        text += "; defined are " + ", ".join(f'"{other}"' for other in names)
    else:
        text += f"; no function has the @{'Event' if kind == 'event handler' else 'Hook'} decorator"
    return text
