"""INT8 for any CPU: what is tried in which order, what a lesser instruction set refuses, and when one is required."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from host.int8.saturating_pairs import planted, write_model
from host.int8.scripted import Scripted, built

from edge_tl.device.listener import SILENT
from edge_tl.device.machine import CAP_VARIABLE, isa_flags
from edge_tl.host.int8 import choice, ladder
from edge_tl.host.int8.candidate_source import CandidateSource
from edge_tl.host.int8.candidates import Candidate
from edge_tl.host.int8.capped import CappedProcesses
from edge_tl.host.int8.qdq import PAIR_SAFE, SIGNED, UNSIGNED
from edge_tl.host.int8.records import CappedDrop
from edge_tl.host.int8.rungs import LadderLimits
from edge_tl.host.int8.settings import CandidateSettings
from edge_tl.host.int8.storage_plan import REQUIRED, StoragePlan, storage_plan

LOST = CappedDrop("AVX2", 80.0, (78.0, 82.0), 80.0, 0.15)
KEPT = CappedDrop("AVX2", 0.1, (-1.0, 1.0), 0.1, 0.99)


class Portable(Scripted):
    """Candidates with eight bits do under a cap as scripted; the others are proven, as far as `proven`."""

    def __init__(
        self, *outcomes: float | Exception, row: CappedDrop | None = LOST, proven: bool = True
    ) -> None:
        super().__init__(*outcomes)
        self.row, self.proven = row, proven
        self.capped: list[Candidate] = []

    def make(self, settings: CandidateSettings, **more: Any) -> Candidate:
        made = super().make(settings, **more)
        safe = self.proven and settings.storage != SIGNED
        record = replace(made.record, may_saturate=() if safe else None)
        return replace(made, settings=settings, record=record)

    def under_caps(self, candidate: Candidate, allowed: float) -> Candidate:
        self.capped.append(candidate)
        if candidate.record.may_saturate == () or self.row is None:
            return candidate
        return replace(candidate, record=replace(candidate.record, under_caps=(self.row,)))


def climb(source: Portable, runtime: str = "openvino", up_to: int = 2) -> ladder.LadderResult:
    plan = storage_plan(runtime, "any", vnni=True)
    return ladder.climb(
        cast(CandidateSource, source), runtime, LadderLimits(0.5, up_to), plan, listener=SILENT
    )


@pytest.mark.parametrize(
    ("runtime", "target", "vnni", "plan"),
    [
        ("openvino", "any", True, StoragePlan(PAIR_SAFE, last=SIGNED, portable=True)),
        ("onnx", "any", False, StoragePlan(PAIR_SAFE, last=SIGNED, portable=True)),
        ("openvino", "native", True, StoragePlan(SIGNED)),
        ("openvino", "native", False, StoragePlan(PAIR_SAFE, (SIGNED,))),
        ("onnx", "native", False, StoragePlan(UNSIGNED)),
        ("onnx", "avx2", True, StoragePlan(UNSIGNED)),
        ("openvino", "avx2", True, StoragePlan(PAIR_SAFE, (SIGNED,))),
        ("openvino", "arm", False, StoragePlan(SIGNED)),
        ("onnx", "vnni", False, StoragePlan(SIGNED)),
    ],
)
def test_how_weights_are_stored_by_cpu(runtime: str, target: str, vnni: bool, plan: StoragePlan) -> None:
    assert storage_plan(runtime, target, vnni=vnni) == plan


def test_what_is_proven_is_taken_and_nothing_else_is_built() -> None:
    source = Portable(0.3)
    climbed = climb(source)
    assert (climbed.record.passed, climbed.record.requires) == (True, ())
    assert [each.storage for each in source.asked] == [PAIR_SAFE]


def test_what_loses_under_a_cap_does_not_keep_the_budget() -> None:
    lost, kept = built(0.1, 0.01, under_caps=(LOST,)), built(0.4, 0.02, under_caps=(KEPT,))
    assert choice.best([lost, kept], 0.5) is kept
    assert not choice.keeps_budget(built(0.1, 0.01, under_caps=(CappedDrop("AVX2", fault="ended"),)), 0.5)
    source = Portable(0.1, 0.1, row=LOST, proven=False)
    assert climb(source, up_to=1).record.rungs[0].best == replace(
        built(0.1, 0.01).record, under_caps=(LOST,), expected_drop_ci_pp=(0.0, 0.2)
    )


def test_a_cap_is_not_run_for_a_candidate_that_is_over_the_budget_here() -> None:
    source = Portable(3.0, 2.0, 0.2)
    climb(source)
    assert [each.record.drop_pp for each in source.capped] == [0.2]


def test_only_where_no_rung_keeps_the_budget_an_artifact_requires_instructions() -> None:
    tried = _count()
    source = Portable(*[3.0] * tried, 0.2)
    climbed = climb(source)
    assert climbed.record.requires == REQUIRED == ("vnni", "dotprod")
    assert (climbed.record.passed, climbed.best.settings.storage) == (True, SIGNED)
    assert {each.storage for each in source.asked[:tried]} == {PAIR_SAFE}
    assert "VNNI" in climbed.record.reason
    assert climbed.record.rungs[-1].name == "eight bits that may require dot products"


def test_eight_bits_that_keep_the_budget_under_the_caps_require_nothing() -> None:
    source = Portable(*[3.0] * 40, row=KEPT)
    source.outcomes[_count() :] = [0.2]
    climbed = climb(source)
    assert (climbed.record.passed, climbed.record.requires) == (True, ())
    assert climbed.best.settings.storage == SIGNED


def test_where_no_cap_can_be_run_what_is_not_proven_is_required() -> None:
    assert climb(Portable(0.1, row=None, proven=False)).record.requires == REQUIRED
    assert climb(Portable(0.1, row=None, proven=False), "onnx").record.requires == ()  # by its session option


def test_nothing_suffices() -> None:
    climbed = climb(Portable())
    assert (climbed.record.passed, climbed.record.requires) == (False, ())


def _job() -> ladder.LadderJob:
    first = CandidateSettings("openvino", "qdq", "99.9", 1000, PAIR_SAFE, matrix_only=True)
    plan = storage_plan("openvino", "any", vnni=True)
    return ladder.LadderJob(cast(CandidateSource, Portable()), first, LadderLimits(0.5), 0.0, plan)


def _count() -> int:
    """Candidates of the first two rungs."""
    return 1 + len(list(ladder.attempts(2, _job(), [])))


@pytest.mark.skipif("avx2" not in isa_flags(), reason="oneDNN has no AVX2 to be capped to")
def test_one_process_a_cap_computes_with_that_cap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import openvino

    monkeypatch.delenv(CAP_VARIABLE, raising=False)
    weights, pairs = planted(16, 1, 1)
    shape = write_model(tmp_path / "m.onnx", weights, 1)
    openvino.save_model(openvino.convert_model(tmp_path / "m.onnx"), tmp_path / "m.xml")
    np.save(tmp_path / "white.npy", np.full(shape, 255, np.float32))
    with CappedProcesses(["SSE41"]) as capped:
        assert capped.caps == ("SSE41",)
        for _ in range(2):  # the second call is served by the same process
            white = capped.logits("SSE41", tmp_path / "m.xml", tmp_path / "white.npy")
            cut = white.reshape(len(pairs), -1).min(axis=1) < 50_000
            assert {pair for pair, lost in zip(pairs, cut, strict=True) if lost} == {
                (i, i + 1) for i in range(0, 16, 2)
            }
