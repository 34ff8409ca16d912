from __future__ import annotations

import asyncio
import ctypes
import queue
import sys
import threading
import time
import traceback

import pytest

from coprocess_object_pb2 import Object
from tyk import _interrupt, _runtime
from tyk._errors import HookTimeout
from tyk._loop import LoopThread

HEADER = "import asyncio\nfrom gateway import TykGateway as tyk\n"


def test_a_coroutine_hook_runs_to_its_end(load):
    bundle = load(
        HEADER
        + """
@Hook
async def MyHook(request, session, metadata, spec):
    await asyncio.sleep(0)
    request.add_header("A", "1")
    metadata["token"] = "t"
    return request, session, metadata
""",
        ["MyHook"],
    )
    result = bundle.call(hook_type="CustomKeyCheck")
    assert result.request.set_headers["A"] == "1"
    assert result.metadata["token"] == "t"


def test_many_coroutine_hooks_run_at_a_time_on_one_thread(load, host):
    bundle = load(
        HEADER
        + """
import threading
waiting = 0
everyone = None
threads = set()
@Hook
async def MyHook(request, session, spec):
    global waiting, everyone
    everyone = everyone or asyncio.Event()
    threads.add(threading.current_thread().name)
    waiting += 1
    if waiting == 32:
        everyone.set()
    await asyncio.wait_for(everyone.wait(), 20)
    tyk.log("from " + request.object.url)
    request.add_header("threads", str(len(threads)))
"""
    )
    results = []

    def work(number):
        message = Object()
        message.request.url = f"/{number}"
        results.append(bundle.call(message=message, request_id=f"/{number}"))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(32)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {result.request.set_headers["threads"] for result in results} == {"1"}
    assert len(host.lines) == 32
    assert all(line[1] == "from " + line[2] and line[4:] == ("bundle.zip", "MyHook") for line in host.lines)


def test_an_exception_keeps_its_traceback(load):
    bundle = load(
        HEADER
        + """
async def deeper():
    raise LookupError("deep")
@Hook
async def MyHook(request, session, spec):
    await deeper()
"""
    )
    with pytest.raises(LookupError) as caught:
        bundle.call()
    names = [frame.name for frame in traceback.extract_tb(caught.value.__traceback__)]
    assert names[-2:] == ["MyHook", "deeper"]


@pytest.mark.parametrize("error", ["SystemExit", "KeyboardInterrupt", "asyncio.CancelledError"])
def test_the_loop_survives_what_would_end_it(load, error):
    bundle = load(
        HEADER
        + f"""
@Hook
async def Bad(request, session, spec):
    raise {error}("x")
@Hook
async def Background(request, session, spec):
    async def fail():
        raise {error}("x")
    asyncio.get_running_loop().create_task(fail())
    await asyncio.sleep(0.01)
@Hook
async def Good(request, session, spec):
    request.add_header("A", "1")
"""
    )
    with pytest.raises(BaseException) as caught:  # noqa: PT011
        bundle.call("Bad")
    assert type(caught.value).__name__ == error.split(".")[-1]
    bundle.call("Background")
    assert bundle.call("Good").request.set_headers["A"] == "1"


def test_a_function_that_returns_a_coroutine_counts_as_one(load):
    bundle = load(
        """
        async def work(request):
            request.add_header("A", "1")
        @Hook
        def MyHook(request, session, spec):
            return work(request)
        """
    )
    assert bundle.call().request.set_headers["A"] == "1"


def raise_in(thread, error):
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread.ident), ctypes.py_object(error))


def test_a_timeout_in_the_waiting_thread_cancels_the_coroutine(load):
    bundle = load(
        HEADER
        + """
import threading
started, cancelled = threading.Event(), threading.Event()
@Hook
async def MyHook(request, session, spec):
    try:
        started.set()
        await asyncio.sleep(60)
    except asyncio.CancelledError:
        cancelled.set()
        raise
@Hook
def Started(request, session, spec):
    assert started.wait(20)
@Hook
def Cancelled(request, session, spec):
    assert cancelled.wait(20)
"""
    )
    raised = []

    def work():
        try:
            bundle.call()
        except BaseException as error:
            raised.append(type(error))

    thread = threading.Thread(target=work)
    thread.start()
    bundle.call("Started")
    begin = time.monotonic()
    raise_in(thread, HookTimeout)
    thread.join(20)
    assert raised == [HookTimeout]
    assert time.monotonic() - begin < 5
    bundle.call("Cancelled")


def test_a_timeout_ends_a_spinning_hook(load):
    bundle = load(
        """
        import threading
        started = threading.Event()
        @Hook
        def MyHook(request, session, spec):
            started.set()
            while True:
                pass
        @Hook
        def Started(request, session, spec):
            assert started.wait(20)
        """
    )
    raised = []

    def work():
        try:
            bundle.call()
        except HookTimeout as error:
            raised.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    bundle.call("Started")
    raise_in(thread, HookTimeout)
    thread.join(20)
    assert len(raised) == 1


def test_event_handlers(load, host):
    bundle = load(
        HEADER
        + """
@Event
def Plain(event, spec):
    tyk.log(f"{event.message['Event']} {event.handler_name} {spec['APIID']}")
@Event
async def Coroutine(event, spec):
    await asyncio.sleep(0)
    tyk.log("awaited " + event.message["Event"])
    return "dropped"
@Event
def Failing(event, spec):
    raise ValueError("bad event")
""",
        events=["Plain", "Coroutine", "Failing"],
    )
    payload = '{"message": {"Event": "AuthFailure"}, "handler_name": "Plain", "spec": {"APIID": "7", "OrgID": "o"}}'
    bundle.event("Plain", payload)
    bundle.event("Coroutine", payload)
    assert host.lines == [
        ("info", "AuthFailure Plain 7", "r1", "7", "bundle.zip", "Plain"),
        ("info", "awaited AuthFailure", "r1", "7", "bundle.zip", "Coroutine"),
    ]
    with pytest.raises(ValueError, match="bad event"):
        bundle.event("Failing", payload)
    with pytest.raises(LookupError, match='event handler "Nothing" is not defined'):
        bundle.event("Nothing", payload)
    with pytest.raises(ValueError, match="JSON object"):
        bundle.event("Plain", "[1]")
    bundle.event("Coroutine", '{"message": {"Event": "x"}, "spec": null}')


AWAITABLE = """
class Compiled:  # as coroutines of Cython: not of the type of Python's
    def __init__(self, coroutine):
        self.coroutine = coroutine
    def __await__(self):
        return self.coroutine.__await__()
"""


def test_whatever_can_be_awaited_is(load, host):
    bundle = load(
        HEADER
        + AWAITABLE
        + """
async def work(request, session):
    await asyncio.sleep(0)
    request.add_header("A", "1")
    return request, session
async def note(event):
    tyk.log(event.message)
@Hook
def MyHook(request, session, spec):
    return Compiled(work(request, session))
@Event
def OnEvent(event, spec):
    return Compiled(note(event))
"""
    )
    assert bundle.call().request.set_headers["A"] == "1"
    bundle.event("OnEvent", '{"message": "noted"}')
    assert host.messages == [("info", "noted")]


def timed_out(bundle, hook, limit=0.2):
    """Call a hook with a time limit, and return how it ended."""
    ended = []

    def work():
        try:
            ended.append(bundle.call(hook))
        except BaseException as error:
            ended.append(type(error).__name__)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join(limit)
    if thread.is_alive():
        raise_in(thread, HookTimeout)
        thread.join(20)
    assert not thread.is_alive()
    return ended[0]


GOOD = """
@Hook
async def Good(request, session, spec):
    await asyncio.sleep(0)
    request.add_header("A", "1")
"""


@pytest.fixture
def loop_thread(monkeypatch):
    """Give the test a loop of its own: a fault in it must not end the others."""
    loop = LoopThread()
    monkeypatch.setattr(_runtime._runtime, "_loop", loop)
    yield loop
    assert loop.stop(20)


def test_a_hook_that_stops_the_loop_stops_it_for_nobody(load, host, loop_thread):
    bundle = load(
        HEADER
        + GOOD
        + """
@Hook
async def Stop(request, session, spec):
    asyncio.get_running_loop().stop()
"""
    )
    for _ in range(3):
        bundle.call("Stop")
        assert bundle.call("Good").request.set_headers["A"] == "1"
    assert ("error", "a plugin stopped the event loop, which all plugins share; it goes on") in host.messages


@pytest.mark.parametrize(
    "blocking",
    [
        "spin()",
        "await asyncio.gather(spin_too(), spin_too())",
        "await asyncio.wait_for(spin_too(), 60)",
    ],
)
def test_a_hook_that_blocks_the_loop_is_interrupted(load, host, loop_thread, blocking):
    bundle = load(
        HEADER
        + GOOD
        + f"""
def spin():
    while True:
        pass
async def spin_too():
    spin()
@Hook
async def Block(request, session, spec):
    {blocking}
"""
    )
    assert timed_out(bundle, "Block") == "HookTimeout"
    result = timed_out(bundle, "Good", 20)
    assert result.request.set_headers["A"] == "1"
    (level, message), *_ = host.messages
    assert level == "error"
    assert message.startswith("interrupted what blocks the event loop\n")
    assert "in spin\n" in message


def test_a_hook_that_is_in_time_is_not_interrupted_for_another(load, host, loop_thread):
    bundle = load(
        HEADER
        + """
import threading, time
entered = threading.Event()
@Hook
async def Busy(request, session, spec):
    entered.set()
    end = time.monotonic() + 1.5
    while time.monotonic() < end:
        pass
    request.add_header("A", "1")
@Hook
async def Waits(request, session, spec):
    await asyncio.sleep(60)
@Hook
def Entered(request, session, spec):
    assert entered.wait(20)
"""
    )
    ended = []
    thread = threading.Thread(target=lambda: ended.append(bundle.call("Busy")))
    thread.start()
    bundle.call("Entered")
    assert timed_out(bundle, "Waits") == "HookTimeout"
    thread.join(20)
    assert ended[0].request.set_headers["A"] == "1"
    assert host.lines == []


def test_code_that_holds_a_lock_is_not_interrupted():
    entered, go = threading.Event(), threading.Event()

    def work():
        entered.set()
        go.wait(20)  # its innermost frame is in threading.py

    thread = threading.Thread(target=work)
    thread.start()
    assert entered.wait(20)
    assert not _interrupt._may_be_interrupted(thread.ident)
    assert _interrupt._may_be_interrupted(threading.get_ident())
    go.set()
    thread.join(20)


def test_an_interrupt_that_is_taken_back_holds_up_no_thread_that_is_profiled(monkeypatch):
    stop, ident = [], []

    def work():
        ident.append(threading.get_ident())
        while not stop:
            time.sleep(0.01)

    victim = threading.Thread(target=work, daemon=True)
    victim.start()
    while not ident:
        time.sleep(0.001)
    task = object()
    tasks = [task, None]  # it ends in between
    monkeypatch.setattr(_interrupt.asyncio, "current_task", lambda _: tasks.pop(0))
    assert _interrupt.interrupt(ident[0], None, task)

    def profiled():
        sys.setprofile(lambda *_: None)
        len(sorted([1], key=lambda item: item))

    thread = threading.Thread(target=profiled, daemon=True)
    thread.start()
    thread.join(20)
    assert not thread.is_alive()
    stop.append(True)
    victim.join(20)
    assert not victim.is_alive()


def test_a_loop_whose_thread_did_not_start_is_started_by_the_next_call(load, host, loop_thread, monkeypatch):
    bundle = load(HEADER + GOOD)

    def fail(_):
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", fail)
        with pytest.raises(RuntimeError, match="can't start"):
            bundle.call("Good")
    assert bundle.call("Good").request.set_headers["A"] == "1"


def test_a_loop_that_a_hook_breaks_is_replaced(load, host, loop_thread):
    bundle = load(
        HEADER
        + GOOD
        + """
@Hook
async def Break(request, session, spec):
    selector = asyncio.get_running_loop()._selector
    def broken(timeout):
        selector.select = select
        raise OSError("bad file descriptor")
    select, selector.select = selector.select, broken
    await asyncio.sleep(60)
"""
    )
    with pytest.raises(asyncio.CancelledError):
        bundle.call("Break")
    assert bundle.call("Good").request.set_headers["A"] == "1"
    (level, message), *_ = host.messages
    assert level == "error"
    assert message.startswith("the event loop of plugins broke")


class Tickets:
    """The bridge's side of calls that are awaited."""

    def __init__(self):
        self.kept, self.ended = [], queue.Queue()

    def keep(self, ticket):
        self.kept.append(ticket)

    def unchanged(self, ticket, bodies):
        self.left_out = (ticket, bodies)

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


def test_a_call_that_is_interrupted_while_it_wakes_the_loop_holds_up_nobody(load, host, loop_thread, monkeypatch):
    bundle = load(HEADER + GOOD)
    bundle.call("Good")

    def interrupted(*_):
        raise HookTimeout

    with monkeypatch.context() as patch:
        patch.setattr(loop_thread._running.loop, "call_soon_threadsafe", interrupted)
        with pytest.raises(HookTimeout):
            bundle.call("Good")
    assert timed_out(bundle, "Good", 20).request.set_headers["A"] == "1"


def test_a_task_factory_that_fails_fails_the_calls_that_it_is_for(load, host, loop_thread, tickets):
    bundle = load(
        HEADER
        + GOOD
        + """
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
