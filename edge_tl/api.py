"""The functions behind the device's verbs, which take a bundle or its folder; `import edge_tl` has them.

Prints nothing and needs no PyTorch; where that is installed, `bench` times it too.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from edge_tl.device import gates
from edge_tl.device.bench import run as bench_run
from edge_tl.device.bench.options import BenchOptions
from edge_tl.device.bundle import Bundle, read_bundle
from edge_tl.device.errors import BadInput, ForeignModel
from edge_tl.device.images.pictures import Picture
from edge_tl.device.listener import SILENT, Listener
from edge_tl.device.records.bench import BenchResult
from edge_tl.device.records.prediction import Prediction
from edge_tl.device.records.timing import SkippedRecord
from edge_tl.device.records.tuned import Objective, TunedRecord
from edge_tl.device.records.verification import VerifyResult
from edge_tl.device.runtimes.devices import check_device_name
from edge_tl.device.tuning import run as tuning_run
from edge_tl.device.tuning.options import BUDGET_S, TuneOptions

if TYPE_CHECKING:
    from edge_tl.device.bench.workers import Workload

AnyPath = str | os.PathLike[str]
_USUAL = BenchOptions()
_HOST = ("edge_tl.host", "torch", "torchvision", "safetensors", "pydantic")


def load_bundle(path: AnyPath, *, max_pixels: int | None = None) -> Bundle:
    """Read and check the bundle in the folder `path`.

    Its models decode images of up to `max_pixels` pixels, Pillow's limit of 89 million when None. Raises `BundleError`
    that names the first file or field that is not as it was exported.
    """
    return read_bundle(Path(path)).reading(max_pixels)


def predict(
    bundle: AnyPath | Bundle,
    images: Iterable[Picture],
    *,
    artifact: str | None = None,
    device: str | None = None,
    top: int = 3,
) -> list[Prediction]:
    """Classify `images` with what `tune` picked for this machine, else the best artifact for it, or the one that is
    named. One prediction for each image, in order; an image that cannot be read is one with a `failure`. For the errors
    see `Bundle.open`."""
    with _bundle(bundle).open(artifact, device) as model:
        return list(model.predict_many(images, top=top))


def verify(
    bundle: AnyPath | Bundle,
    *,
    data: AnyPath | None = None,
    artifacts: Sequence[str] = (),
    device: str = "CPU",
    allow_fallback: bool = False,
    listener: Listener = SILENT,
) -> VerifyResult:
    """Run the gates on this machine: pixels, device and loss. With `data`, a labelled folder, accuracy on it too.

    A gate that fails is a result, `passed` is false; for the errors see `edge_tl.device.gates.verify`.
    """
    check_device_name(device)
    if not isinstance(bundle, Bundle):  # the pixels gate says what is wrong with the contract
        bundle = read_bundle(Path(bundle), contract_unproven=True)
    return gates.verify(
        bundle,
        data=None if data is None else Path(data),
        artifacts=artifacts,
        device=device,
        allow_fallback=allow_fallback,
        listener=listener,
    )


def bench(
    bundle: AnyPath | Bundle,
    options: BenchOptions = _USUAL,
    *,
    run: AnyPath | None = None,
    factory: str | None = None,
    listener: Listener = SILENT,
) -> BenchResult:
    """Measure latency on this machine as `options` ask, beside PyTorch where it is installed.

    PyTorch is timed with the model of `run`, or with the same architecture untrained: time does not depend on weights.
    `factory`, `package.module:function`, is your own code that makes the model of `run`: a record may not start it.
    For the errors see `edge_tl.device.bench.run.bench`.
    """
    bundle = _bundle(bundle)
    reference: Sequence[Workload] = ()
    refused: tuple[SkippedRecord, ...] = ()
    for name, value in (("run", run), ("factory", factory)):
        _check_host_option(name, value, options)
    with _permitted(factory):
        if options.kind == "latency":
            try:
                reference = _pytorch(bundle, options.device, None if run is None else Path(run))
            except ForeignModel as error:
                refused = (SkippedRecord(artifact="pytorch", reason=str(error)),)
        result = bench_run.bench(bundle, options, reference=reference, listener=listener)
    return replace(result, skipped=(*refused, *result.skipped))


def tune(
    bundle: AnyPath | Bundle,
    *,
    objective: Objective = "latency",
    max_p95_ms: float | None = None,
    artifacts: Sequence[str] = (),
    device: str | None = None,
    budget_s: float = BUDGET_S,
    wait_quiet_s: float = 0.0,
    listener: Listener = SILENT,
) -> TunedRecord:
    """Pick the artifact, the device and the number of threads that are best on this machine: the gates, then a short
    bench of what passes. The pick is written as `tuned/MACHINE.json` beside the bundle, where `Bundle.open` finds it.

    Where nothing is within `max_p95_ms`, or nothing passes, `artifact` is None. `budget_s` is about how many seconds it
    may take, `wait_quiet_s` how many it waits for other programs to end. For the errors see
    `edge_tl.device.tuning.run.tune`.
    """
    options = TuneOptions(
        objective, max_p95_ms, tuple(artifacts), device, budget_s, wait_quiet_s=wait_quiet_s
    )
    return tuning_run.tune(_bundle(bundle), options, listener=listener)


def _bundle(bundle: AnyPath | Bundle) -> Bundle:
    return bundle if isinstance(bundle, Bundle) else read_bundle(Path(bundle))


def _check_host_option(name: str, value: AnyPath | None, options: BenchOptions) -> None:
    """Raises `BadInput` for an option of PyTorch's side where that is not timed."""
    if value is None:
        return
    if options.kind != "latency":
        raise BadInput(
            f"--{name} has no effect here: PyTorch is timed beside the artifacts only. Leave it out."
        )
    if not _has_host():
        raise BadInput(
            f'--{name} {value}: PyTorch is not installed here. Leave it out, or: pip install "edge-tl[host]"'
        )


def _permitted(factory: str | None) -> AbstractContextManager[None]:
    if factory is None:  # a device has no host part to import
        return nullcontext()
    from edge_tl.host.models import factories

    return factories.permitted(factory)


def _has_host() -> bool:
    return all(importlib.util.find_spec(name) for name in _HOST)


def _pytorch(bundle: Bundle, device: str, run: Path | None) -> Sequence[Workload]:
    """PyTorch's side, where it is installed. A run is only ever the caller's: a bundle may be anybody's, and names no
    code and no path. Raises `BadInput`, `ForeignModel`."""
    if not _has_host():
        return ()
    from edge_tl.host.export.pipeline import torch_workloads
    from edge_tl.host.models import factories
    from edge_tl.host.runs import checkpoint

    record = checkpoint.read_run(run) if run else None
    if record:
        factories.check_permitted(record.model, f"{run}/{checkpoint.RECORD}")
    if record and list(record.labels) != bundle.labels:
        raise BadInput(f"--run {run}: its classes are not the bundle's. Give the run it was exported from.")
    return torch_workloads(run, bundle.record, device=device)
