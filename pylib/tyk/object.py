"""The whole message that a hook call carries, for code that handles it itself."""

from __future__ import annotations

from coprocess_object_pb2 import Object
from tyk.request import TykCoProcessRequest

__all__ = ["TykCoProcessObject"]

_HOOK_TYPES = ("", "pre", "post", "postkeyauth", "customkeycheck", "response")


class TykCoProcessObject:
    """A ``coprocess.Object`` with its parts as attributes.

    >>> message = Object(hook_type="Pre", hook_name="MyHook", spec={"APIID": "1"})
    >>> wrapped = TykCoProcessObject(message.SerializeToString())
    >>> wrapped.hook_type, wrapped.hook_name, wrapped.spec["APIID"]
    ('pre', 'MyHook', '1')
    """

    def __init__(self, object_msg: bytes | Object) -> None:
        """Wrap a message, or its serialised form.

        Raises:
            google.protobuf.message.DecodeError: the bytes are no such message.
        """
        self.object = object_msg if isinstance(object_msg, Object) else Object.FromString(object_msg)
        self.request = TykCoProcessRequest(self.object.request)
        self.response = self.object.response
        self.session = self.object.session
        self.metadata = self.object.metadata
        self.spec = self.object.spec
        self.hook_name = self.object.hook_name
        number = int(self.object.hook_type)
        self.hook_type = _HOOK_TYPES[number] if number < len(_HOOK_TYPES) else ""

    def dump(self) -> tuple[bytes, int]:
        """Return the serialised message and its length in bytes."""
        data = self.object.SerializeToString()
        return data, len(data)
