"""An auth_check that knows one token: the smallest useful plugin."""

from gateway import TykGateway as tyk
from tyk.decorators import *

TOKEN = "47a0c79c427728b3df4af62b9228c8ae"


@Hook
def MyAuthMiddleware(request, session, metadata, spec):
    """Lets requests pass that carry TOKEN in their Authorization header."""
    auth_header = request.get_header("Authorization")
    if auth_header == TOKEN:
        tyk.log("I'm logged!", "info")
        tyk.log("API config_data " + spec["config_data"], "info")
        session.rate = 1000.0
        session.per = 1.0
        metadata["token"] = TOKEN
    return request, session, metadata
