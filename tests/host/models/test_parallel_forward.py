"""A network over many images at once gives what it gives one after another, and is left as it was."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from edge_tl.host.models import parallel_forward
from edge_tl.host.models.parallel_forward import forward, keeps_nothing, same_weights


@pytest.fixture(scope="module")
def model() -> nn.Module:
    torch.manual_seed(0)
    layers = nn.Conv2d(3, 16, 3), nn.BatchNorm2d(16), nn.Hardswish(), nn.Conv2d(16, 8, 3, stride=2)
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5)).eval()


def images(count: int) -> Any:
    """Each of its own brightness."""
    noise = np.random.default_rng(count).normal(size=(count, 3, 32, 32))
    return (noise + np.arange(count)[:, None, None, None]).astype(np.float32)


@pytest.mark.parametrize(("count", "threads"), [(1, 2), (2, 2), (5, 2), (13, 3), (9, 1)])
def test_every_image_has_its_own_answer(model: nn.Module, count: int, threads: int):
    torch.set_num_threads(threads)
    with torch.inference_mode():
        want = np.concatenate([model(torch.from_numpy(image[None])).numpy() for image in images(count)])
    got = forward(model, images(count), threads)
    assert got.shape == (count, 5)
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5)
    assert count == len(np.unique(got[:, 0].round(3)))  # mixed up, they would not be equal
    if count > 4:
        assert torch.get_num_threads() == threads


def test_copies_share_the_weights_and_nothing_else(model: nn.Module):
    other = same_weights(model)
    assert all(a is b for a, b in zip(model.parameters(), other.parameters(), strict=True))
    assert all(a is b for a, b in zip(model.buffers(), other.buffers(), strict=True))
    assert not {id(module) for module in model.modules()} & {id(module) for module in other.modules()}


class Stateful(nn.Module):
    """Somebody's module, which leaves something for itself to find."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        self.seen = images.mean((2, 3))
        return self.seen * 2


def test_a_network_that_may_keep_something_runs_alone(model: nn.Module, monkeypatch: pytest.MonkeyPatch):
    assert keeps_nothing(model)
    assert not keeps_nothing(nn.Sequential(Stateful()))
    patched: Any = same_weights(model)
    patched[0].forward = lambda images: images
    assert not keeps_nothing(patched)
    hooked = same_weights(model)
    hooked.register_forward_hook(lambda *_: None)
    assert not keeps_nothing(hooked)
    monkeypatch.setattr(parallel_forward, "same_weights", lambda _: pytest.fail("copied"))
    np.testing.assert_allclose(forward(Stateful(), images(20), 2), 2 * images(20).mean((2, 3)), atol=1e-5)
