"""The precision of a training: who decides it, that timing it leaves no trace, and that a resumed training keeps it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from listening import Listening

from edge_tl.host.recipe import load as recipes
from edge_tl.host.runs.record import PrecisionRecord
from edge_tl.host.runs.result import RunResult
from edge_tl.host.training import precision, resume
from edge_tl.host.training.finetune import finetune
from edge_tl.host.training.network import Network

WITH_BF16 = ("avx2", "avx512_bf16")


@pytest.fixture(autouse=True)
def a_cpu_with_bf16(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the instructions PyTorch computes the same in other ones, so what it computes can be tested anywhere."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(precision, "isa_flags", lambda: WITH_BF16)
    monkeypatch.setattr(precision, "FEWEST_STEPS", 1)


@pytest.fixture
def train(images: Path, tmp_path: Path) -> Callable[..., RunResult]:
    def run(
        name: str, listener: Listening | None = None, resumed: bool = False, **settings: Any
    ) -> RunResult:
        plain = {"strategy": "full", "epochs": 1, "workers": 0, "patience": 0, "batch_norm": "train"}
        recipe = recipes.parse(
            {
                "data": {"path": str(images)},
                "model": {"name": "mobilenet_v3_small", "weights": "embedded", "image_size": 32},
                "train": plain | settings,
            }
        )
        return finetune(recipe, tmp_path / name, resumed=resumed, listener=listener or Listening())

    return run


def weights(result: RunResult) -> dict[str, torch.Tensor]:
    """After the last step; what is kept may be the start."""
    last: dict[str, torch.Tensor] = safetensors.torch.load_file(result.run / resume.LAST)
    return last


def the_faster_is(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the clock says: the timed steps are really taken."""
    really = precision._images_per_s

    def of(*arguments: Any) -> dict[Any, float]:
        assert min(really(*arguments).values()) > 0
        return {other: 90.0 if other == name else 30.0 for other in precision.BOTH}

    monkeypatch.setattr(precision, "_images_per_s", of)


@pytest.mark.parametrize("name", precision.BOTH)
def test_what_is_timed_leaves_no_trace_in_the_weights(
    train: Callable[..., RunResult], monkeypatch: pytest.MonkeyPatch, name: precision.Name
):
    told = train("told", precision=name)
    assert told.record.precision == PrecisionRecord(name, "asked for")
    the_faster_is(name, monkeypatch)
    heard: list[str] = []
    timed = train("timed", Listening(note=heard.append))
    record = timed.record.precision
    assert record is not None
    assert record.used == name
    assert {record.fp32_images_per_s, record.bf16_images_per_s} == {30.0, 90.0}
    assert any(f"computing in {name}: fp32" in note for note in heard)
    got, want = weights(timed), weights(told)
    assert all(torch.equal(value, got[key]) for key, value in want.items())


def test_the_two_precisions_compute_differently(train: Callable[..., RunResult]):
    """Or the test above would compare nothing."""
    one, other = (weights(train(name, precision=name)) for name in precision.BOTH)
    assert any(not torch.equal(value, other[key]) for key, value in one.items())
    assert {value.dtype for value in other.values()} <= {torch.float32, torch.int64}


def test_a_resumed_training_keeps_what_it_began_with(
    train: Callable[..., RunResult], monkeypatch: pytest.MonkeyPatch
):
    the_faster_is("bf16", monkeypatch)
    whole = train("whole", epochs=2)

    really, steps = Network.step, []

    def killed(self: Network, scale: float) -> torch.Tensor | None:
        steps.append(scale)
        if len(steps) == 3:
            raise KeyboardInterrupt
        return really(self, scale)

    with monkeypatch.context() as patch:
        patch.setattr(Network, "step", killed)
        with pytest.raises(KeyboardInterrupt):
            train("cut", epochs=2, checkpoint_seconds=0)
    the_faster_is("fp32", monkeypatch)  # on this machine, by now
    resumed = train("cut", resumed=True, epochs=2, checkpoint_seconds=0)
    assert resumed.record.precision == whole.record.precision
    got, want = weights(resumed), weights(whole)
    assert all(torch.equal(value, got[key]) for key, value in want.items())


@pytest.mark.parametrize(
    ("fp32", "bf16", "used"), [(50.8, 63.9, "bf16"), (139.7, 81.4, "fp32"), (100.0, 103.0, "fp32")]
)
def test_bf16_has_to_be_faster_than_noise(fp32: float, bf16: float, used: str):
    record = precision.chosen({"fp32": fp32, "bf16": bf16})
    assert (record.used, record.fp32_images_per_s, record.bf16_images_per_s) == (used, fp32, bf16)


@pytest.mark.parametrize(
    ("settings", "flags", "fewest", "why"),
    [
        ({}, ("avx2", "fma"), 1, "no bfloat16 instructions"),
        ({"deterministic": True}, WITH_BF16, 1, "deterministic"),
        ({}, WITH_BF16, 100, "steps: timing bf16 takes longer"),
    ],
)
def test_nothing_is_timed_where_it_cannot_pay(
    train: Callable[..., RunResult],
    monkeypatch: pytest.MonkeyPatch,
    settings: dict[str, Any],
    flags: tuple[str, ...],
    fewest: int,
    why: str,
):
    monkeypatch.setattr(precision, "isa_flags", lambda: flags)
    monkeypatch.setattr(precision, "FEWEST_STEPS", fewest)
    monkeypatch.setattr(precision, "_images_per_s", None)
    record = train("run", **settings).record.precision
    assert record is not None
    assert (record.used, record.fp32_images_per_s) == ("fp32", None)
    assert why in record.reason
