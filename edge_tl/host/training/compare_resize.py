"""Whether another resize policy suits these images better: a head solved on each policy's frozen features. Changes and
chooses nothing.

The backbone is as it came, so a fine-tuned one may order them otherwise; the difference is on the same images.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter
from typing import get_args

import numpy as np
import torch

from edge_tl.device.listener import Listener
from edge_tl.device.metrics import Ints, accuracy, paired_drop, wilson_interval
from edge_tl.device.preprocess import Preprocess
from edge_tl.host.images.dataset import Sample
from edge_tl.host.models.contracts import with_policy
from edge_tl.host.models.five_crop import CROPS
from edge_tl.host.recipe.schema import PolicyName
from edge_tl.host.runs.resize_records import ResizeComparison, TriedPolicy
from edge_tl.host.training import features
from edge_tl.host.training.job import SplitSamples, TrainingSetup, labels_of
from edge_tl.host.training.solve_head import solve_head


@dataclass(frozen=True)
class _Answers:
    classes: Ints
    seconds: float


def compare_resize(
    setup: TrainingSetup, split: SplitSamples, run: Path, listener: Listener
) -> ResizeComparison | None:
    """The run's own policy and every other, on the validation images; None where nothing is transferred, so that frozen
    features know nothing. Features are kept in `run`, where a run with that policy finds them. Raises what
    `features.extract` does."""
    if setup.source.origin == "none" or setup.source.cropping is None:
        listener.note("--compare-resize needs weights that know images: nothing was compared")
        return None
    own = setup.recipe.model.resize
    others = [policy for policy in get_args(PolicyName) if policy != own]
    expected = labels_of(split.val)
    tried: list[TriedPolicy] = []
    reference: Ints | None = None
    for policy in (own, *others):
        contract = setup.source.contract if policy == own else _contract(setup, policy)
        found = _answers(setup, contract, split, run, listener)
        right = int(np.sum(found.classes == expected))
        gain = None if reference is None else paired_drop(expected, reference, found.classes)
        reference = found.classes if reference is None else reference
        tried.append(
            TriedPolicy(
                policy=policy,
                accuracy=accuracy(expected, found.classes),
                accuracy_ci=wilson_interval(right, len(expected)),
                gain_pp=None if gain is None else -gain.drop_pp,
                gain_ci_pp=None if gain is None else (-gain.drop_ci_pp[1], -gain.drop_ci_pp[0]),
                work=CROPS if contract.five_crop else 1,
                seconds=found.seconds,
            )
        )
    return ResizeComparison(len(expected), tuple(tried))


def _contract(setup: TrainingSetup, policy: PolicyName) -> Preprocess:
    """The contract that a run with `policy` would have."""
    cropping, own = setup.source.cropping, setup.source.contract
    assert cropping is not None
    plain = replace(cropping, mean=own.mean, std=own.std, max_pixels=own.max_pixels)
    return with_policy(plain, policy)


def _answers(
    setup: TrainingSetup, contract: Preprocess, split: SplitSamples, run: Path, listener: Listener
) -> _Answers:
    """What the best head on features of `contract` answers on the validation images, `(n,)`."""
    start = perf_counter()
    source = replace(setup.source, contract=contract)
    found = setup.features if contract == setup.source.contract else None
    if found is None:
        samples: Sequence[Sample] = [*split.train, *split.val]
        found = features.extract(source, samples, setup.dataset.sources(samples), run, listener=listener)
    train, val = ([s for s in samples if s.digest in found.rows] for samples in split)
    solved = solve_head(replace(setup, source=source, features=found), SplitSamples(train, val), listener)
    assert solved is not None
    with torch.inference_mode():
        logits = solved.layers(torch.from_numpy(found.of(val)))
    # An image that this policy cannot frame, a sliver, has no answer.
    classes = np.full(len(split.val), -1, np.int64)
    classes[[s.digest in found.rows for s in split.val]] = logits.argmax(1).numpy()
    return _Answers(classes, perf_counter() - start)
