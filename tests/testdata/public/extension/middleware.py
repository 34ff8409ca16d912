import fastsum
from tyk.decorators import *


@Hook
def Sum(request, session, spec):
    request.add_header('X-Sum', str(fastsum.total(request.object.raw_body)))
    return request, session
