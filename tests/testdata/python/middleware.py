"""Hooks for the rows of contract section 4: see contract_4_python_test.go."""

import asyncio
import json
import threading
import time

from tyk.decorators import *
from gateway import TykGateway as tyk
from tyk.gateway import TykGateway as the_same

assert tyk is the_same


# The number of arguments decides what a hook gets.
@Hook
def Three(request, session, spec):
    tyk.log("Three got " + names(request, session, spec))
    request.add_header("X-Three", "yes")
    return request, session


@Hook
def Four(request, session, metadata, spec):
    metadata["seen"] = "yes"
    tyk.log("Four got " + names(request, session, metadata, spec))
    request.add_header("X-Four", "yes")
    return request, session, metadata


@Hook
def Five(request, response, session, metadata, spec):
    metadata["seen"] = "yes"
    tyk.log("Five got " + names(request, response, session, metadata, spec))
    request.add_header("X-Five", "yes")
    response.headers["X-Five"] = "yes"
    return response


def names(*arguments):
    # The classes of maps differ between versions of protobuf.
    return " ".join("map" if hasattr(one, "keys") else type(one).__name__ for one in arguments)


# What a hook returns.
@Hook
def ReturnsOnlyTheRequest(request, session, metadata, spec):
    metadata["token"] = "in place"
    session.alias = "in place"
    request.add_header("X-In-Place", "yes")
    return request


@Hook
def ReturnsAnother(request, session, spec):
    from coprocess_mini_request_object_pb2 import MiniRequestObject

    request.add_header("X-Old", "yes")
    another = MiniRequestObject()
    another.set_headers["X-New"] = "yes"
    another.url = request.object.url
    another.method = request.object.method
    another.raw_body = request.object.raw_body
    return another, session


@Hook
def ReturnsNothing(request, session, spec):
    request.add_header("X-In-Place", "yes")


@Hook
def ReturnsFiveValues(request, response, session, metadata, spec):
    response.status_code = 202
    return request, response, session, metadata, spec


# Coroutines: the first ones wait for the last one.
waiting = []


@Hook
async def Together(request, session, spec):
    loop = asyncio.get_running_loop()
    mine = loop.create_future()
    waiting.append(mine)
    if len(waiting) == 10:
        for one in waiting:
            one.set_result(None)
        waiting.clear()
    await mine
    request.add_header("X-Loop", str(id(loop)))
    return request, session


# The legacy decorators.
@Pre
def LegacyPre(request, session, spec):
    request.add_header("X-Pre", "yes")
    return request, session


@CustomKeyCheck
def LegacyCheck(request, session, metadata, spec):
    metadata["token"] = request.get_header("Authorization") or ""
    return request, session, metadata


@PostKeyAuth
def LegacyPostKeyAuth(request, session, spec):
    request.add_header("X-Post-Key-Auth", session.metadata["token"])
    return request, session


@Post
def LegacyPost(request, session, spec):
    request.add_header("X-Post", "yes")
    return request, session


# Events.
@Hook
def Fires(request, session, spec):
    tyk.trigger_event("Custom", "the payload")
    return request, session


@Event
def OnCustom(event, spec):
    assert event.message["TimeStamp"]
    tyk.log(json.dumps(["noted", event.message["Event"], event.message["MetaData"], event.handler_name, event.spec, spec]))


# The request.
@Hook
def UsesTheRequest(request, session, spec):
    assert request.get_header("X-Absent") is None
    assert request.get_header("X-Given") == request.get_header("x-gIVEN") == "1"
    request.object.headers["x-given"] = "exact"
    assert request.get_header("x-given") == "exact"
    request.add_header("X-Added", "yes")
    request.delete_header("X-Gone")
    request.add_param("added", "yes")
    request.delete_param("gone")
    return request, session


@Hook
def UsesProtobuf(request, session, spec):
    from google.protobuf.json_format import MessageToDict
    from google.protobuf.message import Message

    import coprocess_object_pb2
    import coprocess_session_state_pb2
    from tyk.session import AccessDefinition, AccessSpec

    assert isinstance(request.object, Message)
    assert isinstance(session, coprocess_session_state_pb2.SessionState)
    shown = MessageToDict(request.object)
    assert shown["method"] == "GET"
    assert shown["headers"]["X-Given"] == "1"
    assert any(name == "X-Given" for name in request.object.headers)
    whole = coprocess_object_pb2.Object(request=request.object, session=session)
    assert coprocess_object_pb2.Object.FromString(whole.SerializeToString()).request == request.object
    spec_of_url = AccessSpec(url="/x", methods=["GET"])
    session.access_rights["an-api"].CopyFrom(AccessDefinition(api_id="an-api", allowed_urls=[spec_of_url]))
    request.add_header("X-Protobuf", session.access_rights["an-api"].allowed_urls[0].url)
    return request, session


@Hook
def Logs(request, session, spec):
    for level in ("debug", "info", "warning", "error", "loud"):
        tyk.log("logged as " + level, level)
    print("printed")
    try:
        raise ValueError("the reason")
    except ValueError:
        tyk.log_error("it", "failed:")
    return request, session


# A thread that goes on between requests.
ticks = 0


def tick():
    global ticks
    while True:
        ticks += 1
        time.sleep(0.005)


threading.Thread(target=tick, daemon=True).start()


@Hook
def Ticks(request, session, spec):
    request.add_header("X-Ticks", str(ticks))
    return request, session
