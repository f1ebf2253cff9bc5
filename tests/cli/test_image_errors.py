"""What the verbs say of images that are read with an assumption, of those beyond the limit, and of damaged metadata."""

from __future__ import annotations

import errno
import io
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import OPTIONS, Done
from device.conftest import build
from PIL import Image

from edge_tl.device.images import grey, reading
from edge_tl.device.images.decode import ALIKE, format_anywhere

RunCli = Callable[..., Done]
LIMIT, LARGE = 10_000, 12_000
"""What stands for Pillow's 89 million pixels, and for a photograph of 108 million."""


def damaged_exif() -> bytes:
    """Turned a quarter, and a resolution below zero, at which Pillow's own rotation raises."""
    head = b"II*\0" + struct.pack("<LH", 8, 2) + struct.pack("<HHLHH", 0x112, 3, 1, 6, 0)
    entry = struct.pack("<HHL", 0x11A, 10, 1) + struct.pack("<L", 38) + struct.pack("<L", 0)
    return b"Exif\0\0" + head + entry + struct.pack("<2l", -1, 0)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classes of ten; among them one of each kind that this file is about."""
    folder = tmp_path_factory.mktemp("photos")
    rng = np.random.default_rng(0)
    for label, base in (("cat", 60), ("dog", 190)):
        (folder / label).mkdir()
        for i in range(10):
            pixels = (base + rng.normal(0, 30, (48, 64, 3))).clip(0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / label / f"{i}.png")
    where = folder / "cat"
    Image.fromarray((rng.random((48, 64)) / 4).astype(np.float32)).save(where / "float.tif")
    Image.new("RGB", (64, 48), "black").save(where / "black.png")
    Image.fromarray(rng.integers(0, 90, (100, 120, 3), np.uint8)).save(where / "large.png")
    Image.fromarray(rng.integers(0, 90, (48, 64, 3), np.uint8)).save(where / "phone.jpg", exif=damaged_exif())
    return folder


@pytest.fixture(autouse=True)
def limited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", LIMIT)
    monkeypatch.setattr(reading, "_PAUSES", (0.0,))


def test_finetune_uses_damaged_metadata_says_what_it_assumed_and_names_what_is_too_large(
    photos: Path, run_cli: RunCli
):
    done = run_cli("finetune", photos, *OPTIONS, "--out", "run", "--json")
    assert done.code == 0, done.err
    (left_out,) = done.json["skipped"]
    assert left_out["path"].endswith("large.png")
    assert (
        "too many pixels (12000, the limit is 10000); if you trust the file, --max-pixels 12000"
        in left_out["reason"]
    )
    assert f"{grey.UNIT}: 1 image, cat/float.tif" in done.err
    assert f"{ALIKE}: 1 image, cat/black.png" in done.err
    again = run_cli("finetune", photos, *OPTIONS, "--out", "run2", "--json", "--max-pixels", LARGE)
    assert again.json["skipped"] == []
    assert again.json["features_computed"] == 1  # what was beyond the limit; the others are kept beside it
    assert Image.MAX_IMAGE_PIXELS == LIMIT


def test_a_file_that_cannot_be_read_now_ends_the_verb_and_is_read_the_next_time(
    photos: Path, run_cli: RunCli, monkeypatch: pytest.MonkeyPatch
):
    real = reading._file

    def failing(path: str, most: float) -> bytes:
        if path.endswith("float.tif"):
            raise OSError(errno.EMFILE, "Too many open files")
        return real(path, most)

    with monkeypatch.context() as patch:
        patch.setattr(reading, "_file", failing)
        done = run_cli("finetune", photos, *OPTIONS, "--out", "run", "--max-pixels", LARGE)
    assert done.code == 2
    assert "float.tif: Too many open files. Allow more open files (ulimit -n)" in done.err
    done = run_cli("finetune", photos, *OPTIONS, "--out", "run", "--max-pixels", LARGE, "--json")
    assert done.code == 0, done.err
    assert done.json["skipped"] == []


def test_verify_and_predict_take_the_limit_from_who_asks(photos: Path, run_cli: RunCli, tmp_path: Path):
    build(bundle := tmp_path / "bundle")
    done = run_cli("verify", bundle, "--data", photos, "--artifact", "onnx-fp32", "--json")
    (left_out,) = done.json["data"]["skipped"]
    assert left_out["path"].endswith("large.png")
    assert any(ALIKE in warning and "black.png" in warning for warning in done.json["warnings"])
    assert f"warning: {grey.UNIT}: 1 image" in done.err
    raised = run_cli(
        "verify", bundle, "--data", photos, "--artifact", "onnx-fp32", "--max-pixels", LARGE, "--json"
    )
    assert raised.json["data"]["skipped"] == []
    large = photos / "cat" / "large.png"
    assert run_cli("predict", bundle, large).code == 2
    done = run_cli("predict", bundle, large, photos / "cat" / "black.png", "--max-pixels", LARGE)
    assert done.code == 0
    assert f"warning: {ALIKE}: 1 image" in done.err


@pytest.mark.slow
def test_import_and_export_read_what_the_run_read(photos: Path, run_cli: RunCli, tmp_path: Path):
    sets = ["--set", "data.test=0.9", "--set", "export.golden_images=64"]
    made = run_cli("finetune", photos, *OPTIONS, *sets, "--out", "run", "--max-pixels", LARGE, "--json")
    assert made.code == 0, made.err
    done = run_cli("export", "run", "--out", "out", "--json")
    assert done.code in (0, 1), done.err
    assert done.json["provenance"]["recipe"]["data"]["max_pixels"] == LARGE
    for name in done.json["golden"]["images"]:
        assert format_anywhere((tmp_path / "out" / name).read_bytes())
    verified: Any = run_cli("verify", "out", "--json").json
    assert [gate["passed"] for gate in verified["gates"] if gate["gate"] == "pixels"] == [True]
    refused = run_cli("export", "run", "--out", "out2", "--max-pixels", LIMIT)
    assert refused.code == 2
    assert "large.png: too many pixels" in refused.err
    weights = "run/model.safetensors"
    name = ["--model", "mobilenet_v3_small", "--image-size", "64"]
    taken = run_cli(
        "import", weights, *name, "--data", photos, "--out", "in", "--max-pixels", LARGE, "--json"
    )
    assert taken.code == 0, taken.err
    assert taken.json["skipped"] == []


def test_an_image_for_everybody_is_left_alone():
    def encoded(size: tuple[int, int]) -> bytes:
        buffer = io.BytesIO()
        Image.new("RGB", size).save(buffer, "PNG")
        return buffer.getvalue()

    assert format_anywhere(encoded((100, 100)))
    assert not format_anywhere(encoded((101, 100)))
    assert not format_anywhere(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic")


def test_a_full_memory_is_a_sentence(run_cli: RunCli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def full(*anything: Any, **more: Any) -> None:
        raise MemoryError

    build(bundle := tmp_path / "bundle")
    monkeypatch.setattr("edge_tl.device.gates.verify", full)
    done = run_cli("verify", bundle)
    assert done.code == 2
    assert "error: out of memory. Close other programs" in done.err
