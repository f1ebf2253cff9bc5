"""What every runtime shares: its protocol, names of devices, the check of an input, the refusal of another device.
Imports no runtime.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from edge_tl.device.errors import BadInput, FellBack
from edge_tl.device.records.devices import RuntimeOffer
from edge_tl.device.records.timing import FallbackRecord, RanRecord

Logits = NDArray[np.float32]

_SOURCE = (
    r"(/\S*/)?\S+\.(cc|h):\d+ [^\[]*?\)(?= \[ONNXRuntimeError\])|\[ONNXRuntimeError\] : \d+ : [A-Z_]+ : "
)
# What people call what a runtime calls otherwise; everything else differs by upper and lower case at most.
_ALIASES = {"directml": "dml", "trt": "tensorrt", "tensorrt-rtx": "nvtensorrtrtx"}


class Runtime(Protocol):
    """A loaded model."""

    name: str
    version: str

    @property
    def device(self) -> str:
        """What executes, not what was asked for."""
        ...

    @property
    def threads(self) -> int:
        """Of the CPU; 0 where it takes no part."""
        ...

    @property
    def precision(self) -> str:
        """What the matrix layers really run in: "fp32", "bf16", "fp16", "int8" or "mixed"; "unknown" where the
        device compiled them and does not show it."""
        ...

    def __call__(self, inputs: NDArray[np.float32]) -> Logits: ...


class FileRuntime(Runtime, Protocol):
    """A runtime that opens a file: what a row of `families.FAMILIES` names."""

    def __init__(self, path: Path, *, device: str, threads: int, allow_fallback: bool = False) -> None: ...

    @property
    def shape(self) -> list[int | None]:
        """Of the input; None where a size is open."""
        ...

    @property
    def takes_pixels(self) -> bool:
        """Whether the input is of uint8: `(1, H, W, 3)`, RGB of any size, of a model that answers with
        probabilities."""
        ...

    def check(self) -> None:
        """Run once and find out what ran. Raises `FellBack`."""
        ...

    def details(self) -> RanRecord:
        """All that it reports of what ran."""
        ...

    @staticmethod
    def library() -> Any:
        """The imported package. Raises `MissingExtra`."""
        ...

    @staticmethod
    def offered() -> OfferedDevices:
        """The devices of the installed package. Raises `MissingExtra`."""
        ...

    @staticmethod
    def resolve(device: str) -> str:
        """The package's own spelling of `device`. Raises `BadInput` for one that it does not offer."""
        ...

    @staticmethod
    def unfit(path: Path, device: str) -> str | None:
        """Why `device`, which it offers, would refuse the file at `path` after a long time; None where it may not."""
        ...

    @staticmethod
    def listing(library: Any) -> RuntimeOffer:
        """What `edge-tl devices` lists of the imported package; with None, of one that cannot be used."""
        ...


class OfferedDevices(NamedTuple):
    """The devices of an installed runtime: `title` names it with its version."""

    title: str
    names: list[str]

    def find(self, device: str) -> str | None:
        """The runtime's own spelling of `device`, or None where it has no such device."""
        wanted = usual_name(device)
        return next((name for name in self.names if name.casefold() == wanted), None)

    def choose(self, device: str) -> str:
        """As `find`. Raises `BadInput` that lists what there is."""
        if found := self.find(device):
            return found
        raise BadInput(f"--device {device}: {self}. {did_you_mean(device, self.names)}Choose one of these.")

    def __str__(self) -> str:
        return f"{self.title} offers {', '.join(self.names)}"


def usual_name(device: str) -> str:
    """What a runtime calls what people call `device`, in lower case."""
    return _ALIASES.get(device.casefold(), device.casefold())


def did_you_mean(device: str, names: Iterable[str]) -> str:
    """ "Did you mean X? ", or nothing."""
    # "CPU" is one letter from "GPU", and nobody misspells it.
    known = {name.casefold(): name for name in names if name != "CPU"}
    close = difflib.get_close_matches(device.casefold(), known, 1)
    return f"Did you mean {known[close[0]]}? " if close else ""


def record_fallback(asked: str, why: str, ran: Mapping[str, int], *, allowed: bool) -> FallbackRecord:
    """The record of a fallback that was allowed; `ran` counts what ran by device. Raises `FellBack` for one that was
    not: a number measured on another device than the named one is worse than none."""
    if allowed:
        return FallbackRecord(asked, dict(ran), why)
    raise FellBack(asked, why)


def fallback_note(fallback: FallbackRecord) -> str:
    """The warning for a fallback that was allowed."""
    return f"{fallback.asked} was asked for, {fallback.why}"


def zero_input(shape: Sequence[int | None], *, takes_pixels: bool) -> NDArray[Any]:
    """What a model can be run on to see what runs: zeros, 1 for a size that is open."""
    return np.zeros([d or 1 for d in shape], np.uint8 if takes_pixels else np.float32)


def ran_record(runtime: Runtime) -> RanRecord:
    """What every runtime reports of what ran."""
    return RanRecord(
        device=runtime.device,
        precision=runtime.precision,
        threads=runtime.threads,
        runtime=f"{runtime.name} {runtime.version}",
    )


def error_line(error: Exception) -> str:
    """Its message, without line breaks and without the places in ONNX Runtime's own source."""
    said = re.sub(_SOURCE, "", " ".join(str(error).split())).strip()
    return said or type(error).__name__


def without_folders(said: str) -> str:
    """A message for a person on this machine, short and without their folders: it may travel in a record."""
    return re.sub(r"(/[^\s/\"':]+)+/", "", said)[:300]


def load_error_text(error: Exception, path: Path) -> str:
    """What a library said of the file at `path`, without a full stop at the end: one line, without the file's folder,
    because a reason travels in results, and without the lines of OpenVINO's own source."""
    said = error_line(error).replace(f"{path.parent}{os.sep}", "")
    return re.sub(r"Exception from \S+:\d+: ", "", said).rstrip(". ")


def dominant_precision(found: list[str]) -> str:
    """The precision of nine tenths of the matrix layers, since the first and the last are often left in float; else
    "mixed", and "unknown" where there are none."""
    for kind in set(found):
        if found.count(kind) >= 0.9 * len(found):
            return kind
    return "mixed" if found else "unknown"


def check_input(inputs: NDArray[Any], shape: Sequence[object], *, takes_pixels: bool = False) -> None:
    """Refuse a wrong input with the same sentence for every runtime, before its backend sees it; a size in `shape` that
    is no whole number is open. Raises `BadInput`."""
    kind = np.dtype(np.uint8 if takes_pixels else np.float32)
    want = [d if isinstance(d, int) else None for d in shape]
    fits = inputs.ndim == len(want) and all(w in (None, s) for w, s in zip(want, inputs.shape, strict=True))
    if inputs.dtype != kind or not fits:
        wanted = "x".join("n" if d is None else str(d) for d in want)
        raise BadInput(f"model input: {inputs.dtype} {inputs.shape}. Give {kind} {wanted}.")
