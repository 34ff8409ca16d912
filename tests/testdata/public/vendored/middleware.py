import json
import os

import greetings
import helpers
from tyk.decorators import *

HERE = os.path.dirname(os.path.abspath(__file__))
with open(os.path.join(HERE, 'data', 'words.json')) as words:
    WORDS = json.load(words)


@Hook
def Greet(request, session, spec):
    from lazy import exclaim
    request.add_header('X-Greeting', exclaim(greetings.hello(helpers.name(request, WORDS))))
    request.add_header('X-File', os.path.basename(__file__))
    return request, session
