def name(request, words):
    return request.get_header('X-Name') or words['nobody']
