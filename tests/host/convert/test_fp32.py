"""The exported files, read by the libraries that will read them: onnx, ONNX Runtime, OpenVINO."""

from __future__ import annotations

import copy
import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import openvino
import pytest
import torch

from edge_tl.device.bundle import read_bundle
from edge_tl.device.preprocess import Preprocess
from edge_tl.device.runtimes.open import open_runtime
from edge_tl.host.convert import fp32
from edge_tl.host.int8 import qdq
from edge_tl.host.int8.ranges import histograms
from edge_tl.host.models import architecture
from edge_tl.host.runs import checkpoint

REPOSITORY = Path(__file__).parents[3]
FILES = {
    "onnx-fp32": ["model.fp32.onnx"],
    "openvino-fp32": ["model.fp32.xml", "model.fp32.bin"],
    "onnx-int8": ["model.int8.onnx"],
    "openvino-int8": ["model.int8.xml", "model.int8.bin"],
}
ONNX = ["model.fp32.onnx", "model.int8.onnx"]
XML = ["model.fp32.xml", "model.int8.xml"]


def batch(n: int, side: int = 64) -> Any:
    return np.random.default_rng(n).normal(size=(n, 3, side, side)).astype(np.float32)


def props(path: Path) -> dict[str, str]:
    return {p.key: p.value for p in onnx.load(path).metadata_props}


def info(path: Path, key: str) -> str:
    return str(openvino.Core().read_model(path).get_rt_info(["model_info", key]).astype(str))


def test_the_bundle_holds_the_files_of_the_design(bundle: Path, exported: dict[str, Any]):
    listed = {a["id"]: [f["path"] for f in a["files"]] for a in exported["artifacts"]}
    assert listed == FILES
    names = {name for files in FILES.values() for name in files}
    reports = {"report.json", "report.md", "report.html"}
    assert {p.name for p in bundle.iterdir()} == names | reports | {
        "golden",
        "bundle.json",
        "README.txt",
        "README.md",
    }


@pytest.mark.parametrize("name", ONNX)
def test_an_onnx_file_is_self_contained_and_checks(bundle: Path, name: str, tmp_path: Path):
    graph = onnx.load(bundle / name, load_external_data=False)
    assert all(t.data_location == onnx.TensorProto.DEFAULT for t in graph.graph.initializer)
    assert not any(t.external_data for t in graph.graph.initializer)
    onnx.checker.check_model(graph, full_check=True)
    (tmp_path / "alone.onnx").write_bytes((bundle / name).read_bytes())
    session = onnxruntime.InferenceSession(tmp_path / "alone.onnx", providers=["CPUExecutionProvider"])
    assert [(i.name, i.type, i.shape[1:]) for i in session.get_inputs()] == [
        ("images", "tensor(float)", [3, 64, 64])
    ]
    assert [o.name for o in session.get_outputs()] == ["logits"]


@pytest.mark.parametrize("artifact", FILES)
def test_any_batch_size_runs_and_a_row_does_not_depend_on_the_others(bundle: Path, artifact: str):
    runtime = open_runtime(bundle / FILES[artifact][0])
    for n in (1, 3, 7):
        together = runtime(batch(n))
        assert together.shape == (n, 3)
        assert np.isfinite(together).all()
        alone = np.concatenate([runtime(image[None]) for image in batch(n)])
        # INT8 kernels may round a step apart between batch sizes.
        atol = 1e-4 if "fp32" in artifact else 0.1 * float(np.abs(alone).max())
        np.testing.assert_allclose(together, alone, atol=atol)


def test_opset_and_ir_version_are_as_recorded(exported: dict[str, Any], bundle: Path):
    for artifact in exported["artifacts"]:
        if artifact["runtime"] == "onnxruntime":
            graph = onnx.load(bundle / artifact["files"][0]["path"])
            assert {o.version for o in graph.opset_import if o.domain in ("", "ai.onnx")} == {
                artifact["opset"]
            }
            assert graph.ir_version == artifact["ir_version"]
            # The oldest ONNX release with this opset is no newer than this IR version (onnx's own table).
            assert onnx.helper.OP_SET_ID_VERSION_MAP[("ai.onnx", artifact["opset"])] <= artifact["ir_version"]
            assert artifact["runtime_floor"].startswith("onnxruntime>=1.")


@pytest.mark.parametrize("artifact", ["onnx-fp32", "openvino-fp32"])
def test_fp32_logits_are_pytorchs(bundle: Path, run: Path, artifact: str):
    model, _ = checkpoint.load_run(run)
    pixels = np.concatenate([read_bundle(bundle).golden_pixels(), batch(4)])
    with torch.inference_mode():
        want = model(torch.from_numpy(pixels)).numpy()
    got = open_runtime(bundle / FILES[artifact][0])(pixels)
    assert float(np.abs(got - want).max()) < 1e-4 * max(1.0, float(np.abs(want).max()))


@pytest.mark.parametrize("name", ONNX)
def test_onnx_and_onnx_runtime_read_the_metadata(bundle: Path, name: str, exported: dict[str, Any]):
    found = props(bundle / name)
    session = onnxruntime.InferenceSession(bundle / name, providers=["CPUExecutionProvider"])
    assert session.get_modelmeta().custom_metadata_map == found
    assert onnx.load(bundle / name).producer_name == "edge-tl"
    facts = json.loads(found["model_info edge_tl"])
    assert facts == {"labels": exported["labels"], "preprocess": exported["preprocess"]}
    assert found["model_info labels"].split() == [label.replace(" ", "_") for label in exported["labels"]]


@pytest.mark.parametrize("name", XML)
def test_openvino_reads_the_metadata(bundle: Path, name: str, exported: dict[str, Any]):
    assert json.loads(info(bundle / name, "edge_tl")) == {
        "labels": exported["labels"], "preprocess": exported["preprocess"],
    }  # fmt: skip
    assert info(bundle / name, "labels").split() == [label.replace(" ", "_") for label in exported["labels"]]
    assert info(bundle / name, "model_type") == "Classification"


def test_model_api_gets_normalization_in_levels(bundle: Path, exported: dict[str, Any]):
    for read in (
        lambda key: props(bundle / ONNX[1])[f"model_info {key}"],
        lambda key: info(bundle / XML[1], key),
    ):
        for key, field in (("mean_values", "mean"), ("scale_values", "std")):
            got = [float(word) for word in read(key).split()]
            assert got == pytest.approx([255 * value for value in exported["preprocess"][field]])
        assert read("reverse_input_channels") == "True"
        assert read("resize_type") == "crop"


LABELS = [
    "two words",
    "tab\there",
    "no-break\u00a0space",
    "全角\u3000空白",
    " edge ",
    "<b>&\"'",
    "🎱",
    "ctl\x01",
]


def test_model_api_counts_as_many_labels_as_there_are(bundle: Path, tmp_path: Path):
    """It splits the text at white space, all that Unicode knows."""
    fp32.to_openvino(bundle / "model.fp32.onnx", tmp_path / "x.xml", Preprocess(), LABELS)
    assert json.loads(info(tmp_path / "x.xml", "edge_tl"))["labels"] == LABELS
    assert len(info(tmp_path / "x.xml", "labels").split()) == len(LABELS)


def test_a_squeezing_contract_is_named_as_model_api_names_it():
    contract = Preprocess(resize="exact", resize_size=(64, 64), crop=None)
    assert fp32.model_info(contract, ["a"])["resize_type"] == "standard"


@pytest.mark.parametrize("name", [name for files in FILES.values() for name in files])
def test_a_model_file_does_not_say_where_it_was_made(bundle: Path, images: Path, name: str):
    content = (bundle / name).read_bytes()
    for path in (str(REPOSITORY), str(images), str(Path.home()) + "/", "/tmp/", "site-packages"):
        assert path.encode() not in content


@pytest.mark.parametrize("name", ["bundle.json", "report.json", "report.md", "report.html"])
def test_a_record_that_travels_does_not_say_where_it_was_made(bundle: Path, images: Path, name: str):
    """`target.machine` promises it: no path, because the record travels in reports."""
    content = (bundle / name).read_bytes()
    for path in (str(REPOSITORY), str(images), "/tmp/"):
        assert path.encode() not in content


@pytest.mark.slow
@pytest.mark.parametrize("name", ["efficientnet_b0", "mobilenet_v2", "regnet_y_400mf", "resnet18"])
def test_other_families_of_the_zoo_export_and_quantize(name: str, tmp_path: Path):
    torch.manual_seed(0)
    model, contract = architecture.build(name, 3), Preprocess(crop=(64, 64))
    level = logging.getLogger("torch.onnx").level
    versions = fp32.to_onnx(model, tmp_path / "m.onnx", contract, ["a", "b", "c"])
    assert 13 <= versions.opset <= 18
    assert logging.getLogger("torch.onnx").level == level
    with torch.inference_mode():
        want = model(torch.from_numpy(batch(5))).numpy()
    fp32.to_openvino(tmp_path / "m.onnx", tmp_path / "m.xml", contract, ["a", "b", "c"])
    scale = max(1.0, float(np.abs(want).max()))
    for file in ("m.onnx", "m.xml"):
        assert float(np.abs(open_runtime(tmp_path / file)(batch(5)) - want).max()) < 1e-3 * scale
    qdq.prepare_graph(tmp_path / "m.onnx", tmp_path / "p.onnx")
    seen = histograms(str(tmp_path / "p.onnx"), batch(8))
    ranges = {name: histogram.range("99.9") for name, histogram in seen.items()}
    for storage, artifact in ((qdq.UNSIGNED, "q.onnx"), (qdq.SEVEN_BITS, "q.xml")):
        fused = artifact.endswith("xml")
        qdq.quantize(
            tmp_path / "p.onnx",
            tmp_path / "q",
            ranges,
            qdq.QdqOptions(storage, matrix_only=fused, fused=fused),
        )
        qdq.write_artifact(tmp_path / "q", tmp_path / artifact, storage, 8, contract, ["a", "b", "c"])
        runtime = open_runtime(tmp_path / artifact)
        assert runtime.precision == "int8"
        assert runtime(batch(5)).shape == (5, 3)


def test_an_opset_that_fails_at_another_batch_size_is_told_in_its_reason_alone(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """ONNX Runtime writes what it raises in red as well, while the export goes on with the next."""
    kinds, helper = onnx.TensorProto, onnx.helper
    two = onnx.numpy_helper.from_array(np.ones((2, 12), np.float32), "two")  # the batch it was traced with
    graph = helper.make_graph(
        [
            helper.make_node("Flatten", ["images"], ["flat"]),
            helper.make_node("Add", ["flat", "two"], ["logits"]),
        ],
        "g",
        [helper.make_tensor_value_info("images", kinds.FLOAT, ["batch", 3, 2, 2])],
        [helper.make_tensor_value_info("logits", kinds.FLOAT, ["batch", 12])],
        [two],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])
    faults: dict[str, str] = {}
    check = fp32._Check(np.ones((3, 3, 2, 2), np.float32), np.ones((3, 12), np.float32))
    assert fp32._write_lowest(model, tmp_path / "x.onnx", (Preprocess(), ["a"]), check, faults) is None
    assert len(faults) == 6
    assert "while running Add node" in faults["opset 18"]
    assert "onnxruntime" not in capfd.readouterr().err


def test_a_network_that_multiplies_noise_is_exported(tmp_path: Path) -> None:
    """It is exact on anything like a photograph; on white noise float32 itself gives no third digit of its logits."""
    torch.manual_seed(0)
    model = architecture.build("efficientnet_b0", 3)
    smooth = torch.nn.functional.interpolate(torch.randn(64, 3, 4, 4), (64, 64), mode="bilinear")
    norms = [each for each in model.modules() if isinstance(each, torch.nn.BatchNorm2d)]
    for each in norms:
        each.reset_running_stats()
        each.momentum = None
    model.train()
    with torch.no_grad():
        model(smooth)  # what the layers give on smooth images becomes their scale, and noise is far beyond it
    model.eval()
    noise = torch.rand(3, 3, 64, 64) * 4 - 2
    with torch.inference_mode():
        exactly = copy.deepcopy(model).double()(noise.double())
        lost = float((model(noise) - exactly).abs().max())
        want = model(smooth[:4]).numpy()
    assert lost > 1e-3 * float(exactly.abs().max())
    fp32.to_onnx(model, tmp_path / "m.onnx", Preprocess(crop=(64, 64)), ["a", "b", "c"])
    found = open_runtime(tmp_path / "m.onnx")(smooth[:4].numpy())
    np.testing.assert_allclose(found, want, atol=1e-4 * float(np.abs(want).max()))
