"""The event loop that coroutines of plugins run on, in a thread of its own."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import os
import threading
import time
import traceback
from _thread import LockType, allocate_lock
from collections import deque
from typing import TYPE_CHECKING, Any, Callable

from tyk import _host
from tyk._describe import describe, stack
from tyk._interrupt import interrupt

if TYPE_CHECKING:
    from tyk._hooks import Rest

# A thread that waits in C notices HookTimeout when it wakes up, so it does.
_FIRST_WAIT, _LONGEST_WAIT = 0.01, 0.1
# A loop that does not cancel a call within this many seconds is blocked,
_BLOCKED = 0.1
# and a task that no call waits for is interrupted after as many times that.
_PATIENCE = 5
# So many frames of a coroutine are shown.
_MOST_FRAMES = 100
# What a forked child that comes back ends with; the bridge has the same.
_FORKED_STATUS = 70


class Call:
    """The rest of a call on its way through the loop.

    ``ended`` is called in the loop's thread with what the coroutine raised, or
    None: once, unless it raises itself.
    """

    __slots__ = ("_ended", "_rest", "_unclaimed", "cancelled", "running", "task")

    def __init__(self, rest: Rest, ended: Callable[[BaseException | None], None]) -> None:
        self._rest: Rest | None = rest
        self._ended = ended
        self.running: _Running | None = None
        self.task: asyncio.Task[None] | None = None
        self.cancelled = allocate_lock()
        self.cancelled.acquire()
        self._unclaimed = allocate_lock()

    def claim(self) -> bool:
        """Say once that the outcome is the caller's to hand over."""
        return self._unclaimed.acquire(False)

    def begin(self) -> None:
        """Run in the loop's thread."""
        self.task = asyncio.get_running_loop().create_task(self._run())

    async def _run(self) -> None:
        # SystemExit and KeyboardInterrupt would end the loop; they are the
        # caller's, like every other exception.
        try:
            while self._rest is not None:
                self._rest = self._rest.conclude(await self._rest.coroutine)
        except BaseException as error:  # noqa: BLE001
            outcome: BaseException | None = error
        else:
            outcome = None
        try:
            self.end(outcome)
        finally:
            del outcome

    def end(self, outcome: BaseException | None) -> None:
        """Hand the outcome over."""
        try:
            self._ended(outcome)
            self._ended = _nothing  # it refers to this call: a cycle, which only a collection would free
        finally:
            # Until here its task is that of a call and not interrupted for others.
            if self.running is not None:
                self.running.calls.discard(self)

    def where(self) -> str:
        """Tell where the coroutine is, as Python prints it."""
        lines: list[str] = []
        current: Any = None if self._rest is None else self._rest.coroutine
        while current is not None and len(lines) < _MOST_FRAMES:
            frame = getattr(current, "cr_frame", None) or getattr(current, "gi_frame", None)
            if frame is not None:
                lines += traceback.format_stack(frame, 1)
            current = getattr(current, "cr_await", None) or getattr(current, "gi_yieldfrom", None)
        return "".join(lines)

    def cancel(self) -> None:
        """Run in the loop's thread, or when there is none."""
        self.cancelled.release()
        if self.task is None or self.task.done():
            self.close()
            return
        # A task that is cancelled before its first step leaves the coroutine
        # untouched.
        self.task.add_done_callback(lambda _: self.close())
        self.task.cancel()

    def close(self) -> None:
        """Close a coroutine that does not run."""
        self._ended, self.task = _nothing, None  # both refer to this call, the task by what it raised
        if self._rest is not None:
            self._rest.coroutine.close()


class _Running:
    """A loop, its thread, and the calls that are on it."""

    __slots__ = ("_inbox", "_woken", "calls", "loop", "thread")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.thread: threading.Thread = threading.current_thread()
        self.calls: set[Call] = set()
        self._inbox: deque[tuple[Call, contextvars.Context]] = deque()
        self._woken = False

    def begin(self, call: Call) -> None:
        """Begin ``call`` on the loop, in the caller's context.

        Waking the loop up takes a system call: one for many that come at once.

        Raises:
            RuntimeError: the loop is closed.
        """
        call.running = self
        self.calls.add(call)
        self._inbox.append((call, contextvars.copy_context()))
        try:
            if not self._woken:
                self._woken = True
                self.loop.call_soon_threadsafe(self._begin_all)
        except BaseException:
            self._woken = False  # HookTimeout, for one: the next call has to wake the loop up
            raise

    def _begin_all(self) -> None:
        self._woken = False  # before the inbox is read: who comes now wakes the loop up
        while self._inbox:
            call, context = self._inbox.popleft()
            try:
                # The task copies the context that it is created in.
                context.run(call.begin)
            except Exception as error:  # noqa: BLE001 (a plugin may have set a task factory)
                call.end(error)
                call.close()

    def drop(self) -> None:
        """End the calls that are left when the loop has ended."""
        for call in list(self.calls):
            call.end(RuntimeError("the event loop of plugins has ended"))
            with contextlib.suppress(Exception):  # the others have to end too
                call.close()


class LoopThread:
    """A lazily started event loop; safe for concurrent use."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: _Running | None = None
        self._inherited: list[Any] = []  # in a forked child
        self._stopping = False

    def run(self, rest: Rest) -> None:
        """Run ``rest`` on the loop, in the caller's context, and wait.

        An exception in the waiting thread (HookTimeout) cancels it. A coroutine
        that blocks the loop is interrupted with HookTimeout.

        Raises:
            RuntimeError: the runtime is stopping.
        """
        done = allocate_lock()
        done.acquire()
        outcomes: list[BaseException | None] = []

        def ended(outcome: BaseException | None) -> None:
            outcomes.append(outcome)
            if len(outcomes) == 1:
                done.release()

        call = Call(rest, ended)
        try:
            self.start(call)
            _wait(done)
        except BaseException:
            self.abandon(call)
            raise
        error = outcomes.pop(0)
        if error is None:
            return
        try:
            raise error
        finally:
            del error

    def start(self, call: Call) -> None:
        """Begin ``call`` on the loop, in the caller's context.

        Raises:
            RuntimeError: the runtime is stopping.
        """
        self._started().begin(call)

    def abandon(self, call: Call) -> None:
        """Cancel ``call``, which nobody waits for any more.

        It may take long when something blocks the loop.
        """
        running = call.running
        if running is None or running.loop.is_closed():
            call.cancel()
            return
        running.calls.discard(call)
        with contextlib.suppress(RuntimeError):  # closed just now: it has cancelled all
            running.loop.call_soon_threadsafe(call.cancel)
            self._unblock(call, running)

    def _unblock(self, call: Call, running: _Running) -> None:
        """Interrupt the task that keeps ``loop`` from cancelling ``call``.

        That is the call's own, or one that a plugin made and no call waits
        for; another call's own task is left to that call's time limit.
        """
        loop, thread = running.loop, running.thread
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
            if not mine and any(task is other.task for other in running.calls.copy()):
                return
            if (mine or checks >= _PATIENCE) and thread.ident is not None:
                where = stack(thread.ident)
                if interrupt(thread.ident, loop, task):
                    _host.log("error", f"interrupted what blocks the event loop\n{where}")

    def stop(self, timeout: float) -> bool:
        """Cancel what runs and end the thread; False when it does not end."""
        with self._lock:
            self._stopping = True
            running = self._running
        if running is None:
            return True
        if not running.loop.is_closed():
            running.loop.call_soon_threadsafe(running.loop.stop)
        running.thread.join(max(0.0, timeout))
        return not running.thread.is_alive()

    def after_fork(self) -> None:
        """Start afresh in a forked child, which has none of the threads."""
        running, self._running = self._running, None
        self._lock = threading.Lock()
        if running is not None and running.thread is threading.current_thread():
            # The other calls' coroutines are the parent's business: the child
            # ends as soon as the one that has forked gives up control.
            ready = getattr(running.loop, "_ready", [])
            self._inherited = list(ready)  # kept: Python complains of lost tasks
            ready.clear()
            running.loop.stop()

    def _started(self) -> _Running:
        running = self._running
        if running is not None and not self._stopping:
            return running
        with self._lock:
            if self._stopping:
                raise RuntimeError("the plugin runtime is stopping")
            if self._running is None:
                running = _Running(asyncio.new_event_loop())
                thread = threading.Thread(target=self._main, args=(running,), name="krait-event-loop", daemon=True)
                running.thread = thread
                try:
                    thread.start()
                except BaseException:
                    if not thread.is_alive():
                        running.loop.close()
                    raise
                self._running = running
            return self._running

    def _main(self, running: _Running) -> None:
        process = os.getpid()
        try:
            usable = True
            while usable and not self._stopping:
                usable, problem = _run(running.loop)
                if os.getpid() != process:
                    os._exit(_FORKED_STATUS)
                if not self._stopping:
                    _host.log("error", problem)
        finally:
            with self._lock:
                if not self._stopping:
                    self._running = None
            try:
                _end(running.loop)
            finally:
                running.drop()


def _nothing(_: BaseException | None) -> None:
    """Stand for what has been called."""


def _wait(done: LockType) -> None:
    interval = _FIRST_WAIT
    while not done.acquire(True, interval):
        interval = min(interval * 2, _LONGEST_WAIT)


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
