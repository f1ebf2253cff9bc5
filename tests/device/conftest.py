"""A tiny real bundle, written through the package's own functions; it needs neither the onnx package nor PyTorch.

The models are `assets/`, made by `make_tiny.py`; the goldens are made here with Pillow.
"""

from __future__ import annotations

import importlib.util
import io
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from edge_tl.device import bundle as bundles
from edge_tl.device import gates
from edge_tl.device.errors import BundleError
from edge_tl.device.machine import has_vnni
from edge_tl.device.metrics import max_abs_diff, top1
from edge_tl.device.preprocess import Preprocess
from edge_tl.device.records.bundle import BundleRecord
from edge_tl.device.runtimes.open import open_runtime

ASSETS = Path(__file__).parent / "assets"
LABELS = ["dog", "cat", "eel"]  # not in alphabetical order: an index is the bundle's, never the folder's
CONTRACT = Preprocess(resize_size=(20, 20), crop=(16, 16))
ARTIFACTS = {
    "onnx-fp32": {"model.fp32.onnx": "tiny.onnx"},
    "openvino-fp32": {"model.fp32.xml": "tiny.xml", "model.fp32.bin": "tiny.bin"},
    "onnx-int8": {"model.int8.onnx": "tiny.int8.onnx"},
    "openvino-int8": {"model.int8.xml": "tiny.int8.xml", "model.int8.bin": "tiny.int8.bin"},
}

Change = Callable[[dict[str, Any]], None]
Edit = Callable[..., None]


def pytest_addoption(parser: pytest.Parser) -> None:
    """pyproject.toml sets `timeout`; a device's environment need not have pytest-timeout to run these tests."""
    if importlib.util.find_spec("pytest_timeout") is None:
        parser.addini("timeout", "ignored without pytest-timeout")


def picture(seed: int, *, width: int = 40, height: int = 30) -> Image.Image:
    """A flat colour with a gradient and noise, so that resizing in another way changes it."""
    rng = np.random.default_rng(seed)
    pixels = rng.uniform(0, 255, 3) + np.linspace(-40, 40, width)[None, :, None]
    pixels = pixels + rng.normal(0, 45, (height, width, 3))
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def encode(image: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def goldens() -> dict[str, bytes]:
    rotated = Image.Exif()
    rotated[0x0112] = 6
    return {
        "00.jpg": encode(picture(0), "JPEG", quality=92),
        "01.jpg": encode(picture(1, width=27, height=41), "JPEG", quality=92, exif=rotated),
        "02.png": encode(picture(2).convert("L"), "PNG"),
        "03.png": encode(picture(3, width=55).quantize(32), "PNG", transparency=0),
        "04.png": encode(picture(4, width=33, height=77), "PNG"),
        "05.png": encode(picture(11), "PNG"),
    }


def build(root: Path) -> None:
    """Write a whole bundle into `root`."""
    (root / "golden/images").mkdir(parents=True)
    images = {f"golden/images/{name}": content for name, content in goldens().items()}
    for name, content in images.items():
        (root / name).write_bytes(content)
    pixels = np.stack([CONTRACT.apply(root / name) for name in images])
    logits = {}
    for artifact, files in ARTIFACTS.items():
        for name, asset in files.items():
            shutil.copy(ASSETS / asset, root / name)
        runtime = open_runtime(tell(root / next(iter(files)), LABELS, CONTRACT))
        logits[artifact] = np.concatenate([runtime(pixels[i : i + 1]) for i in range(len(pixels))])
    logits[bundles.REFERENCE] = logits["onnx-fp32"] + np.float32(1e-6)
    np.savez_compressed(root / bundles.GOLDEN_PIXELS, pixels=pixels)
    np.savez(root / bundles.GOLDEN_LOGITS, allow_pickle=False, **logits)
    stored = (*images, bundles.GOLDEN_PIXELS, bundles.GOLDEN_LOGITS)
    record = BundleRecord.from_json(
        {
            "schema_version": bundles.SCHEMA_VERSION,
            "name": "tiny",
            "labels": LABELS,
            "preprocess": CONTRACT.to_json(),
            "reference": {"framework": "pytorch 0", "accuracy": 0.5, "n": 6, "latency_ms": None},
            "artifacts": [
                {
                    "id": artifact,
                    "runtime": "onnxruntime" if artifact.startswith("onnx") else "openvino",
                    "precision": artifact[-4:],
                    "files": [bundles.file_record(root, name).to_json() for name in files],
                    "limits": limits(logits[artifact], logits[bundles.REFERENCE], artifact[-4:]),
                }
                for artifact, files in ARTIFACTS.items()
            ],
            "recommended": "openvino-fp32",
            "golden": {
                "images": list(images),
                "files": [bundles.file_record(root, name).to_json() for name in stored],
            },
            "provenance": {"run": "../run", "seed": 0, "host": {"vnni": has_vnni()}},
        }
    )
    bundles.write_record(root, record)


def tell(path: Path, labels: list[str], contract: Preprocess) -> Path:
    """Labels and contract in the model's own metadata, as `export` writes them; the onnx package is not needed."""
    facts = json.dumps({"labels": labels, "preprocess": contract.to_json()})
    if path.suffix == ".onnx":
        with path.open("ab") as file:  # fields of a protocol buffer may come in any order
            file.write(
                _bytes_field(14, _bytes_field(1, b"model_info edge_tl") + _bytes_field(2, facts.encode()))
            )
    else:
        quoted = facts.replace('"', "&quot;")
        told = f'<model_info><edge_tl value="{quoted}" /></model_info>\n\t</rt_info>\n</net>'
        path.write_text(
            re.sub(r"</rt_info>\s*</net>", lambda _: told, path.read_text("utf-8")), encoding="utf-8"
        )
    return path


def _bytes_field(number: int, content: bytes) -> bytes:
    return bytes([number << 3 | 2]) + _varint(len(content)) + content


def _varint(value: int) -> bytes:
    more = value >> 7
    return bytes([value & 127 | 128]) + _varint(more) if more else bytes([value])


def limits(own: np.ndarray, expected: np.ndarray, precision: str) -> dict[str, float]:
    """As `export` sets them (`edge_tl.host.export.pipeline`)."""
    difference, least = 1e-3 * max(1.0, float(np.abs(own).max())), 1.0
    if precision == "int8":
        difference = max(difference, max_abs_diff(own, expected))
        least = max(0, int(np.sum(top1(own) == top1(expected))) - 1) / len(own)
    return {"device_max_abs_diff": difference, "golden_agreement": least, "max_drop_pp": 100.0}


def verify(bundle: bundles.Bundle, **options: Any) -> dict[str, Any]:
    """What `gates.verify` finds, as `edge-tl verify --json` prints it."""
    return gates.verify(bundle, **options).to_json()


@pytest.fixture(scope="session")
def _built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("bundle") / "tiny"
    build(root)
    return root


@pytest.fixture
def bundle_root(_built: Path, tmp_path: Path) -> Path:
    """A bundle that the test may break."""
    return Path(shutil.copytree(_built, tmp_path / "tiny"))


@pytest.fixture
def assets() -> Path:
    """The folder of the tiny models."""
    return ASSETS


@pytest.fixture
def labelled(tmp_path: Path) -> Path:
    """A folder per class, twelve pictures each, whose labels have nothing to do with the model's answers."""
    root = tmp_path / "labelled"
    for i, label in enumerate(LABELS):
        (root / label).mkdir(parents=True)
        for j in range(12):
            picture(100 * i + j).save(root / label / f"{j:02d}.png")
    return root


@pytest.fixture
def edit() -> Edit:
    """`edit(root, change)`: change the record as a text editor would; the seal and the hashes stay."""

    def _edit(root: Path, change: Change) -> None:
        record = json.loads((root / bundles.RECORD).read_text("utf-8"))
        change(record)
        (root / bundles.RECORD).write_text(json.dumps(record), encoding="utf-8")

    return _edit


@pytest.fixture
def reseal() -> Edit:
    """`reseal(root[, change])`: change the record, then hash every file and seal anew, as if exported so."""

    def _reseal(root: Path, change: Change | None = None) -> None:
        record = json.loads((root / bundles.RECORD).read_text("utf-8"))
        if change:
            change(record)
        for part in (*record["artifacts"], record["golden"]):
            part["files"] = [bundles.file_record(root, entry["path"]).to_json() for entry in part["files"]]
        try:
            bundles.write_record(root, BundleRecord.from_json(record))
        except BundleError:  # what no export writes
            bundles.write_sealed(root, record)

    return _reseal
