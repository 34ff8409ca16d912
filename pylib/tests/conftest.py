from __future__ import annotations

import itertools
import sys
import textwrap
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Callable

import pytest

from coprocess_object_pb2 import Object
from tyk import _host, _output, _runtime
from tyk._loop import LoopThread


class RecordingHost:
    """A host that remembers what it was asked."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, str, str, str, str, str]] = []
        self.data: dict[bytes, tuple[bytes, int]] = {}
        self.events: list[tuple[bytes, bytes, bytes]] = []

    def log(self, *parts: bytes) -> None:
        assert all(type(part) is bytes for part in parts)
        self.lines.append(tuple(part.decode() for part in parts))  # type: ignore[arg-type]

    def store_data(self, key: bytes, value: bytes, ttl: int) -> None:
        assert type(key) is bytes
        assert type(value) is bytes
        self.data[key] = (value, ttl)

    def get_data(self, key: bytes) -> bytes:
        return self.data.get(key, (b"", 0))[0]

    def trigger_event(self, name: bytes, payload: bytes, api_id: bytes, request_id: bytes) -> None:
        self.events.append((name, payload, api_id, request_id))

    @property
    def messages(self) -> list[tuple[str, str]]:
        return [(line[0], line[1]) for line in self.lines]


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> RecordingHost:
    recorder = RecordingHost()
    monkeypatch.setattr(_host.BOUND, "host", recorder)
    return recorder


@pytest.fixture
def redirected(host: RecordingHost) -> RecordingHost:
    """Run the test with output redirected to the log, as in a gateway."""
    return host


@pytest.hookimpl(hookwrapper=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> Iterator[None]:
    # Not in the fixture: pytest puts its own sys.stdout in between.
    if "redirected" not in pyfuncitem.fixturenames:
        yield
        return
    places = (
        (sys, "stdin"),
        (sys, "stdout"),
        (sys, "stderr"),
        (sys, "unraisablehook"),
        (threading, "excepthook"),
        (warnings, "showwarning"),
    )
    saved = [(owner, name, getattr(owner, name)) for owner, name in places]
    _output.redirect()
    try:
        yield
    finally:
        sys.stdin.close()
        for owner, name, value in saved:
            setattr(owner, name, value)


class Loaded:
    """A loaded bundle, with shortcuts for calls."""

    def __init__(self, handle: int, directory: Path) -> None:
        self.handle = handle
        self.directory = directory

    def call(
        self, hook: str = "MyHook", message: Object | None = None, request_id: str = "r1", **fields: Any
    ) -> Object:
        if message is None:
            message = Object(hook_name=hook, **fields)
        return Object.FromString(_runtime.dispatch(self.handle, hook, request_id, message.SerializeToString()))

    def event(self, name: str, payload: str, request_id: str = "r1") -> None:
        _runtime.dispatch_event(self.handle, name, request_id, payload.encode())

    def unload(self) -> None:
        _runtime.unload(self.handle)


Files = dict[str, str]
Load = Callable[..., Loaded]


def write(directory: Path, files: Files) -> Path:
    for name, text in files.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text), encoding="utf-8")
    return directory


@pytest.fixture
def load(tmp_path: Path) -> Any:
    numbers = itertools.count(1)
    handles: list[int] = []

    def make(
        files: Files | str = "",
        hooks: list[str] | None = None,
        events: list[str] | None = None,
        *,
        directory: Path | None = None,
        entry: str = "middleware.py",
        path: list[str] | None = None,
        name: str = "bundle.zip",
    ) -> Loaded:
        if isinstance(files, str):
            files = {"middleware.py": "from tyk.decorators import *\n" + textwrap.dedent(files)}
        if directory is None:
            directory = tmp_path / f"bundle{next(numbers)}"
            directory.mkdir()
        write(directory, files)
        handle = _runtime.load(name, str(directory), entry, hooks or [], events or [], path or [])
        handles.append(handle)
        return Loaded(handle, directory)

    yield make
    for handle in handles:
        _runtime.unload(handle)


def bundle_modules() -> list[str]:
    return [name for name in sys.modules if name.startswith("_krait_bundle_")]


@pytest.fixture
def loop_thread(monkeypatch: pytest.MonkeyPatch) -> Iterator[LoopThread]:
    """Give the test a loop of its own: a fault in it must not end the others."""
    loop = LoopThread()
    monkeypatch.setattr(_runtime._runtime, "_loop", loop)
    yield loop
    assert loop.stop(20)
