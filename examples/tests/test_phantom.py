from __future__ import annotations

import base64
import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from plugin import load, request_of
from provider import Provider, reply

from tyk import _host
from tyk.session import SessionState


def encoded(**claims: Any) -> bytes:
    """Return a JWT; nobody here looks at its signature."""
    parts = ({"alg": "RS256"}, claims)
    texts = [base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=") for part in parts]
    return b".".join([*texts, b"c2lnbmF0dXJl"])


@pytest.fixture
def plugin() -> ModuleType:
    return load(Path(__file__).parent.parent / "phantom" / "middleware.py")


@pytest.fixture
def call(plugin: ModuleType, provider: Provider, log: list[str]) -> Any:
    del log

    def send(header: str | None = "Bearer opaque", **settings: Any) -> SimpleNamespace:
        request, session = request_of(header), SessionState()
        metadata: dict[str, str] = {}
        config = {"introspection_url": provider.url, "client_id": "api", "client_secret": "secret", **settings}
        plugin.PhantomToken(request, session, metadata, {"config_data": json.dumps(config)})
        overrides = request.object.return_overrides
        return SimpleNamespace(
            status=overrides.response_code,
            headers=dict(overrides.headers),
            forwarded=request.object.set_headers.get("Authorization"),
            session=session,
            metadata=metadata,
        )

    return send


def answers(provider: Provider, body: bytes, media_type: str = "application/jwt", status: int = 200) -> None:
    provider.answer = lambda handler, _: reply(handler, body, media_type, status)


def test_the_upstream_gets_the_jwt_until_it_expires(call: Any, provider: Provider) -> None:
    expires = int(time.time()) + 60
    jwt = encoded(sub="alice", exp=expires)
    answers(provider, jwt)
    for _ in range(20):
        got = call()
        assert got.status == 0
        assert got.forwarded == "Bearer " + jwt.decode()
        assert got.metadata["token"]
        assert "opaque" not in got.metadata["token"]
        assert got.session.expires == expires
    assert provider.forms == [{"token": "opaque"}]
    assert provider.headers[0]["Accept"] == "application/jwt"


def test_rfc_9701_says_in_the_jwt_whether_the_token_is_active(call: Any, provider: Provider) -> None:
    media_type = "application/token-introspection+jwt"
    expires = time.time() + 60
    answers(provider, encoded(iat=1, token_introspection={"active": True, "exp": expires}), media_type)
    assert call(accept=media_type).forwarded.startswith("Bearer ey")
    assert provider.headers[0]["Accept"] == media_type
    for inactive in ({"active": False}, {"active": "true", "exp": expires}):
        answers(provider, encoded(exp=expires, token_introspection=inactive), media_type)
        assert call(f"Bearer {inactive['active']}", accept=media_type).status == 401


@pytest.mark.parametrize(
    ("body", "media_type", "status"),
    [
        (b"", "application/jwt", 204),
        (b'{"active": false}', "application/json", 200),
        (encoded(exp=1), "application/jwt", 200),
    ],
    ids=["204", "JSON", "an expired JWT"],
)
def test_an_inactive_token_is_401(call: Any, provider: Provider, body: bytes, media_type: str, status: int) -> None:
    answers(provider, body, media_type, status)
    for _ in range(2):
        got = call()
        assert (got.status, got.headers) == (401, {"WWW-Authenticate": 'Bearer error="invalid_token"'})
        assert got.forwarded is None
    assert provider.calls == 1


@pytest.mark.parametrize(
    ("body", "media_type", "status"),
    [
        (encoded(sub="alice"), "application/jwt", 200),
        (encoded(exp="soon"), "application/jwt", 200),
        (encoded(exp=time.time() + 60), "text/html", 200),
        (encoded(exp=time.time() + 60), "application/jwt", 500),
        (b"a.b.c\r\nX-Admin: yes", "application/jwt", 200),
        (b'{"active": true}', "application/json", 200),
        (b"a." + 70_000 * b"b" + b".c", "application/jwt", 200),
        (b"", "application/jwt", 302),
        (b"W10.W10.W10", "application/jwt", 200),
        (encoded(token_introspection="x"), "application/token-introspection+jwt", 200),
        (b"a." + base64.urlsafe_b64encode(45_000 * b"[") + b".c", "application/jwt", 200),
        (60_000 * b"[", "application/json", 200),
    ],
    ids=[
        "no exp",
        "exp is text",
        "HTML",
        "status 500",
        "header injection",
        "no JWT",
        "too long",
        "redirect",
        "a list",
        "nested text",
        "too deep",
        "too deep, JSON",
    ],
)
def test_an_answer_without_sense_is_503(
    call: Any, provider: Provider, log: list[str], body: bytes, media_type: str, status: int
) -> None:
    answers(provider, body, media_type, status)
    for _ in range(2):
        got = call("Bearer very-secret")
        assert (got.status, got.forwarded) == (503, None)
    assert provider.calls == 1
    assert "very-secret" not in "".join(log)


def test_a_slow_provider_is_503(call: Any, provider: Provider) -> None:
    ended = threading.Event()
    provider.answer = lambda *_: ended.wait(10)  # type: ignore[assignment]
    assert call(timeout=0.1).status == 503
    ended.set()


def test_a_dead_provider_does_not_disturb_known_tokens(call: Any, provider: Provider) -> None:
    answers(provider, encoded(exp=time.time() + 60))
    assert call("Bearer known").status == 0
    provider.stop()
    assert call("Bearer new").status == 503
    assert call("Bearer known").status == 0


@pytest.mark.parametrize("header", [None, "", "Basic YTpi", "Bearer a b", "Bearer a\r\nb", "Bearer \u00e9"])
def test_what_is_no_bearer_token_is_401(call: Any, provider: Provider, header: str | None) -> None:
    assert call(header).status == 401
    assert provider.calls == 0


def test_many_first_calls_with_one_token_cost_one_introspection(call: Any, provider: Provider) -> None:
    callers = 50
    together = threading.Barrier(callers)
    answers(provider, encoded(exp=time.time() + 60))

    def one(_: int) -> int:
        together.wait(10)
        return int(call().status)

    with ThreadPoolExecutor(callers) as pool:
        assert [*pool.map(one, range(callers))] == callers * [0]
    assert provider.calls == 1


def test_a_jwt_that_was_made_for_another_client_or_kind_is_not_used(call: Any, provider: Provider) -> None:
    answers(provider, encoded(exp=time.time() + 60))
    names = {call(**other).metadata["token"] for other in ({}, {"client_id": "other"}, {"accept": "application/x+jwt"})}
    assert len(names) == provider.calls == 3


def test_keys_in_the_store_do_not_tell_the_token(call: Any, provider: Provider) -> None:
    answers(provider, encoded(exp=time.time() + 60))
    assert call("Bearer very-secret").status == 0
    assert "very-secret" not in repr(vars(_host.BOUND.host))
