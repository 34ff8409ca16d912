"""Hooks that do what the request's X-Script tells them: see probe_test.go."""

import base64
import json
import sys
import threading
import time

import coprocess_object_pb2 as pb
from gateway import TykGateway as tyk
from tyk.decorators import *

# Set when slow events shall be slow no more.
released = threading.Event()


def play(name, request, session, metadata, spec, response):
    text = request.headers.get("X-Script")
    part = json.loads(base64.b64decode(text)).get(name, {}) if text else {}
    target = request.set_headers if response is None else response.headers
    order = request.headers if response is None else response.headers
    target["X-Order"] = (order.get("X-Order", "") + " " + name).strip()
    if part.get("tell"):
        shown = pb.Object(hook_name=name, request=request, session=session, metadata=metadata, spec=spec)
        if response is not None:
            shown.response.CopyFrom(response)
        target["X-Shown-" + name] = base64.b64encode(shown.SerializeToString()).decode()
    change = pb.Object.FromString(base64.b64decode(part.get("change", "")))
    request.MergeFrom(change.request)
    session.MergeFrom(change.session)
    metadata.update(change.metadata)
    if response is not None:
        if change.response.multivalue_headers:
            del response.multivalue_headers[:]
        response.MergeFrom(change.response)
        for header in part.get("drop", ()):
            del response.headers[header]
    until = time.monotonic() + part.get("sleep", 0)
    while time.monotonic() < until:
        time.sleep(0.01)
    if part.get("release"):
        released.set()
    if "fire" in part:
        tyk.trigger_event(part["fire"], "the payload")
    fail = part.get("fail")
    if fail == "raises":
        raise RuntimeError("it broke here")
    if fail == "exits":
        sys.exit(1)
    return fail


def make(name, arity):
    if arity == 5:

        def hook(request, response, session, metadata, spec):
            play(name, request.object, session, metadata, spec, response)
            return response
    else:

        def hook(request, session, metadata, spec):
            if play(name, request.object, session, metadata, spec, None) == "nonsense":
                return 42
            return request, session, metadata

    hook.__name__ = name
    return Hook(hook)


for _name in ("Pre", "Pre2", "Off", "Auth", "PostKeyAuth", "PostKeyAuth2", "Post", "Post2"):
    globals()[_name] = make(_name, 4)
for _name in ("Response", "Response2"):
    globals()[_name] = make(_name, 5)


@Event
def OnEvent(event, spec):
    tyk.log("event " + json.dumps({"message": event.message, "handler_name": event.handler_name, "spec": event.spec}))


@Event
def OnSlowEvent(event, spec):
    released.wait(1)
