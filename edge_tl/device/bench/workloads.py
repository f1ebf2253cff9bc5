"""What is timed: a bundle's artifacts as workloads, and which of them can run here. Times nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from edge_tl.device.bench.workers import WORKER, WorkerPool, Workload, reason
from edge_tl.device.bundle import Artifact, Bundle
from edge_tl.device.errors import BadInput, EdgeTLError, FellBack, MissingExtra
from edge_tl.device.images.decode import pixel_limit
from edge_tl.device.machine import cores_allowed
from edge_tl.device.records.image_input import ImageInputRecord
from edge_tl.device.records.timing import SkippedRecord

AGAIN, OUTSIDE = " (again)", " (preprocessed outside)"


@dataclass(frozen=True)
class Placement:
    """Where a workload runs: the device, whether another may stand in for it, and on how many threads (None: every
    core allowed)."""

    device: str = "CPU"
    allow_fallback: bool = False
    threads: int | None = None


HERE = Placement()


@dataclass(frozen=True)
class Selection:
    """The artifacts of a bundle that are timed, and where they run."""

    bundle: Bundle
    artifacts: Sequence[Artifact]
    place: Placement = HERE

    def only(self, ids: set[str]) -> Selection:
        """Those of these names."""
        return replace(self, artifacts=[artifact for artifact in self.artifacts if artifact.id in ids])


def workloads(
    bundle: Bundle, artifacts: Sequence[Artifact], *, place: Placement = HERE, batch: int = 1
) -> list[Workload]:
    """The bundle's artifacts as workloads, `batch` images a call; those of raw pixels take one, of the size that their
    record says. Raises `BadInput` for more."""
    spec = {
        "device": place.device,
        "allow_fallback": place.allow_fallback,
        "threads": place.threads or cores_allowed(),
        "size": list(bundle.preprocess.input_size),  # under which the sandbox remembers it
    }
    found = []
    for artifact in artifacts:
        shape, own = [batch, 3, *bundle.preprocess.input_size], artifact.record.image_input
        if own is not None:
            if batch != 1:
                raise BadInput(
                    f"{artifact.id} takes one image a call, not {batch}. Time batches of another artifact."
                )
            shape = [1, *_size(bundle, artifact.id, own), 3]
        facts = {"path": str(artifact.path), "precision": artifact.precision, "input": artifact.record.input}
        found.append(Workload(artifact.id, WORKER, {**facts, "shape": shape, **spec}))
    return found


def _size(bundle: Bundle, name: str, own: ImageInputRecord) -> tuple[int, int]:
    """Height and width of the images. Raises `BadInput` where the record has them larger than any is decoded."""
    if own.size[0] * own.size[1] > pixel_limit(bundle.preprocess.max_pixels):
        raise BadInput(
            f"{name}: its record has images of {own.size[0]}x{own.size[1]}, more pixels than are decoded here. "
            "Time another artifact."
        )
    return own.size


def preprocessed_outside(bundle: Bundle, artifact: Artifact, tensors: Path) -> Workload:
    """Of an artifact of raw pixels: the same images through Pillow, and the same weights in the file `tensors`."""
    (own,) = workloads(bundle, [artifact])
    more = {"path": str(tensors), "contract": bundle.preprocess.to_json()}
    return replace(own, id=f"{artifact.id}{OUTSIDE}", spec=own.spec | more)


def startable(
    asked: Sequence[Workload], *, most: int | None = None
) -> tuple[list[Workload], list[SkippedRecord]]:
    """Those that load and infer here, each tried in a process of its own before anything is timed, and the reason of
    each of the others. With `most`, no more are tried once so many can. Raises as `time_interleaved`."""
    found: list[Workload] = []
    skipped: list[SkippedRecord] = []
    failure: EdgeTLError | None = None
    for workload in asked:
        if len(found) == most:
            break
        try:
            with WorkerPool() as pool:
                pool.start(workload, warmup=1, describe=True)
            found.append(workload)
        except FellBack:
            raise
        except EdgeTLError as error:
            failure = error
            skipped.append(SkippedRecord(artifact=workload.id, reason=reason(error)))
    if not found:
        raise failure or MissingExtra("a runtime for this bundle", "ort")
    return found, skipped


def twice(workload: Workload) -> list[Workload]:
    """The same thing under two names: whatever a bench finds between them is the noise of this machine."""
    return [workload, replace(workload, id=workload.id + AGAIN)]
