from .english import HELLO


def hello(name):
    return HELLO + ' ' + name
