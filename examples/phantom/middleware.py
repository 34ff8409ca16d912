"""Phantom tokens: clients hold an opaque token, the upstream gets a JWT.

``PhantomToken`` is an ``auth_check``. It exchanges the opaque token at the
identity provider's introspection endpoint for a JWT, keeps that until it
expires, and sends it on in place of the opaque token. The upstream verifies it;
here it is only read, since it comes from the provider itself.

There is no ID extractor in the manifest: each request needs its JWT, so the hook
has to run for each.

Settings in the API definition's ``config_data``: ``introspection_url``,
``client_id``, ``client_secret``; ``accept``, the kind of JWT to ask for:
``application/jwt`` (the default) or ``application/token-introspection+jwt``
(RFC 9701); ``timeout``, seconds for one introspection (default 3).
"""

from __future__ import annotations

import base64
import hashlib
import http.client
import json
import math
import re
import threading
import time
from collections.abc import Mapping, MutableMapping
from typing import Any
from urllib.parse import quote_plus, urlencode, urlsplit

from gateway import TykGateway as tyk
from tyk.decorators import Hook
from tyk.request import TykCoProcessRequest
from tyk.session import SessionState

BEARER = re.compile(r"(?i:bearer) +([\w.~+/-]+=*)", re.ASCII)
JWT = re.compile(r"[\w-]+\.([\w-]+)\.[\w-]+", re.ASCII)
ACCEPT = "application/jwt"
LONGEST = 64 * 1024  # characters of a token or an answer
KEEP_INACTIVE, KEEP_FAILED = 5, 2  # seconds

# One introspection per token at a time: those that wait find its outcome in the
# store. Tokens share locks, which is simpler than a lock for each.
LOCKS = [threading.Lock() for _ in range(64)]


@Hook
def PhantomToken(
    request: TykCoProcessRequest, session: SessionState, metadata: MutableMapping[str, str], spec: Mapping[str, str]
) -> None:
    """Replace the caller's opaque token by the JWT that it stands for."""
    settings = json.loads(spec["config_data"])
    header = request.get_header("Authorization") or ""
    bearer = BEARER.fullmatch(header) if len(header) <= LONGEST else None
    if bearer is None:
        return refuse(request, 401, "A bearer token is needed", {"WWW-Authenticate": "Bearer"})
    token = bearer.group(1)
    # The JWT is made for who asks, and of the kind that is asked for.
    asked = [settings["introspection_url"], settings["client_id"], settings.get("accept", ACCEPT), token]
    key = "phantom:" + hashlib.sha256("\n".join(asked).encode()).hexdigest()

    outcome = recall(key)
    if outcome is None:
        lock, timeout = LOCKS[hash(key) % len(LOCKS)], settings.get("timeout", 3)
        if lock.acquire(timeout=2 * timeout):
            try:
                outcome = recall(key) or exchange(settings, token, key, timeout)
            finally:
                lock.release()
    if outcome is None or outcome["status"] == 503:
        return refuse(request, 503, "The token cannot be checked, please retry", {"Retry-After": str(KEEP_FAILED)})
    if outcome["status"] == 401:
        return refuse(request, 401, "The token is not valid", {"WWW-Authenticate": 'Bearer error="invalid_token"'})
    request.add_header("Authorization", "Bearer " + outcome["jwt"])
    metadata["token"] = key  # identifies the session; it is stored, so not the token itself
    session.expires = int(outcome["until"])
    return None


def refuse(request: TykCoProcessRequest, status: int, message: str, headers: Mapping[str, str]) -> None:
    """Answer instead of the upstream."""
    overrides = request.object.return_overrides
    overrides.response_code, overrides.response_error = status, message
    for name, value in headers.items():
        overrides.headers[name] = value


def recall(key: str) -> dict[str, Any] | None:
    """Return what the store knows, unless its time is over."""
    outcome = json.loads(tyk.get_data(key) or "null")
    return outcome if outcome and outcome["until"] > time.time() else None


def exchange(settings: dict[str, Any], token: str, key: str, timeout: float) -> dict[str, Any]:
    """Ask the provider and store the outcome."""
    try:
        jwt, expires = read(*ask(settings, token, timeout))
        outcome: dict[str, Any] = {"status": 200, "jwt": jwt, "until": expires}
        if expires <= time.time():
            outcome = {"status": 401, "until": time.time() + KEEP_INACTIVE}
    except (OSError, http.client.HTTPException, ValueError, RecursionError) as error:
        # Other errors repeat what came, perhaps the token.
        text = error if isinstance(error, (OSError, ValueError)) else "no sense"
        tyk.log(f"introspection failed: {type(error).__name__}: {text}", "error")
        outcome = {"status": 503, "until": time.time() + KEEP_FAILED}
    seconds = math.ceil(outcome["until"] - time.time())
    if seconds > 0:  # for store_data, 0 means for good
        tyk.store_data(key, json.dumps(outcome), seconds)
    return outcome


def ask(settings: dict[str, Any], token: str, timeout: float) -> tuple[int, str, bytes]:
    """Return the status, media type and body of the provider's answer."""
    url = urlsplit(settings["introspection_url"])
    if url.scheme not in ("http", "https") or not url.hostname:
        raise ValueError("introspection_url does not begin with http://host or https://host")
    user = ":".join(quote_plus(settings[name]) for name in ("client_id", "client_secret"))  # RFC 6749, 2.3.1
    headers = {
        "Accept": settings.get("accept", ACCEPT),
        "Authorization": "Basic " + base64.b64encode(user.encode()).decode(),
        "Content-Type": "application/x-www-form-urlencoded",
    }
    kind = http.client.HTTPSConnection if url.scheme == "https" else http.client.HTTPConnection
    connection = kind(url.hostname, url.port, timeout=timeout)
    try:
        path = url._replace(scheme="", netloc="").geturl()
        connection.request("POST", path or "/", urlencode({"token": token}), headers)
        response = connection.getresponse()
        return response.status, response.headers.get_content_type(), response.read(LONGEST + 1)
    finally:
        connection.close()


def read(status: int, media_type: str, body: bytes) -> tuple[str, float]:
    """Return the JWT and when it expires; 0 when the token is inactive.

    Raises:
        ValueError: the answer makes no sense.
    """
    if status == 204:
        return "", 0
    if status != 200 or len(body) > LONGEST:
        raise ValueError(f"status {status}, {len(body)} bytes")
    if media_type == "application/json" and json.loads(body) == {"active": False}:
        return "", 0
    jwt = JWT.fullmatch(body.decode("ascii", "replace"))
    if jwt is None or not media_type.endswith("jwt"):
        raise ValueError(f"{media_type} instead of a JWT")
    claims = json.loads(base64.urlsafe_b64decode(jwt.group(1) + "=="))
    nested = isinstance(claims, dict) and "token_introspection" in claims
    if nested:  # RFC 9701 puts the answer one level down
        claims = claims["token_introspection"]
    if not isinstance(claims, dict):
        raise ValueError("the claims are not a JSON object")
    if nested and claims.get("active") is not True:
        return "", 0
    expires: Any = claims.get("exp")
    if type(expires) not in (int, float) or not 0 <= expires < 2**40:
        raise ValueError("the JWT has no exp, a time in seconds")
    return jwt.group(0), expires
