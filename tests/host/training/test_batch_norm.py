"""BatchNorm with one value a channel, and over several processes: oracle, PyTorch's own layer."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from edge_tl.host.training import batch_norm


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.AdaptiveAvgPool2d(1), nn.BatchNorm2d(4))


def test_one_value_a_channel_takes_the_running_statistics():
    model = network()
    for layer in (model[1], model[3]):
        assert isinstance(layer, nn.BatchNorm2d)
        assert layer.running_mean is not None
        assert layer.running_var is not None
        layer.running_mean.uniform_(-1, 1)
        layer.running_var.uniform_(0.5, 2)
    twin = copy.deepcopy(model)
    one = torch.randn(1, 3, 8, 8)
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        model(one)
    take_back = batch_norm.let_single_values_through(model)
    model.load_state_dict(twin.state_dict())  # the refused call moved the first layer's
    got = model(one)
    twin[3].eval()
    torch.testing.assert_close(got, twin(one))
    assert all(module.training for module in model.modules())
    for key, value in twin.state_dict().items():
        torch.testing.assert_close(model.state_dict()[key], value)
    two = torch.randn(2, 3, 8, 8)
    twin.train()
    torch.testing.assert_close(model(two), twin(two))
    take_back()
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        model(one)
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


def test_an_error_leaves_the_mode():
    model = network()
    batch_norm.let_single_values_through(model)
    with pytest.raises(RuntimeError):
        model[3](torch.zeros(1, 5, 1, 1))
    assert model[3].training


def test_joint_statistics_are_in_place_and_taken_back():
    model = network()
    layers, state = list(model.modules()), model.state_dict()
    model.eval()
    want = model(torch.ones(2, 3, 8, 8))
    with batch_norm.synchronized(model, True):
        assert [type(m) for m in model][1::2] == [nn.SyncBatchNorm] * 2
        assert all(a is b for a, b in zip(layers, model.modules(), strict=True))
        assert model.state_dict().keys() == state.keys()
        torch.testing.assert_close(model(torch.ones(2, 3, 8, 8)), want)
    assert [type(m) for m in model][1::2] == [nn.BatchNorm2d] * 2
    assert not any("process_group" in vars(m) for m in model.modules())
    with batch_norm.synchronized(model, False):
        assert type(model[1]) is nn.BatchNorm2d


def test_timms_layers_are_joined_too_and_keep_their_activation():
    layers = pytest.importorskip("timm.layers")
    layer = layers.BatchNormAct2d(4, act_layer=nn.SiLU)
    model = nn.Sequential(nn.Conv2d(3, 4, 3), layer)
    model.eval()
    images = torch.randn(2, 3, 8, 8)
    want = model(images)
    with batch_norm.synchronized(model, True):
        assert model[1] is layer
        assert isinstance(layer, nn.SyncBatchNorm)
        torch.testing.assert_close(model(images), want)
    assert type(layer) is layers.BatchNormAct2d
    assert "process_group" not in vars(layer)
    torch.testing.assert_close(model(images), want)


def test_no_process_leaves_the_joint_statistics_that_others_wait_for():
    """One value of this process's, more of the others': it takes part all the same."""
    model = network()
    take_back = batch_norm.let_single_values_through(model)
    with batch_norm.synchronized(model, True):
        batch_norm._before(model[3], (torch.zeros(1, 4, 1, 1),))
        assert model[3].training
    batch_norm._before(model[3], (torch.zeros(1, 4, 1, 1),))
    assert not model[3].training
    take_back()


@pytest.mark.parametrize(
    ("shares", "at_once", "want"),
    [([8], 3, 3), ([1], 4, 1), ([4, 4], 2, 2), ([5, 4], 4, 2), ([4, 3], 1, 3), ([2, 1], 1, 1)],
)
def test_every_process_cuts_as_many_pieces(shares: list[int], at_once: int, want: int):
    assert batch_norm.pieces(shares, at_once) == want
    assert all(len(part) for share in shares for part in torch.arange(share).tensor_split(want))


def test_who_estimates_statistics():
    model = network()
    model[1].eval()
    assert batch_norm.trained(model) == [model[3]]
