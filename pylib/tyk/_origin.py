"""Which call is running: the origin of log lines and events."""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tyk._imports import Namespace


class Origin:
    """Who is calling the gateway; empty fields are unknown.

    ``pieces`` holds unfinished output lines of this call, by level and thread.
    """

    __slots__ = ("api_id", "bundle", "hook", "pieces", "request_id", "space")

    def __init__(
        self, request_id: str = "", api_id: str = "", bundle: str = "", hook: str = "", space: Namespace | None = None
    ) -> None:
        self.request_id = request_id
        self.api_id = api_id
        self.bundle = bundle
        self.hook = hook
        self.space = space
        self.pieces: dict[tuple[str, int], str] | None = None  # made by the first piece


UNKNOWN = Origin()
ORIGIN: ContextVar[Origin] = ContextVar("krait_origin", default=UNKNOWN)
