"""The event loop that coroutines of plugins run on, in a thread of its own."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import threading
import time
from _thread import allocate_lock
from collections.abc import Coroutine
from typing import Any

from tyk import _host

# A thread that waits in C notices HookTimeout when it wakes up, so it does.
_FIRST_WAIT, _LONGEST_WAIT = 0.01, 0.1


class _Call:
    """One coroutine on its way through the loop; waited for by one thread."""

    __slots__ = ("_coroutine", "_error", "_result", "_task", "done")

    def __init__(self, coroutine: Coroutine[Any, Any, Any]) -> None:
        self._coroutine = coroutine
        self._task: asyncio.Task[None] | None = None
        self._error: BaseException | None = None
        self._result: Any = None
        self.done = allocate_lock()
        self.done.acquire()

    def start(self) -> None:
        """Run in the loop's thread."""
        self._task = asyncio.get_running_loop().create_task(self._run())

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
        if self._task is None or self._task.done():
            self._coroutine.close()
            return
        # A task that is cancelled before its first step leaves the coroutine
        # untouched.
        self._task.add_done_callback(lambda _: self._coroutine.close())
        self._task.cancel()

    def result(self) -> Any:
        """Return what the coroutine returned, or raise what it raised."""
        error, self._error = self._error, None
        if error is None:
            return self._result
        try:
            raise error
        finally:
            del error


class LoopThread:
    """A lazily started event loop; safe for concurrent use."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._stopping = False

    def run(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        """Run ``coroutine`` on the loop, in the caller's context, and wait.

        An exception in the waiting thread (HookTimeout) cancels it.

        Raises:
            RuntimeError: the runtime is stopping.
        """
        call = _Call(coroutine)
        try:
            # The task copies the context that it is created in.
            self._started().call_soon_threadsafe(call.start, context=contextvars.copy_context())
            self._wait(call)
        except BaseException:
            self._abandon(call)
            raise
        return call.result()

    def _abandon(self, call: _Call) -> None:
        loop = self._loop
        if loop is None or loop.is_closed():
            call.cancel()
            return
        with contextlib.suppress(RuntimeError):  # closed just now: it has cancelled all
            loop.call_soon_threadsafe(call.cancel)

    def _wait(self, call: _Call) -> None:
        interval = _FIRST_WAIT
        while not call.done.acquire(True, interval):
            interval = min(interval * 2, _LONGEST_WAIT)
            ended = self._thread is None or not self._thread.is_alive()
            if ended and not call.done.acquire(False):
                raise RuntimeError("the plugin runtime is stopping")

    def stop(self, timeout: float) -> bool:
        """Cancel what runs and end the thread; False when it does not end."""
        with self._lock:
            self._stopping = True
            loop, thread = self._loop, self._thread
        if loop is None or thread is None:
            return True
        if not loop.is_closed():
            loop.call_soon_threadsafe(loop.stop)
        thread.join(max(0.0, timeout))
        return not thread.is_alive()

    def _started(self) -> asyncio.AbstractEventLoop:
        loop = self._loop
        if loop is not None and not self._stopping:
            return loop
        with self._lock:
            if self._stopping:
                raise RuntimeError("the plugin runtime is stopping")
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                self._thread = threading.Thread(
                    target=self._main, args=(self._loop,), name="krait-event-loop", daemon=True
                )
                self._thread.start()
            return self._loop

    def _main(self, loop: asyncio.AbstractEventLoop) -> None:
        while True:
            try:
                loop.run_forever()
                break
            except (SystemExit, KeyboardInterrupt) as error:
                # A task that a plugin made itself; other calls go on.
                _host.log("error", f"a background task raised {type(error).__name__}")
        try:
            loop.run_until_complete(_wind_up())
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
