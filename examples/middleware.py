"""The reference plugin: bearer tokens of an external identity provider.

``CheckToken`` is an ``auth_check``. It asks the provider about a token (RFC 7662,
"OAuth 2.0 Token Introspection") and keeps the outcome until the token expires,
in the gateway's store and, by the ID extractor of the manifest, in front of
Python. It is one file, made to be copied and changed.

The settings are the API definition's ``config_data``; an unknown name is an
error, since a misspelt ``scope`` would let everybody in:

``introspection_url``, ``client_id``, ``client_secret``
    Where to ask, and as whom (HTTP Basic).
``timeout``
    Seconds to wait for a connection, and again for the answer. Default 3. Keep
    it well below the gateway's ``hook_timeout``.
``max_age``
    Seconds an outcome is kept at most: how long a revoked token still works.
    Default 0: until the token expires.
``scope``
    Scopes that a token needs, separated by spaces. Default: none.
``rate``, ``per``
    Each token may make ``rate`` requests in ``per`` seconds. Default: no limit.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import http.client
import json
import math
import re
import socket
import threading
import time
from collections.abc import Iterator, Mapping, MutableMapping
from concurrent import futures
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any, Callable
from urllib.parse import quote_plus, urlencode, urlsplit

from gateway import TykGateway as tyk
from tyk.decorators import Hook
from tyk.request import TykCoProcessRequest
from tyk.session import SessionState

# RFC 6750, 2.1. To the ID extractor each spelling is another caller, with limits of
# its own: so only the two that clients use, and one space.
BEARER = re.compile(r"[Bb]earer ([A-Za-z0-9._~+/-]+=*)")
PREFIX = "introspection-1:"  # of keys in the store; change it with the members of Outcome
LONGEST_TOKEN = 16 * 1024
LONGEST_ANSWER = 64 * 1024  # bytes
KEEP_REFUSED = 5  # seconds that an inactive token is remembered
KEEP_FAILED = 2  # seconds without a new attempt after the provider failed


@dataclass(frozen=True)
class Settings:
    """The plugin's settings, as the module's documentation has them."""

    introspection_url: str
    client_id: str
    client_secret: str
    timeout: float = 3.0
    max_age: float = 0.0
    scope: str = ""
    rate: float = 0.0
    per: float = 1.0

    def __post_init__(self) -> None:
        if not re.match("https?://[^/?#]", self.introspection_url):
            raise ValueError("introspection_url does not begin with http://host or https://host")

    def key(self, token: str = "") -> str:
        """Return a name for a token of this provider that does not tell it."""
        text = "\n".join((self.introspection_url, self.client_id, str(self.max_age), token))
        return PREFIX + hashlib.sha256(text.encode()).hexdigest()


@lru_cache(maxsize=64)
def read_settings(config_data: str) -> Settings:
    """Parse ``config_data``.

    Raises:
        TypeError, ValueError: a setting is missing, unknown or wrong. The
            gateway logs it and answers 403.
    """
    return Settings(**json.loads(config_data))


@dataclass(frozen=True)
class Outcome:
    """What is known about a token, until ``until`` (Unix seconds)."""

    status: int  # 200: it is good; 401: it is not; 503: nobody knows
    until: float = 0.0
    expires: float = 0.0  # 0: the provider did not say
    subject: str = ""
    client_id: str = ""
    scope: str = ""


FLYING: dict[str, futures.Future[Outcome]] = {}


def share(key: str, work: Callable[[], Outcome], patience: float) -> Outcome:
    """Return what ``work`` returns: one caller per key works, the others wait for it."""
    own: futures.Future[Outcome] = futures.Future()
    flight = FLYING.setdefault(key, own)
    if flight is not own:
        try:
            return flight.result(patience)
        except (futures.TimeoutError, futures.CancelledError):
            return Outcome(503)
    try:
        own.set_result(work())
        return own.result()
    finally:
        del FLYING[key]
        own.cancel()  # wakes the others when work raised


@Hook
def CheckToken(
    request: TykCoProcessRequest, session: SessionState, metadata: MutableMapping[str, str], spec: Mapping[str, str]
) -> tuple[TykCoProcessRequest, SessionState, MutableMapping[str, str]]:
    """Let requests pass whose bearer token the provider calls active."""
    settings = read_settings(spec["config_data"])
    header = request.get_header("Authorization") or ""
    bearer = BEARER.fullmatch(header) if len(header) <= LONGEST_TOKEN else None
    if bearer is None:
        refuse(request, 401, "A bearer token is needed", {"WWW-Authenticate": "Bearer"})
        return request, session, metadata

    token = bearer.group(1)
    key = settings.key(token)
    outcome = share(key, lambda: look_up(settings, token, key), 3 * settings.timeout)
    wanted = set(settings.scope.split())
    if outcome.status == 503:
        refuse(request, 503, "The token cannot be checked, please retry", {"Retry-After": str(KEEP_FAILED)})
    elif outcome.status != 200:
        refuse(request, 401, "The token is not valid", {"WWW-Authenticate": 'Bearer error="invalid_token"'})
    elif not wanted <= set(outcome.scope.split()):
        challenge = f'Bearer error="insufficient_scope", scope="{settings.scope}"'
        refuse(request, 403, "The token lacks a scope", {"WWW-Authenticate": challenge})
    else:
        metadata["token"] = key  # identifies the session; it is stored, so not the token itself
        metadata["sub"], metadata["client_id"] = outcome.subject, outcome.client_id
        metadata["scope"] = outcome.scope
        session.alias, session.oauth_client_id = outcome.subject, outcome.client_id
        session.rate, session.per = settings.rate, settings.per
        session.expires = int(outcome.expires)
        session.id_extractor_deadline = int(outcome.until)  # no Python for this token until then
    return request, session, metadata


def refuse(request: TykCoProcessRequest, status: int, message: str, headers: Mapping[str, str]) -> None:
    """Answer instead of the upstream."""
    overrides = request.object.return_overrides
    overrides.response_code, overrides.response_error = status, message
    for name, value in headers.items():
        overrides.headers[name] = value


def look_up(settings: Settings, token: str, key: str) -> Outcome:
    """Return what the store knows about the token, else ask the provider."""
    # What is known of the token goes first: a provider that is away does not
    # disturb those who were let in before.
    for name in (key, settings.key()):
        stored = tyk.get_data(name)
        outcome = Outcome(**json.loads(stored)) if stored else None
        if outcome is not None and outcome.until > time.time():
            return outcome
    name = key
    try:
        outcome = judge(settings, ask(settings, token))
    except (OSError, http.client.HTTPException, ValueError) as error:
        host = urlsplit(settings.introspection_url).hostname
        # Other errors repeat what came, perhaps the token.
        text = error if isinstance(error, (OSError, ValueError)) else "no HTTP"
        tyk.log(f"introspection at {host} failed: {type(error).__name__}: {text}", "error")
        outcome = Outcome(503, until=time.time() + KEEP_FAILED)
        if isinstance(error, OSError):  # it is away, for other tokens too
            name = settings.key()
    seconds = math.ceil(outcome.until - time.time())
    if seconds > 0:  # for store_data, 0 means for good
        tyk.store_data(name, json.dumps(asdict(outcome)), seconds)
    return outcome


def judge(settings: Settings, answer: dict[str, Any]) -> Outcome:
    """Turn the provider's answer into an outcome.

    Raises:
        ValueError: ``exp`` is not a time.
    """
    now = time.time()
    if answer.get("active") is not True:  # "true" or 1 is something else
        return Outcome(401, until=now + KEEP_REFUSED)
    expires = answer.get("exp")
    limits = [now + settings.max_age] if settings.max_age > 0 else []
    if expires is not None:
        if type(expires) not in (int, float) or not 0 <= expires < 2**40:
            raise ValueError("exp is not a time in seconds")
        if expires <= now:
            return Outcome(401, until=now + KEEP_REFUSED)
        limits.append(expires)
    return Outcome(
        200,
        until=min(limits, default=now),  # without exp and max_age it is not kept
        expires=expires or 0.0,
        subject=str(answer.get("sub") or answer.get("client_id") or ""),
        client_id=str(answer.get("client_id") or ""),
        scope=str(answer.get("scope") or ""),
    )


def ask(settings: Settings, token: str) -> dict[str, Any]:
    """Ask the provider about ``token`` (RFC 7662, 2).

    Raises:
        OSError: it does not answer, or not in time.
        http.client.HTTPException: it does not speak HTTP.
        ValueError: its answer makes no sense. The message tells nothing of it.
    """
    url = urlsplit(settings.introspection_url)
    kind = http.client.HTTPSConnection if url.scheme == "https" else http.client.HTTPConnection
    connection = kind(url.hostname or "", url.port, timeout=settings.timeout)
    user = ":".join((quote_plus(settings.client_id), quote_plus(settings.client_secret)))  # RFC 6749, 2.3.1
    headers = {
        "Accept": "application/json",
        "Authorization": "Basic " + base64.b64encode(user.encode()).decode(),
        "Content-Type": "application/x-www-form-urlencoded",
    }
    form = urlencode({"token": token, "token_type_hint": "access_token"})
    try:
        connection.connect()
        with limited(connection.sock, settings.timeout):
            connection.request("POST", url._replace(scheme="", netloc="").geturl() or "/", form, headers)
            response = connection.getresponse()
            body = response.read(LONGEST_ANSWER + 1)
    finally:
        connection.close()
    if response.status != 200:  # redirects are not followed: they would get the secret
        raise ValueError(f"status {response.status}")
    if len(body) > LONGEST_ANSWER:
        raise ValueError(f"more than {LONGEST_ANSWER} bytes")
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError):
        raise ValueError("the answer is not JSON") from None
    if not isinstance(answer, dict):
        raise ValueError("the answer is not a JSON object")
    return answer


@contextlib.contextmanager
def limited(connection: socket.socket, seconds: float) -> Iterator[None]:
    """Bound the work in the block as a whole: a time-out bounds each read only.

    Raises:
        TimeoutError: the time is over.
    """

    def hang_up() -> None:
        with contextlib.suppress(OSError):  # it has ended
            socket.socket.shutdown(connection, socket.SHUT_RDWR)  # not TLS's, that would disturb the reader

    end = time.monotonic() + seconds
    guard = threading.Timer(seconds, hang_up)
    guard.daemon = True
    guard.start()
    try:
        yield
    except (OSError, http.client.HTTPException):
        if time.monotonic() < end:
            raise
    finally:
        guard.cancel()
    if time.monotonic() >= end:
        raise TimeoutError(f"no answer within {seconds} s")
