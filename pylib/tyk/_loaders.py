"""Loaders that execute modules with the ``__builtins__`` of their bundle."""

from __future__ import annotations

from importlib.machinery import ExtensionFileLoader, ModuleSpec, SourceFileLoader, SourcelessFileLoader
from types import CodeType, ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tyk._imports import Namespace


class SourceLoader(SourceFileLoader):
    """Compiles afresh every time: no .pyc is read or written."""

    def __init__(self, space: Namespace, fullname: str, path: str) -> None:
        super().__init__(fullname, path)
        self._space = space

    def get_code(self, fullname: str) -> CodeType:
        path = self.get_filename(fullname)
        code: CodeType = self.source_to_code(self.get_data(path), path)
        return code

    def exec_module(self, module: ModuleType) -> None:
        module.__dict__["__builtins__"] = self._space.builtins
        super().exec_module(module)


class BytecodeLoader(SourcelessFileLoader):
    def __init__(self, space: Namespace, fullname: str, path: str) -> None:
        super().__init__(fullname, path)
        self._space = space

    def exec_module(self, module: ModuleType) -> None:
        module.__dict__["__builtins__"] = self._space.builtins
        super().exec_module(module)


class ExtensionLoader(ExtensionFileLoader):
    def __init__(self, space: Namespace, fullname: str, path: str) -> None:
        super().__init__(fullname, path)
        self._space = space

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        self._space.compiled = True
        return super().create_module(spec)
