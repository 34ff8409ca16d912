"""What the tests of all examples share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from provider import Provider

from tyk import _host


@pytest.fixture
def provider() -> Iterator[Provider]:
    """Start an identity provider."""
    provider = Provider()
    yield provider
    provider.stop()


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Give the plugin an empty store and collect what it logs."""
    lines: list[str] = []

    class Host(_host.StandIn):
        def log(self, level: bytes, message: bytes, *_: bytes) -> None:
            lines.append(f"{level.decode()}: {message.decode()}")

    monkeypatch.setattr(_host.BOUND, "host", Host())
    return lines
