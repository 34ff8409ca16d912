"""Plain names for the modules of bundles whose compiled code asks for them.

Compiled modules import by C functions, which look plain names up in
``sys.modules`` and never ask a bundle's ``__import__``. For a bundle that has
loaded compiled code, such a look-up during its own calls is answered with the
bundle's module. The name then stands in ``sys.modules`` until another bundle
wants it or the bundle is closed.
"""

from __future__ import annotations

import sys
from importlib.machinery import ModuleSpec
from types import ModuleType


class AliasLoader:
    """Answers an import with a module that is there already."""

    def __init__(self, module: ModuleType) -> None:
        self._module = module
        self._spec = module.__spec__

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return self._module

    def exec_module(self, module: ModuleType) -> None:
        # importlib has just put the alias's own spec there.
        module.__spec__ = self._spec


def is_alias(name: str, prefix: str) -> bool:
    """Say whether the plain ``name`` stands for a module below ``prefix``."""
    return str(getattr(sys.modules.get(name), "__name__", "")).startswith(prefix)


def release(top: str, prefix: str) -> None:
    """Forget the aliases below ``prefix`` of the package ``top``."""
    for name in list(sys.modules):
        if (name == top or name.startswith(top + ".")) and is_alias(name, prefix):
            sys.modules.pop(name, None)
