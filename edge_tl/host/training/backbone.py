"""The frozen backbone as what computes its features fastest. Decodes nothing and keeps nothing.

On a GPU that is PyTorch; on a CPU OpenVINO in FP32, one image a request and as many streams as it asks for, so that an
image's features do not depend on what else is in its batch.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from edge_tl.device.errors import BundleError, MissingExtra
from edge_tl.device.runtimes.open import Runtime, open_runtime
from edge_tl.device.runtimes.openvino_ import OpenVinoRuntime
from edge_tl.host import accelerator
from edge_tl.host.convert.many_images import one_each
from edge_tl.host.models import architecture
from edge_tl.host.models.five_crop import with_crops
from edge_tl.host.models.reference import TorchRuntime
from edge_tl.host.models.weights import PretrainedModel

Rows = NDArray[np.float32]


@dataclass(frozen=True)
class Backbone:
    """`features` takes float32 `(n, 3, H, W)` to float32 `(n, d)`; `runtime` is the name and version of what does."""

    features: Callable[[Rows], Rows]
    runtime: str


def backbone(source: PretrainedModel) -> nn.Module:
    """A copy of the model that ends where the head begins."""
    model = copy.deepcopy(source.model).eval()
    architecture.set_head(model, source.head, nn.Identity())
    return model


def open_backbone(source: PretrainedModel, scratch: Path, *, threads: int, on_gpu: bool) -> Backbone:
    """The backbone of `source` on this machine; a file that lives as long as it is written into `scratch`."""
    # The mean of features: what a linear head makes of it is the mean of its logits.
    model = with_crops(backbone(source), source.contract)
    if on_gpu:
        device = accelerator.device()
        torch_runtime = TorchRuntime(model, device=device.type, autocast=accelerator.has_bf16(device))
        return Backbone(torch_runtime, _called(torch_runtime))
    path = _write_onnx(model, source.contract.input_size, scratch)
    try:
        streamed = OpenVinoRuntime(path, threads=threads, hint="THROUGHPUT")
    except (BundleError, MissingExtra):  # an operator that OpenVINO does not know, or no OpenVINO
        runtime = open_runtime(path, threads=threads)
        return Backbone(runtime, _called(runtime))
    return Backbone(one_each(streamed), _called(streamed))


def _called(runtime: Runtime) -> str:
    return f"{runtime.name} {runtime.version}"


def _write_onnx(model: nn.Module, size: tuple[int, int], scratch: Path) -> Path:
    path = scratch / "backbone.onnx"
    with warnings.catch_warnings():
        # The TorchScript exporter is deprecated, but takes one second where the dynamo exporter takes twenty,
        # and this file lives for one extraction; what users get comes from the dynamo exporter.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            model,
            (torch.zeros(1, 3, *size),),
            str(path),
            dynamo=False,
            input_names=["images"],
            output_names=["features"],
            dynamic_axes={"images": {0: "n"}, "features": {0: "n"}},
        )
    return path
