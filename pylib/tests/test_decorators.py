from __future__ import annotations

import inspect

import pytest

import tyk.decorators as decorators
from tyk.decorators import CustomKeyCheck, Event, Hook, Post, PostKeyAuth, Pre

ALL = [CustomKeyCheck, Event, Hook, Post, PostKeyAuth, Pre]


@pytest.mark.parametrize("decorator", ALL)
def test_the_function_stays_itself(decorator):
    def MyHook(request, session: int, spec="x"):
        """Doc."""
        return request, session, spec

    decorated = decorator(MyHook)
    assert decorated is MyHook
    assert decorated.__name__ == "MyHook"
    assert str(inspect.signature(decorated)) in (
        "(request, session: 'int', spec='x')",
        "(request, session: int, spec='x')",
    )
    assert decorated(1, 2, 3) == (1, 2, 3)


@pytest.mark.parametrize("decorator", ALL)
@pytest.mark.parametrize("value", ["name", None, len])
def test_something_else_is_refused_by_name(decorator, value):
    with pytest.raises(TypeError, match=f"@{decorator.__name__} is put on a function"):
        decorator(value)


def test_star_import_has_the_decorators_and_nothing_else():
    assert sorted(decorators.__all__) == sorted(one.__name__ for one in ALL)
