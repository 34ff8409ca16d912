"""Names of modules: what is a bundle's, and what never is."""

from __future__ import annotations

import os
import sys
import sysconfig

# Bundle N is the package of this name and N.
PREFIX = "_krait_bundle_"

_MESSAGES = frozenset(
    f"coprocess_{name}_pb2"
    for name in (
        "common",
        "mini_request_object",
        "object",
        "response_object",
        "return_overrides",
        "session_state",
    )
)
_RUNTIME = frozenset({"tyk", "gateway", "_krait"}) | _MESSAGES


def is_runtime_name(top: str) -> bool:
    """Say whether the top-level module ``top`` always comes from the runtime."""
    return top in _RUNTIME


def _listed_stdlib() -> frozenset[str]:
    """List the standard library where sys.stdlib_module_names is missing (3.9)."""
    names = set(sys.builtin_module_names)
    library = sysconfig.get_path("stdlib")
    # In a venv sysconfig's platform directory is the venv's, which has none.
    compiled = [path for path in sys.path if os.path.basename(path) == "lib-dynload"]
    for directory in [library, os.path.join(library, "lib-dynload"), *compiled]:
        if not os.path.isdir(directory):
            continue
        for entry in os.listdir(directory):
            stem, _, suffix = entry.partition(".")
            is_package = os.path.isfile(os.path.join(directory, entry, "__init__.py"))
            if is_package or suffix == "py" or suffix.endswith(("so", "pyd")):
                names.add(stem)
    return frozenset(names - {"test"})


STDLIB_NAMES: frozenset[str] = frozenset(getattr(sys, "stdlib_module_names", None) or _listed_stdlib())
