"""Which classic mistake explains somebody's answers on the golden images, or that they are the bundle's own.

The reference is nearest unless a mistake explains the answers far better: who is right must not be accused.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace

import numpy as np
from PIL import Image

from edge_tl.device.bundle import REFERENCE, Bundle
from edge_tl.device.diagnosis.advice import advice_for
from edge_tl.device.diagnosis.answers import Answers
from edge_tl.device.diagnosis.hypothesis import Hypothesis, distinct
from edge_tl.device.diagnosis.likeness import noise_of_rounding, score
from edge_tl.device.diagnosis.mistakes import NAMES
from edge_tl.device.diagnosis.odd_files import is_odd
from edge_tl.device.diagnosis.search import FLOOR, Search, explains_all
from edge_tl.device.errors import BadInput, MissingExtra
from edge_tl.device.listener import SILENT, Listener
from edge_tl.device.records.accuracy import Interval
from edge_tl.device.records.diagnosis import DiagnosisResult, MatchRecord

_DECIDED = 6.0
"""Nats that a mistake must explain the answers better than the reference."""
_LIKELIER = 2.0
"""The same where the answers are too far from the reference for a right pipeline: said to be the closest."""
_TIED = 3.0
_REFERENCE = 0.06
"""The median residual of a right pipeline: pixels a level apart leave 0.03 in FP32 and 0.05 in INT8 of MobileNetV2 on
photographs, Pillow's Lanczos in place of its bilinear 0.11."""
_NAMED = 0.15
_ODD = 8
"""Of so many images one may be read otherwise by a right pipeline, if it is of a kind that decoders differ on."""
_NEAR = 0.98


def diagnose(
    bundle: Bundle,
    answers: Answers,
    *,
    artifact: str | None = None,
    search: Search | None = None,
    listener: Listener = SILENT,
) -> DiagnosisResult:
    """Compare `answers` with what the bundle and the classic mistakes give. `artifact` is the one that should have
    answered, any of them by default. `search` keeps what was run, for more answers of the same bundle.

    Raises `MissingExtra` where the answers are not the bundle's own and no runtime is installed to find out whose they
    are, and `BadInput` for an artifact that is not there.
    """
    if artifact is not None:
        bundle.artifact(artifact)
    search = search or Search(bundle, artifact, listener)
    found = search.stored(answers)
    if not found:
        raise BadInput(f"{bundle.root}: no artifact takes the contract's input. Export again.")
    notes: list[str] = []
    if not explains_all(answers, found):
        whole, answers = answers, search.decodable(answers)
        if len(answers.images) < len(whole.images):
            notes.append(
                f"{len(whole.images) - len(answers.images)} images cannot be decoded here and were left out"
            )
            found = search.stored(answers)
        try:
            found = search.computed(answers, found)
        except MissingExtra:
            if not _is_near(answers, found):
                raise
            notes.append("no runtime is installed here, so small mistakes were not looked for")
        if all(each.takes_pixels for each in bundle.artifacts):
            notes.append(
                "every artifact here takes raw pixels: of what comes before the model only bgr and exif_ignored were "
                "looked for"
            )
    if artifact is not None and answers.kind == "top1":
        notes.append(
            f"labels alone do not show whether {artifact} gave them, or another artifact: give logits for that"
        )
    return _concluded(bundle, answers, found, notes)


def _is_near(answers: Answers, found: Sequence[Hypothesis]) -> bool:
    return any(not each.mistakes and _accepts(answers, each, _REFERENCE) for each in found)


def _concluded(
    bundle: Bundle, answers: Answers, found: Sequence[Hypothesis], notes: Sequence[str]
) -> DiagnosisResult:
    top1 = answers.kind == "top1"
    rounding = noise_of_rounding(answers)
    noise = max(FLOOR, rounding, min(each.likeness.typical for each in found))
    total = {id(each): score(each.likeness, noise, top1=top1) - each.penalty for each in found}
    ranked = sorted(found, key=lambda each: -total[id(each)])
    right = next((each for each in ranked if not each.mistakes), None)
    best = ranked[0]
    sure = right is None or total[id(best)] - total[id(right)] >= _DECIDED
    accepted = right is not None and _accepts(answers, right, _REFERENCE + rounding)
    if right is not None and not sure and (accepted or total[id(best)] - total[id(right)] < _LIKELIER):
        best = right
    result = DiagnosisResult(
        outcome="unknown",
        kind=answers.kind,
        n=len(answers.images),
        artifact=best.artifact if best.artifact != REFERENCE and not top1 else None,
        correlation=None if right is None else round(right.likeness.correlation, 6),
        reference_accuracy=_reference_accuracy(bundle),
        notes=tuple(notes),
    )
    if not best.mistakes and accepted:
        differs = _differs(bundle, answers, best, noise)
        few = len(differs) <= max(1, len(answers.images) // _ODD)
        # Of labels rounding alone changes some, on any image.
        if few and (top1 or all(is_odd(bundle.root / name) for name in differs)):
            blind = [*_swap_unseen(bundle, answers), *_cannot_be_seen(answers)]
            return replace(result, outcome="reference", differs=differs, notes=(*result.notes, *blind))
        right_on = len(answers.images) - len(differs)
        note = (
            f"the reference on {right_on} of {len(answers.images)} images, and something else on the others"
        )
        return replace(result, differs=differs, notes=(*result.notes, note))
    ties = [each for each in distinct(ranked) if total[id(best)] - total[id(each)] < _TIED and each.mistakes]
    if best.mistakes and _accepts(answers, best, _NAMED + rounding) and not _says_nothing(answers):
        # What is as likely and simpler is not joined by more.
        ties = [each for each in ties if not _holds_another(each, ties)]
        swapped = any("bgr" in each.mistakes for each in ties)
        return replace(
            result,
            outcome="mistake",
            notes=(*result.notes, *([] if swapped else _swap_unseen(bundle, answers))),
            matches=tuple(_match(bundle, each) for each in ties[:5]),
            closest=len(ties) > 1 or not sure or (top1 and best.likeness.correlation < 1),
            differs=_differs(bundle, answers, best, noise),
        )
    return _unknown(bundle, answers, ranked, result)


def _swap_unseen(bundle: Bundle, answers: Answers) -> list[str]:
    """That the images do not show in which order the colours are, where they do not."""
    levels = bundle.preprocess.levels(bundle.golden_pixels()[answers.images])
    if float(np.abs(levels[:, 0] - levels[:, 2]).max()) >= 1:
        return []
    return [
        "red and blue are the same in every golden image: whether they are swapped (bgr), alone or beside another "
        "mistake, cannot be seen"
    ]


def _cannot_be_seen(answers: Answers) -> list[str]:
    """Which mistakes a pipeline may make all the same."""
    if answers.kind != "top1":
        return []
    return [
        "labels alone do not show another filter, a wrong crop, or another model that is as good: give logits or "
        "probabilities for those"
    ]


def _accepts(answers: Answers, each: Hypothesis, most: float) -> bool:
    if answers.kind == "top1":
        return float(each.likeness.residuals.sum()) <= 6 + 0.1 * len(answers.images)
    return each.likeness.typical <= most


def _says_nothing(answers: Answers) -> bool:
    """Whether top-1 is the same for every image: many mistakes end so, and other models."""
    return answers.kind == "top1" and len(set(answers.top1.tolist())) == 1


def _holds_another(each: Hypothesis, others: Sequence[Hypothesis]) -> bool:
    own = set(each.mistakes)
    return any(set(other.mistakes) < own for other in others)


def _unknown(
    bundle: Bundle, answers: Answers, ranked: Sequence[Hypothesis], result: DiagnosisResult
) -> DiagnosisResult:
    closest = max(ranked, key=lambda each: each.likeness.correlation)
    if _says_nothing(answers):
        label = bundle.labels[int(answers.top1[0])]
        note = (
            f"every image has the answer {label}: give the logits, or look at the scale of the pixels first"
        )
        return replace(result, notes=(*result.notes, note))
    if (result.correlation or 0.0) >= _NEAR:
        note = (
            "near the reference, but further from it than another decoder is, and no classic mistake is nearer: "
            "compare your input with golden/pixels.npz"
        )
        return replace(result, notes=(*result.notes, note))
    other = replace(closest, mistakes=("other_model",), detail="")
    return replace(result, matches=(_match(bundle, other),))


def _match(bundle: Bundle, each: Hypothesis) -> MatchRecord:
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


def _reference_accuracy(bundle: Bundle) -> float | None:
    measured = bundle.record.fingerprints
    return measured.accuracy if measured else bundle.record.reference.accuracy


def _differs(bundle: Bundle, answers: Answers, best: Hypothesis, noise: float) -> tuple[str, ...]:
    """Images that the conclusion does not explain."""
    residuals = best.likeness.residuals
    most = 4.0 if answers.kind == "top1" else max(_NAMED, 8 * noise)
    images = answers.images[np.flatnonzero(residuals > most)]
    return tuple(bundle.record.golden.images[i] for i in images)
