"""How much memory calibration adds, by calibrator: 1,000 images against ten.

    python benchmarks/calibration_memory.py RUN [--images 1000]

RUN is of a 224 px model. Each calibrator runs twice in a process of its own, on ten images and on all; the difference
of the peaks (resident memory, mapped files included) is what the images add. Writes results/calibration_memory.json.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from edge_tl.device.files import write_json
from edge_tl.device.machine import current_load, identity
from edge_tl.device.preprocess import Preprocess
from edge_tl.host.convert.fp32 import save_openvino, to_onnx, to_openvino
from edge_tl.host.convert.model_file import batched_logits
from edge_tl.host.export import image_sets
from edge_tl.host.int8 import nncf_ptq, qdq
from edge_tl.host.int8.equalize import smooth
from edge_tl.host.int8.ranges import histograms
from edge_tl.host.runs import checkpoint

RESULT = Path(__file__).parent / "results" / "calibration_memory.json"
CALIBRATORS = ("histograms", "SmoothQuant", "NNCF", "NNCF for ONNX", "NNCF accuracy control")


def main() -> None:
    if sys.argv[1] == "--child":
        child(*sys.argv[2:])
        return
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("--images", type=int, default=1000)
    options = parser.parse_args()
    before = current_load().to_json()
    model, saved = checkpoint.load_run(options.run)
    dataset, contract, labels = saved.dataset(), saved.preprocess, list(saved.labels)
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        images = image_sets.calibration_set(dataset, options.images, 0)
        image_sets.inputs(contract, dataset, images, folder / "all.npy")
        np.save(folder / "ten.npy", np.load(folder / "all.npy", mmap_mode="r")[:10])
        to_onnx(model.eval(), folder / "model.onnx", contract, labels)
        to_openvino(folder / "model.onnx", folder / "model.xml", contract, labels)
        qdq.prepare_graph(folder / "model.onnx", folder / "prepared.onnx")
        for calibrator in CALIBRATORS:
            peaks = {}
            for name in ("ten", "all"):
                words = [sys.executable, __file__, "--child", calibrator, folder, folder / f"{name}.npy"]
                done = subprocess.run(list(map(str, words)), stdout=subprocess.PIPE, check=True)
                peaks[name] = json.loads(done.stdout.splitlines()[-1])
            rows.append({"calibrator": calibrator, "peak_bytes": peaks, "added": peaks["all"] - peaks["ten"]})
            print(rows[-1], file=sys.stderr)
    facts = {"images": len(images), "input_size": contract.input_size, "model": saved.model}
    machine = {
        "machine": identity().to_json(),
        "conditions": {"before": before, "after": current_load().to_json()},
    }
    write_json(RESULT, facts | {"calibrators": rows} | machine)


def child(calibrator: str, folder: str, images: str) -> None:
    """One calibration; prints this process's peak in bytes."""
    inputs = np.load(images, mmap_mode="r")
    root = Path(folder)
    contract = Preprocess(crop=inputs.shape[2:])
    if calibrator == "histograms":
        histograms(str(root / "prepared.onnx"), inputs)
    elif calibrator == "SmoothQuant":
        smooth(root / "prepared.onnx", root / "smoothed.onnx", inputs)
    elif calibrator == "NNCF accuracy control":
        # Whatever images answer now is right, so that it calibrates, validates once and is done.
        some = inputs[:10]
        answers = batched_logits(root / "model.onnx", some).argmax(1)
        model = nncf_ptq.control_accuracy(
            root / "model.xml", inputs, some, answers, max_drop=100.0, storage=qdq.SIGNED
        )
        save_openvino(model, root / "controlled.xml", contract, ["a"])
    else:
        most = inputs[: nncf_ptq.MOST]  # as the ladder gives it
        if calibrator == "NNCF":
            model = nncf_ptq.quantize_openvino(root / "model.xml", most, qdq.SIGNED)
            save_openvino(model, root / "nncf.xml", contract, ["a"])
        else:
            nncf_ptq.quantize_onnx(root / "prepared.onnx", root / "nncf.onnx", most, qdq.SIGNED)
    # Not getrusage: its peak begins with what the parent had when it started this process.
    status = Path("/proc/self/status").read_text()
    print(1024 * int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]))  # type: ignore[index]


if __name__ == "__main__":
    main()
