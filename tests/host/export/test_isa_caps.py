"""What INT8 does on lesser CPUs: which caps are worth a proof, and that a cap is honoured."""

from __future__ import annotations

import platform
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from numpy.typing import NDArray

from edge_tl.device.bundle import read_bundle
from edge_tl.device.errors import EdgeTLError
from edge_tl.device.machine import isa_flags
from edge_tl.host.convert.model_file import batched_logits
from edge_tl.host.export import isa_caps
from edge_tl.host.int8 import qdq
from edge_tl.host.int8.ranges import histograms


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ("sse4_1 avx", []),
        ("avx avx2 fma", ["SSE41"]),
        ("avx avx2 avx_vnni", ["AVX2", "SSE41"]),
        ("avx avx2 avx512f", ["AVX2", "SSE41"]),
        ("avx avx2 avx512f avx512_vnni", ["AVX2", "AVX512_CORE", "SSE41"]),
        ("avx avx2 avx512f avx512_vnni amx_int8", ["AVX2", "AVX512_CORE", "SSE41"]),
        ("neon dotprod", []),
    ],
)
def test_caps_are_the_instruction_sets_that_this_one_hides(flags: str, expected: list[str]):
    assert isa_caps.caps(flags.split()) == expected
    assert set(expected) <= set(isa_caps.NAMES)


class Inputs(NamedTuple):
    """The bundle's golden pixels, and a file of them without a header."""

    path: Path
    pixels: NDArray[np.float32]


@pytest.fixture
def inputs(bundle: Path, tmp_path: Path) -> Inputs:
    pixels = read_bundle(bundle).golden_pixels()
    (tmp_path / "inputs.f32").write_bytes(pixels.tobytes())
    return Inputs(tmp_path / "inputs.f32", pixels)


def seven_bits(bundle: Path, pixels: NDArray[np.float32], folder: Path) -> Path:
    """The bundle's model as OpenVINO's INT8 for CPUs without VNNI."""
    read = read_bundle(bundle)
    qdq.prepare_graph(bundle / "model.fp32.onnx", folder / "prepared.onnx")
    seen = histograms(str(folder / "prepared.onnx"), pixels)
    ranges = {name: histogram.range("99.9") for name, histogram in seen.items()}
    qdq.quantize(
        folder / "prepared.onnx",
        folder / "q",
        ranges,
        qdq.QdqOptions(qdq.SEVEN_BITS, matrix_only=True, fused=True),
    )
    qdq.write_artifact(folder / "q", folder / "seven.xml", qdq.SEVEN_BITS, 8, read.preprocess, read.labels)
    return folder / "seven.xml"


@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="oneDNN's caps are of x86")
def test_a_cap_is_honoured_and_the_answers_are_the_models(bundle: Path, inputs: Inputs, tmp_path: Path):
    cap, word = ("AVX2", "avx2") if "avx512f" in isa_flags() else ("SSE41", "sse4")
    model = bundle / "model.int8.xml"
    logits, kernels = isa_caps.logits_under(cap, model, inputs.path, inputs.pixels.shape, tmp_path)
    freely = isa_caps.kernels(model)
    jitted = {name for name in kernels if name.startswith("jit_") and "gemm" not in name}
    assert jitted
    assert all(word in name for name in jitted)
    assert not any(word in name for name in freely if "gemm" not in name)
    assert sum(kernels.values()) == sum(freely.values())
    if "avx512_vnni" in isa_flags():
        # Made for VNNI it saturates under the cap, as it should be seen to; with weights of seven bits nothing does.
        model = seven_bits(bundle, inputs.pixels, tmp_path)
        logits, _ = isa_caps.logits_under(cap, model, inputs.path, inputs.pixels.shape, tmp_path)
    own = batched_logits(model, inputs.pixels)
    assert logits.shape == own.shape
    assert np.abs(logits - own).max() < 0.5 * np.abs(own).max()
    fp32 = bundle / "model.fp32.xml"
    capped, _ = isa_caps.logits_under(cap, fp32, inputs.path, inputs.pixels.shape, tmp_path)
    assert np.allclose(capped, batched_logits(fp32, inputs.pixels), atol=1e-4)


def test_a_process_that_fails_says_why(inputs: Inputs, tmp_path: Path):
    with pytest.raises(EdgeTLError, match=r"gone\.xml under AVX2: (?!edge_tl)"):
        isa_caps.logits_under("AVX2", tmp_path / "gone.xml", inputs.path, inputs.pixels.shape, tmp_path)


def test_a_kernel_that_hangs_is_a_fault(
    bundle: Path, inputs: Inputs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(isa_caps, "TIMEOUT_S", 0.01)
    with pytest.raises(EdgeTLError, match=r"model\.int8\.xml under AVX2: no answer in 0\.01 seconds"):
        isa_caps.logits_under("AVX2", bundle / "model.int8.xml", inputs.path, inputs.pixels.shape, tmp_path)
