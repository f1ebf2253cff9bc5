"""What ONNX Runtime's `session.x64quantprecision` costs on this CPU, and whether it changes an answer.

    python benchmarks/x64quantprecision.py BUNDLE [BUNDLE ...]

It chooses kernels of UINT8 x UINT8, which do not saturate before VNNI. Both sessions of a bundle's onnx-int8 are in one
process, called in blocks, in turns. Writes results/x64quantprecision.json.
"""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from edge_tl.device.bench.ratio import speedup
from edge_tl.device.bench.timer import time_calls
from edge_tl.device.bench.worker import some_inputs
from edge_tl.device.bundle import read_bundle
from edge_tl.device.files import write_json
from edge_tl.device.machine import cores_allowed, current_load, has_vnni, identity

RESULT = Path(__file__).parent / "results" / "x64quantprecision.json"
ROUNDS, CALLS = 30, 20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bundles", type=Path, nargs="+")
    options = parser.parse_args()
    before = current_load().to_json()
    models = [measured(path) for path in options.bundles]
    facts = {
        "vnni": has_vnni(),
        "threads": cores_allowed(),
        "machine": identity().to_json(),
        "conditions": {"before": before, "after": current_load().to_json()},
    }
    write_json(RESULT, {"models": models} | facts)


def measured(path: Path) -> dict[str, Any]:
    """One bundle's onnx-int8 with the option and without."""
    bundle = read_bundle(path)
    inputs = some_inputs((1, 3, *bundle.preprocess.input_size))
    sessions = {on: session(bundle.artifact("onnx-int8").path, on) for on in (False, True)}
    name = sessions[True].get_inputs()[0].name
    difference = max(
        float(np.abs(np.subtract(*(s.run(None, {name: pixels[None]})[0] for s in sessions.values()))).max())
        for pixels in bundle.golden_pixels()
    )
    blocks: dict[bool, list[Any]] = {False: [], True: []}
    for number in range(ROUNDS):
        for on in (False, True) if number % 2 else (True, False):
            call = partial(sessions[on].run, None, {name: inputs})
            blocks[on].append(time_calls(call, warmup=3, count=CALLS))
    found = speedup(blocks[True], blocks[False])
    times = {on: float(np.median(np.concatenate(blocks[on]))) / 1e6 for on in blocks}
    print(
        f"{path.name}: {times[False]:.2f} ms without, {times[True]:.2f} with, {found.speedup:.2f}",
        flush=True,
    )
    return {
        "model": bundle.record.provenance.model,
        "input_size": bundle.preprocess.input_size,
        "p50_ms": times[False],
        "p50_ms_with": times[True],
        "slowdown": found.speedup,
        "slowdown_ci": found.speedup_ci,
        "golden_images": len(bundle.golden_pixels()),
        "largest_difference_of_logits": difference,
    }


def session(path: Path, on: bool) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = cores_allowed()
    options.add_session_config_entry("session.x64quantprecision", str(int(on)))
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


if __name__ == "__main__":
    main()
