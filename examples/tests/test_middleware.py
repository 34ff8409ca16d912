from __future__ import annotations

import base64
import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from plugin import load, request_of
from provider import Provider, reply

from tyk import _host
from tyk.session import SessionState

CHALLENGE = 'Bearer error="invalid_token"'


@pytest.fixture
def plugin() -> ModuleType:
    return load(Path(__file__).parent.parent / "middleware.py")


class Caller:
    """Calls the hook as the gateway does."""

    def __init__(self, plugin: ModuleType, url: str) -> None:
        self.plugin, self.settings = plugin, {"introspection_url": url, "client_id": "api", "client_secret": "s/e:c"}

    def __call__(self, header: str | None = "Bearer token", **settings: Any) -> SimpleNamespace:
        request, session = request_of(header), SessionState()
        metadata: dict[str, str] = {}
        self.plugin.CheckToken(request, session, metadata, {"config_data": json.dumps({**self.settings, **settings})})
        overrides = request.object.return_overrides
        return SimpleNamespace(
            status=overrides.response_code,
            error=overrides.response_error,
            headers=dict(overrides.headers),
            session=session,
            metadata=metadata,
        )


@pytest.fixture
def call(plugin: ModuleType, provider: Provider, log: list[str]) -> Caller:
    del log
    return Caller(plugin, provider.url)


def answers(provider: Provider, **members: Any) -> None:
    def answer(handler: BaseHTTPRequestHandler, form: dict[str, str]) -> None:
        del form
        reply(handler, json.dumps(members).encode())

    provider.answer = answer


def test_an_active_token_passes_with_its_session(call: Caller, provider: Provider) -> None:
    expires = int(time.time()) + 60
    answers(provider, active=True, exp=expires, sub="alice", client_id="app", scope="read write")
    got = call("bearer tok-1.~+/==", rate=5, per=2)
    assert got.status == 0
    assert got.metadata["sub"] == "alice"
    assert got.metadata["client_id"] == "app"
    assert got.metadata["scope"] == "read write"
    assert len(got.metadata["token"]) > 64
    assert (got.session.alias, got.session.oauth_client_id) == ("alice", "app")
    assert (got.session.rate, got.session.per) == (5, 2)
    assert got.session.expires == got.session.id_extractor_deadline == expires
    assert provider.forms == [{"token": "tok-1.~+/==", "token_type_hint": "access_token"}]
    user = base64.b64decode(provider.headers[0]["Authorization"].split()[1])
    assert user == b"api:s%2Fe%3Ac", "RFC 6749 wants both form-encoded"


def test_the_outcome_is_kept_until_exp(call: Caller, provider: Provider) -> None:
    answers(provider, active=True, exp=time.time() + 0.5)
    for _ in range(50):
        assert call().status == 0
    assert provider.calls == 1
    deadline = time.monotonic() + 5
    answers(provider, active=False)
    while call().status == 0:
        assert time.monotonic() < deadline
    assert provider.calls == 2


def test_max_age_bounds_how_long_an_outcome_is_kept(call: Caller, provider: Provider) -> None:
    now = time.time()
    for expires in (now + 600, None):
        answers(provider, active=True, exp=expires)
        got = call(f"Bearer {expires}", max_age=30)
        assert now + 29 <= got.session.id_extractor_deadline <= time.time() + 30
        call(f"Bearer {expires}", max_age=30)
    assert provider.calls == 2
    answers(provider, active=True, exp=now + 10)
    assert call("Bearer short", max_age=30).session.id_extractor_deadline == int(now + 10), "never beyond exp"


def test_without_exp_nothing_is_kept(call: Caller, provider: Provider) -> None:
    answers(provider, active=True)
    for _ in range(2):
        got = call()
        assert got.status == 0
        assert got.session.expires == 0
        assert got.session.id_extractor_deadline <= time.time()
    assert provider.calls == 2


def test_settings_of_one_provider_do_not_serve_another(call: Caller, provider: Provider) -> None:
    answers(provider, active=True, exp=time.time() + 60)
    assert call().metadata["token"] != call(client_id="other").metadata["token"]
    assert provider.calls == 2


def test_an_outcome_kept_for_long_does_not_serve_who_keeps_them_briefly(call: Caller, provider: Provider) -> None:
    answers(provider, active=True, exp=time.time() + 600)
    assert call().status == 0
    answers(provider, active=False)
    assert call(max_age=1).status == 401, "it is an API's own choice how long a revoked token works"


@pytest.mark.parametrize(
    "members",
    [{"active": False}, {}, {"active": "true"}, {"active": 1}, {"active": True, "exp": 1}],
    ids=["inactive", "no active", "active is text", "active is a number", "expired"],
)
def test_a_token_that_is_not_active_is_401(call: Caller, provider: Provider, members: dict[str, Any]) -> None:
    answers(provider, **members)
    for _ in range(2):
        got = call()
        assert (got.status, got.headers) == (401, {"WWW-Authenticate": CHALLENGE})
        assert not got.metadata
    assert provider.calls == 1, "it is remembered for a moment"


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "Bearer",
        "Basic YTpi",
        "token",
        "Bearer a b",
        "Bearer a\r\nX: y",
        "Bearer \u00e9",
        "Bearer \u212a",
        "BEARER token",
        "Bearer  token",
        "Bearer " + 20_000 * "a",
    ],
)
def test_what_is_no_bearer_token_is_401_and_nobody_is_asked(
    call: Caller, provider: Provider, header: str | None
) -> None:
    got = call(header)
    assert (got.status, got.headers) == (401, {"WWW-Authenticate": "Bearer"})
    assert provider.calls == 0


def test_a_missing_scope_is_403(call: Caller, provider: Provider) -> None:
    answers(provider, active=True, exp=time.time() + 60, scope="read")
    got = call(scope="read write")
    assert got.status == 403
    assert got.headers == {"WWW-Authenticate": 'Bearer error="insufficient_scope", scope="read write"'}
    assert not got.metadata
    assert call(scope="read").status == 0


def raw(data: bytes) -> Any:
    def answer(handler: BaseHTTPRequestHandler, form: dict[str, str]) -> None:
        del form
        handler.close_connection = True
        handler.wfile.write(data)

    return answer


@pytest.mark.parametrize(
    "answer",
    [
        lambda handler, _: reply(handler, b"<html>log in</html>", "text/html"),
        lambda handler, _: reply(handler, b"[]"),
        lambda handler, _: reply(handler, b'{"active": true, "exp": "soon"}'),
        lambda handler, _: reply(handler, b'{"active": true, "exp": 1792000000000}'),
        lambda handler, _: reply(handler, b'{"active": true, "exp": Infinity}'),
        lambda handler, _: reply(handler, b'{"active": true, "exp": true}'),
        lambda handler, _: reply(handler, b'{"active": true}', status=500),
        lambda handler, _: reply(handler, b"", status=302, headers={"Location": "http://127.0.0.1:1/"}),
        lambda handler, _: reply(handler, b'{"active": true}' + 100_000 * b" "),
        lambda handler, _: reply(handler, 60_000 * b"["),
        raw(b"SSH-2.0-OpenSSH\r\n"),
        raw(b"very-secret is no request\r\n"),
        raw(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"),
        raw(b""),
    ],
    ids=[
        "HTML",
        "a list",
        "exp is text",
        "exp in milliseconds",
        "exp is infinite",
        "exp is a boolean",
        "status 500",
        "a redirect",
        "too much",
        "too deep",
        "no HTTP",
        "no HTTP, with the token",
        "cut off",
        "closed",
    ],
)
def test_an_answer_without_sense_is_503(call: Caller, provider: Provider, answer: Any, log: list[str]) -> None:
    provider.answer = answer
    for _ in range(2):
        got = call("Bearer very-secret")
        assert (got.status, got.headers) == (503, {"Retry-After": "2"})
    assert provider.calls == 1, "the failure is remembered for a moment"
    assert len(log) == 1
    assert log[0].startswith("error: introspection at 127.0.0.1 failed: ")
    assert "very-secret" not in log[0]


@pytest.mark.parametrize("start", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n"], ids=["headers", "body"])
def test_a_provider_that_drips_is_left_in_time(call: Caller, provider: Provider, start: bytes) -> None:
    ended = threading.Event()

    def answer(handler: BaseHTTPRequestHandler, form: dict[str, str]) -> None:
        del form
        try:
            handler.wfile.write(start)
            while not ended.wait(0.05):
                handler.wfile.write(b"x")
        except OSError:
            handler.close_connection = True

    provider.answer = answer
    began = time.monotonic()
    got = call(timeout=0.3)
    assert got.status == 503
    assert time.monotonic() - began < 2
    assert call("Bearer another", timeout=0.3).status == 503
    assert provider.calls == 1, "for a moment no other token is tried"
    ended.set()


def test_a_dead_provider_does_not_disturb_known_tokens(call: Caller, provider: Provider) -> None:
    answers(provider, active=True, exp=time.time() + 60)
    assert call("Bearer known").status == 0
    provider.stop()
    assert call("Bearer new").status == 503
    assert call("Bearer known").status == 0


def test_many_first_calls_with_one_token_cost_one_introspection(call: Caller, provider: Provider) -> None:
    callers = 50
    together = threading.Barrier(callers)
    answers(provider, active=True, exp=time.time() + 60)

    def one(_: int) -> int:
        together.wait(10)
        return int(call().status)

    with ThreadPoolExecutor(callers) as pool:
        assert [*pool.map(one, range(callers))] == callers * [0]
    assert provider.calls == 1


def test_those_who_wait_for_one_that_fails_do_not_wait_for_ever(plugin: ModuleType) -> None:
    working, proceed = threading.Event(), threading.Event()

    def fail() -> Any:
        working.set()
        proceed.wait(10)
        raise KeyError("a fault of the plugin")

    with ThreadPoolExecutor(2) as pool:
        leader = pool.submit(plugin.share, "key", fail, 10)
        assert working.wait(10)
        assert plugin.share("key", fail, 0.01).status == 503, "too slow"
        follower = pool.submit(plugin.share, "key", fail, 10)
        assert plugin.share("other", lambda: plugin.Outcome(200), 10).status == 200
        proceed.set()
        with pytest.raises(KeyError):
            leader.result()
        assert follower.exception() is not None or follower.result().status == 503
    assert plugin.share("key", lambda: plugin.Outcome(200), 1).status == 200


def test_no_token_is_stored(call: Caller, provider: Provider) -> None:
    answers(provider, active=True, exp=time.time() + 60, sub="alice")
    assert call("Bearer very-secret").status == 0
    assert "very-secret" not in repr(vars(_host.BOUND.host))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"clientID": "x"}, "clientID"),
        ({"introspection_url": "ftp://127.0.0.1/"}, "introspection_url"),
        ({"introspection_url": "http:///path"}, "introspection_url"),
    ],
)
def test_wrong_settings_let_nobody_in(call: Caller, settings: dict[str, Any], message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        call(**settings)


def test_the_secret_is_a_must(plugin: ModuleType) -> None:
    with pytest.raises(TypeError, match="client_secret"):
        plugin.read_settings('{"introspection_url": "http://127.0.0.1/", "client_id": "api"}')
