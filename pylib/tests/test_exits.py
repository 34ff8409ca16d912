from __future__ import annotations

import gc
import threading
import weakref

import pytest
from conftest import bundle_modules
from test_life import run

THREAD = """
    import atexit, threading
    import helper
    ENDED = threading.Event()
    THREAD = threading.Thread(target=ENDED.wait, name="plugin's own")
    THREAD.start()

    def end(word, *, more):
        import late
        print(word, more, late.WORD, helper.WORD)
        ENDED.set()

    atexit.register(end, "ended", more="well")

    @atexit.register
    def fails():
        raise ValueError("in the handler")
"""
WORDS = {"helper.py": "WORD = 'helper'\n", "late.py": "WORD = 'late'\n"}


def await_exits() -> None:
    for thread in threading.enumerate():
        if thread.name in ("krait-exit", "plugin's own"):
            thread.join(20)


def messages(host) -> list[str]:
    return [line[1] for line in host.lines]


def files(code: str) -> dict[str, str]:
    return {"middleware.py": code, **WORDS}


def test_exit_handlers_run_when_the_bundle_is_unloaded(load, redirected, host):
    bundle = load(files(THREAD))
    before = threading.active_count()
    assert not host.lines
    bundle.unload()
    await_exits()
    assert threading.active_count() == before - 1, "the plugin could end its thread"
    texts = messages(host)
    assert "ended well late helper" in texts
    assert any("ValueError: in the handler" in text for text in texts)
    assert {line[4] for line in host.lines} == {"bundle.zip"}
    assert bundle_modules() == []


def test_they_do_not_keep_the_bundle(load):
    bundle = load("import atexit\nclass Thing: pass\nTHING = Thing()\natexit.register(lambda: THING)\n")
    (module,) = [one for name, one in __import__("sys").modules.items() if name.endswith(".middleware")]
    thing = weakref.ref(module.THING)
    del module
    bundle.unload()
    await_exits()
    gc.collect()
    assert thing() is None


def test_they_run_when_the_load_fails(load, redirected, host):
    with pytest.raises(RuntimeError):
        load(files(THREAD + "\n    raise RuntimeError('after all')\n"))
    await_exits()
    assert "ended well late helper" in messages(host)
    assert bundle_modules() == []


def test_unregister_and_arguments(load, redirected, host):
    bundle = load(
        """
        import atexit
        def a(): print("a")
        def b(): print("b")
        for function in (a, b, a): atexit.register(function)
        atexit.unregister(a)
        try: atexit.register(7)
        except TypeError as error: print(error)
        assert atexit._ncallbacks() == 1
        """
    )
    bundle.unload()
    await_exits()
    assert messages(host) == ["the first argument must be callable", "b"]


def test_those_of_bundles_that_nobody_unloads_run_at_the_end_of_python(tmp_path):
    ended = tmp_path / "ended"
    (tmp_path / "middleware.py").write_text(
        f"import atexit, pathlib\natexit.register(pathlib.Path({str(ended)!r}).touch)\n"
    )
    run('_runtime.load("b", sys.argv[2], "middleware.py", [], [], [])', tmp_path)
    assert ended.exists()
