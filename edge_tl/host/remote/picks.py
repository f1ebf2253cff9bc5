"""The picks that devices made come home: into `tuned/` of the bundle here, where they serve after the next copy.

On the device a verb runs on a copy that exists for that run only.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

from edge_tl.device.bundle import read_bundle
from edge_tl.device.errors import BadInput, EdgeTLError
from edge_tl.device.records.tuned import TunedRecord
from edge_tl.device.tuning.pick_file import write_pick
from edge_tl.host.remote.job import DeviceResult


def bring_home(root: Path) -> Callable[[DeviceResult], DeviceResult]:
    """What writes the pick of a device beside the bundle in `root`: the result's `saved` and `path` then name the file.
    A pick that cannot be written is an error at the step `save`, with the result all the same."""
    return partial(_brought, root=root, seal=read_bundle(root).record.seal)


def _brought(device: DeviceResult, *, root: Path, seal: str | None) -> DeviceResult:
    if device.result is None:
        return device
    # Where it lay on the device is nobody's business here.
    device = replace(device, result={key: value for key, value in device.result.items() if key != "path"})
    assert device.result is not None
    try:
        record = TunedRecord.from_json(device.result, newer_keys=True)
        if record.artifact is None:
            return device  # nothing was written there either
        if record.bundle_seal != seal:
            raise BadInput("its pick is of another bundle.")
        path = str(write_pick(root, record))
    except (EdgeTLError, OSError) as error:
        said = f"its pick could not be saved: {error}"
        return replace(
            device, status="error", step="save", error=f"{device.error}; {said}" if device.error else said
        )
    return replace(device, result=device.result | {"path": path}, saved=(*device.saved, path))
