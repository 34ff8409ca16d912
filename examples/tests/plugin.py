"""Loads an example as the gateway does: from its file, under a name of its own."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

from coprocess_mini_request_object_pb2 import MiniRequestObject

from tyk.request import TykCoProcessRequest


def load(path: Path) -> ModuleType:
    """Return a new module from ``path``."""
    name = "example_" + "_".join(path.with_suffix("").parts[-2:])
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def request_of(authorization: str | None) -> TykCoProcessRequest:
    """Return a request with that header."""
    headers = {} if authorization is None else {"Authorization": authorization}
    return TykCoProcessRequest(MiniRequestObject(method="GET", url="/", headers=headers))
