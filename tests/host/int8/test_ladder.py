"""The ladder: which candidate is kept, when it stops, and that it recovers what plain quantization loses."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from host.int8.scripted import FIRST, Scripted
from listening import Listening

from edge_tl.device import metrics
from edge_tl.device.errors import EdgeTLError
from edge_tl.device.machine import has_vnni
from edge_tl.host.convert.fp32 import to_onnx, to_openvino
from edge_tl.host.convert.model_file import batched_logits
from edge_tl.host.export import image_sets
from edge_tl.host.images.pixel_cache import Images
from edge_tl.host.int8 import ladder, qat
from edge_tl.host.int8.candidate_source import CandidateSource
from edge_tl.host.int8.candidates import Candidate
from edge_tl.host.int8.qdq import SIGNED
from edge_tl.host.int8.ranges import ESTIMATORS
from edge_tl.host.int8.rungs import LadderLimits
from edge_tl.host.int8.settings import CandidateSettings
from edge_tl.host.int8.storage_plan import StoragePlan, storage_plan
from edge_tl.host.runs import checkpoint


def climb(source: Any, **limits: Any) -> tuple[ladder.LadderResult, list[str]]:
    notes: list[str] = []
    options = {"max_drop": 0.5} | limits
    return ladder.climb(
        source, "onnx", LadderLimits(**options), StoragePlan(SIGNED), listener=Listening(note=notes.append)
    ), notes


def test_it_stops_at_the_first_rung_that_keeps_the_budget():
    source = Scripted(0.3)
    climbed, notes = climb(source)
    assert (climbed.record.passed, len(source.asked), [entry.rung for entry in climbed.record.rungs]) == (
        True,
        1,
        [1],
    )
    assert notes == [
        "onnx-int8, rung 1, known-good settings: drop 0.30 [0.20, 0.40] pp expected, 0.30 [-0.70, 1.30] counted, "
        "agreement 90.0 %, 1.00 ms, 1.0 MB, 0.0 % of the work in float, 0:01"
    ]


def test_the_search_tries_every_estimator_and_keeps_the_best():
    source = Scripted(3.0, 2.0, 0.4, 1.0)
    climbed, _ = climb(source, up_to=2)
    assert climbed.record.passed
    assert climbed.best.record.drop_pp == 0.4
    assert {settings.estimator for settings in source.asked} == set(ESTIMATORS)
    assert {settings.matrix_only for settings in source.asked} == {False, True}
    assert len(climbed.record.rungs[1].candidates) == len(source.asked) - 1


def test_where_no_rung_suffices_the_nearest_is_kept_with_the_reason():
    climbed, _ = climb(Scripted(3.0, 2.0, 1.5), up_to=2)
    assert not climbed.record.passed
    assert climbed.best.record.drop_pp == 1.5
    assert climbed.record.reason.startswith(
        "no rung up to 2 keeps the budget of 0.5 percentage points; the best drops by 1.50"
    )


def test_a_candidate_that_cannot_be_built_is_an_entry_and_never_the_end():
    climbed, _ = climb(Scripted(3.0, KeyError("numpy.float32"), 0.2), up_to=2)
    assert climbed.record.passed
    assert climbed.record.rungs[1].faults == ("KeyError: 'numpy.float32'",)
    climbed, _ = climb(Scripted(ValueError("broken"), 0.3), up_to=2)  # not even where it is the first
    assert climbed.record.passed
    assert climbed.record.rungs[0].faults == ("ValueError: broken",)
    with pytest.raises(EdgeTLError, match="no INT8 for onnx: ValueError: broken"):
        climb(Scripted(*[ValueError("broken")] * 30))


def test_a_ranking_that_fails_is_an_entry_too():
    class Unranked(Scripted):
        @property
        def layers(self) -> Any:
            raise RuntimeError("no shapes")

    climbed, _ = climb(Unranked(3.0, 2.0), up_to=3)
    assert climbed.best.record.drop_pp == 2.0
    assert climbed.record.rungs[2].faults == ("RuntimeError: no shapes",)
    assert climbed.record.reason.startswith("no rung up to 3 keeps the budget")


def test_a_training_with_too_few_steps_is_one_sentence_of_the_record():
    said = "training in INT8: 9 s allow 12 steps, and fewer than 100 lead away from FP32"

    class Hurried(Scripted):
        def make(self, settings: CandidateSettings, **more: Any) -> Candidate:
            if settings.epochs:
                raise qat.TooFewSteps(said)
            return super().make(settings, **more)

    climbed, notes = climb(Hurried(3.0, 2.0))
    assert not climbed.record.passed
    assert climbed.best.record.drop_pp == 2.0
    training = climbed.record.rungs[-1]
    assert (training.rung, training.candidates, training.faults) == (5, (), (said,))
    assert notes[-1] == f"onnx-int8, rung 5, training in INT8: {said}"


def test_a_spent_time_budget_ends_the_climb_after_the_candidate_at_hand():
    source = Scripted(3.0)
    climbed, _ = climb(source, seconds=1e-9, up_to=2)
    assert len(source.asked) == 1
    assert climbed.record.rungs[1].faults == ("the time budget is spent",)
    assert not climbed.record.passed
    assert climbed.record.reason.startswith("within 1e-09 s no rung keeps the budget")
    # Not even the layers are measured then: Scripted has none.
    climbed, _ = climb(Scripted(3.0), seconds=1e-9, up_to=3)
    assert climbed.record.rungs[2].faults == ("the time budget is spent",)


@pytest.fixture(scope="module")
def opened(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., CandidateSource]:
    """A source of the shared run: all its images but those that calibrate select, since they are few."""
    model, record = checkpoint.load_run(run)
    contract, dataset = record.preprocess, record.dataset()
    folder = tmp_path_factory.mktemp("source")
    calibrating = image_sets.calibration_set(dataset, 30, 0)
    selecting = [s for s in dataset.samples if s not in calibrating]
    calibration = image_sets.inputs(contract, dataset, calibrating, folder / "calibration.npy")
    selection = image_sets.inputs(contract, dataset, selecting, folder / "selection.npy")

    def make(change: Callable[[Any], None], name: str) -> CandidateSource:
        changed = copy.deepcopy(model)
        change(changed)
        scratch = folder / name
        scratch.mkdir()
        to_onnx(changed, scratch / "m.onnx", contract, dataset.labels)
        to_openvino(scratch / "m.onnx", scratch / "m.xml", contract, dataset.labels)
        return CandidateSource(
            changed, scratch / "m.onnx", scratch / "m.xml", scratch, contract, dataset.labels, calibration, selection,
            np.array([s.label for s in selecting], np.int64), training=lambda: cast(Images, []), seed=0, flip=False,
        )  # fmt: skip

    return make


def plant(model: Any, factor: float = 300.0) -> None:
    """One channel between two layers made larger, and the next layer's weights of it smaller: the same function, but
    one range can no longer serve all channels."""
    norm, following = model.features[1].block[-1][1], model.features[2].block[0][0]
    with torch.no_grad():
        norm.weight[0] *= factor
        norm.bias[0] *= factor
        following.weight[:, 0] /= factor


def looking(*outcomes: float | Exception, **limits: Any) -> tuple[ladder.LadderResult, Scripted, list[str]]:
    """A climb where 1,000 of 2,000 selection images are looked at first."""
    source = Scripted(*outcomes)
    source.more = True
    climbed, notes = climb(source, **limits)
    return climbed, source, notes


def test_some_selection_images_suffice_for_a_first_candidate_that_keeps_the_budget():
    climbed, source, _ = looking(0.3)
    assert (climbed.record.passed, climbed.record.selection_images, len(source.asked)) == (True, 1000, 1)


@pytest.mark.parametrize("outcomes", [(0.6, 0.45), (3.0, 0.2), (RuntimeError("cannot"), 0.2)])
def test_where_it_does_not_keep_it_all_selection_images_decide(outcomes: tuple[float | Exception, ...]):
    climbed, source, notes = looking(*outcomes)
    assert (climbed.record.passed, climbed.record.selection_images) == (True, 2000)
    assert [entry.rung for entry in climbed.record.rungs] == [1]
    (note,) = [
        note for note in notes if note.endswith("on the first 1000 selection images; on with all")
    ] or notes
    built = isinstance(outcomes[0], float)
    assert note.startswith("onnx-int8: over the budget" if built else "onnx-int8: no INT8 for onnx: "), note
    assert source.asked[0] == source.asked[1]  # the same candidate, on more images


def test_where_two_of_some_images_are_over_the_budget_all_are_used_at_once():
    climbed, source, notes = looking(0.05, max_drop=0.15)
    assert (climbed.record.selection_images, len(source.asked)) == (2000, 1)
    assert not any("on with all" in note for note in notes)


def test_a_source_goes_on_with_all_its_images(opened: Callable[..., CandidateSource]):
    source = opened(lambda model: None, "more")
    whole, answers = source.selection, source.answers
    source.selection, source.answers = whole[:20], answers[:20]
    source.more = lambda: (whole, answers)
    small = source.make(FIRST)
    source.use_all()
    assert source.more is None
    assert len(source.expected) == len(whole) > 20
    large = source.make(FIRST)
    ours = batched_logits(large.path, whole)
    assert large.record.divergence == pytest.approx(metrics.divergence(source.expected, ours), abs=1e-9)
    assert small.record.divergence != large.record.divergence


def test_layers_are_not_ranked_by_half(opened: Callable[..., CandidateSource]):
    source = opened(lambda model: None, "hurried")
    with pytest.raises(TimeoutError, match=r"ended after 0 of 53 layers"):
        source.rank(replace(FIRST, images=30), seconds=0.0)
    assert source.sensitivity == []


@pytest.mark.slow
@pytest.mark.parametrize("runtime", ["onnx", "openvino"])
def test_a_planted_outlier_channel_is_recovered_from(
    opened: Callable[..., CandidateSource], run: Path, runtime: str
):
    source = opened(plant, f"planted-{runtime}")
    want = opened(lambda model: None, f"plain-{runtime}").expected
    np.testing.assert_allclose(source.expected, want, atol=0.02)  # nothing but the ranges has changed
    notes: list[str] = []
    limits = LadderLimits(1.0, up_to=3)
    plan = storage_plan(runtime, "any", vnni=has_vnni())
    climbed = ladder.climb(source, runtime, limits, plan, listener=Listening(note=notes.append))
    first = climbed.record.rungs[0].best
    assert first is not None
    assert first.drop_pp > 10
    assert climbed.record.passed, notes
    assert climbed.best.record.drop_pp <= LadderLimits(1.0).allowed(len(source.selection))
    assert climbed.best.record.divergence < 0.1 * first.divergence
    assert [entry.rung for entry in climbed.record.rungs] == list(range(1, len(climbed.record.rungs) + 1))
    got = batched_logits(climbed.best.path, source.selection)
    assert (
        metrics.agreement(metrics.top1(got), metrics.top1(source.expected)) == climbed.best.record.agreement
    )
