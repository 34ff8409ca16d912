"""``sys.modules`` as the code of one bundle sees it."""

from __future__ import annotations

import sys
from collections.abc import Iterator, MutableMapping
from types import ModuleType

from tyk._names import PREFIX


class ModulesView(MutableMapping[str, ModuleType]):
    """Loaded modules by the names that the bundle's code knows them by.

    Vendored packages (requests, for one) look modules up here and put others
    in; both concern the bundle's own modules before Python's.
    """

    def __init__(self, package: str) -> None:
        self._prefix = package + "."

    def __getitem__(self, name: str) -> ModuleType:
        try:
            return sys.modules[self._real(name)]
        except KeyError:
            raise KeyError(name) from None

    def __setitem__(self, name: str, module: ModuleType) -> None:
        sys.modules[self._real(name)] = module

    def __delitem__(self, name: str) -> None:
        del sys.modules[self._real(name)]

    def __iter__(self) -> Iterator[str]:
        own = len(self._prefix)
        names = list(sys.modules)
        mine = {name[own:] for name in names if name.startswith(self._prefix)}
        yield from mine
        for name in names:
            if not name.startswith(PREFIX) and name not in mine:
                yield name

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and self._real(name) in sys.modules

    def copy(self) -> dict[str, ModuleType]:
        """Return a dict of everything, as ``dict.copy`` does."""
        return dict(self)

    def _real(self, name: str) -> str:
        own = self._prefix + name
        if own in sys.modules:
            return own
        mine = self._prefix + name.partition(".")[0] in sys.modules
        return own if mine and name not in sys.modules else name
