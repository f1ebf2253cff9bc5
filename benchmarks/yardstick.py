"""The INT8 yardstick: MobileNetV3-Small on 200 classes at 64 px, 10,000 test images, by the ladder and naively.

    python benchmarks/yardstick.py WEIGHTS.safetensors TINY64

TINY64 holds train/ and val/. `edge-tl import`, then `edge-tl export --int8` twice, with at most 5 % of the work in
float: by post-training rungs alone (budget 0.8 points, up to rung 3), and with training (0.05 points, all rungs);
beside them the naive per-tensor min-max quantization that most people do first. Writes results/yardstick.json.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from onnxruntime.quantization import QuantType, quantize_static
from verb import timed

from edge_tl.device import metrics
from edge_tl.device.files import write_json
from edge_tl.device.machine import current_load, identity
from edge_tl.host.convert.model_file import batched_logits
from edge_tl.host.export import image_sets
from edge_tl.host.runs import checkpoint

RESULT = Path(__file__).parent / "results" / "yardstick.json"
_DEFAULTS = {"per_channel": False, "weight_type": QuantType.QInt8, "activation_type": QuantType.QUInt8}
KEYS = "id accuracy drop_pp drop_ci_pp agreement".split()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("weights", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path, help="Where run and bundles go; a temporary folder otherwise.")
    options = parser.parse_args()
    before = current_load().to_json()
    with tempfile.TemporaryDirectory() as scratch:
        out = options.out or Path(scratch)
        words = ["import", options.weights, "--model", "mobilenet_v3_small", "--data", options.data]
        timed(*words, "--image-size", 64, "--out", out / "run")
        words = ["export", out / "run", "--int8", "--set", "export.max_float=0.05"]
        ptq, _ = timed(*words, "--max-drop", 0.8, "--ladder", "up-to=3", "--out", out / "ptq")
        qat, _ = timed(*words, "--max-drop", 0.05, "--out", out / "qat")
        write_json(RESULT, result(ptq, qat, out / "run", out / "ptq", before))


def result(ptq: Any, qat: Any, run: Path, bundle: Path, before: Any) -> dict[str, Any]:
    """What is kept of the two bundles' records, and the naive quantization measured."""
    return {
        "reference": {key: ptq["reference"][key] for key in ("accuracy", "n")},
        "sets": ptq["provenance"]["sets"],
        "naive": naive(run, bundle),
        "ptq": rows(ptq),
        "qat": rows(qat),
        "machine": identity().to_json(),
        "conditions": {"before": before, "after": current_load().to_json()},
    }


def rows(record: dict[str, Any]) -> list[dict[str, Any]]:
    """The INT8 artifacts: figures on the test images, and what every rung came to on the selection images."""
    kept = []
    for artifact in record["artifacts"]:
        if "ladder" in artifact:
            chosen = artifact["ladder"]["chosen"]
            rungs = [
                {key: rung.get(key) for key in ("rung", "name", "minutes", "faults")}
                | {"candidates": len(rung["candidates"])}
                | {
                    k: (rung.get("best") or {}).get(k)
                    for k in ("drop_pp", "agreement", "latency_ms", "float_macs")
                }
                for rung in artifact["ladder"]["rungs"]
            ]
            row = {key: artifact[key] for key in KEYS} | {"settings": chosen["settings"], "rungs": rungs}
            kept.append(row | {"float_macs": chosen["float_macs"]})
    return kept


def naive(run: Path, bundle: Path) -> dict[str, Any]:
    """ONNX Runtime's quantize_static with its defaults: per tensor, min-max."""
    record = checkpoint.read_run(run)
    dataset, contract = record.dataset(), record.preprocess
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        images = image_sets.calibration_set(dataset, 300, 0)
        calibration = image_sets.inputs(contract, dataset, images, folder / "calibration.npy")
        _, test = image_sets.evaluation_set(dataset)
        inputs = image_sets.inputs(contract, dataset, test, folder / "test.npy")
        quantize_static(bundle / "model.fp32.onnx", folder / "naive.onnx", _Reader(calibration), **_DEFAULTS)
        expected = metrics.top1(batched_logits(bundle / "model.fp32.onnx", inputs))
        got = metrics.top1(batched_logits(folder / "naive.onnx", inputs))
    labels = np.array([s.label for s in test], np.int64)
    drop = metrics.paired_drop(labels, expected, got)
    return {"drop_pp": drop.drop_pp, "drop_ci_pp": list(drop.drop_ci_pp)} | {
        "agreement": metrics.agreement(expected, got)
    }


class _Reader:
    def __init__(self, calibration: np.ndarray) -> None:
        self._rest = iter(calibration)

    def get_next(self) -> dict[str, np.ndarray] | None:
        image = next(self._rest, None)
        return None if image is None else {"images": image[None]}


if __name__ == "__main__":
    main()
