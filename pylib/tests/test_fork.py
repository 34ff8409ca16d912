"""What plugins can do in a child that they fork: nothing of it is the gateway's."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import pytest
from test_life import NATIVE, ROOT

# The native host must not be entered in a child, where it would never return.
PARENT_ONLY = """
import os
parent = os.getpid()
def of_parent(function):
    def call(*parts):
        if os.getpid() != parent:
            os.write(2, b"ENTERED THE GATEWAY\\n")
            os._exit(9)
        return function(*parts)
    return call
for name in ("log", "store_data", "get_data", "trigger_event"):
    setattr(native, name, of_parent(getattr(native, name)))
def call(hook):
    _runtime.dispatch(handle, hook, "r", b"")
handle = _runtime.load("b", sys.argv[2], "middleware.py", [], [], [])
"""
HEAD = """
import asyncio, logging, multiprocessing, os, sys, threading
from tyk.decorators import *
from gateway import TykGateway as tyk

def work():
    print("printed", end=" ")
    print("in the child")
    logging.getLogger("x").error("logged")
    tyk.log(f"before {tyk.get_data('k')}")
    tyk.store_data("k", "v")
    tyk.trigger_event("Event", "payload")
    import helper
    tyk.log(f"after {tyk.get_data('k')}", "warning")

def ended(child):
    status = os.waitpid(child, 0)[1]
    assert os.WIFEXITED(status) and os.WEXITSTATUS(status) == 0, status

@Hook
async def Coroutine(request, session, spec):
    await asyncio.sleep(0)
"""
WRITTEN = [
    "info: b/MyHook: printed in the child",
    "error: b/MyHook: logged",
    "info: b/MyHook: before b''",
    "info: event Event: payload",
    "warning: b/MyHook: after b'v'",
]


def run(directory, hook, script="call('MyHook')"):
    (directory / "middleware.py").write_text(HEAD + textwrap.dedent(hook))
    (directory / "helper.py").write_text("")
    done = subprocess.run(
        [sys.executable, "-I", "-c", NATIVE + PARENT_ONLY + textwrap.dedent(script), ROOT, str(directory)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stderr.splitlines()


def test_a_forked_child_writes_to_stderr_and_has_an_empty_store(tmp_path):
    hook = """
    @Hook
    def MyHook(request, session, spec):
        print("the parent's", end=" ")
        child = os.fork()
        if not child:
            work()
            os._exit(0)
        ended(child)
        print("piece")
    """
    script = "call('MyHook'); assert [line[1] for line in lines] == [\"the parent's piece\"], lines"
    assert run(tmp_path, hook, script) == WRITTEN


def test_a_process_of_multiprocessing_ends(tmp_path):
    hook = """
    @Hook
    def MyHook(request, session, spec):
        process = multiprocessing.get_context("fork").Process(target=work)
        process.start()
        process.join(20)
        assert process.exitcode == 0, process.exitcode
    """
    assert run(tmp_path, hook) == WRITTEN


def test_coroutines_run_in_a_child(tmp_path):
    hook = """
    @Hook
    def MyHook(request, session, spec):
        pass
    """
    script = """
    call("Coroutine")
    child = os.fork()
    if not child:
        call("Coroutine")
        os._exit(3)
    assert os.waitpid(child, 0)[1] >> 8 == 3
    call("Coroutine")
    """
    assert run(tmp_path, hook, script) == []


@pytest.mark.parametrize("end", ["return", "await asyncio.sleep(0)"])
def test_a_child_of_a_coroutine_ends_with_it(tmp_path, end):
    hook = f"""
    @Hook
    async def MyHook(request, session, spec):
        async def other():
            os.write(2, b"other\\n")
        task = asyncio.get_running_loop().create_task(other())
        child = os.fork()
        if not child:
            {end}
        await task
        assert os.waitpid(child, 0)[1] >> 8 == 70
    """
    assert run(tmp_path, hook, "call('MyHook'); call('Coroutine')") == ["other"]


def test_a_lock_that_another_thread_holds_does_not_stop_a_child(tmp_path):
    hook = """
    @Hook
    def MyHook(request, session, spec):
        import helper
    """
    script = """
    space = _runtime._runtime._bundle(handle).space
    with space._lock, _runtime._runtime._loop._lock:
        child = os.fork()
        if not child:
            call("MyHook")
            call("Coroutine")
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
    """
    assert run(tmp_path, hook, script) == []
