from __future__ import annotations

import gc
import threading

import pytest
from google.protobuf.message import DecodeError

from coprocess_common_pb2 import CustomKeyCheck, Post, PostKeyAuth, Pre, Response
from coprocess_object_pb2 import Object
from tyk import _runtime
from tyk._errors import HookNotFoundError, HookResultError, NotLoadedError

ARGUMENTS = {
    3: "request, session, spec",
    4: "request, session, metadata, spec",
    5: "request, response, session, metadata, spec",
}


def one_hook(body, arity=4):
    lines = "\n".join("    " + line for line in body.strip().splitlines())
    return (
        "from coprocess_object_pb2 import *\n"
        "from coprocess_mini_request_object_pb2 import *\nfrom coprocess_response_object_pb2 import *\n"
        f"from tyk.session import *\n@Hook\ndef MyHook({ARGUMENTS[arity]}):\n{lines}\n"
    )


@pytest.mark.parametrize("hook_type", [Pre, Post, PostKeyAuth, CustomKeyCheck, Response])
@pytest.mark.parametrize("arity", [3, 4, 5])
def test_arity_decides_the_arguments_whatever_the_type(load, arity, hook_type):
    body = 'request.add_header("A", "1")\nsession.rate = 7.5\n'
    if arity > 3:
        body += 'metadata["m"] = "x"\n'
    if arity == 5:
        body += 'response.headers["R"] = "r"\nresponse.status_code = 201\n'
    body += {3: "return request, session", 4: "return request, session, metadata", 5: "return response"}[arity]
    result = load(one_hook(body, arity), ["MyHook"]).call(hook_type=hook_type)
    assert result.request.set_headers["A"] == "1"
    assert result.session.rate == 7.5
    if arity > 3:
        assert dict(result.metadata) == {"m": "x"}
        alone = hook_type in (Pre, CustomKeyCheck)
        assert dict(result.session.metadata) == ({} if alone else {"m": "x"})
    if arity == 5:
        assert (result.response.headers["R"], result.response.status_code) == ("r", 201)


@pytest.mark.parametrize(
    "returned",
    [
        "None",
        "()",
        "request",
        "session",
        "(request, session)",
        "[request, session]",
        "(request, session, metadata)",
        "(session, request)",
        "request.object",
        "(None, None)",
        "(request, session, spec)",
        "metadata",
        "spec",
    ],
)
def test_changes_in_place_count_whatever_is_returned(load, returned):
    body = f'request.add_header("A", "1")\nsession.alias = "me"\nmetadata["token"] = "t"\nreturn {returned}'
    result = load(one_hook(body)).call(hook_type=CustomKeyCheck, spec={"APIID": "1"})
    assert result.request.set_headers["A"] == "1"
    assert result.session.alias == "me"
    assert dict(result.metadata) == {"token": "t"}
    assert dict(result.spec) == {"APIID": "1"}


@pytest.mark.parametrize(
    ("body", "check"),
    [
        ('return MiniRequestObject(url="/new")', lambda r: (r.request.url, r.request.method) == ("/new", "")),
        ('request.object = MiniRequestObject(url="/new")', lambda r: r.request.url == "/new"),
        ('return type(request)(MiniRequestObject(url="/new"))', lambda r: r.request.url == "/new"),
        ('return SessionState(alias="new")', lambda r: (r.session.alias, r.session.rate) == ("new", 0)),
        ('return request, SessionState(alias="new")', lambda r: r.session.alias == "new"),
        ('return {"token": "t"}', lambda r: dict(r.metadata) == {"token": "t"}),
        ('metadata["a"] = "b"\nreturn request, session, {}', lambda r: dict(r.metadata) == {}),
        ('session.metadata["x"] = "y"\nreturn session.metadata', lambda r: dict(r.metadata) == {"x": "y"}),
    ],
)
def test_another_message_replaces_the_original(load, body, check):
    message = Object(hook_type=CustomKeyCheck, metadata={"old": "1"})
    message.request.url = "/old"
    message.request.method = "GET"
    message.session.rate = 3
    assert check(load(one_hook(body)).call(message=message))


@pytest.mark.parametrize(
    ("body", "response"),
    [
        ("return ResponseObject(status_code=418)", 418),
        ("response.status_code = 201\nreturn request, response, session, metadata, spec", 201),
        ("return request, ResponseObject(status_code=204), session, metadata, spec", 204),
        ("response.status_code = 202", 202),
    ],
)
def test_a_five_argument_hook_returns_a_response_or_a_tuple(load, body, response):
    message = Object(hook_type=Response)
    message.response.status_code = 200
    assert load(one_hook(body, 5)).call(message=message).response.status_code == response


@pytest.mark.parametrize(
    ("body", "metadata"),
    [
        ("metadata['new'] = '1'", {"old": "0", "new": "1"}),
        ("session.metadata['new'] = '1'", {"old": "0", "new": "1"}),
        ("del metadata['old']", {}),
        ("return request, session, {'only': '1'}", {"only": "1"}),
        ("metadata['new'] = '1'\nreturn request, SessionState(), metadata", {"old": "0", "new": "1"}),
        ("return request, SessionState(metadata={'its': 'own'})", {"its": "own"}),
        ("pass", {"old": "0"}),
    ],
)
def test_after_authentication_metadata_is_the_sessions(load, body, metadata):
    message = Object(hook_type=Post, metadata={"old": "0"})
    message.session.metadata["old"] = "0"
    result = load(one_hook(body)).call(message=message)
    assert dict(result.session.metadata) == metadata
    assert dict(result.metadata) == metadata


@pytest.mark.parametrize(
    ("returned", "shown"),
    [
        ("'text'", "a str, 'text'"),
        ("5", "a int, 5"),
        ("True", "a bool, True"),
        ("(request, 'x')", "a str, 'x'"),
        ("((request, session),)", "a tuple"),
        ("Object()", "a Object"),
        ("object", "a type"),
        ("(request,) * 6", "a tuple of 6 values"),
        ("(x for x in ())", "a generator"),
    ],
)
def test_anything_else_is_refused_with_hook_and_line(load, returned, shown):
    bundle = load(one_hook(f"return {returned}"))
    with pytest.raises(TypeError) as caught:
        bundle.call()
    assert isinstance(caught.value, HookResultError)
    text = str(caught.value)
    assert text.startswith(f'hook "MyHook" ({bundle.directory}/middleware.py:')
    assert f"returned {shown}" in text


@pytest.mark.parametrize("returned", ["{'a': 1}", "{1: 'a'}", "{'a': b'x'}", "{'a': None}"])
def test_metadata_that_is_not_text_is_refused(load, returned):
    with pytest.raises(HookResultError, match="keys and values are str"):
        load(one_hook(f"return request, session, {returned}")).call(hook_type=CustomKeyCheck)


def test_a_hook_that_leaves_everything_alone_changes_nothing(load):
    message = Object(hook_type=Pre, hook_name="MyHook", spec={"APIID": "1"})
    message.request.url = "/a"
    message.request.raw_body = b"\x00\xff"
    result = load(one_hook("request.get_header('x'), session.rate, metadata.get('x'), spec")).call(message=message)
    assert result == message
    assert not result.HasField("session")


def test_spec_is_a_plain_dict_and_a_copy(load):
    bundle = load(one_hook("assert type(spec) is dict, spec\nspec['APIID'] = 'changed'\nreturn request, session"))
    assert dict(bundle.call(spec={"APIID": "1"}).spec) == {"APIID": "1"}


def test_arguments_are_genuine_messages(load):
    body = """
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message
assert isinstance(request.object, Message) and isinstance(session, Message) and isinstance(response, Message)
assert MessageToDict(request.object)["headers"] == {"A": "1"}
assert [name for name in request.object.headers] == ["A"]
"""
    message = Object()
    message.request.headers["A"] = "1"
    load(one_hook(body, 5)).call(message=message)


@pytest.mark.parametrize(("decorator", "arity"), [("Pre", 3), ("Post", 3), ("PostKeyAuth", 3), ("CustomKeyCheck", 4)])
def test_legacy_decorators_work(load, decorator, arity):
    bundle = load(f"@{decorator}\ndef Old({ARGUMENTS[arity]}):\n    request.add_header('A', '1')\n", ["Old"])
    assert bundle.call("Old").request.set_headers["A"] == "1"


def test_hooks_of_a_class_instance_and_wrapped_functions_are_called(load):
    bundle = load(
        """
        import functools
        def logged(function):
            @functools.wraps(function)
            def wrapper(*args):
                return function(*args)
            return wrapper
        @logged
        @Hook
        def Outer(request, session, spec):
            request.add_header("A", "outer")
        @Hook
        @logged
        def Inner(request, session, metadata, spec):
            request.add_header("A", "inner")
        class Plugin:
            @Hook
            def method(self, request, session, spec):
                request.add_header("A", "method")
        Method = Plugin().method
        """,
        ["Outer", "Inner", "Method"],
    )
    for name in ("Outer", "Inner", "Method"):
        assert bundle.call(name).request.set_headers["A"] == name.lower()


@pytest.mark.parametrize("error", ["SystemExit", "KeyboardInterrupt", "RecursionError", "MemoryError", "ValueError"])
def test_whatever_a_hook_raises_comes_out(load, error):
    with pytest.raises(BaseException) as caught:  # noqa: PT011
        load(one_hook(f"raise {error}('x')")).call()
    assert type(caught.value).__name__ == error


def test_real_endless_recursion_comes_out(load):
    with pytest.raises(RecursionError):
        load("@Hook\ndef MyHook(request, session, spec):\n    return MyHook(request, session, spec)\n").call()


def test_unknown_handles_hooks_and_payloads_are_told_apart(load):
    bundle = load(one_hook("pass"))
    with pytest.raises(NotLoadedError, match="handle 999999"):
        _runtime.dispatch(999999, "MyHook", "", b"")
    with pytest.raises(HookNotFoundError, match='"MyHok" is not defined; did you mean "MyHook"'):
        _runtime.dispatch(bundle.handle, "MyHok", "", b"")
    with pytest.raises(DecodeError):
        _runtime.dispatch(bundle.handle, "MyHook", "", b"\xff\xff\xff")


def test_many_threads_at_once_keep_their_requests_apart(load, host):
    bundle = load(
        """
        import time
        from gateway import TykGateway as tyk
        @Hook
        def MyHook(request, session, metadata, spec):
            metadata["url"] = request.object.url
            time.sleep(0.005)
            tyk.log(request.object.url)
            return request, session, metadata
        """
    )
    failures = []

    def work(number):
        for turn in range(10):
            url = f"/{number}/{turn}"
            message = Object(hook_type=CustomKeyCheck)
            message.request.url = url
            result = bundle.call(message=message, request_id=url)
            if result.metadata["url"] != url:
                failures.append(url)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert len(host.lines) == 160
    assert all(line[1] == line[2] for line in host.lines)


@pytest.mark.parametrize("kind", ["def", "async def"])
def test_calls_leave_no_objects_behind(load, kind):
    bundle = load(
        f"""
        @Hook
        {kind} Good(request, session, metadata, spec):
            metadata["a"] = "b"
            return request, session, metadata
        @Hook
        {kind} Bad(request, session, metadata, spec):
            raise ValueError("x")
        @Hook
        {kind} Wrong(request, session, metadata, spec):
            return "x"
        """
    )

    def work(times):
        for _ in range(times):
            bundle.call("Good")
            for name in ("Bad", "Wrong"):
                with pytest.raises((ValueError, HookResultError)) as caught:
                    bundle.call(name)
                _runtime.describe(caught.value)
        gc.collect()
        return len(gc.get_objects())

    work(50)
    before = work(50)
    assert work(200) - before < 100


@pytest.mark.parametrize("kind", ["def", "async def"])
def test_context_variables_of_a_call_end_with_it(load, host, kind):
    bundle = load(
        f"""
        import contextvars, decimal
        from gateway import TykGateway as tyk
        name = contextvars.ContextVar("name", default="nobody")
        def use(who):
            tyk.log(f"{{name.get()}} {{decimal.getcontext().prec}}")
            name.set(who)
            decimal.getcontext().prec = 3
        use("loader")
        @Hook
        {kind} MyHook(request, session, spec):
            use("caller")
        @Event
        {kind} OnEvent(event, spec):
            use("event")
        """
    )
    for _ in range(2):
        bundle.call()
        bundle.event("OnEvent", "{}")
    assert {line[1] for line in host.lines} == {"nobody 28"}
    assert len(host.lines) == 5
