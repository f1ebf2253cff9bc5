"""Which device is picked and what is asked of it; what no machine here has is pretended by PyTorch's own modules."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import pretend
import pytest
import torch
from torch import nn

from edge_tl.device.preprocess import Preprocess
from edge_tl.host import accelerator
from edge_tl.host.images.pixel_cache import PixelCache
from edge_tl.host.models import reference
from edge_tl.host.training import inference


@pytest.fixture
def there(monkeypatch: pytest.MonkeyPatch) -> Any:
    """`there("xpu")`: such a device, which PyTorch says is available."""

    def has(kind: str) -> torch.device:
        monkeypatch.setattr(torch.accelerator, "is_available", lambda: True)
        monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda: torch.device(kind))
        monkeypatch.setattr(torch.get_device_module(kind), "is_available", lambda: True)
        return torch.device(kind)

    return has


@pytest.mark.parametrize("kind", ["cuda", "xpu", "mps"])
def test_the_accelerator_that_pytorch_sees_is_picked(there: Any, kind: str):
    expected = there(kind)
    assert accelerator.device() == expected


def test_one_that_cannot_be_used_is_not_picked(there: Any, monkeypatch: pytest.MonkeyPatch):
    there("cuda")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert accelerator.device() == accelerator.CPU
    assert accelerator.name(accelerator.CPU) == "CPU"


def test_float32_is_float32(there: Any):
    """TF32 is on for convolutions where nobody says otherwise."""
    before = torch.backends.cudnn.allow_tf32
    try:
        torch.backends.cudnn.allow_tf32 = True
        torch.set_float32_matmul_precision("high")
        there("cuda")
        accelerator.device()
        assert not torch.backends.cudnn.allow_tf32
        assert torch.get_float32_matmul_precision() == "highest"
    finally:
        torch.backends.cudnn.allow_tf32 = before
        torch.set_float32_matmul_precision("highest")


@pytest.mark.parametrize("native", [True, False])
def test_bfloat16_is_what_the_gpu_multiplies_itself(monkeypatch: pytest.MonkeyPatch, native: bool):
    """PyTorch says yes of a Turing GPU too, and emulates."""
    monkeypatch.setattr(
        torch.cuda, "is_bf16_supported", lambda including_emulation=True: including_emulation or native
    )
    assert accelerator.has_bf16(torch.device("cuda")) is native
    assert not accelerator.has_bf16(accelerator.CPU)
    assert not accelerator.has_bf16(torch.device("mps"))


def test_what_is_not_known_is_not_claimed():
    for kind in ("cpu", "mps"):
        where = torch.device(kind)
        assert accelerator.free_bytes(where) is None
        assert not accelerator.has_fused_optimizers(where)
        accelerator.free_cached(accelerator.CPU)


def test_the_same_bits_need_cublas_told_before_it_starts(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    accelerator.reproduce(accelerator.CPU, True)
    assert not torch.are_deterministic_algorithms_enabled()
    assert "CUBLAS_WORKSPACE_CONFIG" not in os.environ
    benchmark = torch.backends.cudnn.benchmark
    try:
        accelerator.reproduce(torch.device("cuda"), True)
        assert torch.are_deterministic_algorithms_enabled()
        assert not torch.is_deterministic_algorithms_warn_only_enabled()
        assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
        assert not torch.backends.cudnn.benchmark
        accelerator.reproduce(torch.device("cuda"), False)
        assert not torch.are_deterministic_algorithms_enabled()
        assert torch.backends.cudnn.benchmark
    finally:
        torch.use_deterministic_algorithms(False)
        torch.backends.cudnn.benchmark = benchmark
        os.environ.pop("CUBLAS_WORKSPACE_CONFIG", None)


class Small(nn.Module):
    """Convolution, BatchNorm, a buffer that is added, a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.AdaptiveAvgPool2d(1), nn.Flatten()
        )
        self.head = nn.Linear(4, 5)
        self.register_buffer("shift", torch.zeros(4))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = self.head(self.layers(images) + self.shift)
        return result


def test_evaluation_takes_images_and_model_to_the_gpu(monkeypatch: pytest.MonkeyPatch):
    contract = Preprocess(resize_size=(16, 16), crop=(16, 16))
    shapes = []

    def rows(model: nn.Module, pixels: torch.Tensor, *rest: Any) -> Any:
        shapes.append(
            model(inference.augment.model_inputs(pixels, contract.mean, contract.std, rest[-1])).shape
        )
        return np.zeros((len(pixels), 5), np.float32)

    monkeypatch.setattr(inference, "_answers", rows)
    images: Any = [torch.zeros(3, 16, 16, dtype=torch.uint8)] * 70
    with pretend.gpu():
        model = pretend.moved(Small()).eval()
        inference.logits(model, images, contract, pretend.CUDA)
    assert shapes == [(64, 5), (6, 5)]


def test_the_reference_takes_images_to_the_gpu(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(accelerator, "name", lambda where: "pretended")
    with pretend.gpu():
        model = pretend.moved(Small())
        monkeypatch.setattr(model, "to", lambda *args, **kwargs: model)
        runtime = reference.TorchRuntime(model, device="cuda", threads=torch.get_num_threads())
        logits = runtime.infer(torch.zeros(2, 3, 16, 16).to(pretend.CUDA))
    assert (logits.device.type, tuple(logits.shape)) == ("cuda", (2, 5))
    assert (runtime.device, runtime.precision) == ("pretended", "fp32")


def test_pixels_are_kept_on_the_gpu(tmp_path: Any):
    np.save(tmp_path / "index.npy", np.array([[0, 4, 5], [60, 2, 2]], np.int64))
    (tmp_path / "pixels.u8").write_bytes(bytes(72))
    store = PixelCache(tmp_path)
    with pretend.gpu():
        store.to(pretend.CUDA)
        assert store.resident
        assert (store[1].device.type, tuple(store[1].shape)) == ("cuda", (3, 2, 2))


def test_fewer_images_at_once_where_memory_is_short():
    """An evaluation that runs out of memory goes on with half as many images; one that does not fit is the end."""
    contract = Preprocess(resize_size=(16, 16), crop=(16, 16))
    images: Any = [torch.full((3, 16, 16), i, dtype=torch.uint8) for i in range(70)]
    model, sizes = Small().train(), []

    def allocate(module: nn.Module, args: tuple[torch.Tensor]) -> None:
        sizes.append(len(args[0]))
        if len(args[0]) > 20:
            torch.empty(1 << 60, dtype=torch.uint8)

    want = inference.logits(model, images, contract, accelerator.CPU)
    handle = model.register_forward_pre_hook(allocate)
    got = inference.logits(model, images, contract, accelerator.CPU)
    assert sizes == [64, 32, 16, 16, 16, 16, 6]
    torch.testing.assert_close(got, want)
    assert model.training
    handle.remove()
    model.register_forward_pre_hook(lambda module, args: torch.empty(1 << 60, dtype=torch.uint8))
    with pytest.raises(RuntimeError):
        inference.logits(model, images, contract, accelerator.CPU)
    assert model.training
