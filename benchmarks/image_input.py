"""Preprocessing inside the model against outside: pixels, changed answers on every image of a folder, and the cost.

    python benchmarks/image_input.py BUNDLE IMAGES [--model-api SITE_PACKAGES]

BUNDLE is what `edge-tl export --input both` wrote. Each of its artifacts of raw pixels is asked for every image of the
folder beside the artifact on tensors that it is made of, which gets what Pillow and the contract make of the image. The
cost is of one decoded image of the evaluation images' median size: the whole model against Pillow's resize, the
normalization and the same weights, in turns, by `edge-tl bench`'s own timer. A machine that others keep busy gives the
figures all the same, and says so.

Intel's Model API, unmodified, answers the same images with the OpenVINO files, beside what `predict` says. It is
`openvino-model-api` of this environment, or of the folder of packages that --model-api names; without it that part is
left out, and the result says so. Writes results/image_input.json.
"""

from __future__ import annotations

import argparse
import sys
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from edge_tl.device.bench import ratio
from edge_tl.device.bench.latency import time_interleaved
from edge_tl.device.bench.machine_use import busy_reason
from edge_tl.device.bench.workloads import OUTSIDE, preprocessed_outside, workloads
from edge_tl.device.bundle import Artifact, Bundle, read_bundle
from edge_tl.device.files import write_json
from edge_tl.device.images.folders import images_in
from edge_tl.device.machine import cores_allowed, identity
from edge_tl.device.metrics import softmax
from edge_tl.device.raw_pixels import raw_pixels
from edge_tl.device.runtimes.open import open_runtime
from edge_tl.host.convert.image_input import pixels_inside
from edge_tl.host.export.image_artifacts import SUFFIX

RESULT = Path(__file__).resolve().parent / "results" / "image_input.json"
PACKAGE = "openvino-model-api"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("bundle", type=Path)
    parser.add_argument("images", type=Path)
    parser.add_argument("--model-api", type=Path, help="A folder of packages that has openvino-model-api.")
    parser.add_argument("--out", type=Path, default=RESULT)
    asked = parser.parse_args()
    bundle, files = read_bundle(asked.bundle), images_in(asked.images).images
    pairs = [(each, twin_of(bundle, each)) for each in bundle.artifacts if each.takes_pixels]
    if not pairs or not files:
        sys.exit("Give a bundle of `edge-tl export --input both`, and a folder with images.")
    rows = []
    for artifact, twin in pairs:
        rows.append(answers(bundle, artifact, twin, files) | cost(bundle, artifact, twin))
        print(rows[-1], flush=True)
    record = {
        "bundle": bundle.record.name,
        "model": bundle.record.provenance.model,
        "preprocess": bundle.preprocess.to_json(),
        "images": len(files),
        "pixels": {suffix[1:]: pixels(bundle, suffix, files) for suffix in (".onnx", ".xml")},
        "artifacts": rows,
        "model_api": model_api(bundle, files, asked.model_api),
        "threads": cores_allowed(),
        "machine": identity().to_json(),
    }
    write_json(asked.out, record)
    print(record["pixels"], record["model_api"])


def twin_of(bundle: Bundle, artifact: Artifact) -> Artifact:
    """The same weights on tensors. Raises `BadInput` where the bundle has not got them."""
    return bundle.artifact(artifact.id.removesuffix(SUFFIX))


def answers(bundle: Bundle, artifact: Artifact, twin: Artifact, files: list[Path]) -> dict[str, Any]:
    """What preprocessing inside changes of the probabilities, over every file."""
    inside, outside = open_runtime(artifact.path), open_runtime(twin.path)
    changed, furthest = [], 0.0
    for file in files:
        image = raw_pixels(bundle.preprocess, file)
        got, expected = inside(image)[0], softmax(outside(behind(bundle, image)))[0]
        furthest = max(furthest, float(np.abs(got - expected).max()))
        if got.argmax() != expected.argmax():
            near = np.sort(expected)
            changed.append({"file": file.name, "margin": float(near[-1] - near[-2])})
    return {
        "artifact": artifact.id,
        "flips": len(changed),
        "flipped": changed,
        "probability_diff_max": furthest,
    }


def behind(bundle: Bundle, image: NDArray[np.uint8]) -> NDArray[np.float32]:
    """A decoded image `(1, H, W, 3)` after the contract: the input of an artifact on tensors."""
    return bundle.preprocess.apply(Image.fromarray(image[0]))[None]


def cost(bundle: Bundle, artifact: Artifact, twin: Artifact) -> dict[str, Any]:
    """What a call takes more with preprocessing inside than with Pillow's before it."""
    (inside,) = workloads(bundle, [artifact])
    result = time_interleaved([preprocessed_outside(bundle, artifact, twin.path), inside])
    rows = {row.id: row for row in result.artifacts}
    after, before = rows[artifact.id], rows[artifact.id + OUTSIDE]
    blocks = [[np.array(block, np.int64) for block in row.samples_ns] for row in (before, after)]
    more, interval = ratio.difference_ms(blocks[0], blocks[1], after.block_round)
    conditions = result.conditions
    return {
        "size": list(inside.spec["shape"][1:3]),
        "inside_ms": after.latency_ms.p50,
        "outside_ms": before.latency_ms.p50,
        "cost_ms": more,
        "cost_ci_ms": interval,
        "not_judged": busy_reason(conditions, cores_allowed()),
        "conditions": conditions.to_json() if conditions else None,
        "method": result.method.to_json(),
    }


def pixels(bundle: Bundle, suffix: str, files: list[Path]) -> dict[str, float]:
    """How far the preprocessing alone is from Pillow's, in levels of 255: the largest difference, the mean, and the
    share of values that differ."""
    inside = pixels_inside(suffix, bundle.preprocess)
    largest, total, differ = 0, 0.0, 0.0
    for file in files:
        image = raw_pixels(bundle.preprocess, file)
        expected = bundle.preprocess.pixels(Image.fromarray(image[0])).astype(np.int16)
        apart = np.abs(inside(image)[0].astype(np.int16) - expected)
        largest = max(largest, int(apart.max()))
        total, differ = total + float(apart.mean()), differ + float((apart > 0).mean())
    return {
        "levels_max": largest,
        "levels_mean": total / len(files),
        "values_that_differ": differ / len(files),
    }


def model_api(bundle: Bundle, files: list[Path], packages: Path | None) -> dict[str, Any]:
    """Its answers with every OpenVINO file of the bundle, beside `predict`'s with the same artifact."""
    if packages is not None:
        sys.path.append(str(packages.resolve(strict=True)))  # last: all else stays of this environment
    if find_spec("model_api") is None:
        return {"not_run": f"{PACKAGE} is not installed here. Name a folder that has it with --model-api."}
    rows = []
    for artifact in (each for each in bundle.artifacts if each.runtime == "openvino"):
        # On tensors in f32 alone: what is left is its own resize.
        for precision in ("default", "f32") if artifact.takes_pixels else ("f32",):
            rows.append(model_api_answers(bundle, artifact, files, precision))
            print("Model API", rows[-1], flush=True)
    return {"version": version(PACKAGE), "artifacts": rows}


def model_api_answers(
    bundle: Bundle, artifact: Artifact, files: list[Path], precision: str
) -> dict[str, Any]:
    """With its defaults, which compute in bf16 where the CPU has it, or asked for "f32", as edge-tl asks."""
    from model_api.adapters import OpenvinoAdapter, create_core
    from model_api.models import ClassificationModel

    asked: Any = str(artifact.path)
    if precision == "f32":
        asked = OpenvinoAdapter(
            create_core(), asked, device="CPU", plugin_config={"INFERENCE_PRECISION_HINT": "f32"}
        )
    model = ClassificationModel.create_model(asked)
    differ, furthest = [], 0.0
    with bundle.open(artifact.id) as own:
        for file, expected in zip(files, own.predict_many(files, top=2), strict=True):
            (first, *_) = model(raw_pixels(bundle.preprocess, file)[0]).top_labels
            best, second = expected.top
            furthest = max(furthest, abs(float(first.confidence) - best.probability))
            if bundle.labels[int(first.id)] != best.label:
                differ.append({"file": file.name, "margin": best.probability - second.probability})
    return {
        "artifact": artifact.id,
        "precision": precision,
        "n": len(files),
        "differ": differ,
        "score_diff_max": furthest,
    }


if __name__ == "__main__":
    main()
