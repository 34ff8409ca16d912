import json
import urllib.error
import urllib.request

from tyk.decorators import *


@Hook
def AskTheGateway(request, session, spec):
    url = json.loads(spec['config_data'])['url']
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            status = answer.status
    except urllib.error.HTTPError as error:
        status = error.code
    request.add_header('X-Status', str(status))
    return request, session
