"""Which hypotheses explain the answers best, and whether the reference explains them well enough to be right.

What is right must not be accused: the reference stands unless a mistake explains the answers far better.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge_tl.device.diagnosis.answers import Answers
from edge_tl.device.diagnosis.hypothesis import ONE_STEP, Hypothesis, distinct
from edge_tl.device.diagnosis.likeness import Likeness, noise_of_rounding, score, score_without_images

FLOOR = 0.004
"""The least residual that means anything: fixed-point arithmetic and other decoders make as much of a right answer."""

DECIDED = 6.0
"""Nats that a mistake must explain the answers better than the reference."""
_LIKELIER = 2.0
"""The same where the answers are too far from the reference for a right pipeline: said to be the closest."""
_TIED = 3.0
_REFERENCE = 0.06
"""The median residual of a right pipeline: pixels a level apart leave 0.03 in FP32 and 0.05 in INT8 of MobileNetV2 on
photographs, Pillow's Lanczos in place of its bilinear 0.11."""
_COARSE = 0.04
"""The residual that rounded probabilities leave, or that a right explanation of them has, from which they are no proof:
to four decimals another model that is as sure of its answers came to 0.045, a right FP32 pipeline to 0.014."""
_NAMED = 0.1
"""The same of a pipeline with a mistake of a name: mistakes of independent code left 0.02, other models of the same
classes, taught for a test, 0.13 and more."""
_UNLIKE = 0.15
_ODD = 8
"""Of so many images one may be read otherwise by a right pipeline, if it is of a kind that decoders differ on."""
_MISREAD = 4
"""Of so many plain files a pipeline with a mistake of a name may read one in a way of its own."""
_SURE = 4.0
"""Nats of surprise at a label beyond which no rounding has changed it: logits a seventh of their spread apart."""


_TELLING = 9.0
"""Nats by which a mistake of one step must explain the plain files better than what looks at no image: 300 hypotheses
are tried, and by accident one of them fits so in a case of twenty-five."""


@dataclass(frozen=True)
class Ranking:
    """`hypotheses`, best first, with what each explains in nats less what it must earn; `noise` is the residual of a
    right explanation, `rounding` what of it the decimals leave. `odd` `(n,)`: files that decoders read in different
    ways."""

    answers: Answers
    hypotheses: tuple[Hypothesis, ...]
    nats: tuple[float, ...]
    noise: float
    rounding: float
    odd: NDArray[np.bool_]

    @property
    def right(self) -> Hypothesis | None:
        """The nearest of those without a mistake."""
        return next((each for each in self.hypotheses if not each.mistakes), None)

    @property
    def lead(self) -> float:
        """Nats of the best over the reference."""
        right = self.right
        return np.inf if right is None else self.nats[0] - self.nats[self.hypotheses.index(right)]

    @property
    def sure(self) -> bool:
        """Whether the best is so far ahead of the reference that it is none by chance; true of the reference, too, if
        it is so far ahead of any mistake."""
        if not self.hypotheses[0].mistakes:
            mistaken = [n for each, n in zip(self.hypotheses, self.nats, strict=True) if each.mistakes]
            return not mistaken or self.nats[0] - max(mistaken) >= DECIDED
        return bool(self.lead >= DECIDED)

    @property
    def best(self) -> Hypothesis:
        """The first, or the reference where that is not far behind and may be right."""
        first, right = self.hypotheses[0], self.right
        if right is None or not first.mistakes or self.lead >= DECIDED:
            return first
        return right if self.accepted or self.lead < _LIKELIER else first

    @property
    def accepted(self) -> bool:
        """Whether the reference is near enough for a right pipeline."""
        return self.right is not None and self._near(self.right, _REFERENCE)

    @property
    def coarse(self) -> bool:
        """Whether too little of the answers is written to tell the reference from another model that is as good. Of
        probabilities a residual shows that, too: what is near 0 has no decimals."""
        typical = 0.0 if self.right is None else self.right.likeness.typical
        return max(self.rounding, typical * (self.answers.kind == "probabilities")) > _COARSE

    def names(self, each: Hypothesis) -> bool:
        """Whether a mistake is near enough to be called by its name: on all but a few of the plain files, too, and as
        near as a right pipeline where it is hardly likelier than the reference."""
        wrong = ~self.odd[self.unexplained(each.likeness)]
        near = self._near(each, _NAMED if self.sure else _REFERENCE)
        few = wrong.sum() <= max(1, (~self.odd).sum() // _MISREAD)
        return bool(near and few and self._tells(each))

    def unexplained(self, likeness: Likeness) -> NDArray[np.int64]:
        """Positions of the images that are not as `likeness` has them, whatever was rounded."""
        most = _SURE if self.answers.kind == "top1" else max(_UNLIKE, 8 * self.noise)
        return np.flatnonzero(likeness.residuals > most)

    def only_odd(self, likeness: Likeness) -> bool:
        """Whether these are few, and of kinds that decoders differ on."""
        places = self.unexplained(likeness)
        return len(places) <= max(1, len(self.answers.images) // _ODD) and bool(self.odd[places].all())

    def ties(self) -> list[Hypothesis]:
        """The mistakes that explain as much as the best, without those that are joined by more."""
        best = self.nats[self.hypotheses.index(self.best)]
        near = [each for each, nats in zip(self.hypotheses, self.nats, strict=True) if best - nats < _TIED]
        found = [each for each in distinct(near) if each.mistakes]
        return [each for each in found if not any(set(o.mistakes) < set(each.mistakes) for o in found)]

    def alike(self) -> list[Hypothesis]:
        """The mistakes of one step that give the same labels as these, wherever a label is sure."""
        single = [each for each in self.hypotheses if len(each.mistakes) == 1]
        return [each for each in distinct(single) if not len(self.unexplained(each.likeness))]

    @property
    def plain(self) -> NDArray[np.int64]:
        """Positions of the images that every decoder reads alike; of all where none is."""
        return np.flatnonzero(~self.odd if not self.odd.all() else self.odd)

    @property
    def without_images(self) -> float:
        """Nats of what looks at no image, on the plain files: how odd ones are read depends on no mistake."""
        return score_without_images(self.answers, self.plain, self.noise)

    @property
    def says_nothing(self) -> bool:
        """Whether labels are so nearly one and the same that chance finds a mistake that gives them."""
        return self._nearly_labels and -self.without_images < _TELLING

    @property
    def _nearly_labels(self) -> bool:
        """Whether answers to most plain files are a label and no more, as are numbers that are rounded to 0 and 1."""
        if self.answers.values is None:
            return True
        sure = self.answers.values[self.plain].max(axis=1) >= 1 - 2 * self.answers.step
        return bool(self.answers.kind == "probabilities" and self.answers.step and sure.mean() > 0.5)

    def _tells(self, each: Hypothesis) -> bool:
        """Whether a mistake explains the plain files' labels better than what looks at no image."""
        if not self._nearly_labels:
            return True
        top1 = self.answers.kind == "top1"
        earned = score(each.likeness.residuals[self.plain], self.noise, top1=top1) - each.penalty
        return earned + ONE_STEP - self.without_images >= _TELLING

    def _near(self, each: Hypothesis, most: float) -> bool:
        if self.answers.kind == "top1":
            return self.only_odd(each.likeness)
        return each.likeness.typical <= most + self.rounding


def ranking_of(answers: Answers, found: Sequence[Hypothesis], odd: NDArray[np.bool_]) -> Ranking:
    """`found`, of which there is at least one, by what they explain of `answers`; `odd` `(n,)` as in `Ranking`."""
    rounding = noise_of_rounding(answers)
    noise = max(FLOOR, rounding, min(each.likeness.typical for each in found))
    top1 = answers.kind == "top1"
    nats = [score(each.likeness.residuals, noise, top1=top1) - each.penalty for each in found]
    order = sorted(range(len(found)), key=lambda i: -nats[i])
    return Ranking(
        answers, tuple(found[i] for i in order), tuple(nats[i] for i in order), noise, rounding, odd
    )
