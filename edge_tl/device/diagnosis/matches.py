"""A hypothesis that explains the answers as people and programs read it: its name, what to change, what it costs."""

from __future__ import annotations

from contextlib import suppress

from PIL import Image

from edge_tl.device.bundle import REFERENCE, Bundle
from edge_tl.device.diagnosis.advice import advice_for
from edge_tl.device.diagnosis.hypothesis import Hypothesis
from edge_tl.device.diagnosis.mistakes import NAMES
from edge_tl.device.records.accuracy import Interval
from edge_tl.device.records.diagnosis import MatchRecord


def match_of(bundle: Bundle, each: Hypothesis) -> MatchRecord:
    """Of `each`, with the accuracy that was measured at export."""
    names = tuple(sorted(set(each.mistakes), key=NAMES.index))
    advice = advice_for(names, bundle.preprocess, each.artifact, enlarged=_are_enlarged(bundle))
    expected, interval = _expected_accuracy(bundle, names, each.artifact)
    return MatchRecord(
        mistake=each.name,
        correlation=round(each.likeness.correlation, 6),
        expected_accuracy=expected,
        expected_accuracy_ci=interval,
        change=f"{advice} ({each.detail})" if each.detail else advice,
        artifact=None if each.artifact == REFERENCE else each.artifact,
    )


def _are_enlarged(bundle: Bundle) -> bool:
    """Whether most golden images have fewer pixels than the contract makes of them; not where they cannot be read."""
    shrunk = []
    for path in bundle.golden_images():
        with suppress(Exception), Image.open(path) as image:  # a damaged golden raises, or warns, anything
            left, _, right, _ = bundle.preprocess.input_box(image.size)
            shrunk.append(right - left > bundle.preprocess.input_size[1])
    return sum(shrunk) < len(shrunk) / 2


def _expected_accuracy(
    bundle: Bundle, names: tuple[str, ...], artifact: str
) -> tuple[float | None, Interval | None]:
    """Of a single mistake as measured at export, and its interval. A softmax too many or too few changes no answer."""
    if names == ("other_artifact",):
        return bundle.record.artifact(artifact).accuracy, None
    measured = bundle.record.fingerprints
    moving = [name for name in names if name not in ("no_softmax", "double_softmax")]
    if measured is None or len(moving) > 1:
        return None, None
    found = measured.of(moving[0]) if moving else measured
    return (found.accuracy, found.accuracy_ci) if found else (None, None)


def reference_accuracy(bundle: Bundle) -> float | None:
    """On the images that the mistakes' accuracies were measured on, else the whole evaluation's."""
    measured = bundle.record.fingerprints
    return measured.accuracy if measured else bundle.record.reference.accuracy
