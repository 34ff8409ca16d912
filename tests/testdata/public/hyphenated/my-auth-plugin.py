import json

from tyk.decorators import *
from gateway import TykGateway as tyk
from google.protobuf.json_format import MessageToDict


@Hook
def CheckToken(request, session, metadata, spec):
    config = json.loads(spec['config_data'])
    details = MessageToDict(request.object)
    tyk.log("CheckToken for " + details['url'], "info")
    token = request.get_header(config['header'])
    if token in config['tokens']:
        session.rate = 1000.0
        session.per = 1.0
        metadata["token"] = token
        metadata["owner"] = config['tokens'][token]
    else:
        request.object.return_overrides.response_code = 401
        request.object.return_overrides.response_error = 'Who are you?'
    return request, session, metadata
