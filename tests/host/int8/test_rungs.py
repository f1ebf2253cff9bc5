"""What each rung tries, and what it leaves out."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar, cast

import numpy as np
import pytest
from host.int8.scripted import FIRST, Scripted

from edge_tl.device.listener import SILENT
from edge_tl.host.int8 import ladder, nncf_ptq, qdq, rungs
from edge_tl.host.int8.candidate_source import CandidateSource
from edge_tl.host.int8.records import LayerSensitivity
from edge_tl.host.int8.rungs import LadderLimits
from edge_tl.host.int8.settings import NNCF, CandidateSettings
from edge_tl.host.int8.storage_plan import storage_plan


@pytest.mark.parametrize(("images", "allowed"), [(18, 100 / 18), (200, 0.5), (100_000, 0.5)])
def test_a_small_set_cannot_fail_a_candidate_by_one_answer(images: int, allowed: float):
    assert LadderLimits(0.5).allowed(images) == pytest.approx(allowed)


def test_where_openvino_may_saturate_what_is_safe_and_eight_bits_are_tried():
    source = Scripted(0.4, 0.1)
    plan = storage_plan("openvino", "avx2", vnni=True)
    climbed = ladder.climb(
        cast(CandidateSource, source), "openvino", LadderLimits(0.5), plan, listener=SILENT
    )
    assert [settings.storage for settings in source.asked] == [qdq.PAIR_SAFE, qdq.SIGNED]
    assert climbed.best.record.drop_pp == 0.1


@pytest.mark.parametrize(("images", "estimators"), [(269, ["99.9", "99.99"]), (1000, ["99.9"])])
def test_where_few_images_decide_by_lot_two_ranges_are_tried_and_the_nearest_is_taken(
    images: int, estimators: list[str]
):
    """The demo's first candidate lost none of 269 selection images, and three more of 539 others than was allowed."""
    source = Scripted(0.2, 0.1)
    source.selection = np.zeros((images, 1))
    plan = storage_plan("onnx", "native", vnni=True)
    climbed = ladder.climb(cast(CandidateSource, source), "onnx", LadderLimits(0.5), plan, listener=SILENT)
    assert [settings.estimator for settings in source.asked] == estimators
    assert climbed.best.record.drop_pp == (0.1 if len(estimators) == 2 else 0.2)


def test_a_later_rung_makes_no_candidate_twice():
    source = Scripted(*[9.0] * 99)
    source.selection = np.zeros((269, 1))
    plan = storage_plan("onnx", "native", vnni=True)
    limits = LadderLimits(0.5, up_to=2)
    ladder.climb(cast(CandidateSource, source), "onnx", limits, plan, listener=SILENT)
    assert len(source.asked) == len(set(source.asked)) > 3


def test_costly_layers_leave_room_for_cheap_ones_and_the_least_float_is_tried_first():
    """The first of the ranking alone was over training's share, so that training never had a start with any float."""

    class Ranked:
        work: ClassVar = {
            "costly": 0.08,
            "gate": 0.01,
            "first": 0.02,
            "last": 0.03,
            "small": 0.015,
            "idle": 0.5,
        }

        def __init__(self) -> None:
            self.layers = self

        def share(self, names: set[str]) -> float:
            return sum(self.work[name] for name in names)

        def gates(self) -> set[str]:
            return {"gate"}

        def ends(self) -> set[str]:
            return {"first", "last"}

        def rank(self, base: CandidateSettings, *, seconds: float) -> list[LayerSensitivity]:
            return [
                LayerSensitivity(name, 0.0, 0.0)
                for name in ("costly", "small", "first", "idle", "last", "gate")
            ]

    sets = list(rungs.exclusions(cast(CandidateSource, Ranked()), FIRST, 0.15))
    shares = [Ranked().share(names) for names in sets]
    assert shares == sorted(shares)
    assert max(shares) <= rungs.FLOAT[-1]
    assert {"small", "first", "gate"} in sets  # within 5 %, though the most sensitive layer is not
    assert {"costly", "small"} in sets
    assert len(sets) == len({frozenset(names) for names in sets})
    assert not any("idle" in names for names in sets)
    few = list(rungs.exclusions(cast(CandidateSource, Ranked()), FIRST, 0.03))
    assert few
    assert all(Ranked().share(names) <= 0.03 for names in few)


def test_nncf_sees_no_more_images_than_its_bias_correction_can_hold():
    variants = list(rungs.variants(replace(FIRST, runtime="openvino", images=1000)))
    assert {s.images for s in variants if s.method == NNCF} == {nncf_ptq.MOST}
    few = rungs.variants(replace(FIRST, runtime="openvino", images=30))
    assert {s.images for s in few if s.method == NNCF} == {30}


def test_for_tensorrt_the_first_candidate_of_onnx_runtime_is_symmetric() -> None:
    for runtime, expected in (("onnx", True), ("openvino", False)):
        source = Scripted(9.0)
        source.symmetric = True
        limits = LadderLimits(0.5, up_to=1)
        plan = storage_plan(runtime, "any", vnni=False)
        ladder.climb(cast(CandidateSource, source), runtime, limits, plan, listener=SILENT)
        assert {each.symmetric for each in source.asked} == {expected}
        if expected:
            assert {each.storage for each in source.asked} == {qdq.SIGNED}, (
                "UINT8 weights have a zero point of 128"
            )
