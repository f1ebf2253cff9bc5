"""How much each layer alone in INT8 moves a model's answers. Leaves none in float itself."""

from __future__ import annotations

import math
from time import perf_counter

from edge_tl.device import metrics
from edge_tl.host.convert.model_file import batched_logits
from edge_tl.host.int8 import qdq
from edge_tl.host.int8.candidate_builder import CandidateBuilder
from edge_tl.host.int8.ranges import ABSORBED
from edge_tl.host.int8.records import LayerSensitivity
from edge_tl.host.int8.settings import CandidateSettings


def rank_layers(
    builder: CandidateBuilder, settings: CandidateSettings, images: int = 256, *, seconds: float = math.inf
) -> list[LayerSensitivity]:
    """The layers, the most sensitive first, measured on so many selection images. Raises `TimeoutError` when that takes
    longer than `seconds`: some of the layers are no ranking."""
    began = perf_counter()
    some, ranges, layers = builder.selection[:images], builder.ranges(settings), builder.layers
    graph, out = builder.files.scratch / "one.qdq.onnx", builder.files.scratch / "one.onnx"
    storage = settings.storage  # of the ONNX file, whose kernels do not saturate here, whatever it is
    names = list(layers.macs)
    rows = []
    for number, name in enumerate(names):
        if perf_counter() - began > seconds:
            raise TimeoutError(f"the time budget ended after {number} of {len(names)} layers were measured")
        others = frozenset(
            node.name for node in layers.graph.node if node.name != name and node.op_type not in ABSORBED
        )
        qdq.quantize(builder.base_graph(settings), graph, ranges, qdq.QdqOptions(storage, excluded=others))
        builder.write(graph, out, storage)
        divergence = metrics.divergence(builder.expected[:images], batched_logits(out, some))
        rows.append(LayerSensitivity(name, divergence, layers.share([name])))
        builder.listener.progress("measuring layers", number + 1, len(names))
    return sorted(rows, key=lambda row: -row.divergence)
