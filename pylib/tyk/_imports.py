"""Imports of bundles: each bundle sees its own modules and nobody else's.

Bundle N is the package ``_krait_bundle_N``. Its modules are executed with a
``__builtins__`` of their own, whose ``__import__`` looks for absolute names
inside the bundle before it asks Python. Nothing global is replaced: the one
entry in ``sys.meta_path`` answers for names below those packages, and for the
plain names that compiled code of a bundle imports (see ``_aliases``).
"""

from __future__ import annotations

import builtins
import importlib
import importlib.util
import os
import sys
import threading
import weakref
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from importlib.machinery import (
    BYTECODE_SUFFIXES,
    EXTENSION_SUFFIXES,
    SOURCE_SUFFIXES,
    FileFinder,
    ModuleSpec,
    PathFinder,
)
from types import ModuleType
from typing import Any

from tyk._aliases import AliasLoader, is_alias, release
from tyk._exits import Exits
from tyk._facades import FACADE_NAMES, Facades
from tyk._loaders import BytecodeLoader, ExtensionLoader, SourceLoader
from tyk._names import PREFIX, STDLIB_NAMES, is_runtime_name
from tyk._origin import ORIGIN
from tyk._registries import forget, forget_lines

_LEAF = ("__name__",)  # a fromlist that makes __import__ return the leaf
_python_import = builtins.__import__


class KeptModules(dict[str, ModuleType]):
    """The modules of a closed namespace, for calls that still run."""


class _BundleFinder:
    """Finds modules below bundle packages, and what compiled code asks for."""

    def __init__(self) -> None:
        self._spaces: dict[str, Namespace] = {}

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None = None,
        target: ModuleType | None = None,
    ) -> ModuleSpec | None:
        if not fullname.startswith(PREFIX):
            caller = ORIGIN.get().space
            return caller.alias(fullname) if caller is not None and caller.compiled else None
        space = self._spaces.get(fullname.partition(".")[0])
        return None if space is None else space.find_spec(fullname, path)

    def add(self, space: Namespace) -> None:
        self._spaces[space.package] = space
        if self not in sys.meta_path:
            sys.meta_path.insert(0, self)

    def remove(self, space: Namespace) -> None:
        self._spaces.pop(space.package, None)

    def serves(self, file: str) -> bool:
        """Say whether ``file`` is in the directory of a bundle that is loaded."""
        return any(file.startswith(os.path.join(one.directory, "")) for one in list(self._spaces.values()))

    def after_fork(self) -> None:
        """Forget, in a forked child, the threads that are not in it."""
        caller = ORIGIN.get().space
        for space in [*self._spaces.values(), *([] if caller is None else [caller])]:
            space.after_fork()


FINDER = _BundleFinder()


class Namespace:
    """The modules of one bundle; safe for concurrent use."""

    def __init__(self, number: int, directory: str, entry: str, path: Sequence[str]) -> None:
        self.package = f"{PREFIX}{number}"
        self.directory = directory
        self.exits = Exits()
        self._facades = Facades(self)
        self.builtins = vars(self._facades.of(builtins))
        self._prefix = self.package + "."
        self._entry_file = os.path.join(directory, entry)
        stem = os.path.splitext(os.path.basename(entry))[0].replace(".", "_")
        self._entry_name = self._prefix + stem
        vendor = os.path.join(directory, "vendor")
        found = [os.path.dirname(self._entry_file), directory, *([vendor] if os.path.isdir(vendor) else ()), *path]
        self.path = list(dict.fromkeys(os.path.normpath(one) for one in found))
        self._finders: dict[str, FileFinder] = {}
        self.compiled = False  # whether it has loaded compiled code
        self._aliased: set[str] = set()
        self._merged: dict[str, bool] = {}
        self._lock = threading.Lock()
        self._users: set[object] = set()  # imports that run
        self._attached = False
        self._closed = False
        self._kept: weakref.ref[KeptModules] | None = None

    # Life cycle

    def load(self) -> ModuleType:
        """Import the entry module; a failure leaves no modules behind."""
        try:
            with self.attached():
                return self._python(self._entry_name, None, None, _LEAF, 0)
        except BaseException:
            self.close()
            raise

    def close(self) -> KeptModules:
        """Take the modules out of Python's tables.

        Code that still runs finds them as long as the caller keeps what is
        returned. The namespace itself does not keep them: one forgotten
        reference to a function would hold the whole bundle in memory.
        """
        kept = KeptModules()
        with self._lock:
            if not self._closed:
                self._closed = True
                self._kept = weakref.ref(kept)
        self._settle()
        return kept

    @contextmanager
    def attached(self) -> Iterator[None]:
        """Keep the modules in Python's tables, or put them there again.

        Code that still runs after close() imports inside this.
        """
        user = object()
        try:
            self._enter(user)
            yield
        finally:
            # HookTimeout may be raised between any two calls: giving back
            # what was never taken does no harm.
            self._users.discard(user)
            self._settle()

    def _enter(self, user: object) -> None:
        with self._lock:
            self._users.add(user)
            if not self._attached:
                self._attached = True
                self._attach(self._kept() if self._kept is not None else None)

    def _settle(self) -> None:
        """Detach when the bundle is closed and nothing imports any more."""
        if not self._closed:
            return
        with self._lock:
            if self._attached and not self._users:
                self._detach()
                self._attached = False

    def after_fork(self) -> None:
        """Forget, in a forked child, the threads that are not in it."""
        self._lock = threading.Lock()

    def _attach(self, modules: Mapping[str, ModuleType] | None) -> None:
        if not modules:
            root = ModuleType(self.package, "A loaded plugin bundle.")
            root.__path__ = self.path
            root.__spec__ = ModuleSpec(self.package, None, is_package=True)
            root.__spec__.submodule_search_locations = self.path
            root.__dict__["__builtins__"] = self.builtins
            modules = {self.package: root}
        sys.modules.update(modules)
        FINDER.add(self)

    def _detach(self) -> None:
        FINDER.remove(self)
        for top in self._aliased:
            release(top, self._prefix)
        package, prefix = self.package, self._prefix
        modules = {name: one for name, one in list(sys.modules.items()) if name == package or name.startswith(prefix)}
        kept = self._kept() if self._kept is not None else None
        if kept is not None:
            kept.update(modules)
        for name in modules:
            sys.modules.pop(name, None)
        forget(self._prefix)
        forget_lines(self.directory)

    # Finding

    def find_spec(self, fullname: str, path: Sequence[str] | None) -> ModuleSpec | None:
        """Find a module below this package; ``path`` is its parent's."""
        if fullname == self._entry_name:
            loader = SourceLoader(self, fullname, self._entry_file)
            return importlib.util.spec_from_file_location(fullname, self._entry_file, loader=loader)
        portions: list[str] = []
        for directory in self.path if path is None else path:
            spec = self._finder_of(directory).find_spec(fullname)
            if spec is None:
                continue
            if spec.loader is not None:
                return spec
            portions.extend(spec.submodule_search_locations or ())
        if not portions:
            return None
        spec = ModuleSpec(fullname, None, is_package=True)
        spec.submodule_search_locations = portions
        return spec

    def _finder_of(self, directory: str) -> FileFinder:
        finder = self._finders.get(directory)
        if finder is None:
            finder = FileFinder(
                directory,
                (partial(ExtensionLoader, self), EXTENSION_SUFFIXES),  # type: ignore[arg-type]
                (partial(SourceLoader, self), SOURCE_SUFFIXES),  # type: ignore[arg-type]
                (partial(BytecodeLoader, self), BYTECODE_SUFFIXES),  # type: ignore[arg-type]
            )
            self._finders[directory] = finder
        return finder

    def _has(self, top: str) -> tuple[bool, bool]:
        """Say whether the bundle has ``top``, and whether Python's is merged in."""
        merged = self._merged.get(top)
        if merged is not None:
            return True, merged
        qualified = self._prefix + top
        module = sys.modules.get(qualified)
        spec = self.find_spec(qualified, None)
        if module is None and spec is None:
            return False, False
        merged = top == "google"
        if not merged and spec is not None and _is_namespace(spec):
            other = _global_spec(top)
            if other is not None and not _is_namespace(other):
                return False, False
            merged = other is not None
        self._merged[top] = merged
        return True, merged

    # Importing

    def import_(
        self,
        name: str,
        globals: Mapping[str, Any] | None = None,  # noqa: A002
        locals: Mapping[str, Any] | None = None,  # noqa: A002
        fromlist: Sequence[str] | None = (),
        level: int = 0,
    ) -> ModuleType:
        """Import for code of this bundle; what ``__import__`` is there."""
        if level == 0:
            top = name.partition(".")[0]
            if top in STDLIB_NAMES or is_runtime_name(top) or top.startswith(PREFIX):
                module = _python_import(name, globals, locals, fromlist, 0)
                return self._facades.of(module) if top in FACADE_NAMES else module
        user = object()
        try:
            self._enter(user)
            if level:
                return self._python(name, globals, locals, fromlist, level)
            if is_alias(top, PREFIX) and not is_alias(top, self._prefix):
                release(top, PREFIX)
            mine, merged = self._has(top)
            if not mine:
                return _python_import(name, globals, locals, fromlist, 0)
            if merged:
                return self._import_merged(name, top, fromlist)
            module = self._python(self._prefix + name, None, None, fromlist, 0)
            if type(fromlist) is list:
                # Only the C function PyImport_Import passes a list; it then
                # takes the module from sys.modules by the name that it knows.
                self._aliased.add(top)
                sys.modules[name] = sys.modules[self._prefix + name]
            return module if fromlist else sys.modules[self._prefix + top]
        finally:
            self._users.discard(user)
            self._settle()

    def alias(self, name: str) -> ModuleSpec | None:
        """Answer compiled code that asks Python for ``name``."""
        top = name.partition(".")[0]
        if top in STDLIB_NAMES or is_runtime_name(top):
            return None
        mine, merged = self._has(top)
        if not mine or merged:
            return None
        try:
            module = self.import_leaf(name)
        except ModuleNotFoundError:
            return None
        self._aliased.add(top)
        loader: Any = AliasLoader(module)
        return ModuleSpec(name, loader, is_package=hasattr(module, "__path__"))

    def owns(self, name: str) -> bool:
        """Say whether bundle code that imports ``name`` gets the bundle's."""
        top, _, rest = name.partition(".")
        if top in STDLIB_NAMES or is_runtime_name(top):
            return False
        mine, merged = self._has(top)
        if not mine or not merged or not rest:
            return mine
        root = self._python(self._prefix + top, None, None, _LEAF, 0)
        return self._has_part(root, top, rest.partition(".")[0])

    def import_leaf(self, name: str) -> ModuleType:
        """Import ``name`` as bundle code would and return that very module."""
        return self.import_(name, None, None, _LEAF, 0)

    def import_submodule(self, name: str, package: str) -> ModuleType:
        """Import a relative ``name`` with the machinery of importlib."""
        with self.attached():
            return importlib.import_module(name, self.qualify(package))

    def qualify(self, name: str) -> str:
        """Return the name in ``sys.modules`` of what bundle code calls ``name``."""
        if name.startswith(PREFIX):
            return name
        try:
            return self.import_leaf(name).__name__
        except ImportError:
            return name

    def _import_merged(self, name: str, top: str, fromlist: Sequence[str] | None) -> ModuleType:
        """Import from a namespace package that Python has a part of, too."""
        root = self._python(self._prefix + top, None, None, _LEAF, 0)
        root.__dict__.setdefault("__getattr__", partial(_global_attribute, top))
        if name == top:
            for member in fromlist or ():
                self._import_member(root, top, member)
            return root
        if self._has_part(root, top, name.split(".")[1]):
            module = self._python(self._prefix + name, None, None, fromlist or _LEAF, 0)
        else:
            module = _python_import(name, None, None, fromlist or _LEAF, 0)
        return module if fromlist else root

    def _import_member(self, root: ModuleType, top: str, member: str) -> None:
        if self._has_part(root, top, member):
            self._python(f"{self._prefix}{top}.{member}", None, None, _LEAF, 0)
        elif not hasattr(root, member) and _global_spec(f"{top}.{member}") is not None:
            _python_import(f"{top}.{member}", None, None, _LEAF, 0)

    def _has_part(self, root: ModuleType, top: str, part: str) -> bool:
        if (top, part) == ("google", "protobuf"):
            return False
        qualified = f"{self._prefix}{top}.{part}"
        return qualified in sys.modules or self.find_spec(qualified, list(root.__path__)) is not None

    def _python(
        self,
        name: str,
        globals: Mapping[str, Any] | None,  # noqa: A002
        locals: Mapping[str, Any] | None,  # noqa: A002
        fromlist: Sequence[str] | None,
        level: int,
    ) -> ModuleType:
        """Import by Python's machinery; errors name what the author wrote."""
        try:
            return _python_import(name, globals, locals, fromlist, level)
        except ImportError as error:
            if error.name is not None and error.name.startswith(self._prefix):
                error.name = error.name[len(self._prefix) :]
                error.msg = str(error.msg).replace(self._prefix, "")
                error.args = (error.msg, *error.args[1:])
            raise


def _is_namespace(spec: ModuleSpec) -> bool:
    return spec.submodule_search_locations is not None and spec.origin is None


def _global_spec(name: str) -> ModuleSpec | None:
    module = sys.modules.get(name)
    if module is not None:
        return module.__spec__ or ModuleSpec(name, None, origin=getattr(module, "__file__", None) or "?")
    parent = name.rpartition(".")[0]
    if not parent:
        return PathFinder.find_spec(name)
    try:
        return PathFinder.find_spec(name, importlib.import_module(parent).__path__)
    except (ImportError, AttributeError):
        return None


def _global_attribute(package: str, name: str) -> Any:
    module = None if name.startswith("__") else sys.modules.get(package)
    try:
        return getattr(module, name)
    except AttributeError:
        raise AttributeError(f"module {package!r} has no attribute {name!r}") from None
