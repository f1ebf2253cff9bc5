"""A step of full fine-tuning on a CPU against the plain loop, and whether it is as accurate.

    python benchmarks/finetune_speed.py FLOWERS MOBILENET_V2.safetensors [--seconds 60] [--seeds 5]

The plain loop: eager PyTorch, NCHW, fp32, ImageFolder and DataLoader with workers, random resized crop and flip, AdamW.
Ours: the steps of `edge-tl finetune --strategy full`, its own network, feed and choice of precision. Both run in this
process, in turns of a few steps. Accuracy: small sets of photographs at 64 px, both precisions of ours and the plain
loop from the same seeds, the differences paired by seed. It goes to benchmarks/results/finetune_speed.json.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import tempfile
from collections.abc import Iterator
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import torch
from scipy import stats
from torch import nn
from torch.utils.data import DataLoader
from torchvision import datasets, transforms

from edge_tl.device.files import write_json
from edge_tl.device.machine import cores_allowed, current_load, identity
from edge_tl.host.images.batches import BatchPlan
from edge_tl.host.models import architecture
from edge_tl.host.models.contracts import ContractChanges
from edge_tl.host.models.weights import open_pretrained
from edge_tl.host.recipe import load as recipes
from edge_tl.host.training import distributed, feed, fit_split
from edge_tl.host.training.finetune import finetune
from edge_tl.host.training.job import Position, TrainingJob
from edge_tl.host.training.network import Network
from edge_tl.host.training.precision import settle_precision

RESULT = Path(__file__).parent / "results" / "finetune_speed.json"
BATCH, TURN = 32, 2
TIMED_PER_CLASS = {"train": 100, "val": 2}
SMALL, SMALL_PER_CLASS, SMALL_EPOCHS = 64, {"train": 50, "val": 12}, 6
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def main() -> None:
    """Time both sides, train the small sets, write the result."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("weights", type=Path)
    parser.add_argument("--seconds", type=float, default=60.0, help="for each model")
    parser.add_argument("--models", nargs="*", default=["mobilenet_v2", "mobilenet_v3_small"])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--out", type=Path, default=RESULT)
    options = parser.parse_args()
    before = current_load().to_json()
    torch.set_num_threads(distributed.threads())
    speed = []
    for name, size, weights in (
        ("mobilenet_v2", 160, str(options.weights)),
        ("mobilenet_v3_small", 224, "none"),
    ):
        if name not in options.models:
            continue
        speed.append(compare(options.data, name, size, weights, options.seconds))
        print(speed[-1], flush=True)
    measured = current_load().to_json()
    accuracy = equal_accuracy(options.data, options.weights, options.seeds) if options.seeds else None
    write_json(
        options.out,
        {
            "what": "full fine-tuning on a CPU: images a second of the plain loop and of edge-tl, in turns",
            "batch": BATCH,
            "threads": torch.get_num_threads(),
            "models": speed,
            "accuracy": accuracy,
            "machine": identity().to_json(),
            "conditions": {"before": before, "after": measured},
            "versions": {"torch": torch.__version__},
        },
    )


def compare(data: Path, name: str, size: int, weights: str, seconds: float) -> dict[str, Any]:
    """Turns of `TURN` steps of each side until `seconds` have passed."""
    with tempfile.TemporaryDirectory() as scratch:
        record: dict[str, Any] = {"model": name, "image_size": size}
        data = few(data, Path(scratch) / "few", TIMED_PER_CLASS)
        sides = {"plain": plain_steps(data, name, size, weights)}
        sides["ours"] = our_steps(job_of(data, name, size, weights, Path(scratch)), record)
        for side in sides.values():  # workers started, the precision settled, memory at hand
            for _ in range(2):
                next(side)
        turns: dict[str, list[float]] = {side: [] for side in sides}
        waits: dict[str, list[float]] = {side: [] for side in sides}
        until = perf_counter() + seconds
        for turn in itertools.count():
            for side in list(sides) if turn % 2 == 0 else list(sides)[::-1]:
                start = perf_counter()
                waits[side].append(sum(next(sides[side]) for _ in range(TURN)))
                turns[side].append(perf_counter() - start)
            if perf_counter() > until and turn >= 3:
                break
    logs = np.log(np.array(turns["plain"]) / np.array(turns["ours"]))
    half = stats.t.ppf(0.975, len(logs) - 1) * logs.std(ddof=1) / np.sqrt(len(logs))
    for side, took in turns.items():
        record[f"{side}_images_per_s"] = TURN * BATCH / statistics.median(took)
        record[f"{side}_waiting_for_data"] = sum(waits[side]) / sum(took)
    ends = [float(np.exp(logs.mean() - half)), float(np.exp(logs.mean() + half))]
    return record | {"ratio": float(np.exp(logs.mean())), "ratio_ci": ends, "turns": turns}


def plain_steps(data: Path, name: str, size: int, weights: str) -> Iterator[float]:
    """The tutorial's loop; each step gives the seconds that it waited for its batch."""
    torch.manual_seed(0)
    model = plain_model(name, weights, len(list((data / "train").iterdir()))).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-4)
    loader = plain_loader(data / "train", size, cores_allowed())
    criterion = nn.CrossEntropyLoss(label_smoothing=0.05)
    batches = itertools.chain.from_iterable(itertools.repeat(loader))
    while True:
        start = perf_counter()
        images, labels = next(batches)
        waited = perf_counter() - start
        optimizer.zero_grad()
        criterion(model(images), labels).backward()
        optimizer.step()
        yield waited


def plain_model(name: str, weights: str, classes: int) -> nn.Module:
    """A torchvision model with a new head, as it comes: NCHW, fp32."""
    source = open_pretrained(name, weights, ContractChanges())
    width = architecture.feature_width(source.model, source.head)
    architecture.set_head(source.model, source.head, nn.Linear(width, classes))
    return source.model


def plain_loader(folder: Path, size: int, workers: int) -> DataLoader[Any]:
    """Files to augmented, normalized batches, decoded anew every epoch."""
    steps = [transforms.RandomResizedCrop(size, scale=(0.35, 1.0)), transforms.RandomHorizontalFlip()]
    normal = [transforms.ToTensor(), transforms.Normalize(MEAN, STD)]
    images = datasets.ImageFolder(str(folder), transforms.Compose([*steps, *normal]))
    return DataLoader(
        images,
        BATCH,
        shuffle=True,
        drop_last=True,
        num_workers=workers,
        persistent_workers=workers > 0,
        generator=torch.Generator().manual_seed(0),
    )


class _Captured(Exception):
    """Ends a run where its training would begin."""


def job_of(data: Path, name: str, size: int, weights: str, scratch: Path) -> TrainingJob:
    """The training that `edge-tl finetune` would begin."""
    jobs: list[TrainingJob] = []

    def capture(job: TrainingJob, *_: Any, **__: Any) -> None:
        jobs.append(job)
        raise _Captured

    really, fit_split.train.fit = fit_split.train.fit, capture  # type: ignore[assignment]
    try:
        finetune(recipe_of(data, name, size, weights, 0, strategy="full"), scratch / "run")
    except _Captured:
        return jobs[0]
    finally:
        fit_split.train.fit = really
    raise AssertionError("nothing was trained")


def recipe_of(data: Path, name: str, size: int, weights: str, seed: int, **train: Any) -> Any:
    """The recipe of our side, with light augmentation: the plain loop's."""
    model = {"name": name, "weights": weights, "image_size": size}
    return recipes.parse({"data": {"path": str(data)}, "model": model, "train": train, "seed": seed})


def our_steps(job: TrainingJob, record: dict[str, Any]) -> Iterator[float]:
    """What `training.train` does in a step, less its events and checkpoints."""
    from edge_tl.device.listener import SILENT

    epochs = 1000
    network = Network(job, 0.99)
    network.prepare(0)
    keys = BatchPlan(job.labels, 0, range(epochs), BATCH, "none")
    batches = iter(feed.make_batches(job, keys, feed.plan_feed(job, network.device)))
    at = Position(steps=len(keys) // epochs)
    for keys_of_batch in keys:
        start = perf_counter()
        pixels = next(batches)
        waited = perf_counter() - start
        images = [i for _, i in keys_of_batch]
        settle_precision(network, at, pixels, images, BATCH, SILENT)
        record["precision"] = at.precision.to_json() if at.precision else None
        float(network.gradients(pixels, images, BATCH))
        network.step(1.0)
        yield waited


def equal_accuracy(data: Path, weights: Path, seeds: int) -> dict[str, Any]:
    """Accuracy on the held-out photographs after training on a few, and paired differences in points."""
    sides: dict[str, list[float]] = {"plain": [], "fp32": [], "bf16": []}
    with tempfile.TemporaryDirectory() as scratch:
        small = few(data, Path(scratch) / "few", SMALL_PER_CLASS)
        for seed in range(seeds):
            for side in ("fp32", "bf16"):
                recipe = recipe_of(
                    small, "mobilenet_v2", SMALL, str(weights), seed,
                    strategy="full", epochs=SMALL_EPOCHS, patience=0, batch_norm="train", precision=side,
                )  # fmt: skip
                run = finetune(recipe, Path(scratch) / f"{side}{seed}")
                sides[side].append(run.record.metrics.accuracy)
            sides["plain"].append(plain_accuracy(small, str(weights), seed))
            print({side: values[-1] for side, values in sides.items()}, flush=True)
    what = (
        f"MobileNetV2, {SMALL} px, {SMALL_PER_CLASS['train']} training images a class, {SMALL_EPOCHS} epochs"
    )
    return {
        "what": what,
        "accuracy": sides,
        "bf16_minus_fp32_pp": paired(sides["bf16"], sides["fp32"]),
        "bf16_minus_plain_pp": paired(sides["bf16"], sides["plain"]),
    }


def few(data: Path, folder: Path, per_class: dict[str, int]) -> Path:
    """Links to the first training images of each class, so many of each split; data/val is the test set."""
    for label in sorted((data / "train").iterdir()):
        files = iter(sorted(label.iterdir()))
        for split, count in per_class.items():
            (folder / split / label.name).mkdir(parents=True)
            for file in itertools.islice(files, count):
                (folder / split / label.name / file.name).symlink_to(file.resolve())
    if per_class is SMALL_PER_CLASS:
        (folder / "test").symlink_to((data / "val").resolve())
    return folder


def plain_accuracy(data: Path, weights: str, seed: int) -> float:
    """Of the plain loop with a one-cycle schedule after the last epoch."""
    torch.manual_seed(seed)
    model = plain_model("mobilenet_v2", weights, len(list((data / "train").iterdir())))
    loader = plain_loader(data / "train", SMALL, 0)
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 5e-4, SMALL_EPOCHS * len(loader))
    criterion = nn.CrossEntropyLoss(label_smoothing=0.05)
    model.train()
    for _ in range(SMALL_EPOCHS):
        for images, labels in loader:
            optimizer.zero_grad()
            criterion(model(images), labels).backward()
            optimizer.step()
            schedule.step()
    model.eval()
    sized = [transforms.Resize(round(SMALL * 256 / 224)), transforms.CenterCrop(SMALL)]
    test = datasets.ImageFolder(
        str(data / "test"),
        transforms.Compose([*sized, transforms.ToTensor(), transforms.Normalize(MEAN, STD)]),
    )
    with torch.inference_mode():
        right = sum(int((model(x).argmax(1) == y).sum()) for x, y in DataLoader(test, 64))
    return right / len(test)


def paired(ours: list[float], theirs: list[float]) -> dict[str, Any]:
    """Mean difference in percentage points over the seeds, with Student's 95 % interval."""
    points = 100 * (np.array(ours) - np.array(theirs))
    half = float(stats.t.ppf(0.975, len(points) - 1) * points.std(ddof=1) / np.sqrt(len(points)))
    return {"mean": float(points.mean()), "ci": [float(points.mean()) - half, float(points.mean()) + half]}


if __name__ == "__main__":
    main()
