from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
import threading
import time
from concurrent.futures import ThreadPoolExecutor

from tyk import _runtime

ROOT = os.path.dirname(os.path.dirname(_runtime.__file__))
NATIVE = """
import sys, types
sys.path.insert(0, sys.argv[1])
lines = []
native = types.ModuleType("_krait")
native.log = lambda *parts: lines.append(tuple(part.decode() for part in parts))
native.store_data = lambda key, value, ttl: None
native.get_data = lambda key: b"native"
native.trigger_event = lambda name, payload, api_id, request_id: None
sys.modules["_krait"] = native
from tyk import _runtime
_runtime.start()
_runtime.start()
"""


def run(script, *arguments):
    done = subprocess.run(
        [sys.executable, "-I", "-c", NATIVE + textwrap.dedent(script), ROOT, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_the_native_host_is_used_inside_a_gateway(tmp_path):
    (tmp_path / "middleware.py").write_text(
        "from tyk.decorators import *\nfrom gateway import TykGateway as tyk\nprint('loading')\n"
        "@Hook\nasync def MyHook(request, session, spec):\n"
        "    request.object.set_headers['A'] = tyk.get_data('k').decode()\n"
    )
    out = run(
        """
        from coprocess_object_pb2 import Object
        handle = _runtime.load("b", sys.argv[2], "middleware.py", ["MyHook"], [], [])
        result = Object.FromString(_runtime.dispatch(handle, "MyHook", "r", b""))
        assert _runtime.stop(10) is True
        sys.__stdout__.write(result.request.set_headers["A"] + repr(lines))
        """,
        tmp_path,
    )
    assert out == "native[('info', 'loading', '', '', 'b', '')]"


def test_stop_waits_for_threads_of_plugins_and_says_when_it_cannot():
    out = run(
        """
        import threading, time
        go = threading.Event()
        thread = threading.Thread(target=go.wait)
        thread.start()
        daemon = threading.Thread(target=threading.Event().wait, daemon=True)
        daemon.start()
        first = _runtime.stop(0.2)
        threading.Timer(0.2, go.set).start()
        second = _runtime.stop(20)
        sys.__stdout__.write(f"{first} {second}")
        """
    )
    assert out == "False True"


def test_stop_releases_idle_thread_pools_and_cancels_coroutines(tmp_path):
    (tmp_path / "middleware.py").write_text(
        textwrap.dedent(
            """
            import asyncio, threading
            from concurrent.futures import ThreadPoolExecutor
            from tyk.decorators import *
            pool = ThreadPoolExecutor(2)
            @Hook
            async def MyHook(request, session, spec):
                pool.submit(int).result()
                await asyncio.get_running_loop().run_in_executor(None, int)
                asyncio.get_running_loop().create_task(asyncio.sleep(600))
            @Hook
            async def Waits(request, session, spec):
                started.set()
                await asyncio.sleep(600)
            started = threading.Event()
            """
        )
    )
    out = run(
        """
        import threading, time
        handle = _runtime.load("b", sys.argv[2], "middleware.py", ["MyHook", "Waits"], [], [])
        _runtime.dispatch(handle, "MyHook", "r", b"")
        ended = []
        def work():
            try:
                _runtime.dispatch(handle, "Waits", "r", b"")
            except BaseException as error:
                ended.append(type(error).__name__)
        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        assert sys.modules[f"_krait_bundle_{handle}.middleware"].started.wait(20)
        begin = time.monotonic()
        stopped = _runtime.stop(20)
        thread.join(20)
        try:
            _runtime.dispatch(handle, "Waits", "r", b"")
        except RuntimeError as error:
            ended.append(str(error))
        sys.__stdout__.write(f"{stopped} {ended} {time.monotonic() - begin < 10}")
        """,
        tmp_path,
    )
    assert out == "True ['CancelledError', 'the plugin runtime is stopping'] True"


def test_stop_without_anything_running_is_immediate():
    runtime = _runtime._Runtime()
    begin = time.monotonic()
    left = [
        thread
        for thread in threading.enumerate()
        if not thread.daemon and thread not in (threading.main_thread(), threading.current_thread())
    ]
    assert runtime._loop.stop(5) is True
    assert left == []
    assert time.monotonic() - begin < 1


def test_a_loop_that_is_blocked_is_reported(load):
    from tyk._hooks import Rest
    from tyk._loop import LoopThread

    loop = LoopThread()
    entered, go = threading.Event(), threading.Event()

    async def block():
        entered.set()
        go.wait(20)

    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(loop.run, Rest(block(), lambda _: None))
        assert entered.wait(20)
        assert loop.stop(0.05) is False
        go.set()
        future.result(20)
        assert loop.stop(20) is True


def test_versions_are_json_for_doctor():
    found = json.loads(_runtime.versions())
    assert found["python"] == ".".join(map(str, sys.version_info[:3]))
    assert found["protobuf"]
    assert found["protobuf_backend"] in ("upb", "cpp", "python")
    assert found["sys_path"] == sys.path
    assert {"executable", "prefix", "base_prefix"} <= set(found)


def test_importing_the_api_has_no_side_effects():
    script = """
import sys
sys.path.insert(0, sys.argv[1])
import threading
before = sys.stdout, sys.stderr, list(sys.meta_path), threading.active_count(), threading.excepthook
import gateway, tyk, tyk.decorators, tyk.event, tyk.gateway, tyk.object, tyk.request, tyk.session, tyk._runtime
assert before == (sys.stdout, sys.stderr, list(sys.meta_path), threading.active_count(), threading.excepthook)
"""
    subprocess.run([sys.executable, "-I", "-c", script, ROOT], check=True, timeout=60)
