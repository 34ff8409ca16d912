from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Iterable as _Iterable, Optional as _Optional

CustomKeyCheck: HookType
DESCRIPTOR: _descriptor.FileDescriptor
Post: HookType
PostKeyAuth: HookType
Pre: HookType
Response: HookType
Unknown: HookType

class StringSlice(_message.Message):
    __slots__ = ["items"]
    ITEMS_FIELD_NUMBER: _ClassVar[int]
    items: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, items: _Optional[_Iterable[str]] = ...) -> None: ...

class HookType(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = []
