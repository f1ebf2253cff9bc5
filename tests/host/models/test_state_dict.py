"""Checkpoints as trainers write them: read, or told what to do; nothing of them runs."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from listening import Listening

from edge_tl.device.errors import BadInput
from edge_tl.host.models import architecture, weights
from edge_tl.host.models.state_dict import read_state, refuse_foreign_numbers, strip_prefix

SMALL = "mobilenet_v3_small"
STATE = {"conv.weight": torch.ones(2, 3), "conv.bias": torch.zeros(2), "seen": torch.tensor(3)}
ARGUMENTS = argparse.Namespace(lr=0.1, model=SMALL, amp=False)


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


@pytest.mark.parametrize(
    "wrapped",
    [
        {"state_dict": STATE, "epoch": 1, "pytorch-lightning_version": "2.4.0", "loops": {"fit": {}}},
        {"model": STATE, "optimizer": {"state": {}}, "epoch": 1, "args": ARGUMENTS},
        {"net": STATE, "acc": 0.9, "epoch": 1},
        {"network": STATE},
        {"epoch": 1, "best": np.float64(0.9), "model_state_dict": STATE},
        {"state_dict_ema": STATE},
        {"model": {"state_dict": STATE}},
        {"model": {f"module.{key}": value for key, value in STATE.items()}, "args": ARGUMENTS},
    ],
    ids=lambda wrapped: next(iter(wrapped)),
)
def test_what_trainers_wrap_a_state_dict_in_is_read(wrapped: dict[str, Any], tmp_path: Path):
    torch.save(wrapped, tmp_path / "w.pth")
    assert same(read_state(tmp_path / "w.pth"), STATE)


def test_an_average_beside_the_weights_is_said(tmp_path: Path):
    other = {key: value + 1 for key, value in STATE.items()}
    torch.save({"model_ema": other, "model": STATE}, tmp_path / "w.pth")
    said: list[str] = []
    assert same(read_state(tmp_path / "w.pth", Listening(note=said.append)), STATE)
    assert said == ["w.pth: its 'model' is read; it holds 'model_ema' as well"]


class Runs:
    def __reduce__(self) -> Any:
        return os.mkdir, ("ran",)


def test_foreign_classes_are_named_and_never_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"model": STATE, "args": ARGUMENTS, "x": Runs()}, tmp_path / "w.pth")
    with pytest.raises(
        BadInput, match=r"more than tensors: posix\.mkdir, and reading that would run its code\)"
    ):
        read_state(tmp_path / "w.pth")
    assert not Path("ran").exists()
    # And what was allowed while reading is so for no one else.
    assert argparse.Namespace not in torch.serialization.get_safe_globals()


def test_a_file_of_something_else_names_what_it_holds(tmp_path: Path):
    torch.save({"generator": STATE, "epoch": 3}, tmp_path / "w.pth")
    with pytest.raises(BadInput, match=r"holds no state dict; its keys are 'generator', 'epoch'\. Save"):
        read_state(tmp_path / "w.pth")


def test_a_prefix_before_every_name_is_taken_off_and_no_other():
    wanted = list(STATE)
    assert strip_prefix(STATE, wanted) is STATE
    lightning = {f"model.{key}": value for key, value in STATE.items()} | {"criterion.weight": torch.ones(3)}
    assert same(strip_prefix(lightning, wanted), STATE)
    deep = {f"learner.net.{key}": value for key, value in STATE.items()}
    assert same(strip_prefix(deep, wanted), STATE)
    # A model whose own parts are called so keeps them.
    assert strip_prefix(lightning, [f"model.{key}" for key in STATE]) is lightning
    foreign = {"other.weight": torch.ones(1)}
    assert same(strip_prefix(foreign, wanted), foreign)


@pytest.mark.parametrize("prefix", ["model.", "net.", "module.model."])
def test_lightnings_weights_are_those_of_the_bare_model(prefix: str, tmp_path: Path):
    state = architecture.build(SMALL, 5).state_dict()
    torch.save({"state_dict": {prefix + key: value for key, value in state.items()}}, tmp_path / "w.ckpt")
    source = weights.open_pretrained(SMALL, str(tmp_path / "w.ckpt"))
    assert torch.equal(source.model.state_dict()["features.0.0.weight"], state["features.0.0.weight"])
    with pytest.raises(BadInput, match=rf"It fits --model {SMALL}\."):
        weights.open_pretrained("mobilenet_v2", str(tmp_path / "w.ckpt"))


@pytest.mark.parametrize(
    ("tensor", "words"),
    [
        (torch.tensor([1.0, torch.nan]), "a holds NaN (1 of 2 values)"),
        (torch.tensor([-torch.inf, 1.0]), "a holds infinity (1 of 2 values)"),
        (torch.tensor([1, 2], dtype=torch.int8), "a is int8, the model computes in float32"),
        (torch.tensor([True, False]), "a is bool"),
        (torch.tensor([1e300, 1.0], dtype=torch.float64), "a holds infinity"),
    ],
)
def test_numbers_that_cannot_be_weights_are_named(tensor: torch.Tensor, words: str):
    with pytest.raises(BadInput) as caught:
        refuse_foreign_numbers({"a": tensor}, {"a": torch.zeros(2)}, "w.pth")
    assert f"w.pth: {words}" in str(caught.value)


def test_counters_and_masks_of_infinity_are_weights_like_others():
    mask = torch.tensor([0.0, -torch.inf])
    state = {"mask": mask, "count": torch.tensor([3]), "half": torch.ones(2, dtype=torch.bfloat16)}
    wanted = {"mask": mask.clone(), "count": torch.tensor([0]), "half": torch.zeros(2)}
    refuse_foreign_numbers(state, wanted, "w.pth")


@pytest.mark.filterwarnings("ignore::UserWarning")  # deprecated, and in files that people have
@pytest.mark.parametrize("kind", [torch.complex64, torch.quint8])
def test_quantized_and_complex_tensors_are_refused_by_name(kind: torch.dtype, tmp_path: Path):
    tensor = torch.ones(2, 3)
    foreign = torch.quantize_per_tensor(tensor, 0.1, 0, kind) if kind == torch.quint8 else tensor.to(kind)
    torch.save(STATE | {"conv.weight": foreign}, tmp_path / "w.pth")
    with pytest.raises(BadInput, match=r"conv\.weight is (quint8|complex64): not a weight"):
        read_state(tmp_path / "w.pth")
