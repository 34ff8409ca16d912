from __future__ import annotations

import os
import sys

import pytest

from tyk import _runtime
from tyk._errors import HookTimeout
from tyk._runtime import describe

INTERNALS = os.path.join(os.path.dirname(_runtime.__file__), "_")


def caught(call, *args, **kwargs):
    with pytest.raises(BaseException) as info:  # noqa: PT011
        call(*args, **kwargs)
    return info.value


def test_an_error_of_a_hook_shows_the_plugins_frames_and_causes(load):
    bundle = load(
        {
            "middleware.py": "from tyk.decorators import Hook\nimport helper\n@Hook\n"
            "def MyHook(request, session, spec):\n    helper.fail()\n",
            "helper.py": "class Custom(Exception):\n    pass\ndef fail():\n    try:\n        {}['key']\n"
            "    except KeyError as error:\n        raise Custom('no\\nkey') from error\n",
        }
    )
    name, message, text = describe(caught(bundle.call))
    assert (name, message) == ("helper.Custom", "no key")
    assert text.count("Traceback (most recent call last)") == 2
    assert "KeyError: 'key'" in text
    assert "direct cause" in text
    assert f'File "{bundle.directory}/middleware.py", line 5, in MyHook' in text
    assert "helper.fail()" in text
    assert INTERNALS not in text
    assert "_krait" not in text


def test_an_error_while_importing_shows_no_import_machinery(load):
    error = caught(load, {"middleware.py": "import helper\n", "helper.py": "import deeper\n", "deeper.py": "1 / 0\n"})
    name, message, text = describe(error)
    assert (name, message) == ("ZeroDivisionError", "division by zero")
    frames = [line.strip().split("/")[-1] for line in text.splitlines() if line.startswith("  File")]
    frames = [frame for frame in frames if "conftest" not in frame and "test_describe" not in frame]
    assert frames == [
        'middleware.py", line 1, in <module>',
        'helper.py", line 1, in <module>',
        'deeper.py", line 1, in <module>',
    ]


def test_a_syntax_error_names_file_and_line(load):
    error = caught(load, {"middleware.py": "import helper\n", "helper.py": "x = 1\ndef broken(:\n"})
    name, message, text = describe(error)
    assert name == "SyntaxError"
    assert message.startswith("invalid syntax (")
    assert message.endswith("/helper.py, line 2)")
    assert "def broken(:" in text


def test_a_fault_that_its_message_explains_has_no_frames(load):
    bundle = load("@Hook\ndef MyHook(request, session, spec):\n    return 'x'\n")
    for error, kind in (
        (caught(bundle.call), "HookResultError"),
        (caught(bundle.call, "Other"), "HookNotFoundError"),
        (caught(load, "", ["MyHook"]), "HookNotFoundError"),
    ):
        error.__traceback__ = error.__traceback__ and _without_tests(error.__traceback__)
        name, message, text = describe(error)
        assert name == kind
        assert "File" not in text
        assert message in text


def _without_tests(traceback):
    while traceback is not None and not traceback.tb_frame.f_code.co_filename.startswith(INTERNALS):
        traceback = traceback.tb_next
    return traceback


def test_an_error_inside_the_runtime_itself_keeps_its_frames():
    error = caught(_runtime.dispatch, 1, 2, 3, 4)
    error.__traceback__ = _without_tests(error.__traceback__)
    assert "in dispatch" in describe(TypeError("x").with_traceback(error.__traceback__))[2]


class Unprintable(Exception):
    def __str__(self):
        raise RuntimeError("again")


class Odd(Exception):
    def __str__(self):
        return 5  # noqa: PLE0307


@pytest.mark.parametrize(
    ("error", "name", "message"),
    [
        (ValueError(), "ValueError", ""),
        (ValueError("a\n b"), "ValueError", "a b"),
        (KeyError("k"), "KeyError", "'k'"),
        (SystemExit(3), "SystemExit", "3"),
        (HookTimeout(), "HookTimeout", "the time limit has passed"),
        (Unprintable(), "test_describe.Unprintable", "(its message raised RuntimeError)"),
        (Odd(), "test_describe.Odd", "(its message raised TypeError)"),
        (OSError(2, "missing", "file"), "FileNotFoundError", "[Errno 2] missing: 'file'"),
    ],
)
def test_any_exception_is_described(error, name, message):
    described = describe(error)
    assert described[:2] == (name, message)
    assert all(isinstance(part, str) for part in described)
    assert name.split(".")[-1] in described[2]


def test_loops_of_causes_end():
    first, second = ValueError("1"), ValueError("2")
    first.__cause__, second.__cause__ = second, first
    assert "ValueError: 1" in describe(first)[2]


def test_endless_recursion_is_described_in_short():
    def again():
        again()

    name, _, text = describe(caught(again))
    assert name == "RecursionError"
    assert len(text) < 20_000


if sys.version_info >= (3, 11):

    def test_members_of_groups_are_cleaned_too(load):
        bundle = load(
            """
            import asyncio
            async def fail():
                raise ValueError("inner")
            @Hook
            async def MyHook(request, session, spec):
                async with asyncio.TaskGroup() as group:
                    group.create_task(fail())
            """
        )
        name, _, text = describe(caught(bundle.call))
        assert name == "ExceptionGroup"
        assert "ValueError: inner" in text
        assert "in fail" in text
        assert INTERNALS not in text


def test_of_a_deep_recursion_only_the_last_frames_are_rendered():
    def recurse():
        return recurse()

    name, _, text = describe(caught(recurse))
    assert name == "RecursionError"
    assert text.startswith("(the last 100 of ")
    assert "Previous line repeated" in text


def test_long_messages_and_tracebacks_lose_their_middle():
    def fail():
        raise ValueError("begin" + "x" * 50_000_000 + "end")

    _, message, text = describe(caught(fail))
    for part, start, end in ((message, "beginx", "xend"), (text, "Traceback", "xend")):
        assert len(part) <= 64 * 1024
        assert part.startswith(start)
        assert part.endswith(end)
        assert "characters left out" in part
