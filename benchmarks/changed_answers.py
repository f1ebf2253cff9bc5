"""Which answers INT8 changes, how sure FP32 was of them, and what they cost by FP32's own probabilities.

    python benchmarks/changed_answers.py BUNDLE IMAGES

IMAGES has one folder per class. A counted drop of a few answers is a small number of coin tosses; what it should be is
the sum, over the changed answers, of FP32's probability of its own answer less that of the new one. The noise is the
standard deviation of what INT8 adds to the margin, the distance of FP32's two largest logits; a near tie is an image
with a margin below it. The result goes to benchmarks/results/changed_answers.json.
"""

from __future__ import annotations

import argparse
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_tl.device.bundle import Bundle, read_bundle
from edge_tl.device.files import write_json
from edge_tl.device.images.folders import images_in
from edge_tl.device.machine import cores_allowed, identity
from edge_tl.device.metrics import softmax
from edge_tl.device.runtimes.open import open_runtime

RESULT = Path(__file__).parent / "results" / "changed_answers.json"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bundle", type=Path)
    parser.add_argument("images", type=Path)
    parser.add_argument("--out", type=Path, default=RESULT)
    options = parser.parse_args()
    bundle = read_bundle(options.bundle)
    files = images_in(options.images).images
    labels = list(bundle.labels)
    truth = np.array([labels.index(file.parent.name) for file in files])
    with ThreadPoolExecutor(cores_allowed()) as pool:
        inputs = list(pool.map(bundle.preprocess.apply, files))
    fp32 = logits(bundle, "onnx-fp32", inputs)
    found = [
        changed(each.id, fp32, logits(bundle, each.id, inputs), truth)
        for each in bundle.artifacts
        if each.precision == "int8" and not each.takes_pixels
    ]
    write_json(
        options.out,
        {
            "model": bundle.record.provenance.model,
            "n": len(files),
            "fp32_accuracy": float((fp32.argmax(1) == truth).mean()),
            "artifacts": found,
            "machine": identity().to_json(),
        },
    )
    for each in found:
        print(each)


def logits(bundle: Bundle, artifact: str, inputs: list[NDArray[np.float32]]) -> NDArray[np.float32]:
    runtime = open_runtime(bundle.artifact(artifact).path)
    return np.concatenate([runtime(one[None]) for one in inputs])


def changed(
    name: str, fp32: NDArray[np.float32], int8: NDArray[np.float32], truth: NDArray[np.int64]
) -> dict[str, Any]:
    """The two logits, `(n, classes)`, beside the true classes `(n,)`."""
    rows = np.arange(len(truth))
    order = fp32.argsort(1)
    first, second, new = order[:, -1], order[:, -2], int8.argmax(1)
    probabilities = np.stack([softmax(row) for row in fp32])
    margin = fp32[rows, first] - fp32[rows, second]
    noise = float(np.std(int8[rows, first] - int8[rows, second] - margin))
    flipped, tie = new != first, margin < noise
    lost, won = flipped & (first == truth), flipped & (new == truth)
    return {
        "id": name,
        "noise": noise,
        "changed": int(flipped.sum()),
        "lost": int(lost.sum()),
        "won": int(won.sum()),
        "drop_pp": 100 * (int(lost.sum()) - int(won.sum())) / len(truth),
        "expected_drop_pp": 100
        * float((probabilities[rows, first] - probabilities[rows, new])[flipped].sum())
        / len(truth),
        "largest_margin_changed": float(margin[flipped].max(initial=0.0)),
        "near_ties": int(tie.sum()),
        "near_ties_right": int((first == truth)[tie].sum()),
        "near_ties_right_expected": float(probabilities[rows, first][tie].sum()),
    }


if __name__ == "__main__":
    main()
