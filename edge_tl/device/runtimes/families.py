"""The runtimes, one row each: what they are called, the files they open, what installs them, the class that runs them.

Imports no runtime: a class is imported when `load` is called.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from pathlib import PurePath
from typing import TYPE_CHECKING, Literal, TypeVar

if TYPE_CHECKING:
    from edge_tl.device.runtimes.base import FileRuntime

RuntimeName = Literal["onnxruntime", "openvino"]
Extra = Literal["ort", "openvino"]
P = TypeVar("P", bound=PurePath)


@dataclass(frozen=True)
class Family:
    """A runtime. `name` is also the package that Python imports, `extra` the extra of edge-tl that installs it, and
    `distributions` the names under which it ships. Artifacts are called `prefix`-PRECISION; `suffix` is that of the
    file that it opens, `beside` those of the files that lie beside it, and `files` says so. `module` holds `kind`."""

    name: RuntimeName
    extra: Extra
    distributions: tuple[str, ...]
    prefix: str
    suffix: str
    beside: tuple[str, ...]
    files: str
    module: str
    kind: str

    def load(self) -> type[FileRuntime]:
        """The class. It imports the package when it needs it."""
        found: type[FileRuntime] = getattr(importlib.import_module(self.module), self.kind)
        return found


FAMILIES = (
    Family(
        name="onnxruntime",
        extra="ort",
        distributions=("onnxruntime", "onnxruntime-gpu", "onnxruntime-openvino", "onnxruntime-directml"),
        prefix="onnx",
        suffix=".onnx",
        beside=(),
        files=".onnx file",
        module="edge_tl.device.runtimes.onnxruntime_",
        kind="OnnxRuntime",
    ),
    Family(
        name="openvino",
        extra="openvino",
        distributions=("openvino", "openvino-nightly"),
        prefix="openvino",
        suffix=".xml",
        beside=(".bin",),
        files=".xml file with the .bin beside it",
        module="edge_tl.device.runtimes.openvino_",
        kind="OpenVinoRuntime",
    ),
)
BY_NAME: dict[str, Family] = {family.name: family for family in FAMILIES}
BY_PREFIX = {family.prefix: family for family in FAMILIES}
BY_SUFFIX = {family.suffix: family for family in FAMILIES}


def files_of(path: P) -> list[P]:
    """The file at `path`, and those that its runtime needs beside it."""
    family = BY_SUFFIX.get(path.suffix)
    return [path, *(path.with_suffix(suffix) for suffix in (family.beside if family else ()))]
