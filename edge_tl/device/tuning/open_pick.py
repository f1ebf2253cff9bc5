"""Open what `tune` picked for this machine. Measures nothing, and never fails: what cannot be used is a sentence."""

from __future__ import annotations

from typing import NamedTuple

from edge_tl.device.bundle import Artifact, Bundle
from edge_tl.device.errors import EdgeTLError
from edge_tl.device.records.tuned import TunedRecord
from edge_tl.device.runtimes import sandbox
from edge_tl.device.runtimes.open import Runtime, open_runtime
from edge_tl.device.text import printable
from edge_tl.device.tuning.pick_file import again, own_pick


class Opened(NamedTuple):
    """The picked artifact on its device with its number of threads, and the pick itself."""

    artifact: Artifact
    runtime: Runtime
    pick: TunedRecord


def open_pick(bundle: Bundle, *, allow_fallback: bool = False) -> tuple[Opened | None, str | None]:
    """What was picked for this machine, loaded, or None; and one line for a person, None where nothing was tuned."""
    pick, note = own_pick(bundle)
    if pick is None:
        return None, note
    path = pick.artifact.path
    try:
        sandbox.smoke_test(path, pick.device, bundle.preprocess.input_size)
        runtime = open_runtime(path, device=pick.device, threads=pick.threads, allow_fallback=allow_fallback)
    except EdgeTLError as error:
        why = printable(" ".join(str(error).split())[:300]).rstrip(".")
        return None, f"{pick.artifact.id}, picked for this machine, is not used: {why}. {again(bundle.root)}"
    return Opened(pick.artifact, runtime, pick.record), pick.note
