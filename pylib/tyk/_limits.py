"""How much text of a plugin the log and the gateway's answers take."""

from __future__ import annotations

LONGEST = 64 * 1024
"""The most characters of one message, log line or traceback."""

_MARGIN = 64  # for the note


def cut(text: str) -> str:
    """Return ``text``, without its middle when it is longer than LONGEST."""
    if len(text) <= LONGEST:
        return text
    half = (LONGEST - _MARGIN) // 2
    return f"{text[:half]} ... ({len(text) - 2 * half} characters left out) ... {text[-half:]}"
