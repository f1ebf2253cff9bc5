"""The head's answer at every position, against the arithmetic of the tiny models' own weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from edge_tl.device.errors import BundleError
from edge_tl.device.explain.onnx_positions import with_positions
from edge_tl.device.explain.positions import open_positions
from edge_tl.device.model_metadata import onnx_fields
from edge_tl.device.runtimes.open import open_runtime

MODELS = ("tiny.onnx", "tiny.xml", "tiny.int8.onnx", "tiny.int8.xml")


def noise(count: int = 1) -> NDArray[np.float32]:
    return np.random.default_rng(3).normal(0, 1, (count, 3, 16, 16)).astype(np.float32)


def weights(path: Path) -> dict[str, NDArray[np.float32]]:
    """The float32 tensors of an ONNX file, by name: raw data, as `make_tiny.py` writes them."""
    content = path.read_bytes()
    found = {}
    for number, a, b in onnx_fields(content, 0, len(content), iter(range(10**6))):
        if number != 7:
            continue
        for kind, start, end in onnx_fields(content, a, b, iter(range(10**6))):
            if kind != 5:
                continue
            name, shape, raw = "", [], b""
            for field, c, d in onnx_fields(content, start, end, iter(range(10**6))):
                if field == 1:
                    shape += list(content[c:d]) if d > c else [c]
                elif field == 8:
                    name = content[c:d].decode()
                elif field == 9:
                    raw = content[c:d]
            found[name] = np.frombuffer(raw, np.float32).reshape(shape)
    return found


def by_hand(path: Path, image: NDArray[np.float32]) -> NDArray[np.float64]:
    """`(8, 8, classes)`: convolution, ReLU, and the last layer at every position."""
    made = weights(path)
    padded = np.pad(image[0].astype(np.float64), ((0, 0), (1, 1), (1, 1)))
    features = np.zeros((8, 8, 8))
    for y in range(8):
        for x in range(8):
            patch = padded[:, 2 * y : 2 * y + 3, 2 * x : 2 * x + 3]
            features[y, x] = np.maximum((made["conv_w"] * patch).sum((1, 2, 3)) + made["conv_b"], 0)
    return np.asarray(features @ made["gemm_w"] + made["gemm_b"])


@pytest.mark.parametrize("name", MODELS)
def test_the_head_is_applied_at_every_position(assets: Path, name: str) -> None:
    positions = open_positions(assets / name)
    assert positions is not None
    image = noise()
    each, logits = positions(image)
    wanted = by_hand(assets / "tiny.onnx", image)
    assert each.shape == wanted.shape == (8, 8, 3)
    # Rounded to 8 bits, a value is off by half a step of each layer at most.
    assert np.abs(each - wanted).max() < (1e-4 if "int8" not in name else 0.1 * np.ptp(wanted))
    assert np.corrcoef(each.ravel(), wanted.ravel())[0, 1] > 0.99
    assert np.abs(logits - open_runtime(assets / name)(image)[0]).max() < 1e-5


@pytest.mark.parametrize("name", ["tiny.onnx", "tiny.xml"])
def test_their_mean_is_the_logit(assets: Path, name: str) -> None:
    positions = open_positions(assets / name)
    assert positions is not None
    each, logits = positions(noise())
    assert np.abs(each.mean((0, 1)) - logits).max() < 1e-5


@pytest.mark.parametrize("name", MODELS)
def test_the_file_stays_as_it_is(assets: Path, name: str) -> None:
    before = (assets / name).read_bytes()
    open_positions(assets / name)
    assert (assets / name).read_bytes() == before


def test_what_is_no_onnx_file_is_refused(tmp_path: Path, assets: Path) -> None:
    whole = (assets / "tiny.onnx").read_bytes()
    for content in (b"\xff" * 40, whole[: len(whole) // 2]):
        path = tmp_path / "model.onnx"
        path.write_bytes(content)
        with pytest.raises(BundleError, match=r"cannot load model\.onnx") as refused:
            open_positions(path)
        assert str(tmp_path) not in str(refused.value)


def test_every_cut_of_a_file_is_an_error_or_no_map(assets: Path) -> None:
    whole = (assets / "tiny.onnx").read_bytes()
    for end in range(0, len(whole), 7):
        try:
            with_positions(whole[:end])
        except ValueError:
            continue
