"""Goldens: one of every kind of file that decoders disagree on, the user's own images first."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from edge_tl.device.bundle import read_bundle
from edge_tl.device.preprocess import Preprocess
from edge_tl.device.runtimes.open import NullRuntime
from edge_tl.host.export import goldens
from edge_tl.host.export.golden_kinds import KINDS, kind_of
from edge_tl.host.export.goldens import GoldenImages, write_goldens
from edge_tl.host.images.dataset import Dataset, Sample

SMALL = Preprocess(resize="shorter", resize_size=(32, 32), crop=(32, 32))
WINDOWS = os.name == "nt"


def photo(seed: int = 0, size: tuple[int, int] = (60, 40)) -> Image.Image:
    """Blocks of colour, so that no decoder's rounding decides anything."""
    rng = np.random.default_rng(seed)
    blocks = Image.fromarray(rng.integers(0, 256, (5, 7, 3), np.uint8))
    return blocks.resize(size, Image.Resampling.BICUBIC)


def test_images_in_shards_prove_a_bundle_as_files_do(sharded: Dataset, tmp_path: Path):
    judged = sharded.split("test")
    images = GoldenImages(sharded, judged, len(judged) + len(KINDS))
    golden, _ = write_goldens(tmp_path / "out", {"null": NullRuntime(2)}, SMALL, images)
    encoded = {source.read_bytes(): source for source in sharded.sources(judged)}
    written = [tmp_path / "out" / name for name in golden.images]
    own = [path for path in written if path.read_bytes() in encoded]
    assert len(own) == len(judged)
    assert [path.suffix for path in own] == [encoded[path.read_bytes()].suffix.lower() for path in own]


NAMED = ["0.png:large", "a.jpg?x=1", "b", "c.JPEG ", "d.jpg_large", "e.con", "f.\x1b[31m"]


@pytest.mark.skipif(WINDOWS, reason="Windows has no such names")
@pytest.mark.parametrize(
    ("kind", "suffix"),
    [("PNG", ".png"), ("JPEG", ".jpg"), ("TIFF", ".tif"), ("WEBP", ".webp"), ("GIF", ".gif")],
)
def test_goldens_are_named_by_their_format_and_never_by_the_users_suffix(
    kind: str, suffix: str, tmp_path: Path
):
    """`0.png:large` was refused as a path of the bundle, after all the work was done."""
    rng = np.random.default_rng(0)
    samples = []
    for i, name in enumerate(NAMED):
        path = tmp_path / "data" / name
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (40, 40, 3), np.uint8)).save(path, kind)
        samples.append(Sample(name, i % 2, str(i), "test"))
    data = Dataset(tmp_path / "data", ["x", "y"], samples)
    images = GoldenImages(data, samples, len(samples) + len(KINDS))
    golden, _ = write_goldens(tmp_path / "out", {"null": NullRuntime(2)}, SMALL, images)
    content = {(tmp_path / "out" / name).read_bytes(): name for name in golden.images}
    own = {content.pop(path.read_bytes()) for path in (tmp_path / "data").iterdir()}
    assert {Path(name).suffix for name in own} == {suffix}
    assert all(set(Path(name).stem) <= set("0123456789abcdefghijklmnopqrstuvwxyz-") for name in own)


@pytest.mark.parametrize("count", [4, 32, 40])
def test_as_many_goldens_are_made_as_are_asked_for_and_no_fewer_than_32(
    count: int, dataset: Dataset, contract: Preprocess, tmp_path: Path
):
    images = GoldenImages(dataset, dataset.split("test"), count)
    golden, logits = write_goldens(tmp_path, {"null": NullRuntime(3)}, contract, images)
    assert len(golden.images) == max(count, len(KINDS) + 4)
    assert logits["null"].shape == (len(golden.images), 3)
    assert all((tmp_path / name).is_file() for name in golden.images)
    assert golden.left_out == {}


def test_one_image_makes_32_goldens_and_a_large_input_has_no_more(dataset: Dataset, tmp_path: Path):
    large = replace(SMALL, resize_size=(449, 449), crop=(449, 449))
    for place, (contract, samples) in enumerate([(SMALL, 1), (large, 9)]):
        images = GoldenImages(dataset, dataset.split("test")[:samples], 24)
        golden, _ = write_goldens(tmp_path / str(place), {"null": NullRuntime(3)}, contract, images)
        assert len(golden.images) == goldens.LEAST_GOLDENS


def test_a_kind_that_cannot_be_written_is_left_out_and_says_why(
    dataset: Dataset, contract: Preprocess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.delitem(Image.SAVE, "WEBP")
    few = replace(contract, max_pixels=1_000_000)
    golden, _ = write_goldens(
        tmp_path, {"null": NullRuntime(3)}, few, GoldenImages(dataset, dataset.split("test"), 32)
    )
    assert set(golden.left_out) == {"webp", "webp-alpha", "very-large"}
    assert "WEBP" in golden.left_out["webp"]
    assert "too many pixels" in golden.left_out["very-large"]
    assert len(golden.images) >= goldens.LEAST_GOLDENS


def test_what_the_user_has_of_a_kind_is_not_made(tmp_path: Path):
    rng = np.random.default_rng(0)
    for i in range(4):
        image = Image.fromarray(rng.integers(0, 256, (40, 30, 3), np.uint8))
        if i == 2:
            image.save(tmp_path / f"{i}.jpg", progressive=True)
        else:
            image.save(tmp_path / f"{i}.png")
    names = sorted(path.name for path in tmp_path.iterdir())
    samples = [Sample(name, i % 2, name, "test") for i, name in enumerate(names)]
    images = GoldenImages(Dataset(tmp_path, ["x", "y"], samples), samples, 32)
    golden, _ = write_goldens(tmp_path / "out", {"null": NullRuntime(2)}, SMALL, images)
    by_kind = {Path(name).stem.partition("-")[2]: tmp_path / "out" / name for name in golden.images}
    assert by_kind["jpeg-progressive"].read_bytes() == (tmp_path / "2.jpg").read_bytes()
    originals = {(tmp_path / name).read_bytes() for name in names}
    assert by_kind["png-rgb"].read_bytes() in originals
    assert by_kind["jpeg-444"].read_bytes() not in originals


def header(content: bytes) -> dict[str, Any]:
    """What Pillow reads of a file's header."""
    with Image.open(io.BytesIO(content)) as image:
        return {
            "format": image.format,
            "mode": image.mode,
            "size": image.size,
            "progressive": bool(image.info.get("progressive")),
            "transparency": "transparency" in image.info,
            "layers": [layer[1:3] for layer in getattr(image, "layer", [])],
            "turned": image.getexif().get(0x0112),
        }


@pytest.mark.parametrize(
    ("kind", "is_so"),
    [
        ("jpeg-baseline", lambda h: h["layers"] == [(2, 2), (1, 1), (1, 1)] and not h["progressive"]),
        ("jpeg-progressive", lambda h: h["progressive"]),
        ("jpeg-422", lambda h: h["layers"][0] == (2, 1)),
        ("jpeg-444", lambda h: h["layers"] == [(1, 1)] * 3),
        ("jpeg-grey", lambda h: (h["format"], h["mode"]) == ("JPEG", "L")),
        ("jpeg-cmyk", lambda h: (h["format"], h["mode"]) == ("JPEG", "CMYK")),
        *((f"exif-{n}", lambda h, n=n: h["turned"] == n) for n in range(1, 9)),
        ("png-grey-16", lambda h: h["mode"].startswith("I")),
        ("png-grey-16-narrow", lambda h: h["mode"].startswith("I")),
        ("png-palette", lambda h: h["mode"] == "P" and h["transparency"]),
        ("png-rgba", lambda h: h["mode"] == "RGBA"),
        ("png-grey-alpha", lambda h: h["mode"] == "LA"),
        ("webp", lambda h: (h["format"], h["mode"]) == ("WEBP", "RGB")),
        ("webp-alpha", lambda h: (h["format"], h["mode"]) == ("WEBP", "RGBA")),
        ("tiff", lambda h: (h["format"], h["mode"]) == ("TIFF", "RGB")),
        ("tiff-grey-16", lambda h: h["format"] == "TIFF" and h["mode"].startswith("I;16")),
        ("one-by-n", lambda h: h["size"][0] == 1 < h["size"][1]),
        ("n-by-one", lambda h: h["size"][1] == 1 < h["size"][0]),
        ("very-large", lambda h: h["size"][0] * h["size"][1] > 10e6),
    ],
)
def test_each_kind_is_what_it_is_called(kind: str, is_so: Callable[[dict[str, Any]], bool]):
    _, content = KINDS[kind](photo())
    assert is_so(header(content)), header(content)
    assert len(content) < 200_000
    if kind not in ("exif-1", "one-by-n", "n-by-one", "very-large") and "16" not in kind:
        assert kind_of(content) == kind


def test_a_damaged_exif_block_turns_nothing():
    content, plain = KINDS["exif-damaged"](photo())[1], KINDS["jpeg-baseline"](photo())[1]
    assert b"Exif" in content
    assert b"Exif" not in plain
    np.testing.assert_array_equal(SMALL.pixels(content), SMALL.pixels(plain))


@pytest.mark.parametrize("kind", ["png-rgb-16", "png-rgb-16-narrow"])
def test_colour_of_16_bits_a_channel_is_a_png_of_that_depth(kind: str):
    """OpenCV reads what we wrote by hand, and all 16 bits of it."""
    cv2 = pytest.importorskip("cv2")
    content = KINDS[kind](photo(size=(30, 20)))[1]
    wide = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)[:, :, ::-1]
    assert wide.dtype == np.uint16
    levels = wide >> 8 if kind == "png-rgb-16" else wide
    np.testing.assert_array_equal(levels, np.asarray(photo(size=(30, 20))))
    assert content[24] == 16
    assert kind_of(content) is None


def test_goldens_hold_what_names_a_decoders_faults(bundle: Path):
    names = [path.stem.partition("-")[2] for path in read_bundle(bundle).golden_images()]
    assert len(names) == len(KINDS) + 4
    assert set(names) == {"", *KINDS}


def test_goldens_are_evaluation_images_and_their_own_numbers(
    bundle: Path, dataset: Dataset, exported: dict[str, Any]
):
    whole = read_bundle(bundle)
    unseen = {s.digest for s in dataset.split("test")}
    files = {entry["path"]: entry["sha256"] for entry in exported["golden"]["files"]}
    n = len(whole.golden_images())
    assert {files[name] for name in exported["golden"]["images"][:4]} <= unseen
    pixels = whole.golden_pixels()
    assert pixels.shape == (n, 3, 64, 64)
    for path, want in zip(whole.golden_images(), pixels, strict=True):
        np.testing.assert_array_equal(whole.preprocess.apply(path), want)
    logits = whole.golden_logits()
    assert set(logits) == {"pytorch", "onnx-fp32", "onnx-int8", "openvino-fp32", "openvino-int8"}
    assert {array.shape for array in logits.values()} == {(n, 3)}


def test_a_decoder_that_ignores_the_orientation_is_caught():
    """The EXIF kind, turned by hand, has the contract's pixels; not turned, far from them."""
    contract = Preprocess(resize="shorter", resize_size=(64, 64), crop=(64, 64))
    suffix, content = KINDS["exif-6"](photo())
    with Image.open(io.BytesIO(content)) as image:
        flat = Image.fromarray(np.asarray(image))  # as a decoder without EXIF sees it
    assert (suffix, flat.size) == (".jpg", (60, 40))
    upright = contract.apply(content)
    np.testing.assert_array_equal(contract.apply(flat.transpose(Image.Transpose.ROTATE_270)), upright)
    assert np.abs(contract.levels(contract.apply(flat)) - contract.levels(upright)).max() > 20
