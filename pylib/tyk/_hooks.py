"""Hooks of a bundle: finding them, calling them, applying what they return."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Coroutine, Iterable, Mapping, Sequence
from functools import partial
from types import CoroutineType, FunctionType, MethodType, ModuleType
from typing import Any, Callable, NoReturn

import coprocess_common_pb2 as common
from coprocess_mini_request_object_pb2 import MiniRequestObject
from coprocess_object_pb2 import Object
from coprocess_response_object_pb2 import ResponseObject
from coprocess_session_state_pb2 import SessionState
from tyk._errors import HookNotFoundError, HookResultError, HookSignatureError, missing_text
from tyk._message import Unread
from tyk.request import TykCoProcessRequest

_ARITIES = {
    "Hook": (3, 4, 5),
    "Pre": (3,),
    "Post": (3,),
    "PostKeyAuth": (3,),
    "CustomKeyCheck": (4,),
    "Event": (2,),
}
_ARGUMENTS = {
    2: "(event, spec)",
    3: "(request, session, spec)",
    4: "(request, session, metadata, spec)",
    5: "(request, response, session, metadata, spec)",
}
_MOST_VALUES = 5
# After so many calls it is tried whether a hook still looks at requests.
_SURE = 100
_Given = tuple[Any, Any, Any, Any, Any]
# In these hooks Object.metadata stands alone; in the others it is the session's.
_OWN_METADATA = frozenset({common.Unknown, common.Pre, common.CustomKeyCheck})


class Rest:
    """What is left of a call: a coroutine, and what to do with its result.

    That may leave another rest.
    """

    __slots__ = ("conclude", "coroutine")

    def __init__(self, coroutine: Coroutine[Any, Any, Any], conclude: Callable[[Any], Rest | None]) -> None:
        self.coroutine = coroutine
        self.conclude = conclude


class Handler:
    """A decorated function of a bundle, ready to be called.

    ``at_once`` is for how many calls more the request is parsed before.
    """

    __slots__ = ("_arity", "_function", "at_once", "name", "where")

    def __init__(self, name: str, function: Callable[..., Any], arity: int) -> None:
        self.name = name
        self.where = _where(function)
        self.at_once = 0
        self._function = function
        self._arity = arity

    def call_event(self, event: object, spec: Mapping[str, str]) -> Rest | None:
        """Run an event handler; what it returns is dropped.

        What has to be awaited for its end is returned.
        """
        result = self._function(event, spec)
        if result is None or not inspect.isawaitable(result):
            return None
        return Rest(_as_coroutine(result), _drop)

    def looked(self) -> None:
        """Note that the hook has looked at a request: it will again."""
        self.at_once = _SURE

    def call(self, call: tuple[Object, Unread | None], spec: dict[str, str]) -> Rest | None:
        """Run a hook on a message and leave its changes there.

        The rest of a hook that is a coroutine is returned, to be awaited.
        """
        message, unread = call
        wire = message.request
        request = TykCoProcessRequest(wire, unread)
        session = message.session
        own_metadata = message.hook_type in _OWN_METADATA
        metadata: Any = None
        response = None
        if self._arity == 3:
            result = self._function(request, session, spec)
            # What most hooks return; the rest of this is for the others.
            if (
                type(result) is tuple
                and len(result) == 2
                and result[0] is request
                and result[1] is session
                and request.__dict__.get("object", wire) is wire
            ):
                if not own_metadata:
                    _copy_metadata(session.metadata, message.metadata)
                return None
        else:
            metadata = message.metadata if own_metadata else session.metadata
            if self._arity == 4:
                result = self._function(request, session, metadata, spec)
            else:
                response = message.response
                result = self._function(request, response, session, metadata, spec)
        given = (request, session, metadata, response, spec)
        if type(result) is CoroutineType:
            return Rest(result, partial(self._leave, given, message, unread, own_metadata))
        return self._leave(given, message, unread, own_metadata, result)

    def _leave(
        self, given: _Given, message: Object, unread: Unread | None, own_metadata: bool, result: Any
    ) -> Rest | None:
        """Leave the changes of a hook that returned ``result`` in ``message``."""
        if given[0].__dict__.get("object", message.request) is not message.request or not _only_given(result, given):
            if inspect.isawaitable(result):  # compiled coroutines are of other types
                coroutine = _as_coroutine(result)
                return Rest(coroutine, partial(self._leave, given, message, unread, own_metadata))
            self._apply(result, given, message, unread, own_metadata)
        if not own_metadata:
            _copy_metadata(message.session.metadata, message.metadata)
        return None

    def _apply(self, result: Any, given: _Given, message: Object, unread: Unread | None, own_metadata: bool) -> None:
        """Put what a hook returned in place of what it was given into ``message``."""
        values: Sequence[Any] = result if type(result) in (tuple, list) else (result,)
        if len(values) > _MOST_VALUES:
            self._refuse(f"a {type(result).__name__} of {len(values)} values")
        request, _, metadata, _, _ = given
        new = _Returned()
        if request.__dict__.get("object", message.request) is not message.request:
            new.take(request)
        for value in values:
            if value is metadata and value is not None:
                new.live_metadata = True
            elif not _is_given(value, given) and not new.take(value):
                self._refuse(_shown(value))
        if new.anything:
            new.check_metadata(self)
            if new.request is not None and unread is not None:
                unread.read()
            new.apply(message, metadata, own_metadata)

    def _refuse(self, what: str) -> NoReturn:
        raise HookResultError(
            f'hook "{self.name}" ({self.where}) returned {what}; '
            "it can return the request, session, metadata and response, or None after changing them in place"
        )


class _Returned:
    """What a hook returned in place of what it was given."""

    __slots__ = ("anything", "live_metadata", "metadata", "request", "response", "session")

    def __init__(self) -> None:
        self.anything = False
        self.live_metadata = False
        self.metadata: dict[Any, Any] | None = None
        self.request: MiniRequestObject | None = None
        self.response: ResponseObject | None = None
        self.session: SessionState | None = None

    def take(self, value: Any) -> bool:
        """Note ``value`` by its type; False when no hook can return it."""
        if isinstance(value, TykCoProcessRequest):
            value = value.object
        if isinstance(value, MiniRequestObject):
            self.request = value
        elif isinstance(value, SessionState):
            self.session = value
        elif isinstance(value, ResponseObject):
            self.response = value
        elif isinstance(value, Mapping):
            self.metadata = dict(value)
        else:
            return False
        self.anything = True
        return True

    def check_metadata(self, handler: Handler) -> None:
        """Refuse metadata that is not text before anything is applied."""
        for key, value in (self.metadata or {}).items():
            if not isinstance(key, str) or not isinstance(value, str):
                raise HookResultError(
                    f'hook "{handler.name}" ({handler.where}) returned metadata in which {key!r} is '
                    f"{type(value).__name__}; keys and values are str"
                )

    def apply(self, message: Object, metadata: Any, own_metadata: bool) -> None:
        """Put everything into ``message``."""
        changed = None
        if self.live_metadata and self.session is not None and not own_metadata:
            # The map lives in the session that is replaced now.
            changed = dict(metadata)
        if self.request is not None:
            message.request.CopyFrom(self.request)
        if self.response is not None:
            message.response.CopyFrom(self.response)
        if self.session is not None and self.session is not message.session:
            message.session.CopyFrom(self.session)
            if changed:
                message.session.metadata.update(changed)
        if self.metadata is not None:
            _copy_metadata(self.metadata, message.metadata if own_metadata else message.session.metadata)


def _as_coroutine(result: Awaitable[Any]) -> Coroutine[Any, Any, Any]:
    return result if type(result) is CoroutineType else _awaited(result)


async def _awaited(result: Awaitable[Any]) -> Any:
    return await result


def _drop(_: object) -> None:
    """Drop what an event handler returned."""


def _is_given(value: Any, given: _Given) -> bool:
    """Say whether ``value`` is one of the arguments itself, or None."""
    if value is None:
        return True
    for one in given:
        if value is one:
            return True
    return False


def _only_given(result: Any, given: _Given) -> bool:
    """Say whether a hook returned nothing but its arguments; the usual case."""
    if type(result) is not tuple or len(result) > _MOST_VALUES:
        return result is None
    for value in result:
        if not _is_given(value, given):
            return False
    return True


def _copy_metadata(source: Mapping[str, str], target: Any) -> None:
    if not len(source) and not len(target):
        return
    # Twice as fast as dict() on protobuf's maps.
    wanted = {key: source[key] for key in source}
    if wanted != {key: target[key] for key in target}:
        target.clear()
        target.update(wanted)


def _shown(value: object) -> str:
    try:
        text = repr(value)
    except Exception:  # noqa: BLE001 (a plugin's __repr__ may do anything)
        return f"a {type(value).__name__}"
    return f"a {type(value).__name__}, {text if len(text) <= 80 else text[:77] + '...'}"


Handlers = dict[str, Handler]


def _where(function: Callable[..., Any]) -> str:
    code = getattr(inspect.unwrap(function), "__code__", None)
    if code is None:
        return f"{getattr(function, '__module__', '?')}"
    return f"{code.co_filename}:{code.co_firstlineno}"


def _arity(function: Callable[..., Any]) -> int | None:
    """Count positional parameters; None when they cannot be counted.

    The code object is asked, because a signature evaluates annotations.
    """
    inner = inspect.unwrap(function)
    bound = 0
    if isinstance(inner, MethodType):
        inner, bound = inner.__func__, 1
    if isinstance(inner, FunctionType):
        code = inner.__code__
        required = code.co_kwonlyargcount - len(inner.__kwdefaults__ or {})
        if required > 0 or code.co_flags & inspect.CO_VARARGS:
            return None
        return code.co_argcount - bound
    try:
        parameters = inspect.signature(inner).parameters.values()
    except (TypeError, ValueError, NameError):
        return None
    return sum(one.kind in (one.POSITIONAL_ONLY, one.POSITIONAL_OR_KEYWORD) for one in parameters)


def _signature_fault(name: str, kind: str, function: Callable[..., Any], arity: int | None) -> str:
    takes = "arguments that cannot be counted" if arity is None else f"{arity} argument{'' if arity == 1 else 's'}"
    wanted = " or ".join(_ARGUMENTS[count] for count in _ARITIES[kind])
    return f'{_where(function)}: function "{name}" takes {takes}; @{kind} functions are called with {wanted}'


def find(module: ModuleType, hooks: Iterable[str], events: Iterable[str]) -> tuple[Handlers, Handlers]:
    """Return the hooks and the event handlers that ``module`` has, by name.

    Raises:
        HookNotFoundError: some of ``hooks`` and ``events`` are not defined.
        HookSignatureError: some take a wrong number of arguments.
    """
    found: dict[str, dict[str, Callable[..., Any]]] = {"hook": {}, "event handler": {}}
    for attribute in (True, False):
        for name, value in list(vars(module).items()):
            marker = _marker(value)
            if marker is not None:
                table = found["event handler" if marker == "Event" else "hook"]
                table.setdefault(name if attribute else getattr(value, "__name__", name), value)

    handlers: dict[str, Handlers] = {"hook": {}, "event handler": {}}
    missing: list[str] = []
    wrong: list[str] = []
    for kind, wanted in (("hook", set(hooks)), ("event handler", set(events))):
        for name, function in found[kind].items():
            marker = _marker(function) or "Hook"
            arity = _arity(function)
            if arity in _ARITIES[marker]:
                handlers[kind][name] = Handler(name, function, arity or 0)
            elif name in wanted:
                wrong.append(_signature_fault(name, marker, function, arity))
        for name in sorted(wanted - set(found[kind])):
            note = _note(module, name, kind, found)
            missing.append(missing_text(kind, name, found[kind], note))
    if missing:
        raise HookNotFoundError(f"{module.__file__}: " + "; ".join(missing + wrong))
    if wrong:
        raise HookSignatureError("; ".join(wrong))
    return handlers["hook"], handlers["event handler"]


def _marker(value: object) -> str | None:
    # Modules and other objects may answer to any attribute.
    marker = getattr(value, "__dict__", {}).get("__krait__") if callable(value) else None
    if marker is None and isinstance(value, MethodType):
        marker = value.__func__.__dict__.get("__krait__")
    return marker if isinstance(marker, str) and marker in _ARITIES else None


def _note(module: ModuleType, name: str, kind: str, found: Mapping[str, Mapping[str, Any]]) -> str:
    other, decorator = ("event handler", "Hook") if kind == "hook" else ("hook", "Event")
    if name in found[other]:
        return f" (it is a{'n' if other[0] == 'e' else ''} {other}; decorate it with @{decorator})"
    if callable(vars(module).get(name)):
        return f" (the function lacks the @{decorator} decorator)"
    return ""
