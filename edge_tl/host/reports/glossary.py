"""What the words of a report mean, a line each, for who reads one for the first time."""

from __future__ import annotations

import re
from collections.abc import Iterable

# A word, where it occurs, and what it means; in the order in which a list of them reads best.
_WORDS = (
    (
        "artifact",
        "artifacts?",
        "The model as one exported file, or pair of files, that a runtime on the device opens.",
    ),
    (
        "PyTorch",
        "pytorch",
        "What the model was trained with; its answers are what every artifact is held against.",
    ),
    ("FP32", "fp32", "Numbers of 32 bits, as in training."),
    (
        "INT8",
        "int8",
        "Numbers of 8 bits: a quarter of the size and often faster, but not exactly the same answers.",
    ),
    ("accuracy", "accuracy|right", "The share of images that are answered right."),
    (
        "drop",
        "drop",
        "Accuracy lost against PyTorch on the same images, in percentage points (pp). Below 0 the artifact did better.",
    ),
    (
        "[interval]",
        "interval|drop",
        "In brackets: where the true figure lies with 95 % confidence. Where a drop's interval includes 0, "
        "these images cannot tell the two apart.",
    ),
    ("agreement", "agreement", "Images with the same answer as PyTorch's, right or wrong."),
    ("p50, p90, p99", r"p\d\d", "Milliseconds that half, 90 % and 99 % of the timed calls did not exceed."),
    (
        "speed-up",
        "speed-up",
        "Times as fast as PyTorch on the same machine. Not judged: other programs were busy there, or the interval is "
        "wide.",
    ),
    ("size", "size", "Of all files of the artifact; 1 MB is a million bytes."),
    ("memory", "memory", "The most that a process with the model held; 1 MiB is 1,048,576 bytes."),
    ("gate", "gate|gates", "A check with a limit: what fails one is not recommended."),
    (
        "golden image",
        "goldens?|pixels",
        "An image with its right answers, kept in the bundle to check a device with.",
    ),
    ("recall", "recall", "Of the images of a class, those that were found."),
    ("precision", "precision %", "Of the answers of a class, those that are right."),
    ("F1", "f1", "The harmonic mean of precision and recall: high only where both are."),
    ("confidence", "confidence|ece|temperature", "The probability that the model gives its answer."),
    ("ECE", "ece", "By how much confidence and accuracy differ on average; 0 is perfect."),
    (
        "temperature",
        "temperature",
        "The number that probabilities were softened (above 1) or sharpened (below 1) by.",
    ),
    ("threshold", "threshold", "The least confidence that counts as an answer."),
    (
        "instruction set",
        "int8 computed with|isa",
        "What the processor multiplies INT8 with; it can change answers.",
    ),
    ("rung", "rung", "A way of quantizing; the next one is tried only where this one loses too much."),
    (
        "divergence",
        "divergence",
        "How far probabilities move: 0 where they stay the same; in thousandths of a nat.",
    ),
    ("work", "work", "The share of the model's multiplications."),
    ("epoch", "epoch", "One pass over all training images."),
    ("loss", "loss|log loss", "What training makes smaller: how far the probabilities are from the truth."),
    ("learning rate", "learning rate|lr", "How far each step of training moves the weights."),
    ("threads", "threads", "Processor cores that worked at the same time."),
    ("—", "—", "Not measured, does not apply, or too few calls for this figure."),
)


def explained_words(texts: Iterable[str]) -> list[tuple[str, str]]:
    """(word, what it means) of each known word that is in one of `texts`, headings or names."""
    whole = "\n".join(texts).replace("_", " ")
    return [
        (word, meaning)
        for word, pattern, meaning in _WORDS
        if re.search(rf"(?<!\w)(?:{pattern})(?!\w)", whole, re.IGNORECASE)
    ]
