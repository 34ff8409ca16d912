from __future__ import annotations

import logging
import os
import sys
import threading
import warnings

import pytest

from tyk import _output

HEAD = "import sys, asyncio\n"


def lines(host, *, of=None):
    return [(line[0], line[1]) for line in host.lines if of is None or line[5] == of]


def test_print_goes_to_the_log_with_its_origin(load, redirected):
    bundle = load(
        HEAD
        + """
print("loading")
@Hook
def MyHook(request, session, spec):
    print("one", 2, sep="-")
    print("to stderr", file=sys.stderr)
"""
    )
    bundle.call(spec={"APIID": "a1"}, request_id="r7")
    assert redirected.lines == [
        ("info", "loading", "", "", "bundle.zip", ""),
        ("info", "one-2", "r7", "a1", "bundle.zip", "MyHook"),
        ("error", "to stderr", "r7", "a1", "bundle.zip", "MyHook"),
    ]


@pytest.mark.parametrize(
    ("body", "logged"),
    [
        ("print('a', end=''); print('b')", ["ab"]),
        ("print('unfinished', end='')", ["unfinished"]),
        ("print('two\\nlines')", ["two", "lines"]),
        ("print()", []),
        ("print('windows\\r')", ["windows"]),
        ("sys.stdout.write('a'); sys.stdout.flush(); print('b')", ["a", "b"]),
        ("sys.stdout.buffer.write(b'raw \\xff\\n')", ["raw \\xff"]),
        ("sys.stdout.writelines(['a\\n', 'b\\n'])", ["a", "b"]),
        ("print('half \\udc80')", ["half \\udc80"]),
        ("sys.stdout.close(); print('open')", ["open"]),
        (
            "sys.stdout.reconfigure(line_buffering=True); print(sys.stdout.encoding, sys.stdout.isatty())",
            ["utf-8 False"],
        ),
    ],
)
def test_lines(load, redirected, body, logged):
    load(f"{HEAD}@Hook\ndef MyHook(request, session, spec):\n    {body}\n").call()
    assert [message for _, message in lines(redirected)] == logged


def test_a_line_without_end_is_cut(redirected):
    for _ in range(70):
        sys.stdout.write("x" * 1024)
    sys.stdout.flush()
    assert sum(len(message) for _, message in lines(redirected)) == 70 * 1024
    assert len(redirected.lines) == 2


def test_only_text_is_written(redirected):
    with pytest.raises(TypeError, match="must be str, not bytes"):
        sys.stdout.write(b"raw")


def test_pieces_of_different_threads_do_not_mix(load, redirected):
    bundle = load(
        HEAD
        + """
import threading
barrier = threading.Barrier(8)
@Hook
def MyHook(request, session, spec):
    for turn in range(5):
        barrier.wait(20)
        for piece in "abcd":
            print(spec["APIID"] + piece, end="")
            barrier.wait(20)
        print()
"""
    )
    threads = [
        threading.Thread(target=bundle.call, kwargs={"spec": {"APIID": str(number)}, "request_id": str(number)})
        for number in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted((line[1], line[2]) for line in redirected.lines) == sorted(
        ("".join(f"{number}{piece}" for piece in "abcd"), str(number)) for number in range(8) for _ in range(5)
    )


def test_pieces_of_different_coroutines_do_not_mix(load, redirected):
    bundle = load(
        HEAD
        + """
arrived, both = 0, None
@Hook
async def MyHook(request, session, spec):
    global arrived, both
    both = both or asyncio.Event()
    print("first", end=" ")
    arrived += 1
    if arrived == 2:
        both.set()
    await asyncio.wait_for(both.wait(), 20)
    print(spec["APIID"])
"""
    )
    threads = [threading.Thread(target=bundle.call, kwargs={"spec": {"APIID": n}}) for n in "12"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(lines(redirected)) == [("info", "first 1"), ("info", "first 2")]


def test_threads_of_plugins_print_too(load, redirected):
    bundle = load(
        HEAD
        + """
import threading
def work():
    print("a", end="")
    print("b")
    raise LookupError("thread fault")
@Hook
def MyHook(request, session, spec):
    thread = threading.Thread(target=work, name="worker")
    thread.start()
    thread.join()
"""
    )
    bundle.call()
    (_, printed), (level, fault) = lines(redirected)
    assert printed == "ab"
    assert level == "error"
    assert fault.startswith("thread 'worker' ended with an exception\nTraceback")
    assert fault.endswith("LookupError: thread fault")


def test_a_failing_log_does_not_fail_a_print(load, redirected, monkeypatch):
    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr(redirected, "log", fail)
    bundle = load("@Hook\ndef MyHook(request, session, spec):\n    print('x'); request.add_header('A', '1')\n")
    assert bundle.call().request.set_headers["A"] == "1"


def test_a_log_that_blocks_one_thread_does_not_stop_another(redirected, monkeypatch):
    entered, go = threading.Event(), threading.Event()
    log = redirected.log

    def slow(*parts):
        if parts[1] == b"slow":
            entered.set()
            assert go.wait(20)
        log(*parts)

    monkeypatch.setattr(redirected, "log", slow)
    thread = threading.Thread(target=print, args=("slow",))
    thread.start()
    assert entered.wait(20)
    print("fast")
    go.set()
    thread.join()
    assert lines(redirected) == [("info", "fast"), ("info", "slow")]


def test_warnings_and_logging_reach_the_log(redirected):
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.showwarning = _output._show_warning
        warnings.warn("look out", stacklevel=1)
    handler = logging.StreamHandler()
    record = logging.LogRecord("n", logging.ERROR, "p", 1, "from logging", (), None)
    handler.emit(record)
    (level, warned), second = lines(redirected)
    assert level == "warning"
    assert "test_output.py" in warned
    assert warned.endswith("UserWarning: look out")
    assert second == ("error", "from logging")


def test_a_warning_for_a_file_goes_to_that_file(redirected, tmp_path):
    with open(tmp_path / "w", "w+") as file:
        _output._show_warning(UserWarning("text"), UserWarning, "f.py", 3, file)
        file.seek(0)
        assert "UserWarning: text" in file.read()
    assert redirected.lines == []


def test_an_exception_in_a_destructor_reaches_the_log(redirected):
    class Bad:
        def __del__(self):
            raise ValueError("in del")

    Bad()
    (level, text) = lines(redirected)[0]
    assert level == "error"
    assert text.endswith("ValueError: in del")


def test_a_line_that_is_too_long_loses_its_middle(redirected):
    print("begin" + "x" * 50_000_000 + "end")
    (_, text) = lines(redirected)[0]
    assert len(text) <= 64 * 1024
    assert text.startswith("beginx")
    assert text.endswith("xend")
    assert "characters left out" in text


def test_a_piece_is_logged_before_it_makes_a_line_too_long(redirected):
    sys.stdout.write("a" * 40_000)
    sys.stdout.write("b" * 40_000 + "\nc\n")
    assert [message for _, message in lines(redirected)] == ["a" * 40_000, "b" * 40_000, "c"]


def test_nothing_reads_the_terminal_of_the_gateway(load, redirected, monkeypatch):
    bundle = load("import sys\n@Hook\ndef MyHook(request, session, spec):\n    input()\n")
    with pytest.raises(EOFError):
        bundle.call()
    assert sys.stdin.name == os.devnull
    assert sys.stdin.read() == ""
