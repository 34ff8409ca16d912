from __future__ import annotations

import asyncio
import ctypes
import sys
import threading
import time
import traceback

import pytest

from coprocess_object_pb2 import Object
from tyk import _interrupt
from tyk._errors import HookTimeout

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
