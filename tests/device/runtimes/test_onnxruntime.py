"""Which execution provider ran, and when that is an error. Real fallbacks: tests/test_second_provider.py."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from edge_tl.device.errors import BadInput, BundleError, EdgeTLError, FellBack
from edge_tl.device.runtimes import onnxruntime_, providers
from edge_tl.device.runtimes.onnxruntime_ import ExecutedNode, OnnxRuntime
from edge_tl.device.runtimes.open import open_runtime, ran
from edge_tl.device.runtimes.providers import Provider

onnxruntime = pytest.importorskip("onnxruntime")
azure = pytest.mark.skipif(
    "AzureExecutionProvider" not in onnxruntime.get_available_providers(),
    reason="this ONNX Runtime has no provider that takes no operator",
)


def nodes(**on: str) -> list[ExecutedNode]:
    """What a profile tells: an operator and the provider that ran it, a microsecond each."""
    return [ExecutedNode(operator, provider, 1000, "float") for operator, provider in on.items()]


@pytest.mark.parametrize(
    ("op", "kind", "expected"),
    [
        ("Conv", "float", "fp32"),
        ("Conv", "float16", "fp16"),
        ("MatMul", "bfloat16", "bf16"),
        ("QLinearConv", "uint8", "int8"),
        ("FusedConv", "double", "double"),
    ],
)
def test_the_precision_is_that_of_what_a_matrix_layer_was_given(
    assets: Path, op: str, kind: str, expected: str
) -> None:
    runtime = OnnxRuntime(assets / "tiny.onnx", threads=1)
    vars(runtime)["_nodes"] = [ExecutedNode(op, "CUDA", 1, kind)] * 9
    assert runtime.precision == expected


def test_of_what_a_compiler_shows_nothing_of_the_options_tell(assets: Path) -> None:
    """The tiny file is FP32, so without an option nothing says what it was compiled to."""
    for provider, expected in (
        (Provider("Tensorrt"), "unknown"),
        (Provider("Tensorrt", {"trt_fp16_enable": "1"}), "fp16"),
        (Provider("OpenVINO", {"precision": "FP16"}, "GPU"), "fp16"),
        (Provider("QNN", {"enable_htp_fp16_precision": "0"}), "unknown"),
    ):
        runtime = OnnxRuntime(assets / "tiny.onnx", threads=1)
        runtime._provider = provider
        vars(runtime)["_nodes"] = [ExecutedNode("subgraph_1", provider.name, 1, "float")]
        assert runtime.precision == expected


def test_a_cpu_computes_an_fp16_file_in_float32(tmp_path: Path) -> None:
    """As its profile says; a GPU's profile says float16."""
    helper, kinds = pytest.importorskip("onnx").helper, pytest.importorskip("onnx").TensorProto
    weights = helper.make_tensor("w", kinds.FLOAT16, [3, 4], [1.0] * 12)
    graph = helper.make_graph(
        [
            helper.make_node("Cast", ["x"], ["h"], to=kinds.FLOAT16),
            helper.make_node("MatMul", ["h", "w"], ["y"]),
        ],
        "g",
        [helper.make_tensor_value_info("x", kinds.FLOAT, [2, 3])],
        [helper.make_tensor_value_info("y", kinds.FLOAT16, [2, 4])],
        [weights],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
    runtime = OnnxRuntime(tmp_path / "m.onnx", threads=1)
    assert {node.operator: node.input_type for node in runtime._nodes} == {"MatMul": "float", "Cast": "float"}
    assert runtime.precision == "fp32"


@pytest.mark.parametrize("vnni", [True, False])
def test_kernels_that_do_not_saturate_are_asked_for_only_where_others_do(
    assets: Path, monkeypatch: pytest.MonkeyPatch, vnni: bool
) -> None:
    """With VNNI the answers are the same and a call takes twice as long: benchmarks/x64quantprecision.py."""
    monkeypatch.setattr(onnxruntime_, "has_vnni", lambda: vnni)
    options = OnnxRuntime(assets / "tiny.int8.onnx", threads=1)._session.get_session_options()
    if vnni:
        with pytest.raises(RuntimeError, match="x64quantprecision"):
            options.get_session_config_entry("session.x64quantprecision")
    else:
        assert options.get_session_config_entry("session.x64quantprecision") == "1"


@pytest.mark.parametrize(("said", "asked"), [("0", False), ("1", True), (None, True)])
def test_a_file_that_cannot_saturate_says_so_and_is_left_its_faster_kernels(
    assets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: str | None, asked: bool
) -> None:
    monkeypatch.setattr(onnxruntime_, "has_vnni", lambda: False)
    onnx = pytest.importorskip("onnx")
    model = onnx.load(assets / "tiny.int8.onnx")
    if said is not None:
        model.metadata_props.add(key="session.x64quantprecision", value=said)
    onnx.save(model, tmp_path / "m.onnx")
    options = OnnxRuntime(tmp_path / "m.onnx", threads=1)._session.get_session_options()
    if asked:
        assert options.get_session_config_entry("session.x64quantprecision") == "1"
    else:
        with pytest.raises(RuntimeError, match="x64quantprecision"):
            options.get_session_config_entry("session.x64quantprecision")


@azure
def test_a_provider_that_takes_no_operator_is_refused(assets: Path) -> None:
    """ONNX Runtime's ordinary CPU package offers "Azure", which leaves every operator to the CPU."""
    with pytest.raises(FellBack, match=r"--device Azure: every node ran on CPU\. .*--allow-fallback"):
        open_runtime(assets / "tiny.onnx", device="azure")
    unchecked = open_runtime(assets / "tiny.onnx", device="azure", check=False)
    with pytest.raises(FellBack):  # nobody reports a number with what ran, without having been told
        ran(unchecked)


@azure
def test_an_allowed_fallback_is_on_record(assets: Path) -> None:
    facts = ran(open_runtime(assets / "tiny.int8.onnx", device="azure", allow_fallback=True)).to_json()
    assert facts["device"] == "CPU"
    assert facts["precision"] == "int8"
    assert facts["fallback"]["asked"] == "Azure"
    assert facts["fallback"]["ran"] == facts["providers"]
    assert facts["notes"] == ["Azure was asked for, every node ran on CPU"]


@azure
@pytest.mark.parametrize(
    ("ran_on", "refusal", "device"),
    [
        ({"Conv": "Azure", "Gemm": "Azure"}, None, "Azure"),
        ({"Conv": "Azure", "Softmax": "CPU"}, None, "Azure"),
        ({"subgraph_1": "Azure", "Softmax": "CPU"}, None, "Azure"),
        (
            {"Conv": "Azure", "FusedConv": "Azure", "QGemm": "CPU"},
            "1 of 3 matrix layers ran on CPU",
            "Azure,CPU",
        ),
        ({"subgraph_1": "Azure", "QLinearConv": "CPU"}, "1 of 1 matrix layers ran on CPU", "Azure,CPU"),
        ({"Relu": "CPU", "Softmax": "CPU"}, "every node ran on CPU", "CPU"),
    ],
)
def test_matrix_layers_elsewhere_are_an_error_others_a_note(
    assets: Path, ran_on: dict[str, str], refusal: str | None, device: str
) -> None:
    runtime = OnnxRuntime(assets / "tiny.onnx", device="Azure", threads=1)
    vars(runtime)["_nodes"] = nodes(**ran_on)
    if refusal is None:
        facts = runtime.details().to_json()
        away = sum(provider != "Azure" for provider in ran_on.values())
        assert ("elsewhere" in facts) == ("notes" in facts) == bool(away)
        if away:
            assert facts["elsewhere"] == {"nodes": away, "of": 2, "time_share": 0.5}
            assert facts["notes"] == [
                "1 of 2 nodes, 50 % of the time, ran on CPU, no matrix layer among them: Softmax"
            ]
    else:
        with pytest.raises(FellBack) as caught:
            runtime.check()
        assert caught.value.why == refusal
    allowed = OnnxRuntime(assets / "tiny.onnx", device="Azure", threads=1, allow_fallback=True)
    vars(allowed)["_nodes"] = nodes(**ran_on)
    assert ("fallback" in allowed.details().to_json()) == (refusal is not None)
    assert allowed.device == device


@azure
def test_a_profile_that_shows_nothing_proves_nothing(assets: Path) -> None:
    runtime = OnnxRuntime(assets / "tiny.onnx", device="Azure", threads=1)
    vars(runtime)["_nodes"] = []
    with pytest.raises(FellBack, match="--device Azure: nothing shows that Azure ran it"):
        ran(runtime)
    allowed = OnnxRuntime(assets / "tiny.onnx", device="Azure", threads=1, allow_fallback=True)
    vars(allowed)["_nodes"] = []
    facts = ran(allowed).to_json()
    assert (facts["device"], facts["fallback"]["ran"]) == ("unknown", {})
    assert facts["notes"] == ["Azure was asked for, nothing shows that Azure ran it"]
    on_cpu = OnnxRuntime(assets / "tiny.onnx", threads=1)
    vars(on_cpu)["_nodes"] = []
    on_cpu.check()  # there is nothing else that could have


def test_why_a_file_does_not_load_is_one_sentence_without_folders(tmp_path: Path) -> None:
    (tmp_path / "broken.onnx").write_bytes(b"garbage")
    with pytest.raises(BundleError) as caught:
        open_runtime(tmp_path / "broken.onnx")
    said = str(caught.value)
    assert said.startswith("ONNX Runtime cannot load broken.onnx: ")
    assert said.endswith(". Copy or export it again.")
    assert ".." not in said
    assert str(tmp_path) not in said


def test_a_provider_that_does_not_start_is_refused(assets: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As CUDA without its libraries: it is offered, and the session comes back on the CPU with a line in a log."""
    offer = providers.offered_providers()
    monkeypatch.setattr(
        providers, "offered_providers", lambda **_: offer._replace(names=[*offer.names, "CUDA"])
    )
    session = onnxruntime.InferenceSession
    monkeypatch.setattr(
        onnxruntime,
        "InferenceSession",
        lambda path, options, providers: session(path, options, providers=["CPUExecutionProvider"]),
    )
    with pytest.raises(FellBack, match="--device CUDA: it did not start here"):
        open_runtime(assets / "tiny.onnx", device="cuda")
    facts = ran(open_runtime(assets / "tiny.onnx", device="cuda", allow_fallback=True)).to_json()
    assert (facts["device"], facts["fallback"]["asked"]) == ("CPU", "CUDA")
    assert list(facts["providers"]) == ["CPU"]


def test_fp32_means_fp32(assets: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NVIDIA_TF32_OVERRIDE", raising=False)
    monkeypatch.setenv("EDGE_TL_CACHE", "off")
    fp32, int8 = assets / "tiny.onnx", assets / "tiny.int8.onnx"
    options = providers.provider_options
    assert options(Provider("CUDA"), fp32, 2) == {"use_tf32": "0"}
    assert options(Provider("Tensorrt"), fp32, 2) == {"trt_fp16_enable": "0", "trt_int8_enable": "0"}
    assert options(Provider("Tensorrt"), int8, 2)["trt_int8_enable"] == "1"
    assert options(Provider("OpenVINO"), fp32, 2)["precision"] == "FP32"
    assert options(Provider("CPU"), fp32, 2) == {}


def test_what_ran_on_the_cpu_counts_its_nodes(assets: Path) -> None:
    facts = ran(open_runtime(assets / "tiny.onnx")).to_json()
    assert list(facts["providers"]) == ["CPU"]
    assert facts["providers"]["CPU"] >= 3
    assert not {"fallback", "elsewhere", "notes"} & set(facts)


def test_an_unknown_provider_lists_the_offer_and_the_nearest(
    assets: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    offer = providers.offered_providers()
    monkeypatch.setattr(
        providers, "offered_providers", lambda **_: offer._replace(names=["Tensorrt", "CUDA", "CPU"])
    )
    with pytest.raises(BadInput, match=r"offers Tensorrt, CUDA, CPU\. Did you mean Tensorrt\?"):
        open_runtime(assets / "tiny.onnx", device="TensorRTT")


QUIET = """
import os, sys, types
from edge_tl.device.runtimes import onnxruntime_import
class Noisy:
    def find_spec(self, name, path=None, target=None):
        if name == "onnxruntime":
            os.write(2, b"2026-01-01 [W:onnxruntime:Default, device_discovery.cc:211 Discover] GPU\\n")
            os.write(2, b"[E:onnxruntime:Default, x.cc:1 f] a real error\\nanother library's line\\n")
sys.meta_path.insert(0, Noisy())
onnxruntime_import.import_onnxruntime()
os.write(2, b"later\\n")
"""


def test_warnings_of_its_start_are_not_shown_and_errors_are() -> None:
    pytest.importorskip("onnxruntime")
    done = subprocess.run([sys.executable, "-c", QUIET], capture_output=True, text=True, check=True)
    assert "GPU" not in done.stderr
    assert done.stderr.splitlines()[-3:] == [
        "[E:onnxruntime:Default, x.cc:1 f] a real error",
        "another library's line",
        "later",
    ]


@pytest.mark.skipif(sys.platform == "win32", reason="limits as POSIX has them")
def test_a_profile_that_a_full_disk_cut_off_is_a_sentence(assets: Path) -> None:
    resource, signals = pytest.importorskip("resource"), pytest.importorskip("signal")
    runtime = OnnxRuntime(assets / "tiny.onnx", threads=1)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signals.signal(signals.SIGXFSZ, signals.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (300, before[1]))
    try:
        with pytest.raises(EdgeTLError, match=r"profile in .* is not whole.*Free some space there"):
            _ = runtime.precision
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signals.signal(signals.SIGXFSZ, ignored)
