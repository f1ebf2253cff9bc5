"""Every model that can be chosen, one path for all: a training step, then ONNX and OpenVINO give its logits."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from edge_tl.device.preprocess import Preprocess
from edge_tl.device.runtimes.open import open_runtime
from edge_tl.host.convert import fp32
from edge_tl.host.models import architecture, zoo
from edge_tl.host.models.blocks import backbone_blocks

CLASSES = 3
# Residual sums; no BatchNorm; split and shuffled channels; LayerNorm. What the others vary.
FAST = {"resnet18", "squeezenet1_1", "shufflenet_v2_x0_5", "convnext_tiny"}
NAMES = [*zoo.ZOO, "timm:mobilenetv4_conv_small", "timm:tf_efficientnet_lite0"]


def images(side: int, seed: int) -> torch.Tensor:
    """Normalized like photographs: smooth fields and noise, so that no two give the same features."""
    rng = torch.Generator().manual_seed(seed)
    coarse = torch.randn(4, 3, 4, 4, generator=rng)
    smooth = nn.functional.interpolate(coarse, (side, side), mode="bilinear")
    return smooth + 0.3 * torch.randn(4, 3, side, side, generator=rng)


def step(model: nn.Module, inputs: torch.Tensor) -> float:
    """One step of SGD on every parameter, the auxiliary head's too; the loss before it."""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    outputs, target = model.train()(inputs), torch.tensor([0, 1, 2, 0])
    logits = [outputs] if isinstance(outputs, torch.Tensor) else list(outputs)
    loss = torch.stack([nn.functional.cross_entropy(part, target) for part in logits]).sum()
    loss.backward()
    optimizer.step()
    return loss.item()


def estimate_norms(model: nn.Module, inputs: torch.Tensor) -> None:
    """BatchNorm's statistics of this batch: with those of a fresh network all images give the same logits, and
    a comparison would prove nothing. Of noise too, which `to_onnx` compares with: an untrained network blows up
    what its statistics do not cover, and float32 with it."""
    noise = torch.rand(inputs.shape, generator=torch.Generator().manual_seed(0)) * 4 - 2
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.reset_running_stats()
            module.momentum = None
    with torch.no_grad():
        model.train()(torch.cat([inputs, noise]))


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=() if n in FAST else pytest.mark.slow) for n in NAMES]
)
def test_a_model_trains_a_step_and_exports_to_the_same_logits(name: str, tmp_path: Path):
    if name.startswith(zoo.TIMM) and importlib.util.find_spec("timm") is None:
        pytest.skip("timm is not installed")
    torch.manual_seed(0)
    side = 96 if name == "inception_v3" else 64
    model = architecture.build(name, CLASSES)
    head = architecture.head_path(name)
    before = {key: p.detach().clone() for key, p in model.named_parameters()}
    assert np.isfinite(step(model, images(side, 0)))
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
    moved = {key for key, p in model.named_parameters() if not torch.equal(p, before[key])}
    first = backbone_blocks(model, head)[0][0]
    assert any(p is q for key, p in model.named_parameters() if key in moved for q in first.parameters())
    assert f"{head}.weight" in moved
    assert len(moved) > len(before) / 2

    inputs = images(side, 1)
    estimate_norms(model, inputs)
    with torch.inference_mode():
        want = model.eval()(inputs).numpy()
    contract, labels = Preprocess(crop=(side, side)), ["a", "b", "c"]
    fp32.to_onnx(model, tmp_path / "m.onnx", contract, labels)
    fp32.to_openvino(tmp_path / "m.onnx", tmp_path / "m.xml", contract, labels)
    # In units of what the images change, not of the bias that all of them share.
    spread = float(np.ptp(want, axis=0).max())
    assert spread > 1e-3 * float(np.abs(want).max())
    for file in ("m.onnx", "m.xml"):
        assert float(np.abs(open_runtime(tmp_path / file)(inputs.numpy()) - want).max()) < 1e-3 * spread, file
