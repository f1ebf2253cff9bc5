"""INT8 under the instruction sets of lesser CPUs: the answers that the same file gives where this CPU's are missing.

oneDNN, which computes OpenVINO's convolutions and products, can be told to use no more than a given set; ONNX Runtime
has no such switch, and its own remedy (`session.x64quantprecision`) is on wherever it is needed. Run as a module it is
one evaluation in a process of its own, because oneDNN reads the variable once. It must not judge.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from edge_tl.device import spawn
from edge_tl.device.errors import EdgeTLError
from edge_tl.device.machine import CAP_VARIABLE, isa_flags, openvino_core
from edge_tl.device.runtimes.matrix_layers import executed_matrix_layers
from edge_tl.device.runtimes.open import Logits
from edge_tl.host.convert.model_file import batched_logits

# By oneDNN's name, what `machine.int8_isa` calls them; it does not know of SSE4.1.
NAMES = {"AVX2": "avx2", "AVX512_CORE": "avx512f", "SSE41": "sse4_1"}

TIMEOUT_S = 7200.0
"""Seconds that one evaluation may take: more than a large model needs with a lesser CPU's kernels."""


def caps(flags: Sequence[str] | None = None) -> list[str]:
    """oneDNN's names of the instruction sets below this CPU's that its kernels can be capped to, the commonest first;
    `flags` as `machine.isa_flags` gives them. AVX-512 without VNNI, AVX2 and SSE4.1 add pairs of products in 16 bits,
    which saturate."""
    have = set(isa_flags() if flags is None else flags)
    lesser = {
        "AVX2": have & {"avx512f", "avx_vnni"},
        "AVX512_CORE": have & {"avx512_vnni", "amx_int8"},
        "SSE41": have & {"avx2", "avx512f"},
    }
    return [cap for cap, more in lesser.items() if more]


def logits_under(
    cap: str, path: Path, inputs: Path, shape: Sequence[int], scratch: Path
) -> tuple[Logits, dict[str, int]]:
    """Logits of the model at `path` under `cap`, and the kernels that computed its layers with their counts. The file
    `inputs` holds float32 of `shape` `(n, 3, H, W)` without a header. Raises `EdgeTLError` when the process fails or
    takes longer than `TIMEOUT_S`."""
    out = scratch / f"{path.stem}.{cap}.npz"
    size = "x".join(map(str, shape))
    command = spawn.command("edge_tl.host.export.isa_caps", str(path), str(inputs), size, str(out))
    environment = os.environ | {CAP_VARIABLE: cap}
    try:
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, check=False, timeout=TIMEOUT_S
        )
    except subprocess.TimeoutExpired:
        raise EdgeTLError(f"{path.name} under {cap}: no answer in {TIMEOUT_S:g} seconds") from None
    if done.returncode:
        last = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        last = re.sub(r"^edge_tl[\w.]*: ", "", last)  # a class's name is no word for a person
        raise EdgeTLError(f"{path.name} under {cap}: {last}")
    with np.load(out, allow_pickle=False) as found:
        kernels = dict(zip(found["kernels"].tolist(), found["counts"].tolist(), strict=True))
        return found["logits"], kernels


def kernels(path: Path) -> Counter[str]:
    """oneDNN's names for what computes the convolutions and products of an OpenVINO model, e.g. jit_avx2_I8."""
    compiled = openvino_core().compile_model(
        openvino_core().read_model(path), "CPU", {"INFERENCE_PRECISION_HINT": "f32"}
    )
    return Counter(layer.kernel for layer in executed_matrix_layers(compiled))


def main() -> None:
    """PATH INPUTS SHAPE OUT."""
    path, inputs, out = (Path(sys.argv[place]) for place in (1, 2, 4))
    shape = tuple(int(each) for each in sys.argv[3].split("x"))
    found = kernels(path)
    logits = batched_logits(path, np.memmap(inputs, np.float32, "r", shape=shape))
    np.savez(out, logits=logits, kernels=list(found), counts=list(found.values()))


if __name__ == "__main__":
    main()
