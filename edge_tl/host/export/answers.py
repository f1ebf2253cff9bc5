"""Every answer of an evaluation as a record, so that two bundles can be compared image by image. Runs no model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from edge_tl.device.bundle import REFERENCE
from edge_tl.device.metrics import top1
from edge_tl.device.records.answers import DIGITS, MOST_ANSWERS, AnswersRecord
from edge_tl.device.runtimes.open import Logits
from edge_tl.host.images.dataset import Sample


def answers_record(samples: Sequence[Sample], logits: Mapping[str, Logits]) -> AnswersRecord | None:
    """Of the logits `(n, classes)` of PyTorch and of artifacts by id; None of more images than a report lists."""
    if len(samples) > MOST_ANSWERS:
        return None
    answers = {name: tuple(map(int, top1(each))) for name, each in logits.items()}
    return AnswersRecord(
        tuple(sample.digest[:DIGITS] for sample in samples),
        tuple(sample.label for sample in samples),
        answers.pop(REFERENCE),
        answers,
    )
