"""What the gateway's bridge calls; every function may run on any thread."""

from __future__ import annotations

import atexit
import itertools
import json
import os
import platform
import sys
import threading
import time
from collections.abc import Sequence
from contextvars import Context
from functools import partial
from typing import Any, Callable, cast

import google.protobuf
from google.protobuf.internal import api_implementation

from coprocess_object_pb2 import Object
from tyk import _host, _output
from tyk._bundle import Bundle, as_dict
from tyk._describe import describe, stack
from tyk._errors import HookNotFoundError, HookResultError, HookSignatureError, HookTimeout, NotLoadedError
from tyk._hooks import Handler, Rest
from tyk._imports import FINDER
from tyk._interrupt import absorb
from tyk._loop import Call, LoopThread, wait_for_threads
from tyk._message import LARGE, NO_BODIES, READING, Bodies, Unread, bodies, serialise
from tyk._origin import ORIGIN, Origin
from tyk.event import Event

__all__ = [
    "HookNotFoundError",
    "HookResultError",
    "HookSignatureError",
    "HookTimeout",
    "NotLoadedError",
    "absorb",
    "cancel",
    "describe",
    "dispatch",
    "dispatch_event",
    "load",
    "stack",
    "start",
    "stop",
    "unload",
    "versions",
    "where",
]


_parse = Object.FromString


class _Runtime:
    """All loaded bundles of this interpreter."""

    def __init__(self) -> None:
        self._bundles: dict[int, Bundle] = {}
        self._numbers = itertools.count(1)
        self._loop = LoopThread()
        self._awaited: dict[int, Call] = {}  # by ticket
        # Outside of a gateway nobody gives tickets.
        self._tickets = cast(_host.Tickets, _host.BOUND.host)
        self._started = threading.Lock()

    def start(self) -> None:
        """Send output to the log. Once, on the interpreter's main thread."""
        if self._started.acquire(False):
            _output.redirect()
            os.register_at_fork(after_in_child=self._after_fork)
            atexit.register(self._run_exits)

    def _run_exits(self) -> None:
        """Run the exit handlers of bundles that nobody unloaded."""
        for bundle in list(self._bundles.values()):
            Context().run(bundle.run_exits)

    def _after_fork(self) -> None:
        """Cut a forked child off from the gateway, none of which is in it."""
        _host.BOUND.host = _host.ForkedHost()
        ORIGIN.get().pieces = None
        self._awaited.clear()
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, _output.LogStream):
                stream.forget()
        FINDER.after_fork()
        READING.after_fork()
        self._loop.after_fork()

    def load(
        self, name: str, directory: str, entry: str, hooks: Sequence[str], events: Sequence[str], path: Sequence[str]
    ) -> int:
        """Load the file ``entry`` in ``directory`` and return a handle above 0.

        Raises:
            HookNotFoundError: some of ``hooks`` and ``events`` are not defined.
            HookSignatureError: some take a wrong number of arguments.
            BaseException: whatever the code raised.
        """
        number = next(self._numbers)
        self._bundles[number] = Bundle(number, name, directory, entry, hooks, events, path)
        return number

    def unload(self, handle: int) -> None:
        """Forget a bundle; calls in flight end on its code. Idempotent."""
        bundle = self._bundles.pop(handle, None)
        if bundle is not None:
            bundle.close()

    def dispatch(
        self,
        handle: int,
        hook: str,
        request_id: str,
        payload: bytes,
        ticket: int = 0,
        number: int = 0,
        described: bytes = b"",
        apart: int = 0,
    ) -> bytes | None:
        """Run ``hook`` on a serialised Object; return it as the hook left it.

        ``apart`` is how many bytes at the front of ``payload`` are the request and
        nothing else. With a ticket they are parsed when the hook looks, unless it
        has lately.

        With a ``ticket`` a coroutine is not waited for: None is returned, and
        its outcome handed in under the ticket when it has ended. What the hook
        leaves alone of the request, and large bodies, are not in the outcome,
        but noted under the ticket.

        ``number``, when it is not 0, is what the API's description is known
        by; the message then has none. ``described`` has it, the first time.

        Raises:
            HookResultError: the hook returned something that it cannot return.
            BaseException: whatever the hook raised.
        """
        bundle = self._bundles.get(handle) or self._bundle(handle)
        handler = bundle.hooks.get(hook) or bundle.hook(hook)
        unread, before = None, NO_BODIES
        size = len(payload)
        if handler.at_once > 0:
            handler.at_once -= 1
            message = _parse(payload)
        elif apart and ticket:
            unread = Unread(payload, apart)
            message = unread.message
            size -= apart
        else:
            message = _parse(payload)
        if size >= LARGE and ticket:
            before = bodies(message)
        if described:
            bundle.describe(number, described)
        # Each call has a dict of its own, which it may change.
        spec = bundle.specs[number].copy() if number else as_dict(message.spec)
        origin = Origin(request_id, spec.get("APIID", ""), bundle.name, hook, bundle.space)
        context = Context()
        rest = context.run(_call, origin, handler.call, (message, unread), spec)
        if rest is not None:
            if ticket:
                reply = partial(self._reply, handler, message, unread, before, ticket)
                self._await(ticket, context, rest, origin, reply)
                return None
            context.run(_wait, self._loop, rest, origin)
        if unread is None and before is NO_BODIES:
            return message.SerializeToString()
        return self._reply(handler, message, unread, before, ticket)

    def _reply(self, handler: Handler, message: Object, unread: Unread | None, before: Bodies, ticket: int) -> bytes:
        if unread is not None and not unread.pending:
            handler.looked()
        return serialise(message, unread, before, self._tickets, ticket)

    def dispatch_event(
        self, handle: int, handler_name: str, request_id: str, payload: bytes, ticket: int = 0
    ) -> bytes | None:
        """Run an event handler on the JSON document of an event.

        ``request_id`` is that of the request in which it happened, or empty.
        ``ticket`` is as for :meth:`dispatch`, and so is None; else the result
        is empty.

        Raises:
            ValueError: ``payload`` is not a JSON object.
            BaseException: whatever the handler raised.
        """
        bundle = self._bundle(handle)
        handler = bundle.event(handler_name)
        event = Event(payload)
        spec = event.spec if isinstance(event.spec, dict) else {}
        origin = Origin(request_id, str(spec.get("APIID", "")), bundle.name, handler_name, bundle.space)
        context = Context()
        rest = context.run(_call, origin, handler.call_event, event, spec)
        if rest is not None:
            if ticket:
                self._await(ticket, context, rest, origin, bytes)
                return None
            context.run(_wait, self._loop, rest, origin)
        return b""

    def _await(self, ticket: int, context: Context, rest: Rest, origin: Origin, reply: Callable[[], bytes]) -> None:
        """Run ``rest`` on the loop; hand in what ``reply`` then returns, or what it raised."""

        def ended(error: BaseException | None) -> None:
            if origin.pieces:
                _output.finish(origin)
            if not call.claim():
                return  # cancelled: the ticket may be another call's by now
            if self._awaited.pop(ticket, None) is None:
                return  # in a forked child
            if error is None:
                try:
                    payload = reply()
                except Exception as problem:  # noqa: BLE001 (plugins may leave a message that is none)
                    error = problem
                else:
                    self._tickets.settle(ticket, payload)
                    return
            self._tickets.fail(ticket, error)

        call = Call(rest, ended)
        self._awaited[ticket] = call
        # From here on the outcome is what is handed in, not what is returned.
        self._tickets.keep(ticket)
        try:
            context.run(self._loop.start, call)
        except BaseException as error:  # noqa: BLE001
            self._loop.abandon(call)
            ended(error)

    def cancel(self, ticket: int) -> None:
        """Fail an awaited call with HookTimeout and end its coroutine.

        It may take long when something blocks the event loop.
        """
        call = self._awaited.get(ticket)
        if call is not None and call.claim():
            del self._awaited[ticket]
            self._tickets.fail(ticket, HookTimeout())
            self._loop.abandon(call)

    def where(self, ticket: int) -> str:
        """Tell where an awaited call is, as Python prints it."""
        call = self._awaited.get(ticket)
        return "" if call is None else call.where()

    def stop(self, timeout: float) -> bool:
        """End the event loop and wait for plugin threads, ``timeout`` seconds.

        True says that the interpreter can be finalised.
        """
        deadline = time.monotonic() + timeout
        ended = self._loop.stop(timeout)
        _release_pools()
        return wait_for_threads(deadline) and ended

    def _bundle(self, handle: int) -> Bundle:
        bundle = self._bundles.get(handle)
        if bundle is None:
            raise NotLoadedError(f"no bundle is loaded under the handle {handle}")
        return bundle


def _call(origin: Origin, function: Callable[[Any, Any], Rest | None], argument: Any, spec: Any) -> Rest | None:
    """Run in a context of its own, empty as a new thread's is.

    So what a call leaves in context variables, decimal's precision for one,
    is gone when it ends.
    """
    ORIGIN.set(origin)
    rest = None
    try:
        rest = function(argument, spec)
    finally:
        if rest is None and origin.pieces:
            _output.finish(origin)
    return rest


def _wait(loop: LoopThread, rest: Rest, origin: Origin) -> None:
    """Run the rest of a call and wait for its end."""
    try:
        loop.run(rest)
    finally:
        if origin.pieces:
            _output.finish(origin)


def _release_pools() -> None:
    """Let idle workers of thread pools end, as Python does at its exit.

    They are not daemons and would otherwise be waited for in vain. It may
    block on a busy worker, so it gets a thread of its own.
    """
    release = getattr(sys.modules.get("concurrent.futures.thread"), "_python_exit", None)
    if release is not None:
        threading.Thread(target=release, name="krait-pools", daemon=True).start()


def versions() -> str:
    """Return what ``krait doctor`` shows of this interpreter, as JSON."""
    return json.dumps(
        {
            "python": platform.python_version(),
            "executable": sys.executable,
            "prefix": sys.prefix,
            "base_prefix": sys.base_prefix,
            "protobuf": google.protobuf.__version__,
            "protobuf_backend": api_implementation.Type(),
            "sys_path": list(sys.path),
        }
    )


_runtime = _Runtime()
start = _runtime.start
load = _runtime.load
unload = _runtime.unload
dispatch = _runtime.dispatch
dispatch_event = _runtime.dispatch_event
cancel = _runtime.cancel
where = _runtime.where
stop = _runtime.stop
