"""INT8 files: what is quantized and how, whether VNNI changes the numbers, and that stdout stays clean."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import openvino
import pytest
from onnx import numpy_helper

from edge_tl.device.bundle import Bundle, read_bundle
from edge_tl.host.convert.model_file import batched_logits
from edge_tl.host.export import image_sets
from edge_tl.host.int8 import qdq
from edge_tl.host.int8.ranges import histograms
from edge_tl.host.runs import checkpoint

Weights = dict[str, Any]


@pytest.fixture(scope="module")
def whole(bundle: Path) -> Bundle:
    return read_bundle(bundle)


@pytest.fixture(scope="module")
def prepared(whole: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("prepared") / "prepared.onnx"
    qdq.prepare_graph(whole.artifact("onnx-fp32").path, path)
    return path


@pytest.fixture(scope="module")
def made(
    whole: Bundle, prepared: Path, calibration: Any, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], Path]:
    """The INT8 ONNX file with its weights stored in one of three ways."""
    folder, done = tmp_path_factory.mktemp("int8"), {}
    ranges = {name: seen.range("99.9") for name, seen in histograms(str(prepared), calibration).items()}
    for storage in (qdq.SIGNED, qdq.UNSIGNED, qdq.SEVEN_BITS):
        graph, path = folder / "graph.onnx", folder / f"{storage[:5]}.onnx"
        qdq.quantize(prepared, graph, ranges, qdq.QdqOptions(storage))
        qdq.write_artifact(graph, path, storage, 8, whole.preprocess, whole.labels)
        done[storage] = path
    return done.__getitem__


def makers(graph: onnx.ModelProto) -> dict[str, onnx.NodeProto]:
    return {name: node for node in graph.graph.node for name in node.output}


def weights(graph: onnx.ModelProto) -> Weights:
    """Every constant that is dequantized, by its output's name, as the real numbers it stands for."""
    constants = {i.name: numpy_helper.to_array(i) for i in graph.graph.initializer}
    found: Weights = {}
    for node in graph.graph.node:
        if node.op_type == "DequantizeLinear" and node.input[0] in constants:
            values, scale, zero = (constants[name] for name in node.input)
            axis = next((a.i for a in node.attribute if a.name == "axis"), 1)
            shape = [-1 if i == axis else 1 for i in range(values.ndim)] if scale.ndim else []
            zero, scale = zero.reshape(shape), scale.reshape(shape)
            found[node.output[0]] = (values.astype(np.int64) - zero.astype(np.int64)) * scale.astype(
                np.float64
            )
    return found


def test_every_convolution_and_the_head_read_quantized_numbers(bundle: Path):
    graph = onnx.load(bundle / "model.int8.onnx")
    made_by = makers(graph)
    layers = [node for node in graph.graph.node if node.op_type in ("Conv", "Gemm", "MatMul")]
    assert len([node for node in layers if node.op_type == "Conv"]) == 52
    assert {made_by[name].op_type for node in layers for name in node.input[:2]} == {"DequantizeLinear"}
    assert (bundle / "model.int8.onnx").stat().st_size < 0.4 * (bundle / "model.fp32.onnx").stat().st_size


def test_weights_are_per_channel_and_activations_are_not(bundle: Path):
    graph = onnx.load(bundle / "model.int8.onnx")
    constants = {i.name: numpy_helper.to_array(i) for i in graph.graph.initializer}
    made_by = makers(graph)
    for node in graph.graph.node:
        if node.op_type == "Conv":
            activation, weight = (made_by[name] for name in node.input[:2])
            values = constants[weight.input[0]]
            assert constants[weight.input[1]].shape == (values.shape[0],)
            assert next(a.i for a in weight.attribute if a.name == "axis") == 0
            assert values.dtype in (np.int8, np.uint8)
            assert set(constants[weight.input[2]].ravel()) <= {0 if values.dtype == np.int8 else 128}
            assert constants[activation.input[1]].size == 1
            assert constants[activation.input[2]].dtype == np.uint8


def test_weights_are_within_half_a_step_of_fp32s(bundle: Path):
    """Against the FP32 file: rounding costs half a step. The largest weight of a channel is 127 steps, or as few as 64
    where pairs of products would saturate without VNNI."""
    full = {i.name: numpy_helper.to_array(i) for i in onnx.load(bundle / "model.fp32.onnx").graph.initializer}
    graph = onnx.load(bundle / "model.int8.onnx")
    constants = {i.name: numpy_helper.to_array(i) for i in graph.graph.initializer}
    real, made_by = weights(graph), makers(graph)
    kernels = {name: kernel for name, kernel in real.items() if kernel.ndim == 4}
    assert len(kernels) == 52
    wider = []
    for name, kernel in kernels.items():
        steps = constants[made_by[name].input[1]].reshape(-1, 1, 1, 1)
        distances = [
            float((np.abs(kernel - wide) / np.maximum(steps, 1e-12)).max())
            for values in full.values()
            if (wide := with_channels_of_zeros(values, kernel.shape)) is not None
        ]
        assert min(distances) <= 0.51
        largest = np.abs(kernel).max(axis=(1, 2, 3), keepdims=True)
        wider.append(float(np.max(127 * steps / np.maximum(largest, 1e-12), where=largest > 0, initial=1.0)))
    assert max(wider) <= 127 / 63
    assert min(wider) <= 1.01, "depthwise layers keep eight bits"


def with_channels_of_zeros(values: Any, shape: tuple[int, ...]) -> Any:
    """In the given shape; None where it does not fit or would gain more than a kernel asks for."""
    if values.ndim != 4 or values.shape[2:] != shape[2:]:
        return None
    extra = [b - a for a, b in zip(values.shape, shape, strict=True)]
    return np.pad(values, [(0, n) for n in extra]) if all(0 <= n < 16 for n in extra) else None


def test_the_unsigned_file_is_numerically_the_signed_one(
    made: Callable[[str], Path], calibration: Any, literally: Callable[..., Any]
):
    signed, unsigned = made(qdq.SIGNED), made(qdq.UNSIGNED)
    graphs = [onnx.load(path) for path in (signed, unsigned)]
    for graph, kind in zip(graphs, (np.int8, np.uint8), strict=True):
        stored = [numpy_helper.to_array(i) for i in graph.graph.initializer]
        assert {a.dtype.type for a in stored if a.ndim == 4} == {kind}
    a, b = (weights(graph) for graph in graphs)
    assert a.keys() == b.keys()
    assert all(np.array_equal(a[name], b[name]) for name in a)
    assert len([name for name in a if a[name].ndim >= 2]) >= 53
    np.testing.assert_array_equal(literally(unsigned, calibration[:4]), literally(signed, calibration[:4]))


def test_seven_bits_are_half_the_codes(made: Callable[[str], Path]):
    """So that two products of a weight and an activation fit into 16 bits: 2 * 64 * 255 < 32,768."""
    graph = onnx.load(made(qdq.SEVEN_BITS))
    kernels = [
        a for i in graph.graph.initializer if (a := numpy_helper.to_array(i)).dtype == np.int8 and a.ndim > 1
    ]
    assert len(kernels) >= 53
    assert {int(np.abs(kernel.astype(int)).max()) for kernel in kernels} == {64}


@pytest.mark.parametrize(
    ("runtime", "vnni", "storage"),
    [
        ("onnx", True, qdq.SIGNED),
        ("onnx", False, qdq.UNSIGNED),
        ("openvino", True, qdq.SIGNED),
        ("openvino", False, qdq.PAIR_SAFE),
    ],
)
def test_weights_are_stored_so_that_nothing_saturates(runtime: str, vnni: bool, storage: str):
    assert qdq.weight_storage(runtime, vnni) == storage


def test_excluded_layers_stay_in_float(prepared: Path, calibration: Any, tmp_path: Path):
    names = [node.name for node in onnx.load(prepared).graph.node if node.op_type == "Conv"][:3]
    ranges = {
        name: seen.range("min-max") for name, seen in histograms(str(prepared), calibration[:2]).items()
    }
    qdq.quantize(prepared, tmp_path / "q.onnx", ranges, qdq.QdqOptions(qdq.SIGNED, excluded=names))
    graph = onnx.load(tmp_path / "q.onnx")
    constants, made_by = {i.name for i in graph.graph.initializer}, makers(graph)
    for node in graph.graph.node:
        if node.op_type == "Conv":
            assert (node.input[1] in constants) == (node.name in names)
            assert (node.input[1] in made_by) != (node.name in names)


def test_a_layer_left_in_float_runs_in_float(
    whole: Bundle, prepared: Path, calibration: Any, literally: Callable[..., Any], tmp_path: Path
):
    """ONNX Runtime quantizes such a layer's weights by itself, per tensor, when its neighbours are quantized: a model
    with its most sensitive layer in float answered worse than one without. Planted here: one channel's weights are a
    thousand times the others', which per tensor leaves nothing of those."""
    model = onnx.load(prepared)
    made_by, before_relus = makers(model), _inputs_of_relus(model)
    convs = [n for n in model.graph.node if n.op_type == "Conv" and n.output[0] in before_relus]
    conv = next(n for n in convs if n.input[0] in made_by and made_by[n.input[0]].op_type == "Conv")
    constants = {i.name: i for i in model.graph.initializer}
    values = numpy_helper.to_array(constants[conv.input[1]]).copy()
    values[0] *= 1000
    constants[conv.input[1]].CopyFrom(numpy_helper.from_array(values, conv.input[1]))
    onnx.save(model, tmp_path / "planted.onnx")
    seen = histograms(str(tmp_path / "planted.onnx"), calibration[:4])
    ranges = {name: histogram.range("99.9") for name, histogram in seen.items()}
    graph, out = tmp_path / "graph.onnx", tmp_path / "out.onnx"
    qdq.quantize(tmp_path / "planted.onnx", graph, ranges, qdq.QdqOptions(qdq.UNSIGNED, excluded=[conv.name]))
    qdq.write_artifact(graph, out, qdq.UNSIGNED, 8, whole.preprocess, whole.labels)
    made_by = makers(onnx.load(out))
    layer = next(n for n in onnx.load(out).graph.node if n.name == conv.name)
    assert made_by[layer.input[0]].op_type == "DequantizeLinear"  # or the trap is not there
    want, got = literally(out, calibration), batched_logits(out, calibration)
    unguarded = batched_logits(graph, calibration)
    assert np.abs(got - want).max() < 0.1 * np.abs(unguarded - want).max()


def _inputs_of_relus(model: onnx.ModelProto) -> set[str]:
    return {node.input[0] for node in model.graph.node if node.op_type == "Relu"}


@pytest.mark.parametrize("matrix_only", [False, True])
def test_no_codes_are_spent_on_what_a_relu_takes_away(
    prepared: Path, calibration: Any, tmp_path: Path, matrix_only: bool
):
    """With additions and gates in float the ReLUs stayed in the graph, and convolutions were rounded over the range
    before them: half of the codes for numbers that become 0."""
    seen = histograms(str(prepared), calibration[:2])
    ranges = {name: histogram.range("min-max") for name, histogram in seen.items()}
    qdq.quantize(prepared, tmp_path / "q.onnx", ranges, qdq.QdqOptions(qdq.SIGNED, matrix_only=matrix_only))
    before, after = onnx.load(prepared).graph, onnx.load(tmp_path / "q.onnx").graph
    relus = [node for node in before.node if node.op_type == "Relu"]
    assert len(relus) >= 10
    assert not [node for node in after.node if node.op_type == "Relu"]
    constants = {i.name: numpy_helper.to_array(i) for i in after.initializer}
    rounded = {node.input[0]: node for node in after.node if node.op_type == "QuantizeLinear"}
    assert {int(constants[rounded[relu.output[0]].input[2]]) for relu in relus} == {0}


def test_ranges_end_where_the_activation_saturates(bundle: Path):
    """Below -3 hard-sigmoid and hard-swish are flat, above 3 hard-sigmoid is: codes spent there are lost."""
    graph = onnx.load(bundle / "model.int8.onnx")
    constants = {i.name: numpy_helper.to_array(i) for i in graph.graph.initializer}
    made_by, gates, swishes = makers(graph), 0, 0
    for node in graph.graph.node:
        if node.op_type != "DequantizeLinear" or node.input[0] in constants:
            continue
        codes = made_by[node.input[0]]
        rounding = made_by[codes.input[0]] if codes.op_type == "Clip" else codes
        if rounding.op_type != "QuantizeLinear" or node.input[1] == rounding.input[1]:
            continue
        scale, zero = (constants[name] for name in rounding.input[1:])
        assert made_by[rounding.input[0]].op_type == "Conv"
        if zero == 0:  # a gate: the convolution gives x + 3
            gates += 1
            assert float(scale) == pytest.approx(6 / 255)
            assert float(constants[node.input[1]]) == pytest.approx(1 / 255)
        else:
            swishes += 1
            assert float(scale) * int(zero) == pytest.approx(3)
            assert codes is rounding or int(constants[codes.input[2]]) == 2 * int(zero)
    assert (gates, swishes) == (9, 18)


def test_the_mean_of_the_logits_is_fp32s(whole: Bundle, exported: dict[str, Any], run: Path, tmp_path: Path):
    """On the calibration images that the export itself used; an integer bias moves in steps."""
    dataset = checkpoint.read_run(run).dataset()
    chosen = image_sets.calibration_set(dataset, exported["provenance"]["sets"]["calibration"], 0)
    images = image_sets.inputs(whole.preprocess, dataset, chosen, tmp_path / "x.npy")
    logits = {a.id: batched_logits(a.path, images) for a in whole.artifacts}
    for name in ("onnx-int8", "openvino-int8"):
        assert np.abs(np.mean(logits[name] - logits["onnx-fp32"], axis=0)).max() < 0.01


def test_openvino_stores_weights_in_eight_bits_and_quantizes_activations(bundle: Path):
    model = openvino.Core().read_model(bundle / "model.int8.xml")
    kinds = [op.get_type_name() for op in model.get_ordered_ops()]
    assert kinds.count("FakeQuantize") >= 50
    eight = [
        op.get_data().size
        for op in model.get_ordered_ops()
        if op.get_type_name() == "Constant" and op.get_element_type() in (openvino.Type.i8, openvino.Type.u8)
    ]
    layers = kinds.count("Convolution") + kinds.count("GroupConvolution")
    assert layers == 52
    assert len([size for size in eight if size > 1]) >= layers
    assert sum(eight) > 0.95 * sum(
        op.get_data().size for op in openvino.Core().read_model(bundle / "model.fp32.xml").get_ordered_ops()
        if op.get_type_name() == "Constant" and op.get_data().ndim >= 2
    )  # fmt: skip


def test_the_settings_are_recorded(exported: dict[str, Any]):
    settings = {a["id"]: a.get("quantization") for a in exported["artifacts"]}
    assert settings["onnx-fp32"] is settings["openvino-fp32"] is None
    for runtime in ("onnx", "openvino"):
        told = settings[f"{runtime}-int8"]
        assert told["weights"] == f"per channel, {qdq.PAIR_SAFE}"
        assert told["target_cpu"] == "any"
        assert told["calibration_images"] == exported["provenance"]["sets"]["calibration"] == 30


def test_stdout_and_logging_are_left_alone(
    whole: Bundle, prepared: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
):
    qdq.quantize(prepared, tmp_path / "q.onnx", {}, qdq.QdqOptions(qdq.SIGNED))
    qdq.write_artifact(tmp_path / "q.onnx", tmp_path / "q.xml", qdq.SIGNED, 8, whole.preprocess, whole.labels)
    assert capfd.readouterr().out == ""
    assert logging.root.manager.disable == logging.NOTSET
    assert sorted(path.name for path in tmp_path.iterdir()) == ["q.bin", "q.onnx", "q.xml"]
