"""`edge-tl finetune --strategy head` against the plain loop of every transfer-learning tutorial, on the same images.

    python benchmarks/head_vs_tutorial.py FLOWERS WEIGHTS.safetensors

FLOWERS holds train/ and val/. The tutorial's side: a frozen MobileNetV2 forwarded every epoch in eager PyTorch,
ImageFolder, DataLoader with workers, random resized crop and flip, SGD with momentum, a validation pass an epoch;
only its loop is timed, not its imports. Our side: the whole process, from start to the written run, cold cache.
The two are interleaved: a cold run of ours after epochs 1, 2, 4, 7 and 10 of the loop. Then a second head on the warm
cache. Every epoch of the loop does the same work, so with `--epochs` fewer than ten are timed and ten are their
median times ten; the result holds every epoch that was timed. It goes to benchmarks/results/head_vs_tutorial.json.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
from torch import nn
from torchvision import datasets, transforms
from verb import timed

from edge_tl.device.files import write_json
from edge_tl.device.machine import current_load, identity
from edge_tl.host.models import weights as weights_room

RESULT = Path(__file__).parent / "results" / "head_vs_tutorial.json"
OURS_AFTER = (1, 2, 4, 7, 10)
TUTORIAL_EPOCHS = 10


def main() -> None:
    """Run both sides and write the result."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("weights", type=Path)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--out", type=Path, default=RESULT)
    options = parser.parse_args()

    before = current_load().to_json()
    ours: list[dict[str, Any]] = []
    epochs: list[dict[str, float]] = []
    with tempfile.TemporaryDirectory() as scratch:
        for epoch in tutorial(options.data, options.weights, options.epochs):
            epochs.append(epoch)
            print(f"tutorial epoch {len(epochs)}: {epoch['seconds']:.1f} s, accuracy {epoch['accuracy']:.4f}")
            if len(epochs) in OURS_AFTER:
                folder = Path(scratch) / f"cold{len(ours)}"
                ours.append(finetune(options.data, options.weights, folder / "run", []))
                print(f"ours, cold: {ours[-1]['seconds']:.1f} s, accuracy {ours[-1]['accuracy']:.4f}")
        warm = finetune(options.data, options.weights, folder / "second", ["--set", "head.C=[0.002, 0.02]"])
        print(f"ours, second head, warm: {warm['seconds']:.1f} s", flush=True)
    loop = TUTORIAL_EPOCHS * statistics.median(epoch["seconds"] for epoch in epochs)
    cold = statistics.median(run["seconds"] for run in ours)
    write_json(
        options.out,
        {
            "what": "head-only fine-tuning of MobileNetV2 at 224 px: the tutorial's loop against edge-tl finetune",
            "epochs": epochs,
            "epochs_timed": len(epochs),
            "tutorial_seconds": loop,
            "ours_cold": ours,
            "ours_cold_seconds": cold,
            "ours_warm": warm,
            "ratio": loop / cold,
            "machine": identity().to_json(),
            "conditions": {"before": before, "after": current_load().to_json()},
            "versions": {"torch": torch.__version__},
        },
    )
    print(
        f"{TUTORIAL_EPOCHS} epochs ({len(epochs)} timed): {loop:.0f} s; ours: {cold:.1f} s; {loop / cold:.1f} times"
    )


def tutorial(data: Path, weights: Path, epochs: int) -> Any:
    """Yield `{seconds, accuracy}` after each epoch of the plain loop."""
    torch.manual_seed(0)
    normalize = transforms.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
    augment = [transforms.RandomResizedCrop(224), transforms.RandomHorizontalFlip()]
    centre = [transforms.Resize(256), transforms.CenterCrop(224)]
    folders = {
        "train": datasets.ImageFolder(
            str(data / "train"), transforms.Compose([*augment, transforms.ToTensor(), normalize])
        ),
        "val": datasets.ImageFolder(
            str(data / "val"), transforms.Compose([*centre, transforms.ToTensor(), normalize])
        ),
    }
    loaders = {
        name: torch.utils.data.DataLoader(folder, batch_size=32, shuffle=name == "train", num_workers=2)
        for name, folder in folders.items()
    }
    model = weights_room.open_pretrained("mobilenet_v2", str(weights)).model
    for parameter in model.parameters():
        parameter.requires_grad = False
    model.classifier[1] = nn.Linear(1280, len(folders["train"].classes))
    optimizer = torch.optim.SGD(model.classifier[1].parameters(), lr=0.001, momentum=0.9)
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, step_size=7, gamma=0.1)
    criterion = nn.CrossEntropyLoss()
    for _ in range(epochs):
        start, right = perf_counter(), 0
        model.train()
        for images, labels in loaders["train"]:
            optimizer.zero_grad()
            loss = criterion(model(images), labels)
            loss.backward()
            optimizer.step()
        schedule.step()
        model.eval()
        with torch.no_grad():
            for images, labels in loaders["val"]:
                right += int((model(images).argmax(1) == labels).sum())
        yield {"seconds": perf_counter() - start, "accuracy": right / len(folders["val"])}


def finetune(data: Path, weights: Path, out: Path, more: list[str]) -> dict[str, Any]:
    """One whole process of ours: wall seconds and validation accuracy."""
    words = ["finetune", data, "--model", "mobilenet_v2", "--weights", weights, "--strategy", "head"]
    record, seconds = timed(*words, "--out", out, *more)
    return {
        "seconds": seconds,
        "accuracy": record["metrics"]["accuracy"],
        "features_computed": record["features_computed"],
        "n": record["n"],
    }


if __name__ == "__main__":
    main()
