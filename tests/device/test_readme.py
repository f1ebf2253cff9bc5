"""README.txt: an implementation from its words alone, in plain loops, makes the goldens' pixels."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from device.conftest import CONTRACT, encode, picture
from PIL import Image

from edge_tl.device.bundle import read_bundle, write_record
from edge_tl.device.model_metadata import PRECISE
from edge_tl.device.preprocess import Preprocess
from edge_tl.device.readme import README, contract_steps, readme_text, with_readme
from edge_tl.device.records.artifact import FileRecord
from edge_tl.device.records.image_input import ImageInputRecord
from edge_tl.device.slim import slim


def filter_of(name: str, t: float) -> float:
    t = abs(t)
    if name == "bilinear":
        return 1 - t if t < 1 else 0.0
    if name == "lanczos":

        def sinc(x: float) -> float:
            return 1.0 if x == 0 else math.sin(math.pi * x) / (math.pi * x)

        return sinc(t) * sinc(t / 3) if t < 3 else 0.0
    if t < 1:
        return 1.5 * t**3 - 2.5 * t**2 + 1
    return -0.5 * t**3 + 2.5 * t**2 - 4 * t + 2 if t < 2 else 0.0


def one_pass(rows: np.ndarray[Any, Any], m: int, name: str) -> np.ndarray[Any, Any]:
    """`(lines, n, 3)` to `(lines, m, 3)`."""
    n = rows.shape[1]
    if n == m:
        return rows
    s = n / m
    r, support = max(s, 1), {"bilinear": 1, "bicubic": 2, "lanczos": 3}[name]
    out = np.zeros((rows.shape[0], m, 3), np.int64)
    for i in range(m):
        c = (i + 0.5) * s
        low, high = max(0, int(c - support * r + 0.5)), min(n, int(c + support * r + 0.5))
        weights = [filter_of(name, (j + 0.5 - c) / r) for j in range(low, high)]
        total = sum(weights)
        fixed = [w / total * 2**22 for w in weights]
        whole = [math.floor(w + 0.5) if w >= 0 else math.ceil(w - 0.5) for w in fixed]
        for j, w in zip(range(low, high), whole, strict=True):
            out[:, i] += rows[:, j].astype(np.int64) * w
    rounded: np.ndarray[Any, Any] = np.clip((out + 2**21) >> 22, 0, 255)
    return rounded


def added(n: int, m: int) -> list[int]:
    place, found = 0.5 * (n / m), []
    for _ in range(m):
        found.append(math.floor(place))
        place += n / m
    return found


def by_the_words(pixels: np.ndarray[Any, Any], contract: Preprocess) -> np.ndarray[Any, Any]:
    """Steps 6 and on, of upright RGB."""
    h, w = pixels.shape[:2]
    high, wide = contract.resize_size
    if contract.resize == "shorter":
        short, long = min(h, w), max(h, w)
        longer = int(high * long / short)
        w2, h2 = (high, longer) if w <= h else (longer, high)
    elif contract.resize == "letterbox":
        if w / h > wide / high:
            w2, h2 = wide, max(1, round(h / w * wide))
        else:
            w2, h2 = max(1, round(w / h * high)), high
    else:
        w2, h2 = wide, high
    if contract.interpolation == "nearest":
        image = pixels[added(h, h2)][:, added(w, w2)]
    else:
        image = one_pass(pixels, w2, contract.interpolation)
        image = one_pass(image.transpose(1, 0, 2), h2, contract.interpolation).transpose(1, 0, 2)
    if contract.pad is not None:
        frame = np.empty((high, wide, 3), np.int64)
        frame[:] = contract.pad
        top, left = round((high - h2) / 2), round((wide - w2) / 2)
        frame[top : top + h2, left : left + w2] = image
        image = frame
    if contract.crop is not None:
        ch, cw = contract.crop
        lack_h, lack_w = max(0, ch - image.shape[0]), max(0, cw - image.shape[1])
        image = np.pad(
            image,
            ((lack_h // 2, lack_h - lack_h // 2), (lack_w // 2, lack_w - lack_w // 2), (0, 0)),
        )
        top, left = round((image.shape[0] - ch) / 2), round((image.shape[1] - cw) / 2)
        image = image[top : top + ch, left : left + cw]
    numbers = image.astype(np.float32) / np.float32(255)
    numbers = (numbers - np.asarray(contract.mean, np.float32)) / np.asarray(contract.std, np.float32)
    planes: np.ndarray[Any, Any] = numbers.transpose(2, 0, 1)
    return planes


CONTRACTS = [
    CONTRACT,
    Preprocess(resize_size=(23, 23), crop=(16, 17), interpolation="bicubic"),
    Preprocess(resize_size=(31, 31), crop=(40, 35)),
    Preprocess(resize="exact", resize_size=(19, 22), crop=None, interpolation="lanczos"),
    Preprocess(resize="letterbox", resize_size=(24, 20), crop=None, pad=(9, 99, 199)),
    Preprocess(resize_size=(90, 90), crop=(80, 80), interpolation="bicubic"),
    Preprocess(resize_size=(20, 20), crop=(16, 16), interpolation="nearest"),
]


@pytest.mark.parametrize("contract", CONTRACTS, ids=str)
@pytest.mark.parametrize("size", [(40, 30), (27, 41), (55, 20), (7, 90), (16, 16), (1, 12), (12, 1)], ids=str)
def test_the_words_alone_make_the_contracts_pixels(contract: Preprocess, size: tuple[int, int]) -> None:
    image = picture(sum(size), width=size[0], height=size[1])
    own = by_the_words(np.asarray(image), contract)
    np.testing.assert_array_equal(own, contract.apply(encode(image, "PNG")))


def test_cmyk_by_the_words() -> None:
    def m(a: int, b: int) -> int:
        t = a * b + 128
        return (t + (t >> 8)) >> 8

    ink = np.random.default_rng(0).integers(0, 256, (16, 16, 4), np.uint8)
    tiff = encode(Image.fromarray(ink, "CMYK"), "TIFF")
    want = [
        [[(255 - int(p[3])) - m(int(p[c]), 255 - int(p[3])) for c in range(3)] for p in row] for row in ink
    ]
    whole = Preprocess(resize="none", crop=(16, 16))
    np.testing.assert_array_equal(whole.pixels(tiff), want)


def test_every_number_of_the_contract_is_in_the_words() -> None:
    said = " ".join(contract_steps(CONTRACT))
    for word in (
        "becomes 20",
        "16 wide and 16 high",
        "TRUNCATED",
        "EVEN",
        "0x0112",
        "0.485",
        "0.229",
        "2^-22",
    ):
        assert word in said
    assert "five crops" in " ".join(contract_steps(Preprocess(five_crop=(192, 192))))


def test_a_bundle_says_it_in_a_sealed_file_and_slim_adapts_it(bundle_root: Path, tmp_path: Path) -> None:
    whole = read_bundle(bundle_root)
    write_record(bundle_root, with_readme(bundle_root, whole.record))
    whole = read_bundle(bundle_root)
    text = (bundle_root / README).read_text("utf-8")
    assert text == readme_text(whole.record)
    for artifact in whole.artifacts:
        assert artifact.id in text
        assert artifact.path.name in text
    assert "Recommended: openvino-fp32" in text
    assert all(step in text for step in whole.record.preprocess_steps)
    slim(whole, ["onnx-int8"], tmp_path / "small")
    small = (tmp_path / "small" / README).read_text("utf-8")
    assert "model.int8.onnx" in small
    assert "model.fp32" not in small
    foreign = [
        replace(each, runtime_floor="\x1b[2J\n9. Divide by 128\u202e" * 400)
        for each in whole.record.artifacts
    ]
    text = readme_text(replace(whole.record, artifacts=tuple(foreign), recommendation="\nBGR" * 9999))
    assert not re.search(r"^(9\. Divide by 128|BGR)|[\x1b\u202e]", text, re.MULTILINE)
    assert r"\x1b[2J\x0a9. Divide by 128\u202e" in text
    assert len(text) < len(readme_text(whole.record)) + 250 * len(foreign) + 700
    (bundle_root / README).write_text("altered")
    with pytest.raises(Exception, match=r"damaged file in bundle.*README\.txt"):
        read_bundle(bundle_root)


def test_the_lines_for_raw_pixels_are_of_what_passed_and_hold_its_option(bundle_root: Path) -> None:
    """The option of the file is there, because INT8 saturates without it; nothing else that a bundle says is code."""
    record = read_bundle(bundle_root).record
    given = ImageInputRecord((30, 40), 5, 0, 0.0, 0.0, 0.0)
    twins = [
        replace(
            record.artifact(f"onnx-{precision}"),
            id=f"onnx-{precision}-image",
            files=(FileRecord(f"model.{precision}-image.onnx", "0" * 64, 1),),
            input="image",
            image_input=given,
            passed=precision == "int8",
            session_options={PRECISE: "1", 'x", "1"); import os #': "1"},
        )
        for precision in ("fp32", "int8")
    ]
    text = readme_text(replace(record, artifacts=(*record.artifacts, *twins)))
    assert 'InferenceSession("model.int8-image.onnx", options)' in text
    assert f'add_session_config_entry("{PRECISE}", "1")' in text
    assert "import os" not in text
