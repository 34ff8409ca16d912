from __future__ import annotations

import gc
import queue
import threading
import time

import pytest

from coprocess_object_pb2 import Object
from tyk import _runtime
from tyk._loop import Call

HEADER = "import asyncio\nfrom gateway import TykGateway as tyk\n"


class Tickets:
    """The bridge's side of calls that are awaited."""

    def __init__(self):
        self.kept, self.ended = [], queue.Queue()

    def keep(self, ticket):
        self.kept.append(ticket)

    def leave_out(self, ticket, parts):
        self.left_out = (ticket, parts)

    def settle(self, ticket, payload):
        self.ended.put((ticket, payload))

    def fail(self, ticket, error):
        self.ended.put((ticket, type(error).__name__))


@pytest.fixture
def tickets(monkeypatch):
    tickets = Tickets()
    monkeypatch.setattr(_runtime._runtime, "_tickets", tickets)
    return tickets


WITH_TICKET = (
    HEADER
    + """
@Hook
async def Good(request, session, spec):
    print("printed", end="")
    await asyncio.sleep(0.01)
    request.add_header("A", "1")
@Hook
async def Bad(request, session, spec):
    raise LookupError("x")
@Hook
async def Endless(request, session, spec):
    try:
        await asyncio.sleep(60)
    finally:
        tyk.log("cancelled")
@Hook
def Plain(request, session, spec):
    request.add_header("A", "2")
@Event
async def OnEvent(event, spec):
    await asyncio.sleep(0)
"""
)


def test_nobody_waits_for_a_coroutine_that_has_a_ticket(load, redirected, tickets):
    bundle = load(WITH_TICKET)
    payload = Object().SerializeToString()
    assert _runtime.dispatch(bundle.handle, "Good", "r", payload, 7) is None
    assert tickets.kept == [7]
    ticket, reply = tickets.ended.get(timeout=20)
    assert ticket == 7
    assert Object.FromString(reply).request.set_headers["A"] == "1"
    assert ("info", "printed", "r", "", "bundle.zip", "Good") in redirected.lines
    assert _runtime.dispatch(bundle.handle, "Bad", "r", payload, 8) is None
    assert tickets.ended.get(timeout=20) == (8, "LookupError")
    assert _runtime.dispatch_event(bundle.handle, "OnEvent", "r", b"{}", 9) is None
    assert tickets.ended.get(timeout=20) == (9, b"")
    reply = _runtime.dispatch(bundle.handle, "Plain", "r", payload, 10)
    assert reply is not None
    assert tickets.kept == [7, 8, 9], "a function has ended when it returns"


@pytest.fixture
def no_collection():
    """Have memory freed by counting references only."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def wait_until_no_call_is_left():
    deadline = time.monotonic() + 20
    while any(type(one) is Call for one in gc.get_objects()):
        assert time.monotonic() < deadline, "a call refers to itself"
        time.sleep(0.001)  # its task is about to end


# Bodies are large: they are not left to the next collection.
@pytest.mark.parametrize("hook", ["Good", "Bad"])
def test_the_message_of_a_coroutine_is_free_when_it_has_ended(load, redirected, tickets, no_collection, hook):
    bundle = load(WITH_TICKET)
    for ticket in range(1, 4):
        _runtime.dispatch(bundle.handle, hook, "r", b"", ticket)
        tickets.ended.get(timeout=20)
    wait_until_no_call_is_left()


def test_the_message_of_a_coroutine_is_free_when_it_was_cancelled_before_it_began(
    load, redirected, loop_thread, tickets, no_collection
):
    bundle = load(WITH_TICKET)
    _runtime.dispatch(bundle.handle, "Good", "r", b"", 1)
    tickets.ended.get(timeout=20)
    blocked, go_on = threading.Event(), threading.Event()

    def block():
        blocked.set()
        go_on.wait(20)

    loop_thread._running.loop.call_soon_threadsafe(block)
    assert blocked.wait(20)
    for ticket in (2, 3):
        _runtime.dispatch(bundle.handle, "Endless", "r", b"", ticket)
    for ticket in (2, 3):
        canceller = threading.Thread(target=_runtime.cancel, args=(ticket,))
        canceller.start()
        assert tickets.ended.get(timeout=20) == (ticket, "HookTimeout")
    go_on.set()
    canceller.join(20)
    wait_until_no_call_is_left()


def test_a_call_with_a_ticket_can_be_cancelled_once(load, host, tickets):
    bundle = load(WITH_TICKET)
    assert _runtime.dispatch(bundle.handle, "Endless", "r", b"", 7) is None
    while "in sleep" not in _runtime.where(7):
        time.sleep(0.001)
    _runtime.cancel(7)
    assert tickets.ended.get(timeout=20) == (7, "HookTimeout")
    _runtime.cancel(7)
    while ("info", "cancelled") not in host.messages:
        time.sleep(0.001)
    assert _runtime.where(7) == ""
    assert tickets.ended.empty()


def test_a_ticket_that_is_used_again_is_the_new_calls_alone(load, host, tickets):
    bundle = load(
        HEADER
        + """
@Hook
async def Stubborn(request, session, spec):
    try:
        await asyncio.sleep(60)
    except asyncio.CancelledError:
        await asyncio.sleep(0.05)
    request.add_header("A", "of the call before")
    tyk.log("late")
@Hook
async def Slow(request, session, spec):
    await asyncio.sleep(0.2)
    request.add_header("A", "1")
"""
    )
    assert _runtime.dispatch(bundle.handle, "Stubborn", "r", b"", 7) is None
    while "in sleep" not in _runtime.where(7):
        time.sleep(0.001)
    _runtime.cancel(7)
    assert tickets.ended.get(timeout=20) == (7, "HookTimeout")
    assert _runtime.dispatch(bundle.handle, "Slow", "r", b"", 7) is None
    _, reply = tickets.ended.get(timeout=20)
    while ("info", "late") not in host.messages:
        time.sleep(0.001)
    assert Object.FromString(reply).request.set_headers["A"] == "1"
    assert tickets.ended.empty()


def test_a_task_factory_that_fails_fails_the_calls_that_it_is_for(load, host, loop_thread, tickets):
    bundle = load(
        HEADER
        + """
@Hook
async def Good(request, session, spec):
    await asyncio.sleep(0)
    request.add_header("A", "1")
def fail_once(loop, coroutine, **kwargs):
    loop.set_task_factory(None)
    coroutine.close()
    raise LookupError("no task")
@Hook
async def SetFactory(request, session, spec):
    import time
    asyncio.get_running_loop().set_task_factory(fail_once)
    tyk.log("set")
    time.sleep(0.2)  # those that come meanwhile begin together
"""
    )
    assert _runtime.dispatch(bundle.handle, "SetFactory", "r", b"", 1) is None
    while ("info", "set") not in host.messages:
        time.sleep(0.001)
    for ticket in (2, 3):
        assert _runtime.dispatch(bundle.handle, "Good", "r", b"", ticket) is None
    outcomes = dict(tickets.ended.get(timeout=20) for _ in range(3))
    assert outcomes[2] == "LookupError"
    assert Object.FromString(outcomes[3]).request.set_headers["A"] == "1"


def test_calls_with_tickets_end_with_the_loop(load, host, loop_thread, tickets):
    bundle = load(WITH_TICKET)
    assert _runtime.dispatch(bundle.handle, "Endless", "r", b"", 7) is None
    assert loop_thread.stop(20)
    assert tickets.ended.get(timeout=20)[0] == 7
    assert _runtime.dispatch(bundle.handle, "Good", "r", b"", 8) is None
    assert tickets.ended.get(timeout=20) == (8, "RuntimeError")
    assert tickets.ended.empty()


def test_a_known_description_need_not_come_again(load):
    bundle = load(
        """
        @Hook
        def MyHook(request, session, spec):
            request.add_header("spec", repr(sorted(spec.items())))
            spec["changed"] = "yes"
        """
    )
    described = Object(spec={"APIID": "1"}).SerializeToString()
    other = Object(spec={"APIID": "2"}).SerializeToString()
    for payload, number in ((described, "1"), (b"", "1"), (other, "2"), (b"", "2")):
        reply = Object.FromString(_runtime.dispatch(bundle.handle, "MyHook", "r", b"", 0, 3, payload))
        assert reply.request.set_headers["spec"] == f"[('APIID', '{number}')]"


@pytest.mark.parametrize("kind", ["def", "async def"])
def test_large_bodies_that_a_hook_leaves_alone_do_not_come_back(load, tickets, kind):
    bundle = load(
        f"""
        @Hook
        {kind} MyHook(request, response, session, metadata, spec):
            change = request.object.params["change"]
            if change == "request":
                request.object.raw_body = b"new"
            elif change == "text":
                request.object.body += "!"
            elif change == "response":
                response.raw_body = b""
            request.add_header("length", str(len(request.object.body)))
        """
    )
    for change, left_out in (("", 0b1111), ("request", 0b1110), ("text", 0b1101), ("response", 0b1011)):
        message = Object(hook_type="Response")
        message.request.body, message.request.raw_body = "t" * 10_000, b"r" * 10_000
        message.response.body, message.response.raw_body = "T" * 10_000, b"R" * 10_000
        message.request.params["change"] = change
        reply = _runtime.dispatch(bundle.handle, "MyHook", "r", message.SerializeToString(), 7)
        got = Object.FromString(tickets.ended.get(timeout=20)[1] if reply is None else reply)
        assert tickets.left_out == (7, left_out)
        assert got.request.raw_body == (b"new" if change == "request" else b"")
        assert got.request.body == ("t" * 10_000 + "!" if change == "text" else "")
        assert got.response.raw_body == b""
        assert got.response.body == ""
        assert got.request.set_headers["length"].startswith("1000")
