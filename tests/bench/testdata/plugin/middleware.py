"""Hooks that are measured, and loops of the same work without krait."""

import asyncio
import json
import statistics
import time
from unittest import mock

from coprocess_object_pb2 import Object
from gateway import TykGateway as tyk
from tyk import _runtime
from tyk.decorators import Hook
from tyk.request import TykCoProcessRequest


@Hook
def Nothing(request, session, spec):
    return request, session


@Hook
def AddHeader(request, session, spec):
    request.add_header("X-Plugin", "krait")
    return request, session


@Hook
def ReadHeader(request, session, spec):
    request.add_header("X-Plugin", request.get_header("Host") or "none")
    return request, session


@Hook
def Raise(request, session, spec):
    raise ValueError("this hook fails")


@Hook
def Sleep(request, session, spec):
    time.sleep(0.005)
    return request, session


@Hook
async def AsyncSleep(request, session, spec):
    await asyncio.sleep(0.005)
    return request, session


@Hook
async def Await50(request, session, spec):
    await asyncio.sleep(0.05)
    return request, session


@Hook
def StoreAndGet(request, session, spec):
    tyk.store_data("bench", "value", 60)
    request.add_header("X-Plugin", tyk.get_data("bench").decode())
    return request, session


@Hook
def Authenticate(request, session, metadata, spec):
    token = request.get_header("Authorization")
    if token:
        session.rate, session.per = 0.0, 0.0
        metadata["token"] = token
    return request, session, metadata


@Hook
def Identify(request, session, metadata, spec):
    token = request.get_header("Authorization")
    if token:
        session.id_extractor_deadline = int(time.time()) + 3600
        metadata["token"] = token
    return request, session, metadata


class Unnoted:
    """Stands in for the bridge, which notes what a reply leaves out."""

    def leave_out(self, ticket, parts):
        pass


@Hook
def Floor(request, session, spec):
    """Answer with how long a call takes in plain Python, in seconds.

    What is called is ReadHeader, on the message in the body. The ways take turns. The last one
    is AddHeader, which does not look at it.
    """
    payload, calls = request.object.raw_body, int(request.object.params["calls"])
    handle = max(_runtime._runtime._bundles)
    # As the bridge does it: the API's description came before, under a number,
    # and the request is at the front.
    message = Object.FromString(payload)
    described = Object(spec=message.spec).SerializeToString()
    front = Object(request=message.request).SerializeToString()
    message.ClearField("spec")
    message.ClearField("request")
    slim, apart = front + message.SerializeToString(), len(front)
    number = 1 << 40
    _runtime.dispatch(handle, "ReadHeader", "", slim, 0, number, described, apart)

    def plain():
        message = Object.FromString(payload)
        wire = message.spec
        ReadHeader(TykCoProcessRequest(message.request), message.session, {key: wire[key] for key in wire})
        return message.SerializeToString()

    def least():
        message = Object.FromString(payload)
        ReadHeader(TykCoProcessRequest(message.request), message.session, {})
        return message.SerializeToString()

    def krait():
        return _runtime.dispatch(handle, "ReadHeader", "request-id", slim, 1, number, b"", apart)

    def unread():
        return _runtime.dispatch(handle, "AddHeader", "request-id", slim, 1, number, b"", apart)

    took = {way.__name__: [] for way in (plain, least, krait, unread)}
    with mock.patch.object(_runtime._runtime, "_tickets", Unnoted()):
        for ways in ((plain, least, krait), (unread,)):
            for _ in range(calls):
                for way in ways:
                    begin = time.perf_counter()
                    way()
                    took[way.__name__].append(time.perf_counter() - begin)
    request.object.body = json.dumps({name: statistics.median(times) for name, times in took.items()})
    return request, session
