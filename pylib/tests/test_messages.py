from __future__ import annotations

import pytest
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import DecodeError

from coprocess_mini_request_object_pb2 import MiniRequestObject
from coprocess_object_pb2 import Object
from tyk import session
from tyk.event import Event, TykEvent
from tyk.object import TykCoProcessObject
from tyk.request import TykCoProcessRequest


@pytest.fixture
def request_():
    return TykCoProcessRequest(MiniRequestObject(headers={"Accept": "a", "accept": "b", "X-Id": "1"}))


@pytest.mark.parametrize(
    ("name", "value"),
    [("Accept", "a"), ("accept", "b"), ("X-Id", "1"), ("x-id", "1"), ("X-ID", "1"), ("X-Other", None), ("", None)],
)
def test_headers_are_found_exactly_first_then_in_any_case(request_, name, value):
    assert request_.get_header(name) == value


def test_looking_for_a_header_does_not_add_it(request_):
    request_.get_header("X-Other")
    assert sorted(request_.object.headers) == ["Accept", "X-Id", "accept"]


def test_changes_go_to_the_message(request_):
    request_.add_header("A", "1")
    request_.delete_header("B")
    request_.add_param("c", "2")
    request_.delete_param("d")
    assert MessageToDict(request_.object, preserving_proto_field_name=True) == {
        "headers": {"Accept": "a", "accept": "b", "X-Id": "1"},
        "set_headers": {"A": "1"},
        "delete_headers": ["B"],
        "add_params": {"c": "2"},
        "delete_params": ["d"],
    }


def test_session_module_has_the_messages():
    state = session.SessionState(
        rate=1.0,
        basic_auth_data=session.BasicAuthData(password="p"),
        jwt_data=session.JWTData(secret="s"),
        monitor=session.Monitor(trigger_limits=[80.0]),
    )
    spec = session.AccessSpec(url="/", methods=["GET"])
    state.access_rights["1"].CopyFrom(session.AccessDefinition(api_id="1", allowed_urls=[spec]))
    assert session.TykSession is session.SessionState
    assert session.SessionState.FromString(state.SerializeToString()) == state


def test_event_has_the_members_of_its_json():
    event = Event(b'{"message": {"Event": "E"}, "handler_name": "H", "spec": {"APIID": "1"}, "more": 2}')
    assert (event.message, event.handler_name, event.spec, event.more) == ({"Event": "E"}, "H", {"APIID": "1"}, 2)
    assert TykEvent is Event


@pytest.mark.parametrize("text", ["[]", "3", "{", ""])
def test_an_event_that_is_no_object_is_refused(text):
    with pytest.raises(ValueError, match=r"object|Expecting"):
        Event(text)


@pytest.mark.parametrize(
    ("number", "name"),
    [(0, ""), (1, "pre"), (2, "post"), (3, "postkeyauth"), (4, "customkeycheck"), (5, "response"), (77, "")],
)
def test_the_object_wrapper_names_its_hook_type(number, name):
    assert TykCoProcessObject(Object(hook_type=number)).hook_type == name


def test_the_object_wrapper_dumps_what_was_changed():
    wrapped = TykCoProcessObject(Object(hook_name="H", spec={"APIID": "1"}).SerializeToString())
    wrapped.request.add_header("A", "1")
    wrapped.session.rate = 5
    wrapped.metadata["token"] = "t"
    data, length = wrapped.dump()
    back = Object.FromString(data)
    assert length == len(data)
    assert (back.request.set_headers["A"], back.session.rate, back.metadata["token"]) == ("1", 5, "t")
    assert (wrapped.hook_name, dict(wrapped.spec), wrapped.response.status_code) == ("H", {"APIID": "1"}, 0)


def test_bytes_that_are_no_message_are_refused():
    with pytest.raises(DecodeError):
        TykCoProcessObject(b"\xff\xff")
