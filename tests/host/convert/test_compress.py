"""FP16 and 8-bit weights: smaller files that answer as FP32 does."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx.numpy_helper import to_array

from edge_tl.device.bundle import read_bundle
from edge_tl.device.runtimes.open import open_runtime
from edge_tl.host.convert.compress import compress


def bytes_of(path: Path) -> int:
    return sum(f.stat().st_size for f in path.parent.glob(f"{path.stem}.*") if f.suffix in (".onnx", ".bin"))


@pytest.mark.parametrize("suffix", [".onnx", ".xml"])
@pytest.mark.parametrize(("precision", "share", "most"), [("fp16", 0.52, 0.01), ("w8", 0.35, 0.15)])
def test_smaller_and_the_same_model(
    suffix: str, precision: str, share: float, most: float, bundle: Path, tmp_path: Path
):
    loaded = read_bundle(bundle)
    for file in bundle.glob("model.fp32.*"):
        shutil.copy(file, tmp_path)
    source, out = tmp_path / f"model.fp32{suffix}", tmp_path / f"model.{precision}{suffix}"
    compress(precision, source, out, loaded.preprocess, loaded.labels)
    assert bytes_of(out) < share * bytes_of(source)
    runtime, pixels = open_runtime(out), loaded.golden_pixels()
    expected = open_runtime(source)(pixels)
    got = runtime(pixels)
    assert got.dtype == np.float32
    spread = float(np.abs(expected).max())
    assert 0 < np.abs(got - expected).max() < most * spread
    assert runtime.precision == "fp32"  # a CPU computes neither in what it is stored in
    assert runtime(pixels[:1]).shape == (1, len(loaded.labels))


def test_whole_weights_are_the_nearest_to_the_floats(bundle: Path, tmp_path: Path):
    loaded = read_bundle(bundle)
    compress("w8", bundle / "model.fp32.onnx", tmp_path / "w8.onnx", loaded.preprocess, loaded.labels)
    floats = {i.name: to_array(i) for i in onnx.load(str(bundle / "model.fp32.onnx")).graph.initializer}
    graph = onnx.load(str(tmp_path / "w8.onnx")).graph
    found = {i.name: to_array(i) for i in graph.initializer}
    whole = [name.removesuffix("_int8") for name in found if name.endswith("_int8")]
    matrix = [node for node in graph.node if node.op_type in ("Conv", "Gemm", "MatMul")]
    assert len(whole) == len(matrix) > 50
    assert not set(whole) & set(found)  # the floats are gone
    for name in whole:
        codes, scale = found[f"{name}_int8"], found[f"{name}_scale"]
        assert codes.dtype == np.int8
        assert np.abs(codes.astype(int)).max() <= 127
        assert np.abs(codes * scale - floats[name]).max() <= scale.max() / 2 * 1.001
