"""Standard modules that look modules up by name, as one bundle sees them.

``importlib.import_module("helper")``, ``pickle.loads`` and their like take
names as text, which Python resolves globally. Bundle code that imports these
modules gets a facade: the same attributes, but names mean the bundle's
modules first. So are the built-in names each bundle's own, with what sets
them. The real modules are untouched.
"""

from __future__ import annotations

import io
import pickle
import re
import sys
from types import BuiltinFunctionType, ModuleType
from typing import TYPE_CHECKING, Any, Callable

from tyk._modules import ModulesView
from tyk._names import PREFIX

if TYPE_CHECKING:
    from tyk._imports import Namespace

FACADE_NAMES = frozenset({"atexit", "builtins", "gettext", "importlib", "pickle", "pkgutil", "sys"})
_BUNDLE_MODULE = re.compile(PREFIX + r"\d+\.(.+)", re.DOTALL)

Overrides = dict[str, Any]


class _Facade(ModuleType):
    """A module whose attributes are another's, but for the overridden ones."""

    def __init__(self, facades: Facades, real: ModuleType, overrides: Overrides) -> None:
        super().__init__(real.__name__, real.__doc__)
        self.__dict__.update(overrides)
        for name in ("__file__", "__path__", "__spec__", "__package__", "__loader__"):
            if hasattr(real, name):
                self.__dict__[name] = getattr(real, name)
        self.__dict__["_krait_facade"] = (facades, real)

    def __getattr__(self, name: str) -> Any:
        facades, real = self.__dict__["_krait_facade"]
        value = getattr(real, name)
        return facades.of(value) if isinstance(value, ModuleType) else value

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self.__dict__["_krait_facade"][1], name, value)

    def __delattr__(self, name: str) -> None:
        delattr(self.__dict__["_krait_facade"][1], name)

    def __dir__(self) -> list[str]:
        return dir(self.__dict__["_krait_facade"][1])


class Facades:
    """The facades of one bundle."""

    def __init__(self, space: Namespace) -> None:
        self._space = space
        self._made: dict[str, ModuleType] = {}

    def of(self, real: ModuleType) -> ModuleType:
        """Return the bundle's facade of ``real``, or ``real`` itself."""
        build = _BUILDERS.get(real.__name__)
        if build is None:
            return real
        facade = self._made.get(real.__name__)
        if facade is None:
            made = build(self._space, real)
            facade = made if isinstance(made, ModuleType) else _Facade(self, real, made)
            facade = self._made.setdefault(real.__name__, facade)
        return facade


def _atexit(space: Namespace, real: ModuleType) -> Overrides:
    exits = space.exits
    return {
        "register": exits.register,
        "unregister": exits.unregister,
        "_clear": exits.clear,
        "_ncallbacks": exits.__len__,
        "_run_exitfuncs": exits.run,
    }


def _builtins(space: Namespace, real: ModuleType) -> ModuleType:
    # Not a facade: its dict is the __builtins__ of the bundle's code, so what
    # is set here is a built-in of this bundle, and of no other code.
    own = ModuleType(real.__name__, real.__doc__)
    own.__dict__.update(vars(real))
    own.__dict__["__import__"] = space.import_
    return own


def _gettext(space: Namespace, real: ModuleType) -> Overrides:
    def translation(*args: Any, **options: Any) -> Any:
        found = real.translation(*args, **options)

        def install(names: Any = None) -> None:
            space.builtins["_"] = found.gettext
            for name in names or ():
                space.builtins[name] = getattr(found, name)

        found.install = install
        return found

    def install(domain: Any, localedir: Any = None, *_: Any, names: Any = None) -> None:
        translation(domain, localedir, fallback=True).install(names)

    return {"translation": translation, "install": install}


def _sys(space: Namespace, real: ModuleType) -> Overrides:
    constants = ("byteorder", "hexversion", "implementation", "maxsize", "maxunicode", "platform", "version_info")
    overrides: Overrides = {name: getattr(real, name) for name in constants}
    # Functions are taken over, so that calls of them are as fast as ever;
    # hooks may be replaced at any time.
    for name, value in vars(real).items():
        if isinstance(value, BuiltinFunctionType) and not name.endswith("hook"):
            overrides[name] = value
    overrides["modules"] = ModulesView(space.package)
    return overrides


def _importlib(space: Namespace, real: ModuleType) -> Overrides:
    def import_module(name: str, package: Any = None) -> ModuleType:
        if name.startswith("."):
            if not package:
                raise TypeError(f"the 'package' argument is required to perform a relative import for {name!r}")
            return space.import_submodule(name, package)
        return space.import_leaf(name)

    return {"import_module": import_module}


def _importlib_util(space: Namespace, real: ModuleType) -> Overrides:
    def find_spec(name: str, package: Any = None) -> Any:
        with space.attached():
            if name.startswith("."):
                return real.find_spec(name, package and space.qualify(package))
            return real.find_spec(f"{space.package}.{name}" if space.owns(name) else name)

    return {"find_spec": find_spec}


def _importlib_resources(space: Namespace, real: ModuleType) -> Overrides:
    def wrap(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            for key in ("anchor", "package"):
                if isinstance(kwargs.get(key), str):
                    kwargs[key] = space.import_leaf(kwargs[key])
            if args and isinstance(args[0], str):
                args = (space.import_leaf(args[0]), *args[1:])
            elif not args and not kwargs and function.__name__ == "files":
                # Without an argument the caller's own package is meant.
                spec = sys._getframe(1).f_globals["__spec__"]
                args = (sys.modules[spec.name if spec.submodule_search_locations else spec.parent],)
            return function(*args, **kwargs)

        return call

    names = ("files", "open_binary", "open_text", "read_binary", "read_text", "path", "is_resource", "contents")
    return {name: wrap(getattr(real, name)) for name in names if hasattr(real, name)}


def _importlib_metadata(space: Namespace, real: ModuleType) -> Overrides:
    def distribution(distribution_name: str) -> Any:
        if distribution_name:
            for found in real.Distribution.discover(name=distribution_name, path=space.path):
                return found
        return real.distribution(distribution_name)

    return {
        "distribution": distribution,
        "metadata": lambda distribution_name: distribution(distribution_name).metadata,
        "version": lambda distribution_name: distribution(distribution_name).version,
        "files": lambda distribution_name: distribution(distribution_name).files,
        "requires": lambda distribution_name: distribution(distribution_name).requires,
    }


def _pkgutil(space: Namespace, real: ModuleType) -> Overrides:
    def get_data(package: str, resource: str) -> Any:
        with space.attached():
            return real.get_data(space.qualify(package), resource)

    return {"get_data": get_data}


def _pickle(space: Namespace, real: ModuleType) -> Overrides:
    class Unpickler(pickle.Unpickler):
        """Finds classes that any load of this bundle has pickled."""

        def find_class(self, module: str, name: str, /) -> Any:
            match = _BUNDLE_MODULE.fullmatch(module)
            if match is None and not space.owns(module):
                return super().find_class(module, name)
            found: Any = space.import_leaf(module if match is None else match.group(1))
            for part in name.split("."):
                found = getattr(found, part)
            return found

    def load(file: Any, **options: Any) -> Any:
        return Unpickler(file, **options).load()

    def loads(data: Any, /, **options: Any) -> Any:
        return Unpickler(io.BytesIO(data), **options).load()

    return {"Unpickler": Unpickler, "load": load, "loads": loads}


_BUILDERS: dict[str, Callable[[Any, ModuleType], Overrides | ModuleType]] = {
    "atexit": _atexit,
    "builtins": _builtins,
    "gettext": _gettext,
    "importlib": _importlib,
    "importlib.util": _importlib_util,
    "importlib.resources": _importlib_resources,
    "importlib.metadata": _importlib_metadata,
    "pkgutil": _pkgutil,
    "pickle": _pickle,
    "sys": _sys,
}
