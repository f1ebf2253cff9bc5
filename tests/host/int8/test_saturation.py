"""Which weights saturate without VNNI: against a model of the instruction, and against the runtimes' own kernels."""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from host.int8.saturating_pairs import LAYERS, planted, write_model
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from edge_tl.device.machine import CAP_VARIABLE, isa_flags
from edge_tl.host.int8.saturation import (
    MOST,
    added_pairs,
    largest_pairs,
    pair_safe_scales,
    saturating_layers,
)

PROBE = Path(__file__).parent / "saturating_pairs.py"
Shape = tuple[int, ...]


def vpmaddubsw(unsigned: NDArray[np.uint8], signed: NDArray[np.int8]) -> NDArray[np.int16]:
    """Bit by bit what the instruction does with `(..., 2 n)` bytes: products of neighbours, added with saturation."""
    products = unsigned.astype(np.int32) * signed.astype(np.int32)
    sums = products[..., 0::2] + products[..., 1::2]
    found: NDArray[np.int16] = np.clip(sums, -32768, 32767).astype(np.int16)
    return found


def without_vnni(
    images: NDArray[np.uint8], rows: NDArray[np.int8], order: NDArray[np.int64]
) -> NDArray[np.int64]:
    """The sums of products `(out,)` as a kernel takes them that reads places in this `order`; -1 is padding."""
    padded = np.concatenate([images, [0]]).astype(np.uint8)[order]
    weights = np.concatenate([rows, np.zeros((len(rows), 1), np.int8)], axis=1)[:, order]
    found: NDArray[np.int64] = vpmaddubsw(padded, weights).astype(np.int64).sum(axis=1)
    return found


def orders(channels: int, taps: int) -> list[NDArray[np.int64]]:
    """How oneDNN (each place of the kernel by itself, channels padded) and MLAS (channels last, flat) read."""
    places = np.arange(channels * taps).reshape(channels, taps)
    padded = np.concatenate([places, np.full((-channels % 4, taps), -1)])
    flat = places.T.ravel()
    return [padded.T.ravel(), np.concatenate([flat, np.full(-len(flat) % 4, -1)])]


shapes = st.tuples(st.integers(1, 5), st.integers(1, 9), st.sampled_from([1, 4, 9]))
seeds = st.integers(0, 2**32 - 1)


def weights_of(shape: Shape, seed: int) -> NDArray[np.float32]:
    """Of every kind: heavy tails, zeros, pairs at the edge."""
    draw = np.random.default_rng(seed)
    found = draw.standard_t(2, shape) * draw.choice([0.0, 1.0, 1e-6, 50.0], shape, p=[0.2, 0.6, 0.1, 0.1])
    weights: NDArray[np.float32] = found.astype(np.float32)
    return weights


@given(shapes, seeds)
def test_with_pair_safe_scales_no_sum_is_ever_cut(shape: Shape, seed: int) -> None:
    weights = weights_of(shape, seed)
    scales = pair_safe_scales(weights)
    codes = np.rint(weights / scales[:, None, None])
    assert np.abs(codes).max() <= 127
    assert largest_pairs(codes).max() <= MOST
    rows = codes.reshape(len(codes), -1).astype(np.int8)
    # The images that make it worst: white under every weight of one sign.
    for sign in (rows[0] > 0, rows[0] < 0, np.random.default_rng(seed).random(rows.shape[1]) < 0.5):
        images = np.where(sign, 255, 0).astype(np.uint8)
        exact = rows.astype(np.int64) @ images.astype(np.int64)
        for order in orders(*shape[1:]):
            np.testing.assert_array_equal(without_vnni(images, rows, order), exact)


@given(shapes, seeds)
def test_no_scale_is_larger_than_seven_bits_would_be_or_smaller_than_eight_are(
    shape: Shape, seed: int
) -> None:
    weights = weights_of(shape, seed)
    most = np.abs(weights).reshape(len(weights), -1).max(axis=1)
    scales = pair_safe_scales(weights)
    assert (scales <= np.maximum(most / 63.49, 2e-12)).all()
    assert (scales >= most / 127).all()


@given(shapes, seeds)
def test_what_is_over_the_limit_is_cut_for_some_image(shape: Shape, seed: int) -> None:
    """The limit is no guess: a pair beyond it has an image whose sum is wrong, in the order of one of the runtimes."""
    codes = np.random.default_rng(seed).integers(-127, 128, shape).astype(np.int8)
    rows = codes.reshape(len(codes), -1)
    for row, most in zip(rows, largest_pairs(codes), strict=True):
        cut = False
        for sign in (row > 0, row < 0):
            images = np.where(sign, 255, 0).astype(np.uint8)
            exact = row.astype(np.int64) @ images.astype(np.int64)
            cut |= any(without_vnni(images, row[None], o)[0] != exact for o in orders(*shape[1:]))
        assert cut == (most > MOST)


@given(st.integers(0, 255), st.integers(0, 255), st.integers(-64, 64), st.integers(-64, 64))
def test_seven_bits_never_saturate(a: int, b: int, v: int, w: int) -> None:
    [found] = vpmaddubsw(np.array([a, b], np.uint8), np.array([v, w], np.int8))
    assert found == a * v + b * w


def test_a_depthwise_layer_has_no_pairs_and_other_groups_have_all() -> None:
    assert added_pairs((48, 1, 3, 3), 48).shape == (0, 2)
    assert len(added_pairs((8, 2, 1, 3), 4)) == 15
    assert added_pairs((4, 4)).tolist() == [[0, 1], [2, 3]]
    # Of three channels at two places oneDNN adds 0 and 1 at each place, MLAS also 2 with the next place's 0.
    assert added_pairs((1, 3, 1, 2)).tolist() == [[0, 2], [1, 3], [3, 5], [4, 1]]
    loud = np.full((8, 1, 3, 3), 127.0, np.float32)
    assert (pair_safe_scales(loud, 8) < 1.001).all()
    assert (pair_safe_scales(loud.reshape(8, 9)) > 1.99).all()


@pytest.mark.parametrize(("most", "named"), [(64, []), (65, ["layer"])])
def test_a_graph_is_proven_by_its_codes(tmp_path: Path, most: int, named: list[str]) -> None:
    write_model(tmp_path / "m.onnx", np.full((4, 8, 1, 1), most, np.int8), 1)
    model = onnx.load(tmp_path / "m.onnx")
    next(node for node in model.graph.node if node.op_type == "Conv").name = "layer"
    assert saturating_layers(model.graph) == named
    signed = onnx.numpy_helper.from_array(np.int8(0), "zero")
    next(i for i in model.graph.initializer if i.name == "zero").CopyFrom(signed)
    assert saturating_layers(model.graph) == ["layer"]  # signed activations: nothing is proven


@pytest.mark.parametrize(("most", "named"), [(64, []), (65, ["layer"])])
def test_a_reshape_after_the_rounding_proves_nothing(tmp_path: Path, most: int, named: list[str]) -> None:
    """Runtimes move the DequantizeLinear behind it, and the layer runs in integers."""
    write_model(tmp_path / "m.onnx", np.full((4, 8, 1, 1), most, np.int8), 1)
    model = onnx.load(tmp_path / "m.onnx")
    layer = next(node for node in model.graph.node if node.op_type == "Conv")
    layer.name = "layer"
    pool = onnx.helper.make_node("MaxPool", [layer.input[0]], ["pooled"], "pool", kernel_shape=[1, 1])
    model.graph.node.insert(list(model.graph.node).index(layer), pool)
    layer.input[0] = "pooled"
    assert saturating_layers(model.graph) == named


def expected(layer: tuple[int, int, int]) -> set[tuple[int, int]]:
    weights, _ = planted(*layer)
    return {(min(pair), max(pair)) for pair in added_pairs(weights.shape, layer[2]).tolist()}


def found(command: list[str], runtime: str, **environment: str) -> list[set[tuple[int, int]]]:
    done = subprocess.run(
        [*command, str(PROBE), runtime],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return [{tuple(pair) for pair in layer} for layer in json.loads(done.stdout.splitlines()[-1])]


@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="oneDNN's caps are of x86")
@pytest.mark.parametrize("cap", ["AVX2", "AVX512_CORE", "SSE41"])
def test_onednn_adds_no_other_pairs(cap: str) -> None:
    if cap == "AVX512_CORE" and "avx512f" not in isa_flags():
        pytest.skip("no AVX-512 to be capped to")
    cut = found([sys.executable], "openvino", **{CAP_VARIABLE: cap})
    for layer, pairs in zip(LAYERS, cut, strict=True):
        assert pairs <= expected(layer), layer
        assert bool(pairs) == (layer[2] == 1 or layer[0] != layer[2]), layer


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("qemu-x86_64-static") is None, reason="no emulator of an older x86 CPU")
@pytest.mark.parametrize("cpu", ["Haswell", "Nehalem"])
def test_mlas_adds_no_other_pairs(cpu: str) -> None:
    packages = str(Path(onnx.__file__).parent.parent)
    command = ["qemu-x86_64-static", "-cpu", cpu, os.path.realpath(sys.executable)]
    # On a host newer than the emulator NumPy's OpenBLAS takes kernels that the emulated CPU lacks, and Python is ended.
    cut = found(command, "onnxruntime", PYTHONPATH=packages, OPENBLAS_CORETYPE=cpu)
    for layer, pairs in zip(LAYERS, cut, strict=True):
        assert pairs <= expected(layer), layer
        assert bool(pairs) == (cpu == "Haswell" and layer[0] != layer[2]), layer


def test_with_vnni_nothing_is_cut() -> None:
    if "avx512_vnni" in isa_flags():
        assert not any(found([sys.executable], "onnxruntime"))
