"""From an FP32 ONNX file and ranges to an INT8 one with Q/DQ pairs, and from that to OpenVINO IR. Chooses no settings.

One graph serves both runtimes: ONNX Runtime fuses the pairs into its integer kernels, OpenVINO reads them as its
own low-precision pattern. What differs is how weights are stored on an x86 CPU without VNNI, whose INT8 kernels add
pairs of products in 16 bits and saturate (onnxruntime, docs "Quantize ONNX models").
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from edge_tl.device.errors import EdgeTLError
from edge_tl.device.model_metadata import PRECISE
from edge_tl.device.preprocess import Preprocess
from edge_tl.device.runtimes.matrix_layers import MATRIX_OPERATORS
from edge_tl.host.convert import graph as graphs
from edge_tl.host.convert.fp32 import INPUT, add_metadata, save_openvino
from edge_tl.host.convert.model_file import Inputs, quiet
from edge_tl.host.int8 import saturation
from edge_tl.host.int8.channel_padding import pad_channels
from edge_tl.host.int8.integer_graph import fitting_ranges, swish_products, use_codes
from edge_tl.host.int8.openvino_activations import use_hsigmoid
from edge_tl.host.int8.ranges import ABSORBED, Range, absorbed, after_the_last_layer

_SHIFT = "logits_shift"
SIGNED, UNSIGNED, SEVEN_BITS = "int8", "uint8, zero point 128", "7 bits"
PAIR_SAFE = "int8, scaled so that no pair saturates"


def weight_storage(runtime: str, vnni: bool) -> str:
    """How a runtime's weights are stored so that nothing saturates.

    With VNNI or on Arm: int8. Without, ONNX Runtime has kernels for UINT8 x UINT8 that do not saturate, and the same
    weights shifted by 128 use them at no loss; OpenVINO has none, so its weights have scales with which no pair
    saturates, see `saturation`.
    """
    if vnni:
        return SIGNED
    return UNSIGNED if runtime == "onnx" else PAIR_SAFE


def prepare_graph(fp32: Path, prepared: Path) -> None:
    """Fold and infer what the quantizer wants folded and inferred."""
    from onnxruntime.quantization.shape_inference import quant_pre_process

    with quiet():
        quant_pre_process(str(fp32), str(prepared), skip_symbolic_shape=True)


@dataclass(frozen=True)
class QdqOptions:
    """`storage` is how weights are stored, see `weight_storage`. Nodes named in `excluded` stay in float, with
    `matrix_only` all that are not convolutions or matrix products. `fused`: the runtime computes a convolution and the
    activation after it in one kernel, so nothing is rounded between them. Otherwise a ReLU becomes the range of what
    comes before it, or half of the codes would be spent on what it takes away. `symmetric`: activations are INT8 with
    zero points of 0, as TensorRT wants them (docs.nvidia.com, "Working with Quantized Types"); no range of theirs ends
    at 0, so a ReLU stays."""

    storage: str
    excluded: Collection[str] = ()
    matrix_only: bool = False
    fused: bool = False
    symmetric: bool = False


def quantize(prepared: Path, out: Path, ranges: Mapping[str, Range], options: QdqOptions) -> None:
    """Static QDQ: per-channel symmetric INT8 weights, asymmetric UINT8 activations in `ranges`, or symmetric INT8 ones.
    The logits stay float: eight bits over their whole range would decide close calls."""
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static

    graph = onnx.load(str(prepared)).graph
    on_codes = not options.fused and not options.symmetric
    if on_codes:
        ranges = fitting_ranges(graph, ranges)
    # Nothing is rounded inside an activation: its codes are computed at once, or it is fused with the layer before.
    inside = swish_products(graph, ("HardSigmoid",) if on_codes else ("HardSigmoid", "Sigmoid"))
    overrides: dict[str, list[Any]] = {
        name: [{"rmin": np.float32(low), "rmax": np.float32(high)}]
        for name, (low, high) in ranges.items()
        if high > low
    }
    if options.storage == PAIR_SAFE:
        overrides |= saturation.pair_safe_overrides(prepared, options.excluded)
    operators = [*MATRIX_OPERATORS, *(() if options.fused else ABSORBED)]
    with quiet():
        quantize_static(
            str(prepared),
            str(out),
            _OneBlackImage(_shape(prepared)),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            reduce_range=options.storage == SEVEN_BITS,
            weight_type=QuantType.QInt8,
            activation_type=QuantType.QInt8 if options.symmetric else QuantType.QUInt8,
            nodes_to_exclude=sorted({*options.excluded, *inside.values(), *after_the_last_layer(graph)}),
            op_types_to_quantize=operators if options.matrix_only else None,
            extra_options={
                "ActivationSymmetric": options.symmetric,
                "TensorQuantOverrides": overrides,
                "OpTypesToExcludeOutputQuantization": list(MATRIX_OPERATORS) if options.fused else ["Gemm"],
            },
        )
    _leave_logits_in_float(out)
    _check_ranges(out, ranges, absorbed(graph))


def _check_ranges(path: Path, ranges: Mapping[str, Range], unknown: Collection[str]) -> None:
    """Raises `EdgeTLError` where the quantizer took a range from its one black image: of a tensor of `unknown`, which
    no histogram was filled of. What depends on no image, as a class token, it may take from there."""
    for node in onnx.load(str(path)).graph.node:
        name = node.input[0] if node.op_type == "QuantizeLinear" else ""
        if name in unknown and name not in ranges:
            raise EdgeTLError(f"INT8: no range is known of {name}, which would be quantized")


def write_artifact(
    qdq: Path, out: Path, storage: str, ir_version: int, contract: Preprocess, labels: list[str]
) -> None:
    """The Q/DQ graph at `qdq` as the artifact `out`: `.onnx`, or `.xml` (and `.bin`) by conversion."""
    graph = onnx.load(str(qdq))
    cut = saturation.saturating_layers(graph.graph)  # before layers are written as ONNX Runtime computes them
    if out.suffix == ".onnx":
        use_codes(graph)
        pad_channels(graph)
    if storage == UNSIGNED:
        _store_weights_unsigned(graph)
    if out.suffix == ".onnx":
        _leave_float_layers_alone(graph)
        graph.ir_version = ir_version
        add_metadata(graph, contract, labels)
        needed = storage != UNSIGNED and (cut or saturation.saturating_layers(graph.graph))
        graph.metadata_props.add(key=PRECISE, value="1" if needed else "0")
        onnx.checker.check_model(graph, full_check=True)
        onnx.save_model(graph, str(out))
        return
    import openvino

    with quiet():
        model = openvino.convert_model(str(qdq))
        use_hsigmoid(model)
        save_openvino(model, out, contract, labels)


def correct_logits(qdq: Path, shift: NDArray[np.float64]) -> None:
    """Add `shift`, `(classes,)`, to the logits of the graph, in place: to the bias of the Gemm that gives them, or
    where something else does by an addition after it.

    Rounding errors do not average out through a network; they arrive at the head as a shift. Measured through the
    kernels of this machine, it includes what they saturate (empirical bias correction, Nagel et al., "Data-Free
    Quantization Through Weight Equalization and Bias Correction", 2019, at the last layer).
    """
    graph = onnx.load(str(qdq))
    constants = graphs.constants(graph.graph)
    [output] = graph.graph.output
    makers = graphs.producers(graph.graph)
    head = makers[output.name]
    if _SHIFT in constants:  # corrected before
        values = onnx.numpy_helper.to_array(constants[_SHIFT]) + shift
        constants[_SHIFT].CopyFrom(onnx.numpy_helper.from_array(values.astype(np.float32), _SHIFT))
    elif head.op_type == "Gemm" and len(head.input) == 3:
        bias, step = head.input[2], np.ones(1)
        if bias not in constants:
            dequantize = makers[bias]
            bias, step = dequantize.input[0], onnx.numpy_helper.to_array(constants[dequantize.input[1]])
        values = onnx.numpy_helper.to_array(constants[bias])
        moved = values + (np.rint(shift / step) if values.dtype == np.int32 else shift)
        constants[bias].CopyFrom(onnx.numpy_helper.from_array(moved.astype(values.dtype), bias))
    else:
        before = f"{output.name}_before_shift"
        head.output[list(head.output).index(output.name)] = before
        for node in graph.graph.node:
            node.input[:] = [before if name == output.name else name for name in node.input]
        graph.graph.initializer.append(onnx.numpy_helper.from_array(shift.astype(np.float32), _SHIFT))
        graph.graph.node.append(onnx.helper.make_node("Add", [before, _SHIFT], [output.name], "shift"))
    onnx.save_model(graph, str(qdq))


def _leave_logits_in_float(path: Path) -> None:
    """Remove the rounding of the last layer's output, in place: the quantizer has no option for one layer."""
    model = onnx.load(str(path))
    nodes = list(model.graph.node)
    makers = graphs.producers(model.graph)
    outputs = [output.name for output in model.graph.output]
    unrounded: dict[str, str] = {}
    waiting = list(outputs)
    while waiting:
        node = makers.get(name := waiting.pop())
        if node is None or node.op_type in MATRIX_OPERATORS:
            continue
        if node.op_type != "DequantizeLinear":
            waiting += node.input
            continue
        rounding = makers.get(node.input[0])
        source = makers.get(rounding.input[0]) if rounding is not None else None
        if source is not None and source.op_type in MATRIX_OPERATORS:
            unrounded[name] = source.output[0]
    if not unrounded:
        return
    # A graph's output has the same name as before: what was rounded to it takes that name.
    renamed = {unrounded[name]: name for name in outputs if name in unrounded}
    names = {name: renamed.get(source, source) for name, source in unrounded.items()} | renamed
    kept = [node for node in nodes if not set(node.output) & set(unrounded)]
    for node in kept:
        node.input[:] = [names.get(name, name) for name in node.input]
        node.output[:] = [renamed.get(name, name) for name in node.output]
    read = {name for node in kept for name in node.input}
    graphs.set_nodes(model.graph, (n for n in kept if n.op_type != "QuantizeLinear" or n.output[0] in read))
    onnx.save_model(model, str(path))


def _store_weights_unsigned(graph: onnx.ModelProto) -> None:
    """Shift every INT8 initializer that is dequantized, and its zero points, by 128 into UINT8."""
    constants = graphs.constants(graph.graph)
    shifted: set[str] = set()
    for node in graph.graph.node:
        if node.op_type != "DequantizeLinear" or node.input[0] not in constants:
            continue
        if constants[node.input[0]].data_type != onnx.TensorProto.INT8:
            continue
        for name in {node.input[0], node.input[2]} - shifted:
            values = onnx.numpy_helper.to_array(constants[name]).astype(np.int16) + 128
            constants[name].CopyFrom(onnx.numpy_helper.from_array(values.astype(np.uint8), name))
            shifted.add(name)


def _leave_float_layers_alone(graph: onnx.ModelProto) -> None:
    """Let ONNX Runtime leave in float what the graph leaves in float.

    Where a float layer stands between dequantized images and a QuantizeLinear, newer versions quantize its weights too,
    per tensor, at every optimization level but none (`WeightBiasQuantization`): MobileNetV2 with its most sensitive
    convolution in float fell to half of its answers. They pass over images that were dequantized per channel, so such
    a layer's are: with the one scale they have, repeated.
    """
    constants, makers = graphs.constants(graph.graph), graphs.producers(graph.graph)
    nodes = list(graph.graph.node)
    for node in graph.graph.node:
        if node.op_type not in ("Conv", "Gemm") or node.input[1] not in constants:
            continue
        dequantize = makers.get(node.input[0])
        if dequantize is None or dequantize.op_type != "DequantizeLinear":
            continue
        weight = constants[node.input[1]].dims
        channels = weight[1] * graphs.attribute(node, "group", 1)
        if node.op_type == "Gemm" and not graphs.attribute(node, "transB"):
            channels = weight[0]
        inputs = [dequantize.input[0]]
        for name in dequantize.input[1:]:
            repeated = f"{name}_of_{node.name}"
            value = np.repeat(onnx.numpy_helper.to_array(constants[name]).reshape(-1), channels)
            graph.graph.initializer.append(onnx.numpy_helper.from_array(value, repeated))
            inputs.append(repeated)
        made = onnx.helper.make_node(
            "DequantizeLinear", inputs, [f"{node.input[0]}_of_{node.name}"], f"{node.name}_dequantize", axis=1
        )
        nodes.insert(nodes.index(node), made)
        node.input[0] = made.output[0]
    read = {name for node in nodes for name in node.input} | {output.name for output in graph.graph.output}
    graphs.set_nodes(
        graph.graph, (n for n in nodes if n.op_type != "DequantizeLinear" or n.output[0] in read)
    )


def _shape(path: Path) -> list[int]:
    graph = onnx.load(str(path), load_external_data=False)
    return [d.dim_value or 1 for d in graph.graph.input[0].type.tensor_type.shape.dim]


class _OneBlackImage:
    """A calibration set: every range is given, but the quantizer asks for one all the same."""

    def __init__(self, shape: list[int]) -> None:
        self._rest = iter([{INPUT: np.zeros(shape, np.float32)}])

    def get_next(self) -> dict[str, Inputs] | None:
        return next(self._rest, None)
