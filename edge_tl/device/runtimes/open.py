"""Opening a model file: float32 `(n, 3, H, W)` in, float32 logits `(n, classes)` out.

A runtime says what really ran (device, precision, threads), never what was asked for. Preprocesses, times and compares
nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from edge_tl.device.errors import BadInput
from edge_tl.device.machine import cores_allowed
from edge_tl.device.records.timing import RanRecord
from edge_tl.device.runtimes.base import FileRuntime, Logits, Runtime, ran_record
from edge_tl.device.runtimes.families import BY_SUFFIX, FAMILIES
from edge_tl.device.runtimes.null import NullRuntime

__all__ = [
    "Logits",
    "NullRuntime",
    "Runtime",
    "import_runtime",
    "notes",
    "open_runtime",
    "ran",
]


def import_runtime(suffix: str) -> Any:
    """The package that runs a ".onnx" or ".xml" file, imported. Raises `MissingExtra`."""
    return BY_SUFFIX[suffix].load().library()


def open_runtime(
    path: Path,
    *,
    device: str = "CPU",
    threads: int | None = None,
    allow_fallback: bool = False,
    check: bool = True,
) -> Runtime:
    """Load `path` (`.onnx` or `.xml`) with the runtime its suffix names, on the cores this process may use.

    Another device than the CPU is checked by an inference: `check=False` leaves that to `ran`, so that loading and
    a first inference can be timed. Raises `MissingExtra` when the runtime is not installed, `BadInput` for a device
    it does not offer, `FellBack` when another device ran and that was not allowed, and `BundleError` for a file it
    cannot load.
    """
    if path.suffix not in BY_SUFFIX:
        raise BadInput(f"no runtime for {path.name!r}. Give a .onnx or an OpenVINO .xml file.")
    runtime = BY_SUFFIX[path.suffix].load()(
        path, device=device, threads=threads or cores_allowed(), allow_fallback=allow_fallback
    )
    if check and device.upper() != "CPU":
        runtime.check()
    return runtime


def ran(runtime: Runtime) -> RanRecord:
    """What really ran, with all that this runtime reports. Raises `FellBack` when another device ran than asked for and
    that was not allowed."""
    if isinstance(runtime, tuple(family.load() for family in FAMILIES)):
        return cast(FileRuntime, runtime).details()
    return ran_record(runtime)


def notes(what_ran: Mapping[str, RanRecord]) -> list[str]:
    """A sentence for a person about everything that ran elsewhere than asked, of `ran` by artifact."""
    return [f"{name}: {note}" for name, record in what_ran.items() for note in record.notes]
