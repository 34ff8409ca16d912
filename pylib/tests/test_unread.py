"""Requests that are parsed when a hook looks at them, and only then."""

from __future__ import annotations

import copy
import os
import threading
from unittest import mock

import pytest

from coprocess_mini_request_object_pb2 import MiniRequestObject
from coprocess_object_pb2 import Object
from tyk import _runtime
from tyk._message import LARGE, NO_BODIES, READING, REQUEST, Unread, serialise
from tyk.request import TykCoProcessRequest

TICKET = 7


class Tickets:
    """The bridge's side of one call."""

    def __init__(self):
        self.left_out = 0
        self.outcome = threading.Event()

    def leave_out(self, ticket, parts):
        assert ticket == TICKET
        self.left_out = parts

    def keep(self, ticket):
        assert ticket == TICKET

    def settle(self, ticket, payload):
        assert ticket == TICKET
        self.reply = payload
        self.outcome.set()


@pytest.fixture
def tickets(monkeypatch):
    tickets = Tickets()
    monkeypatch.setattr(_runtime._runtime, "_tickets", tickets)
    return tickets


def message(body=b"body"):
    """Return what the bridge hands over: an Object, and its request."""
    whole = Object(hook_type="Pre", hook_name="MyHook")
    whole.request.url = "/path"
    whole.request.headers["Accept"] = "a"
    whole.request.raw_body, whole.request.body = body, body.decode()
    return with_request_first(whole)


def with_request_first(whole):
    request = Object(request=whole.request).SerializeToString()
    whole.ClearField("request")
    return request + whole.SerializeToString(), len(request)


def unread_request():
    unread = Unread(*message())
    return TykCoProcessRequest(unread.message.request, unread)


def run(bundle, tickets, body=b"body"):
    payload, apart = message(body)
    reply = _runtime.dispatch(bundle.handle, "MyHook", "r", payload, TICKET, apart=apart)
    if reply is None:
        assert tickets.outcome.wait(20)
        reply = tickets.reply
    return Object.FromString(reply)


CHANGES = """
    request.add_header("A", "1")
    request.delete_header("B")
    request.add_param("c", "2")
    request.delete_param("d")
"""


@pytest.mark.parametrize("kind", ["def", "async def"])
@pytest.mark.parametrize("body", [b"body", b"b" * LARGE])
def test_of_a_request_that_nobody_looks_at_only_changes_come_back(load, tickets, kind, body):
    bundle = load(f"@Hook\n{kind} MyHook(request, session, spec):{CHANGES}    return request, session\n")
    got = run(bundle, tickets, body)
    assert tickets.left_out == REQUEST
    assert got.hook_name == "MyHook"
    assert dict(got.request.set_headers) == {"A": "1"}
    assert list(got.request.delete_headers) == ["B"]
    assert dict(got.request.add_params) == {"c": "2"}
    assert list(got.request.delete_params) == ["d"]
    for change in ("set_headers", "delete_headers", "add_params", "delete_params"):
        got.request.ClearField(change)
    assert got.request.ByteSize() == 0


@pytest.mark.parametrize(
    "look",
    [
        "assert request.object.url == '/path'",
        "assert request.get_header('accept') == 'a'",
        "assert repr(request) == '<TykCoProcessRequest  /path>'",
        "assert hasattr(request, 'object') and getattr(request, 'object').headers['Accept'] == 'a'",
        "import copy; copy.copy(request).object.url",
    ],
)
def test_who_looks_sees_all_of_it_and_the_changes_before(load, tickets, look):
    bundle = load(f"@Hook\ndef MyHook(request, session, spec):{CHANGES}    {look}\n")
    got = run(bundle, tickets)
    assert tickets.left_out == 0
    assert (got.request.url, got.request.headers["Accept"], got.request.raw_body) == ("/path", "a", b"body")
    assert (got.request.set_headers["A"], list(got.request.delete_headers)) == ("1", ["B"])
    assert (got.request.add_params["c"], list(got.request.delete_params)) == ("2", ["d"])


def test_after_a_look_requests_are_parsed_at_once_for_a_while(load, tickets):
    bundle = load(
        """
        CALLS = []
        @Hook
        def MyHook(request, session, spec):
            CALLS.append(1)
            if len(CALLS) == 1:
                request.get_header("Accept")
        """
    )
    seen = []
    for _ in range(103):
        tickets.left_out = 0
        got = run(bundle, tickets)
        seen.append(tickets.left_out)
        assert got.request.url == ("" if tickets.left_out else "/path")
    assert seen == [0] * 101 + [REQUEST] * 2


def test_without_a_ticket_the_outcome_is_whole(load):
    bundle = load("@Hook\ndef MyHook(request, session, spec): request.add_header('A', '1')\n")
    payload, apart = message()
    got = Object.FromString(_runtime.dispatch(bundle.handle, "MyHook", "r", payload, apart=apart))
    assert (got.request.url, got.request.set_headers["A"]) == ("/path", "1")


@pytest.mark.parametrize(
    "replace",
    [
        "request.object = MiniRequestObject(url='/new')",
        "return TykCoProcessRequest(MiniRequestObject(url='/new')), session",
        "return MiniRequestObject(url='/new'), session",
    ],
)
def test_a_request_that_replaces_an_unread_one_is_what_counts(load, tickets, replace):
    bundle = load(
        f"""
        from coprocess_mini_request_object_pb2 import MiniRequestObject
        from tyk.request import TykCoProcessRequest
        @Hook
        def MyHook(request, session, spec):
            request.add_header("A", "1")
            {replace}
        """
    )
    got = run(bundle, tickets)
    assert tickets.left_out == 0
    assert got.request.url == "/new"
    assert got.request.headers == {}
    assert got.request.set_headers == {}


@pytest.mark.parametrize("look", ["pass", "request.object"])
@pytest.mark.parametrize("body", [b"body", b"b" * LARGE])
def test_a_plugin_can_keep_a_request_and_look_at_it_later(load, tickets, look, body):
    bundle = load(
        f"""
        KEPT = []
        @Hook
        def MyHook(request, session, spec):
            request.add_header("A", "1")
            {look}
            KEPT.append(request)
        @Hook
        def Show(request, session, spec):
            request.object.CopyFrom(KEPT[0].object)
        """
    )
    run(bundle, tickets, body)
    request = bundle.call("Show").request
    assert (request.url, request.raw_body, request.body) == ("/path", body, body.decode())
    assert request.set_headers == {"A": "1"}


def test_a_response_that_changed_before_the_request_was_read_comes_back(load, tickets):
    bundle = load(
        """
        @Hook
        def MyHook(request, response, session, metadata, spec):
            response.raw_body = b"new"
            return response if request.object.url else None
        """
    )
    whole = Object(hook_type="Response")
    whole.request.url = "/path"
    whole.request.body, whole.request.raw_body = "b" * LARGE, b"b" * LARGE
    whole.response.raw_body = b"old"
    payload, apart = with_request_first(whole)
    reply = _runtime.dispatch(bundle.handle, "MyHook", "r", payload, TICKET, apart=apart)
    assert tickets.left_out == 0b11, "the bodies of the request"
    assert Object.FromString(reply).response.raw_body == b"new"


def test_copies_of_a_request_are_what_copies_of_its_message_are():
    given = unread_request()
    shallow, deep = copy.copy(given), copy.deepcopy(given)
    given.object.url = "/changed"
    assert shallow.object.url == "/changed"
    assert deep.object.url == "/path"
    deep.add_header("A", "1")
    assert given.object.set_headers == {}


def test_the_message_is_an_attribute_like_any_other():
    given = unread_request()
    assert not vars(given).get("object")
    with mock.patch.object(given, "object", MiniRequestObject(url="/mocked")):
        assert given.object.url == "/mocked"
    assert given.object.url == "/path"
    assert vars(given)["object"] is given.object
    with pytest.raises(AttributeError, match="'TykCoProcessRequest' object has no attribute 'other'"):
        _ = unread_request().other
    fresh = unread_request()
    assert set(fresh.__getstate__()) == {"object"}, "what a pickle has"
    assert fresh.__getstate__()["object"].url == "/path"


def test_a_thread_that_looks_while_the_outcome_is_made_changes_all_or_nothing(tickets):
    unread = Unread(*message())
    request = TykCoProcessRequest(unread.message.request, unread)

    class Late(Tickets):
        def leave_out(self, ticket, parts):
            super().leave_out(ticket, parts)
            if parts == REQUEST:
                request.object.return_overrides.response_code = 403
                request.add_header("A", "1")

    tickets = Late()
    got = Object.FromString(serialise(unread.message, unread, NO_BODIES, tickets, TICKET))
    assert tickets.left_out == 0
    assert (got.request.url, got.request.return_overrides.response_code) == ("/path", 403)
    assert got.request.set_headers == {"A": "1"}


def test_what_was_parsed_is_not_kept_twice():
    unread = Unread(*message(b"b" * LARGE))
    unread.read()
    assert unread._payload == b""


def test_threads_that_look_at_the_same_moment_all_see_the_request():
    for _ in range(50):
        given = unread_request()
        start, seen = threading.Barrier(4), []

        def look(given=given, start=start, seen=seen):
            start.wait()
            seen.append(given.object.url)
            given.object.url = "/path"

        threads = [threading.Thread(target=look) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert seen == ["/path"] * 4


def test_a_child_is_not_held_up_by_a_thread_of_its_parent(load):
    bundle = load("@Hook\ndef MyHook(request, session, spec): request.object.url\n")
    payload, apart = message()
    held, end = threading.Event(), threading.Event()

    def hold():
        with READING.lock:
            held.set()
            end.wait(20)

    thread = threading.Thread(target=hold)
    thread.start()
    assert held.wait(20)
    child = os.fork()
    if child == 0:
        try:
            _runtime._runtime._after_fork()
            _runtime.dispatch(bundle.handle, "MyHook", "r", payload, apart=apart)
            os._exit(0)
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    end.set()
    thread.join()
