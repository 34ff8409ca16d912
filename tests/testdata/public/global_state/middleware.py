from tyk.decorators import *

correlation_id = None
steps = []


@Hook
def Begin(request, session, spec):
    global correlation_id
    correlation_id = request.get_header('X-Correlation')
    steps.append('pre')
    return request, session


@Hook
def Note(request, session, spec):
    steps.append('post')
    return request, session


@Hook
def End(request, response, session, metadata, spec):
    global correlation_id
    steps.append('response')
    response.headers['X-Correlation'] = correlation_id
    response.headers['X-Steps'] = ' '.join(steps)
    correlation_id = None
    steps.clear()
    return response
