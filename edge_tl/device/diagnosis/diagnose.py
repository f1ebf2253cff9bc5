"""Which classic mistake explains somebody's answers on the golden images, or that they are the bundle's own.

What is far enough from the reference to be none is for `ranking` to say.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace

import numpy as np

from edge_tl.device.bundle import REFERENCE, Bundle
from edge_tl.device.diagnosis.answers import Answers
from edge_tl.device.diagnosis.hypothesis import Hypothesis
from edge_tl.device.diagnosis.likeness import tells_images_apart
from edge_tl.device.diagnosis.matches import match_of, reference_accuracy
from edge_tl.device.diagnosis.ranking import DECIDED, Ranking, ranking_of
from edge_tl.device.diagnosis.search import Search, explains_all
from edge_tl.device.errors import BadInput, MissingExtra
from edge_tl.device.listener import SILENT, Listener
from edge_tl.device.records.diagnosis import DiagnosisResult

_NEAR = 0.98
_MOST_MATCHES = 5


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
    if 2 * answers.flat > len(answers.images):
        note = (
            f"{answers.flat} of {len(answers.images)} images have one number for every label: the model did not run, "
            "or these are not its output"
        )
        return DiagnosisResult("unknown", kind=answers.kind, n=len(answers.images), notes=(note,))
    note = (
        "for half of the images or more these logits are the same, as far as their decimals say: only the labels were "
        "compared"
    )
    if answers.kind != "logits" or tells_images_apart(answers):
        found = _compared(bundle, answers, artifact, search)
        if found.outcome != "unknown" or not answers.one_hot:
            return found
        note = "every number is 0 or 1: only the labels were compared"
    found = _compared(bundle, answers.labels_alone(), artifact, search)
    return replace(found, notes=(note, *found.notes))


def _compared(bundle: Bundle, answers: Answers, artifact: str | None, search: Search) -> DiagnosisResult:
    """Raises as `diagnose`."""
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
            if not ranking_of(answers, found, search.odd(answers)).accepted:
                raise
            notes.append("no runtime is installed here, so small mistakes were not looked for")
        if all(each.takes_pixels for each in bundle.artifacts):
            notes.append(
                "every artifact here takes raw pixels: of what comes before the model only bgr and exif_ignored were "
                "looked for"
            )
    elif answers.kind == "top1":
        with suppress(MissingExtra, BadInput):  # which mistakes would give the same labels
            found = search.computed(answers, found)
    if artifact is not None and answers.kind == "top1":
        notes.append(
            f"labels alone do not show whether {artifact} gave them, or another artifact: give logits for that"
        )
    if not tells_images_apart(answers):
        # One answer fits every model that has one, in some order of the labels.
        found = [each for each in found if "label_order" not in each.mistakes]
    return _concluded(bundle, ranking_of(answers, found, search.odd(answers)), notes)


def _concluded(bundle: Bundle, ranking: Ranking, notes: Sequence[str]) -> DiagnosisResult:
    answers, best, right = ranking.answers, ranking.best, ranking.right
    top1 = answers.kind == "top1"
    result = DiagnosisResult(
        outcome="unknown",
        kind=answers.kind,
        n=len(answers.images),
        artifact=best.artifact if best.artifact != REFERENCE and not top1 else None,
        correlation=None if right is None else round(right.likeness.correlation, 6),
        reference_accuracy=reference_accuracy(bundle),
        differs=_differs(bundle, ranking, best),
        notes=tuple(notes),
    )
    if not best.mistakes and ranking.accepted:
        if ranking.only_odd(best.likeness):
            blind = [*_swap_unseen(bundle, answers), *_not_shown_by_labels(ranking)]
            if ranking.coarse:
                blind.append(_not_shown_by_decimals(answers))
            return replace(
                result,
                outcome="reference",
                closest=top1 or ranking.coarse,
                notes=(*result.notes, *blind),
            )
        right_on = len(answers.images) - len(result.differs)
        note = (
            f"the reference on {right_on} of {len(answers.images)} images, and something else on the others"
        )
        return replace(result, notes=(*result.notes, note))
    if best.mistakes and ranking.names(best):
        return _mistake(bundle, ranking, result)
    return _unknown(bundle, ranking, result)


def _mistake(bundle: Bundle, ranking: Ranking, result: DiagnosisResult) -> DiagnosisResult:
    ties, top1 = ranking.ties(), ranking.answers.kind == "top1"
    notes = [] if any("bgr" in each.mistakes for each in ties) else _swap_unseen(bundle, ranking.answers)
    if top1 and ranking.lead < DECIDED:
        notes.append(
            "few labels tell this from the reference, and another model that is nearly as good may give them too: "
            "give logits or probabilities"
        )
    one_answer = not tells_images_apart(ranking.answers)
    if one_answer:
        notes.append(
            "most images have one and the same answer, which other models and other mistakes end in, too"
        )
    return replace(
        result,
        outcome="mistake",
        notes=(*result.notes, *notes),
        matches=tuple(match_of(bundle, each) for each in ties[:_MOST_MATCHES]),
        closest=one_answer
        or len(ties) > 1
        or not ranking.sure
        or (top1 and ranking.best.likeness.correlation < 1),
    )


def _unknown(bundle: Bundle, ranking: Ranking, result: DiagnosisResult) -> DiagnosisResult:
    answers = ranking.answers
    result = replace(result, differs=())
    if ranking.says_nothing:
        label = bundle.labels[int(np.bincount(answers.top1[ranking.plain]).argmax())]
        note = (
            f"every image that all decoders read alike, or nearly every one, has the answer {label}: other models and "
            "many mistakes end so. Give the logits, or look at the scale of the pixels first"
        )
        too = [match_of(bundle, each) for each in ranking.alike()]
        return replace(
            result, closest=bool(too), matches=tuple(too[:_MOST_MATCHES]), notes=(*result.notes, note)
        )
    if answers.kind != "top1" and (result.correlation or 0.0) >= _NEAR:
        note = (
            "near the reference, but further from it than another decoder is, and no classic mistake is nearer: "
            "compare your input with golden/pixels.npz"
        )
        return replace(result, notes=(*result.notes, note))
    notes = list(result.notes)
    if answers.kind == "top1" and ranking.right is not None:
        differs = _differs(bundle, ranking, ranking.right)
        result = replace(result, differs=differs)
        notes.append(f"the reference is sure of another label on {len(differs)} of {result.n} images")
    closest = max(ranking.hypotheses, key=lambda each: each.likeness.correlation)
    other = replace(closest, mistakes=("other_model",), detail="")
    return replace(result, matches=(match_of(bundle, other),), notes=tuple(notes))


def _swap_unseen(bundle: Bundle, answers: Answers) -> list[str]:
    """That the images do not show in which order the colours are, where they do not."""
    levels = bundle.preprocess.levels(bundle.golden_pixels()[answers.images])
    if float(np.abs(levels[:, 0] - levels[:, 2]).max()) >= 1:
        return []
    return [
        "red and blue are the same in every golden image: whether they are swapped (bgr), alone or beside another "
        "mistake, cannot be seen"
    ]


def _not_shown_by_labels(ranking: Ranking) -> list[str]:
    """What else gives the same labels."""
    if ranking.answers.kind != "top1":
        return []
    names = ", ".join(each.name for each in ranking.alike())
    too = f"{names} and another model" if names else "another model"
    n = len(ranking.answers.images)
    most = 1 - 0.05 ** (1 / n)  # the 95 % bound where none of n differs
    return [
        f"labels alone are no proof: {too} that is right where this one is would give them too, and {n} images leave "
        f"room for {most:.0%} of other answers. Give logits or probabilities"
    ]


def _not_shown_by_decimals(answers: Answers) -> str:
    """That rounded numbers are no proof."""
    if answers.kind == "logits":
        return (
            "logits with so few decimals are no proof: another model that is right where this one is may give them "
            "too. Give all decimals"
        )
    return (
        "probabilities this near to 0 and 1, with so few decimals, are no proof: another model that is as sure of the "
        "same answers would give them too. Give logits, or all decimals"
    )


def _differs(bundle: Bundle, ranking: Ranking, each: Hypothesis) -> tuple[str, ...]:
    """Images that `each` does not explain."""
    images = ranking.answers.images[ranking.unexplained(each.likeness)]
    return tuple(bundle.record.golden.images[i] for i in images)
