"""What `gpu_check.py` runs, one function a check: each says what it found, or raises; it must not choose or report."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from verb import command, timed

from edge_tl.device.files import read_json, sha256_file

if TYPE_CHECKING:
    import torch

MODEL = "--model mobilenet_v3_small --weights embedded --image-size 64".split()
TRAINED = [*MODEL, *"--strategy full --epochs 4 --batch-size 16 --set train.checkpoint_seconds=0".split()]
TRAINED += "--set train.deterministic=true --set train.workers=1 --set train.patience=0".split()


class Skipped(Exception):
    """A check that this machine cannot try, and why."""


@dataclass(frozen=True)
class Place:
    """Where the checks run: a scratch folder, PyTorch's device, ONNX Runtime's, how many GPUs."""

    folder: Path
    torch: str
    ort: str
    count: int

    @property
    def images(self) -> Path:
        return self.folder / "images"


def _require(condition: bool, sentence: str) -> None:
    if not condition:
        raise AssertionError(sentence)


# -- training ---------------------------------------------------------------------------------------------------------


def resume(place: Place) -> dict[str, Any]:
    """A run that is killed and resumed ends in the bytes of one that was not."""
    whole, killed = place.folder / "whole", place.folder / "killed"
    record, seconds = timed("finetune", place.images, *TRAINED, "--out", whole)
    with subprocess.Popen(
        command("finetune", place.images, *TRAINED, "--out", killed), stdout=subprocess.DEVNULL
    ) as process:
        while process.poll() is None and not _steps(killed) >= 3:
            time.sleep(0.05)
        process.send_signal(signal.SIGKILL)
    _require(not (killed / "run.json").exists(), "the run had ended before it was killed; use a slower model")
    after = _steps(killed)
    timed("finetune", place.images, *TRAINED, "--out", killed, "--resume")
    same = sha256_file(whole / "model.safetensors") == sha256_file(killed / "model.safetensors")
    difference = _largest_difference(whole, killed)
    _require(same, f"resumed after {after} steps the weights differ by up to {difference:g}")
    return {"accuracy": record["metrics"]["accuracy"], "run_seconds": seconds, "killed_after_steps": after}


def _steps(run: Path) -> int:
    from edge_tl.host.training import resume as state

    return state.steps_done(run / state.STATE) or 0


def _largest_difference(one: Path, other: Path) -> float:
    from safetensors.numpy import load_file

    a, b = load_file(one / "model.safetensors"), load_file(other / "model.safetensors")
    return max(float(np.abs(a[key].astype(np.float64) - b[key]).max(initial=0)) for key in a)


def pixels(place: Place) -> dict[str, Any]:
    """Batches augmented on the device look as the workers' images do, but for the rounding of 8-bit values."""
    import torch

    from edge_tl.device.listener import SILENT
    from edge_tl.device.preprocess import Preprocess
    from edge_tl.host.images import augment, gpu_augment
    from edge_tl.host.images.batches import AugmentedImages
    from edge_tl.host.images.pixel_cache import PixelCache, ShrinkShorterSide, fill_cache
    from edge_tl.host.recipe.schema import Augment

    contract, chosen = Preprocess(resize_size=(72, 72), crop=(64, 64)), Augment(preset="medium")
    fill_cache(
        sorted(place.images.rglob("*.png"))[:48],
        ShrinkShorterSide(72, "bilinear"),
        place.folder / "kept",
        SILENT,
    )
    store = PixelCache(place.folder / "kept")
    keys = [(epoch, i) for epoch in range(2) for i in range(len(store))]
    one = AugmentedImages(store, [augment.image_transform(chosen, 64, contract)], 0)
    want = torch.stack([image for key in keys if isinstance(image := one[key], torch.Tensor)])
    store.to(torch.device(place.torch))
    drawn = gpu_augment.AugmentParameters(store.shapes(), chosen, [64], contract, 0)
    got = gpu_augment.GpuAugment(store, [64], contract)(torch.stack([drawn[key] for key in keys]))
    _require(got.device.type == place.torch, f"the batch is on {got.device}")
    difference = (got.cpu().int() - want.int()).abs().float()
    _require(
        float(difference.mean()) < 1,
        f"the images are {float(difference.mean()):.2f} levels different in the mean",
    )
    return {"mean_levels_apart": float(difference.mean()), "max_levels_apart": float(difference.max())}


def features(place: Place) -> dict[str, Any]:
    """Frozen features of the device and of the CPU lead to the same answers."""
    words = ["finetune", place.images, *MODEL, "--strategy", "head"]
    here, seconds = timed(*words, "--out", place.folder / "features" / "run")
    accuracy = here["metrics"]["accuracy"]
    _hide_gpus(True)
    try:
        there, _ = timed(*words, "--out", place.folder / "features-cpu" / "run")
    finally:
        _hide_gpus(False)
    other = there["metrics"]["accuracy"]
    most = 1.5 / here["metrics"]["n"]
    _require(abs(accuracy - other) <= most, f"accuracy {accuracy:.4f} here, {other:.4f} on the CPU")
    return {"accuracy": accuracy, "accuracy_cpu": other, "run_seconds": seconds}


def _hide_gpus(hide: bool) -> None:
    name, kept = "CUDA_VISIBLE_DEVICES", "EDGE_TL_GPU_CHECK_VISIBLE"
    if hide:
        os.environ[kept] = os.environ.get(name, "all")
        os.environ[name] = ""
    elif (before := os.environ.pop(kept)) == "all":
        del os.environ[name]
    else:
        os.environ[name] = before


def int8(place: Place) -> dict[str, Any]:
    """Training in INT8 brings the Q/DQ graph's answers nearer to the model's; at least `qat.LEAST_STEPS` steps, so that
    few images come around more often than `epochs` says."""
    import torch

    from edge_tl.device.listener import SILENT
    from edge_tl.host.int8 import qat, qdq
    from edge_tl.host.int8.ranges import histograms
    from edge_tl.host.runs import checkpoint

    bundle, run = _bundle(place), place.folder / "features" / "run"
    scratch = place.folder / "int8"
    scratch.mkdir(exist_ok=True)
    model, record = checkpoint.load_run(run)
    contract = record.preprocess
    files = sorted(place.images.rglob("*.png"))[::4]
    framed = [torch.from_numpy(contract.pixels(file).copy()).permute(2, 0, 1) for file in files]
    inputs = np.stack([contract.apply(file) for file in files])
    qdq.prepare_graph(bundle / "model.fp32.onnx", scratch / "prepared.onnx")
    seen = histograms(str(scratch / "prepared.onnx"), inputs)
    ranges = {name: histogram.range("99.9") for name, histogram in seen.items()}
    paths = scratch / "prepared.onnx", scratch / "qdq.onnx", scratch / "trained.onnx"
    qdq.quantize(paths[0], paths[1], ranges, qdq.QdqOptions(qdq.SIGNED))
    job = qat.DistillationJob(model, framed, contract, epochs=3, seed=0, flip=False)
    try:
        epochs = qat.distill(job, *paths, seconds=60, listener=SILENT)
    except qat.TooFewSteps as error:
        raise Skipped(str(error)) from None
    with torch.inference_mode():
        want = torch.from_numpy(inputs)
        # By the files that were written: weights and scales of both are what a device would get.
        before, after = (
            float(qat.distillation_loss(model.cpu(), lambda images, path=path: _answers(path, images), want))
            for path in paths[1:]
        )
    moved = f"divergence from FP32 {before:.5f} before, {after:.5f} after the training"
    steps = round(epochs * len(framed) / qat.BATCH)
    if steps < qat.LEAST_STEPS:  # a training that was cut short proves nothing, whichever way it went
        raise Skipped(f"{steps} of {qat.LEAST_STEPS} steps in a minute on this machine; {moved}")
    _require(after < before, moved)
    return {
        "images": len(framed),
        "epochs": epochs,
        "divergence_before": before,
        "divergence_after": after,
    }


def _answers(path: Path, images: torch.Tensor) -> torch.Tensor:
    """Of a Q/DQ graph as it is written, each node by itself, on the CPU."""
    import onnxruntime
    import torch

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    (name,) = (each.name for each in session.get_inputs())
    return torch.from_numpy(
        np.concatenate([session.run(None, {name: row})[0] for row in images[:, None].numpy()])
    )


def ranks(place: Place) -> dict[str, Any]:
    """Two processes train one model; on a GPU each needs its own."""
    if place.torch != "cpu" and place.count < 2:
        raise Skipped(f"{place.count} GPU; two processes need two")
    run = place.folder / "ranks"
    words = ["torch.distributed.run", "--nproc-per-node", "2", "-m", *command()[2:-1]]
    words += ["finetune", str(place.images), *TRAINED, "--out", str(run)]
    done = subprocess.run([sys.executable, "-m", *words], capture_output=True, text=True, check=False)
    _require(done.returncode == 0, done.stderr[-500:])
    record = read_json(run / "run.json")
    _require(record["provenance"]["processes"] == 2, "the run was not made by two processes")
    return {"accuracy": record["metrics"]["accuracy"]}


# -- what was exported ------------------------------------------------------------------------------------------------


def _bundle(place: Place) -> Path:
    bundle = place.folder / "bundle"
    if not (bundle / "bundle.json").exists():
        run = place.folder / "features" / "run"
        if not (run / "run.json").exists():
            features(place)
        # FP32 alone, all that the checks need; its logits are the model's own, which INT8 training is compared with.
        timed("export", run, "--set", "export.temperature=false", "--out", bundle)
    return bundle


def _provider(name: str) -> None:
    import onnxruntime

    if f"{name}ExecutionProvider" not in onnxruntime.get_available_providers():
        raise Skipped(f"this ONNX Runtime has no {name}: pip install onnxruntime-gpu in place of onnxruntime")


def verify(place: Place) -> dict[str, Any]:
    """The gates of FP32 with ONNX Runtime on the device."""
    _provider(place.ort)
    return _verified(place, place.ort)


def _verified(place: Place, device: str) -> dict[str, Any]:
    record, _ = timed("verify", _bundle(place), "--artifact", "onnx-fp32", "--device", device)
    _require(record["passed"], str([gate for gate in record["gates"] if not gate["passed"]])[:500])
    return {"gates": len(record["gates"])}


def bench(place: Place) -> dict[str, Any]:
    """Latencies of ONNX Runtime on the device, and what says that it ran there."""
    _provider(place.ort)
    record, _ = timed("bench", _bundle(place), "--artifact", "onnx-fp32", "--device", place.ort, "--quick")
    (row,) = (row for row in record["artifacts"] if row["id"] == "onnx-fp32")
    return {"latency_ms": row["latency_ms"], "ran": row["ran"]}


def cuda_graph(place: Place) -> dict[str, Any]:
    """FP32 captured once and replayed as a CUDA graph answers as the CPU does."""
    if place.ort != "CUDA":
        raise Skipped("a CUDA graph needs CUDA")
    _provider("CUDA")
    import onnxruntime

    onnxruntime.preload_dlls()
    path = str(_bundle(place) / "model.fp32.onnx")
    inputs = np.random.default_rng(0).normal(size=(1, 3, 64, 64)).astype(np.float32)
    plain = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    name, answer = plain.get_inputs()[0].name, plain.get_outputs()[0].name
    want = plain.run(None, {name: inputs})[0]
    settings = {"enable_cuda_graph": "1", "use_tf32": "0"}
    session = onnxruntime.InferenceSession(path, providers=[("CUDAExecutionProvider", settings)])
    given = onnxruntime.OrtValue.ortvalue_from_numpy(np.zeros_like(inputs), "cuda", 0)
    taken = onnxruntime.OrtValue.ortvalue_from_numpy(np.zeros_like(want), "cuda", 0)
    binding = session.io_binding()
    binding.bind_ortvalue_input(name, given)
    binding.bind_ortvalue_output(answer, taken)
    session.run_with_iobinding(binding)  # captures
    given.update_inplace(inputs)
    session.run_with_iobinding(binding)  # replays
    difference = float(np.abs(taken.numpy() - want).max())
    _require(
        difference < 1e-3 * max(float(np.abs(want).max()), 1.0),
        f"the replay is {difference:g} from the CPU's logits",
    )
    return {"max_abs_diff": difference}


def tensorrt(place: Place) -> dict[str, Any]:
    """The gates of FP32 with TensorRT."""
    if place.ort != "CUDA":
        raise Skipped("TensorRT needs CUDA")
    _provider("Tensorrt")
    return _verified(place, "Tensorrt")
