"""The contract as an ONNX graph: the very pixels that Pillow gives, of any size, and the model's own answers."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from edge_tl.device.errors import EdgeTLError
from edge_tl.device.preprocess import Preprocess
from edge_tl.host.convert.onnx_pixels import IMAGE, PROBABILITIES, pixels_alone, put_in_front

CONTRACTS = {
    "shorter": Preprocess(resize_size=(40, 40), crop=(32, 36)),
    "padded": Preprocess(resize_size=(20, 20), crop=(32, 30), interpolation="bicubic"),
    "exact": Preprocess(resize="exact", resize_size=(24, 33), crop=None, interpolation="bicubic"),
    "cropped": Preprocess(resize="exact", resize_size=(50, 33), crop=(32, 40)),
    "letterbox": Preprocess(resize="letterbox", resize_size=(30, 41), crop=None, pad=(3, 99, 250)),
    "none": Preprocess(resize="none", crop=(21, 34), interpolation="lanczos"),
    "lanczos": Preprocess(resize_size=(27, 27), crop=(23, 30), interpolation="lanczos"),
}


def session(model: onnx.ModelProto) -> Any:
    onnx.checker.check_model(model, full_check=True)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )


def noise(height: int, width: int, seed: int = 0) -> NDArray[np.uint8]:
    """Of all levels, the ends among them more often: there clipping and rounding show."""
    drawn = np.random.default_rng(seed).integers(-60, 316, (1, height, width, 3))
    found: NDArray[np.uint8] = drawn.clip(0, 255).astype(np.uint8)
    return found


SESSIONS = {name: session(pixels_alone(contract)) for name, contract in CONTRACTS.items()}


@settings(deadline=None, max_examples=60)
@given(
    st.sampled_from(sorted(CONTRACTS)), st.integers(1, 300), st.integers(1, 300), st.integers(0, 2**32 - 1)
)
def test_pixels_are_pillows_bit_for_bit(name: str, height: int, width: int, seed: int) -> None:
    image = noise(height, width, seed)
    [pixels] = SESSIONS[name].run(None, {IMAGE: image})
    assert pixels.dtype == np.uint8
    assert np.array_equal(pixels[0], CONTRACTS[name].pixels(Image.fromarray(image[0])))


@pytest.mark.parametrize("size", [(3000, 1700), (256, 341), (1, 900), (900, 1)])
def test_pixels_of_large_images_and_slivers(size: tuple[int, int]) -> None:
    image = noise(*size)
    for name in ("shorter", "exact"):
        [pixels] = SESSIONS[name].run(None, {IMAGE: image})
        assert np.array_equal(pixels[0], CONTRACTS[name].pixels(Image.fromarray(image[0])))


@pytest.mark.parametrize("tile", [1, 7, 64])
def test_pixels_do_not_depend_on_the_tile(tile: int) -> None:
    image = noise(97, 60)
    [pixels] = session(pixels_alone(CONTRACTS["padded"], opset=18, tile=tile)).run(None, {IMAGE: image})
    assert np.array_equal(pixels[0], CONTRACTS["padded"].pixels(Image.fromarray(image[0])))


def test_joined_in_front_the_model_sees_the_bits_that_normalize_gives() -> None:
    contract = CONTRACTS["shorter"]
    weights = np.random.default_rng(1).normal(size=(3 * 32 * 36, 5)).astype(np.float32)
    model = onnx.parser.parse_model(
        '<ir_version: 7, opset_import: ["" : 13]> g (float[n,3,32,36] images) => (float[n,5] logits) '
        "{ flat = Flatten (images) logits = MatMul (flat, weights) }"
    )
    model.graph.initializer.append(onnx.numpy_helper.from_array(weights, "weights"))
    own = [node.SerializeToString() for node in model.graph.node]
    image = noise(70, 50)
    before = session(model).run(None, {"images": contract.apply(Image.fromarray(image[0]))[None]})[0]
    put_in_front(model, contract)
    assert [node.SerializeToString() for node in model.graph.node][-3:-1] == own
    probabilities = session(model).run([PROBABILITIES], {IMAGE: image})[0]
    assert probabilities.shape == (1, 5)
    expected = np.exp(before - before.max())
    assert probabilities == pytest.approx(expected / expected.sum(), rel=1e-5)


def test_nearest_is_refused_in_one_sentence() -> None:
    with pytest.raises(EdgeTLError, match=r"nearest.*outside the model"):
        pixels_alone(Preprocess(interpolation="nearest"))
