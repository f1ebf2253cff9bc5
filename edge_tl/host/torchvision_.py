"""torchvision's models and transforms, imported without PyTorch's compiler: `from edge_tl.host.torchvision_ import tv`.

torchvision may import `torch._dynamo` for one question of one detection operator and to keep one function out of
compiled graphs: 1.3 s of the 3.4 s until a model stands, and each process of a bench starts anew. The compiler is
imported when something uses it. No answer changes.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import torch  # noqa: F401 - before the compiler is left out

_COMPILER = ("torch._dynamo", "torch._dynamo.utils")


class _Deferred(ModuleType):
    """Stands for a module of the compiler until something of it is used."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        _give_way()
        return getattr(importlib.import_module(self.__name__), name)


def _is_compile_supported(device_type: str) -> bool:
    return bool(importlib.import_module("torch._dynamo.utils").is_compile_supported(device_type))


def _disable(fn: Any, recursive: bool = True, **more: Any) -> Any:
    """Marked as the compiler itself marks what it must not compile."""
    if not (recursive and callable(fn)):
        return importlib.import_module("torch._dynamo").disable(fn, recursive, **more)
    fn._torchdynamo_disable = True
    return fn


def _give_way() -> None:
    for name in _COMPILER:
        if isinstance(sys.modules.get(name), _Deferred):
            del sys.modules[name]


@contextmanager
def _without_compiler() -> Iterator[None]:
    if "torch._dynamo" in sys.modules:
        yield
        return
    package, utils = (_Deferred(name) for name in _COMPILER)
    package.__path__ = []
    package.__dict__["disable"] = _disable
    utils.__dict__["is_compile_supported"] = _is_compile_supported
    sys.modules |= {package.__name__: package, utils.__name__: utils}
    try:
        yield
    finally:
        _give_way()


with _without_compiler():
    import torchvision.models as tv
    from torchvision.transforms import v2

__all__ = ["tv", "v2"]
