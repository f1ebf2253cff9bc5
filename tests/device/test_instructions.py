"""Artifacts that require instructions: refused by name, passed over, failed by verify, whatever the runtime."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edge_tl.device import gates, instructions
from edge_tl.device.artifact_choice import open_best, stand_in_note
from edge_tl.device.bench.options import BenchOptions
from edge_tl.device.bench.run import bench
from edge_tl.device.bundle import Bundle, read_bundle
from edge_tl.device.errors import BadInput
from edge_tl.device.instructions import able, dot_products, lacks_instructions
from edge_tl.device.machine import CAP_VARIABLE

CPUINFO = {
    "zen 2": ("flags\t: sse4_1 avx avx2 fma", ()),
    "skylake-x": ("flags\t: sse4_1 avx avx2 avx512f", ()),
    "ice lake": ("flags\t: avx2 avx512f avx512_vnni", ("vnni",)),
    "n100": ("flags\t: avx2 avx_vnni", ("vnni",)),
    "sapphire rapids": ("flags\t: avx2 avx512f amx_int8", ("vnni",)),
    "pi 5": ("Features\t: fp asimd asimddp asimdhp", ("dotprod",)),
    "v1": ("Features\t: asimd i8mm", ("dotprod",)),
    "pi 3": ("Features\t: fp asimd", ()),
    "unknown": ("", ()),
}
Planted = Callable[[str], Path]


@pytest.fixture
def planted(tmp_path: Path) -> Planted:
    """`planted(name)`: a root folder that tells of that CPU."""
    for name, (text, _) in CPUINFO.items():
        (tmp_path / name / "proc").mkdir(parents=True)
        (tmp_path / name / "proc/cpuinfo").write_text(text + "\n", encoding="utf-8")
    return tmp_path.__truediv__


@pytest.fixture(autouse=True)
def _no_cap(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (CAP_VARIABLE, "DNNL_MAX_CPU_ISA"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def bundle(bundle_root: Path, reseal: Callable[..., None]) -> Bundle:
    """Its onnx-int8 requires dot products, and is recommended."""

    def require(record: dict[str, object]) -> None:
        record["recommended"] = "onnx-int8"
        for artifact in record["artifacts"]:  # type: ignore[attr-defined]
            if artifact["id"] == "onnx-int8":
                artifact["requires"] = ["vnni", "dotprod"]

    reseal(bundle_root, require)
    return read_bundle(bundle_root)


@pytest.fixture
def without(monkeypatch: pytest.MonkeyPatch) -> None:
    """A CPU that computes INT8 with AVX2."""
    monkeypatch.setattr(instructions, "isa_flags", lambda *_: ("avx", "avx2"))


@pytest.mark.parametrize("name", CPUINFO)
@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
def test_what_a_cpu_has(planted: Planted, name: str, runtime: str) -> None:
    assert dot_products(runtime, planted(name)) == CPUINFO[name][1]


@pytest.mark.parametrize(
    ("cpu", "cap", "found"),
    [
        ("ice lake", "AVX2_VNNI", ()),
        ("ice lake", "AVX512_CORE_VNNI", ("vnni",)),
        ("n100", "AVX512_CORE_VNNI", ()),
        ("n100", "avx2_vnni_2", ("vnni",)),
        ("n100", "DEFAULT", ("vnni",)),
    ],
)
def test_a_cap_with_the_other_vnni_leaves_a_cpu_without(
    planted: Planted, monkeypatch: pytest.MonkeyPatch, cpu: str, cap: str, found: tuple[str, ...]
) -> None:
    monkeypatch.setenv(CAP_VARIABLE, cap)
    assert dot_products("openvino", planted(cpu)) == found
    assert dot_products("onnxruntime", planted(cpu)) == ("vnni",)


@pytest.mark.parametrize("cap", ["SSE41", "avx2", "AVX512_CORE"])
@pytest.mark.parametrize("variable", [CAP_VARIABLE, "DNNL_MAX_CPU_ISA"])
def test_a_cap_of_onednn_counts_for_openvino_alone(
    planted: Planted, monkeypatch: pytest.MonkeyPatch, cap: str, variable: str
) -> None:
    monkeypatch.setenv(variable, cap)
    root = planted("ice lake")
    assert dot_products("openvino", root) == ()
    assert dot_products("onnxruntime", root) == ("vnni",)
    monkeypatch.setenv(CAP_VARIABLE, "AVX512_CORE_VNNI")
    assert dot_products("openvino", root) == ("vnni",)


def test_any_one_of_what_is_required_suffices(bundle: Bundle, planted: Planted) -> None:
    artifact = bundle.artifact("onnx-int8")
    assert artifact.record.requires == ("vnni", "dotprod")
    for name, (_, have) in CPUINFO.items():
        assert (lacks_instructions(artifact, root=planted(name)) is None) is bool(have)
    said = lacks_instructions(artifact, root=planted("zen 2"))
    assert (
        said
        == "its INT8 requires a CPU with vnni or dotprod, and this one computes it with avx2, which may saturate"
    )
    assert "does not tell" in str(lacks_instructions(artifact, root=planted("unknown")))
    assert lacks_instructions(artifact, "GPU.1", planted("zen 2")) is None  # its own arithmetic
    for device in (
        "OpenVINO:GPU",
        "OpenVINO:GPU.1,precision=FP16",
        "OpenVINO:device_type=NPU",
        "MULTI:GPU.0,GPU.1",
    ):
        assert lacks_instructions(artifact, device, planted("zen 2")) is None, device
    for device in (
        *("AUTO", "AUTO:GPU,CPU", "HETERO:GPU.0,CPU", "OpenVINO", "OpenVINO:CPU", "XNNPACK", "CPU"),
        *(
            "OpenVINO:num_of_threads=2",
            "OpenVINO:precision=FP32",
            "OpenVINO:device_type=AUTO",
            "OpenVINO:AUTO:GPU,CPU",
        ),
    ):
        assert lacks_instructions(artifact, device, planted("zen 2")), device
    assert lacks_instructions(bundle.artifact("onnx-fp32"), root=planted("zen 2")) is None


def test_it_is_refused_by_name_and_another_is_named(bundle: Bundle, without: None) -> None:
    with pytest.raises(
        BadInput, match=r"onnx-int8 cannot be used here: .*vnni or dotprod.*avx2.*Use onnx-fp32"
    ):
        bundle.open("onnx-int8")


def test_it_is_passed_over_and_the_note_says_why(bundle: Bundle, without: None) -> None:
    chosen = open_best(bundle)[0]
    assert chosen.id == "onnx-fp32"
    said = str(stand_in_note(bundle, chosen))
    assert "onnx-int8 is recommended and cannot run here: its INT8 requires a CPU with vnni" in said
    assert able(bundle.artifacts)[1][0]["artifact"] == "onnx-int8"


def test_it_is_opened_where_the_cpu_has_one(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(instructions, "isa_flags", lambda *_: ("avx2", "avx_vnni"))
    assert open_best(bundle)[0].id == "onnx-int8"
    assert gates.verify(bundle, artifacts=["onnx-int8"]).passed


def test_nothing_left_says_so(bundle: Bundle, without: None) -> None:
    only = replace(bundle, artifacts=[bundle.artifact("onnx-int8")])
    with pytest.raises(BadInput, match=r"onnx-int8: its INT8 requires.*--target-cpu any"):
        open_best(only)
    with pytest.raises(BadInput, match="--target-cpu any"):
        only.open("onnx-int8")


def test_verify_fails_its_gate_and_runs_the_others(bundle: Bundle, without: None) -> None:
    result = gates.verify(bundle)
    assert not result.passed
    failed = [gate for gate in result.gates if not gate.passed]
    assert [(gate.gate, gate.artifact, gate.measured) for gate in failed] == [("device", "onnx-int8", None)]
    assert "vnni or dotprod" in failed[0].reason
    assert "onnx-int8" not in result.ran
    assert "onnx-fp32" in result.ran


def test_bench_leaves_it_out_and_says_why(bundle: Bundle, without: None) -> None:
    with pytest.raises(BadInput, match="onnx-int8 cannot be timed here: its INT8 requires"):
        bench(bundle, BenchOptions(artifacts=("onnx-int8",)))


def test_predict_ends_with_2(bundle: Bundle, without: None, run_cli: Any) -> None:
    words = ["predict", bundle.root, bundle.golden_images()[0]]
    done = run_cli(*words, "--artifact", "onnx-int8")
    assert done.code == 2
    assert "onnx-int8 cannot be used here" in done.err
    done = run_cli(*words)
    assert done.code == 0
    assert "onnx-fp32 answers instead" in done.err
