"""Hooks that the bridge's tests call."""

import asyncio
import gc
import itertools
import os
import sys
import threading
import time

from gateway import TykGateway as tyk
from tyk.decorators import Event, Hook

COUNTER = {"calls": 0}


@Hook
def AddHeader(request, session, spec):
    request.add_header("X-Plugin", "krait")
    request.object.return_overrides.response_code = -1
    return request, session


@Hook
def SetWithoutLooking(request, session, spec):
    request.add_header("X-Plugin", "krait")
    request.delete_header("X-Gone")
    request.add_param("added", "1")
    request.delete_param("gone")


@Hook
async def SetWithoutLookingLater(request, session, spec):
    await asyncio.sleep(0)
    SetWithoutLooking(request, session, spec)


@Hook
def Nothing(request, session, spec):
    return request, session


@Hook
def Authenticate(request, session, metadata, spec):
    session.rate = 1000.0
    session.per = 1.0
    metadata["token"] = request.get_header("Authorization") or ""
    return request, session, metadata


@Hook
def Respond(request, response, session, metadata, spec):
    response.headers["X-Response"] = "yes"
    response.raw_body = response.raw_body + b"\x00\xff"
    return response


@Hook
def Sleep(request, session, spec):
    time.sleep(float(request.object.params["seconds"]))
    return request, session


@Hook
async def AsyncSleep(request, session, spec):
    import asyncio

    await asyncio.sleep(float(request.object.params["seconds"]))
    request.add_header("X-Async", "yes")
    return request, session


@Hook
def Hold(request, session, spec):
    """Wait until the other end of the pipe is closed."""
    os.read(int(request.object.params["pipe"]), 1)
    return request, session


@Hook
def KeepLock(request, session, spec):
    """Let a thread lose the interpreter's lock only where it gives it up."""
    gc.disable()  # what it frees may do so, in any code
    request.add_header("X-Interval", str(sys.getswitchinterval()))
    sys.setswitchinterval(60)
    return request, session


@Hook
def ShareLock(request, session, spec):
    """End what KeepLock began."""
    sys.setswitchinterval(float(request.object.params["interval"]))
    gc.enable()
    return request, session


NUMBERS = itertools.count()


@Hook
def Count(request, session, spec):
    request.add_header("X-Count", str(next(NUMBERS)))
    return request, session


@Hook
def Spin(request, session, spec):
    while True:
        pass


@Hook
def SpinFor(request, session, spec):
    end = time.perf_counter() + float(request.object.params["seconds"])
    while time.perf_counter() < end:
        pass
    return request, session


@Hook
def Profiled(request, session, spec):
    sys.setprofile(lambda *_: None)
    try:
        len(sorted([1], key=lambda item: item))
    finally:
        sys.setprofile(None)
    return request, session


@Hook
def Raise(request, session, spec):
    try:
        {}["missing"]
    except KeyError as error:
        raise ValueError("this hook fails") from error


@Hook
def Exit(request, session, spec):
    sys.exit(3)


@Hook
def Recurse(request, session, spec):
    return Recurse(request, session, spec)


@Hook
def ReturnNumber(request, session, spec):
    return 7


@Hook
def Store(request, session, spec):
    key = "binary\x00key"
    tyk.store_data(key, b"a\x00b\xff", 60)
    request.object.raw_body = tyk.get_data(key) + tyk.get_data("missing")
    return request, session


@Hook
def StoreFails(request, session, spec):
    tyk.store_data("failing", "value", 60)
    request.object.raw_body = b"got " + tyk.get_data("failing")
    return request, session


@Hook
def StoreWithCtypes(request, session, spec):
    import ctypes

    library = ctypes.CDLL(None)
    library.TykGetData.restype = ctypes.c_char_p
    library.TykStoreData(b"from ctypes", b"value of ctypes", 60)
    library.TykTriggerEvent(b"FromCtypes", b"payload")
    library.CoProcessLog(b"logged by ctypes", b"warning")
    request.object.raw_body = library.TykGetData(b"from ctypes") + b"|" + library.TykGetData(b"nothing")
    return request, session


@Hook
def Log(request, session, spec):
    tyk.log("a message", "warning")
    tyk.trigger_event("Fired", "by the hook")
    print("printed")
    return request, session


@Hook
def CountThread(request, session, spec):
    request.add_header("X-Background", str(COUNTER["calls"]))
    return request, session


def _background():
    while True:
        COUNTER["calls"] += 1
        time.sleep(0.001)


threading.Thread(target=_background, daemon=True).start()


@Event
def OnEvent(event, spec):
    tyk.log("event " + event.message["Event"] + " of " + spec["APIID"], "info")


@Hook
def ShowSpec(request, session, spec):
    request.add_header("X-Spec", " ".join(f"{key}={spec[key]}" for key in sorted(spec)))
    return request, session


@Hook
def ChangeSpec(request, session, spec):
    request.add_header("X-Before", spec.get("added", "absent"))
    spec["added"] = "yes"
    return request, session


@Hook
def Echo(request, session, spec):
    request.add_header("X-Body", request.object.body)
    return request, session


@Hook
async def EchoAsync(request, session, spec):
    import asyncio

    await asyncio.sleep(0.01)
    request.add_header("X-Body", request.object.body)


@Hook
def EchoLate(request, session, spec):
    time.sleep(0.05)
    request.add_header("X-Body", request.object.body)
    return request, session


@Hook
async def EchoLateAsync(request, session, spec):
    import asyncio

    try:
        await asyncio.sleep(60)
    finally:
        await asyncio.sleep(0.05)
        request.add_header("X-Body", request.object.body)
