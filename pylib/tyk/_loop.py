"""The event loop that coroutines of plugins run on, in a thread of its own."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import os
import threading
import time
from _thread import allocate_lock
from collections.abc import Coroutine
from typing import Any

from tyk import _host
from tyk._describe import describe, stack
from tyk._interrupt import interrupt

# A thread that waits in C notices HookTimeout when it wakes up, so it does.
_FIRST_WAIT, _LONGEST_WAIT = 0.01, 0.1
# A loop that does not cancel a call within this many seconds is blocked,
_BLOCKED = 0.1
# and a task that no call waits for is interrupted after as many times that.
_PATIENCE = 5
# What a forked child that comes back ends with; the bridge has the same.
_FORKED_STATUS = 70


class _Call:
    """One coroutine on its way through the loop; waited for by one thread."""

    __slots__ = ("_coroutine", "_error", "_result", "cancelled", "done", "task")

    def __init__(self, coroutine: Coroutine[Any, Any, Any]) -> None:
        self._coroutine = coroutine
        self._error: BaseException | None = None
        self._result: Any = None
        self.task: asyncio.Task[None] | None = None
        self.done = allocate_lock()
        self.done.acquire()
        self.cancelled = allocate_lock()
        self.cancelled.acquire()

    def start(self) -> None:
        """Run in the loop's thread."""
        self.task = asyncio.get_running_loop().create_task(self._run())

    async def _run(self) -> None:
        # SystemExit and KeyboardInterrupt would end the loop; they are the
        # caller's, like every other exception.
        try:
            self._result = await self._coroutine
        except BaseException as error:  # noqa: BLE001
            self._error = error
        finally:
            self.done.release()

    def cancel(self) -> None:
        """Run in the loop's thread, or when there is none."""
        self.cancelled.release()
        if self.task is None or self.task.done():
            self._coroutine.close()
            return
        # A task that is cancelled before its first step leaves the coroutine
        # untouched.
        self.task.add_done_callback(lambda _: self._coroutine.close())
        self.task.cancel()

    def result(self) -> Any:
        """Return what the coroutine returned, or raise what it raised."""
        error, self._error = self._error, None
        if error is None:
            return self._result
        try:
            raise error
        finally:
            del error


_Running = tuple[asyncio.AbstractEventLoop, threading.Thread]


class LoopThread:
    """A lazily started event loop; safe for concurrent use."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: _Running | None = None
        self._calls: set[_Call] = set()
        self._inherited: list[Any] = []  # in a forked child
        self._stopping = False

    def run(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        """Run ``coroutine`` on the loop, in the caller's context, and wait.

        An exception in the waiting thread (HookTimeout) cancels it. A coroutine
        that blocks the loop is interrupted with HookTimeout.

        Raises:
            RuntimeError: the runtime is stopping.
        """
        call = _Call(coroutine)
        self._calls.add(call)
        running = None
        try:
            running = self._started()
            # The task copies the context that it is created in.
            running[0].call_soon_threadsafe(call.start, context=contextvars.copy_context())
            self._wait(call, running[1])
        except BaseException:
            self._abandon(call, running)
            raise
        finally:
            self._calls.discard(call)
        return call.result()

    def _abandon(self, call: _Call, running: _Running | None) -> None:
        if running is None or running[0].is_closed():
            call.cancel()
            return
        with contextlib.suppress(RuntimeError):  # closed just now: it has cancelled all
            running[0].call_soon_threadsafe(call.cancel)
            self._unblock(call, *running)

    def _unblock(self, call: _Call, loop: asyncio.AbstractEventLoop, thread: threading.Thread) -> None:
        """Interrupt the task that keeps ``loop`` from cancelling ``call``.

        That is the call's own, or one that a plugin made and no call waits
        for; another call's own task is left to that call's time limit.
        """
        before, checks = None, 0
        while not call.cancelled.acquire(True, _BLOCKED):
            if not thread.is_alive() or self._stopping:
                return
            task = asyncio.current_task(loop)
            checks = checks + 1 if task is before else 0
            before = task
            if task is None:
                continue
            mine = task is call.task
            if not mine and any(task is other.task for other in self._calls.copy()):
                return
            if (mine or checks >= _PATIENCE) and thread.ident is not None:
                where = stack(thread.ident)
                if interrupt(thread.ident, loop, task):
                    _host.log("error", f"interrupted what blocks the event loop\n{where}")

    def _wait(self, call: _Call, thread: threading.Thread) -> None:
        interval = _FIRST_WAIT
        while not call.done.acquire(True, interval):
            interval = min(interval * 2, _LONGEST_WAIT)
            if not thread.is_alive() and not call.done.acquire(False):
                raise RuntimeError("the event loop of plugins has ended")

    def stop(self, timeout: float) -> bool:
        """Cancel what runs and end the thread; False when it does not end."""
        with self._lock:
            self._stopping = True
            running = self._running
        if running is None:
            return True
        loop, thread = running
        if not loop.is_closed():
            loop.call_soon_threadsafe(loop.stop)
        thread.join(max(0.0, timeout))
        return not thread.is_alive()

    def after_fork(self) -> None:
        """Start afresh in a forked child, which has none of the threads."""
        running, self._running = self._running, None
        self._lock = threading.Lock()
        self._calls.clear()
        if running is not None and running[1] is threading.current_thread():
            # The other calls' coroutines are the parent's business: the child
            # ends as soon as the one that has forked gives up control.
            ready = getattr(running[0], "_ready", [])
            self._inherited = list(ready)  # kept: Python complains of lost tasks
            ready.clear()
            running[0].stop()

    def _started(self) -> _Running:
        running = self._running
        if running is not None and not self._stopping:
            return running
        with self._lock:
            if self._stopping:
                raise RuntimeError("the plugin runtime is stopping")
            if self._running is None:
                loop = asyncio.new_event_loop()
                thread = threading.Thread(target=self._main, args=(loop,), name="krait-event-loop", daemon=True)
                try:
                    thread.start()
                except BaseException:
                    if not thread.is_alive():
                        loop.close()
                    raise
                self._running = loop, thread
            return self._running

    def _main(self, loop: asyncio.AbstractEventLoop) -> None:
        process = os.getpid()
        try:
            usable = True
            while usable and not self._stopping:
                usable, problem = _run(loop)
                if os.getpid() != process:
                    os._exit(_FORKED_STATUS)
                if not self._stopping:
                    _host.log("error", problem)
        finally:
            with self._lock:
                if not self._stopping:
                    self._running = None
            _end(loop)


def _run(loop: asyncio.AbstractEventLoop) -> tuple[bool, str]:
    """Run until the loop ends; say whether it can go on, and what ended it."""
    try:
        loop.run_forever()
    except Exception as error:  # noqa: BLE001
        return False, f"the event loop of plugins broke, the next call starts another: {describe(error)[2]}"
    except BaseException as error:  # noqa: BLE001
        # A task that a plugin made itself; other calls go on.
        return True, f"a background task raised {type(error).__name__}"
    return True, "a plugin stopped the event loop, which all plugins share; it goes on"


def _end(loop: asyncio.AbstractEventLoop) -> None:
    """Cancel what is left and close the loop."""
    try:
        last = loop.create_task(_wind_up())
        while not last.done() and not loop.is_closed():
            with contextlib.suppress(RuntimeError):  # something stopped it
                loop.run_until_complete(last)
    finally:
        loop.close()


async def _wind_up() -> None:
    loop = asyncio.get_running_loop()
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await loop.shutdown_asyncgens()
    await loop.shutdown_default_executor()


def wait_for_threads(deadline: float) -> bool:
    """Wait until no thread is left that Python would wait for at its end.

    ``deadline`` is a time of ``time.monotonic()``.
    """
    while True:
        left = [
            thread
            for thread in threading.enumerate()
            if not thread.daemon and thread is not threading.current_thread() and thread is not threading.main_thread()
        ]
        if not left:
            return True
        remaining = deadline - time.monotonic()
        if remaining <= 0:
            return False
        left[0].join(min(remaining, 0.1))
