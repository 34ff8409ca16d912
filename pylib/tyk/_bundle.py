"""A loaded bundle: its modules and what can be called in it."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from contextvars import Context

from coprocess_object_pb2 import Object
from tyk import _hooks
from tyk._errors import HookNotFoundError, missing_text
from tyk._hooks import Handler, Handlers
from tyk._imports import Namespace
from tyk._origin import ORIGIN, Origin
from tyk._output import finish


def as_dict(wire: Mapping[str, str]) -> dict[str, str]:
    """Return a map of a message as a dict; dict() takes twice as long."""
    return {key: wire[key] for key in wire}


class Bundle:
    """One load of a bundle's code.

    Only the table of loaded bundles and the calls in flight refer to it.
    """

    __slots__ = ("_events", "_kept", "hooks", "name", "space", "specs")

    def __init__(
        self,
        number: int,
        name: str,
        directory: str,
        entry: str,
        hooks: Sequence[str],
        events: Sequence[str],
        path: Sequence[str],
    ) -> None:
        """Import the code and look up everything in ``hooks`` and ``events``.

        Raises:
            HookNotFoundError: it does not define all of them.
            HookSignatureError: some take a wrong number of arguments.
            BaseException: whatever the code raised.
        """
        self.name = name
        self.specs: dict[int, dict[str, str]] = {}  # descriptions of APIs, by number
        self.space = Namespace(number, directory, entry, path)
        self.hooks, self._events = Context().run(self._load, hooks, events)

    def _load(self, hooks: Sequence[str], events: Sequence[str]) -> tuple[Handlers, Handlers]:
        origin = Origin(bundle=self.name, space=self.space)
        ORIGIN.set(origin)
        try:
            return _hooks.find(self.space.load(), hooks, events)
        except BaseException:
            self.close()
            raise
        finally:
            finish(origin)

    def hook(self, name: str) -> Handler:
        """Return the hook ``name``.

        Raises:
            HookNotFoundError: there is none.
        """
        handler = self.hooks.get(name)
        if handler is None:
            raise HookNotFoundError(f"bundle {self.name!r}: " + missing_text("hook", name, self.hooks))
        return handler

    def event(self, name: str) -> Handler:
        """Return the event handler ``name``.

        Raises:
            HookNotFoundError: there is none.
        """
        handler = self._events.get(name)
        if handler is None:
            raise HookNotFoundError(f"bundle {self.name!r}: " + missing_text("event handler", name, self._events))
        return handler

    def describe(self, number: int, payload: bytes) -> None:
        """Note the description of an API, which a serialised Object has."""
        self.specs[number] = as_dict(Object.FromString(payload).spec)

    def close(self) -> None:
        """Drop the modules; calls in flight keep their code.

        Exit handlers come first, on a thread of their own: they may take long.
        """
        if not len(self.space.exits):
            self._kept = self.space.close()
            return
        thread = threading.Thread(target=Context().run, args=(self._leave,), name="krait-exit", daemon=False)
        try:
            thread.start()
        except RuntimeError:  # Python is ending
            Context().run(self._leave)

    def _leave(self) -> None:
        try:
            self.run_exits()
        finally:
            self._kept = self.space.close()

    def run_exits(self) -> None:
        """Run what the code has registered with ``atexit``."""
        origin = Origin(bundle=self.name, space=self.space)
        ORIGIN.set(origin)
        self.space.exits.run()
        finish(origin)
