"""Every hypothesis that this machine can compute, simple ones first, until one explains all answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge_tl.device.bundle import REFERENCE, Artifact, Bundle
from edge_tl.device.diagnosis.answers import Answers
from edge_tl.device.diagnosis.hypothesis import Explained, Hypothesis
from edge_tl.device.diagnosis.likeness import bounds_of_rounding, comparison, noise_of_rounding, score
from edge_tl.device.diagnosis.mistaken_logits import Answering
from edge_tl.device.diagnosis.mistakes import VARIANTS, Pipeline, paired_mistakes, single_mistakes
from edge_tl.device.diagnosis.odd_files import is_odd
from edge_tl.device.diagnosis.ranking import FLOOR, ranking_of
from edge_tl.device.errors import BadImage, BadInput, MissingExtra
from edge_tl.device.gates import open_installed
from edge_tl.device.images.decode import decode
from edge_tl.device.instructions import able
from edge_tl.device.listener import SILENT, Listener
from edge_tl.device.runtimes.open import Logits

_FEW = 8  # images on which pairs are compared first
_PAIRS = 8  # that are then compared on all
_MOST_ROUNDING = 0.1  # of an image, beyond which few decimals show nothing
_HOPELESS = 0.7  # correlation on few images below which a pair explains nothing


@dataclass
class Search:
    """Of a bundle; what was run once is kept, for other answers of the same bundle. `asked` is the artifact that should
    have answered, None where any may have."""

    bundle: Bundle
    asked: str | None = None
    listener: Listener = SILENT
    why_not: dict[str, str] = field(default_factory=dict)
    missing: MissingExtra | None = None
    _answering: dict[str, Answering] = field(default_factory=dict)
    _odd: dict[int, bool] = field(default_factory=dict)

    def stored(self, answers: Answers) -> list[Hypothesis]:
        """Without running anything: the artifacts as they answered at export. PyTorch's are the FP32 artifacts'."""
        explained = Explained(answers, self.bundle.labels)
        found: list[Hypothesis] = []
        kept = self.bundle.golden_logits()
        for artifact in self.artifacts():
            logits = kept[artifact.id][answers.images]
            mistakes = () if self._is_asked(artifact) else ("other_artifact",)
            found += explained.hypotheses(mistakes, artifact.id, logits, whole=not mistakes)
        if self.asked is None:
            found += explained.hypotheses((), REFERENCE, kept[REFERENCE][answers.images], whole=False)
        return found

    def decodable(self, answers: Answers) -> Answers:
        """The answers for images that this machine decodes too."""
        paths = self.bundle.golden_images()
        return answers.part(np.flatnonzero([self._decodes(paths[i]) for i in answers.images]))

    def odd(self, answers: Answers) -> NDArray[np.bool_]:
        """`(n,)`: whose files decoders read in different ways."""
        paths = self.bundle.golden_images()
        for i in set(answers.images.tolist()) - self._odd.keys():
            self._odd[i] = is_odd(paths[i])
        return np.array([self._odd[i] for i in answers.images.tolist()], bool)

    def _decodes(self, path: Path) -> bool:
        try:
            decode(path, max_pixels=self.bundle.preprocess.max_pixels)
        except BadImage:
            return False
        return True

    def computed(self, answers: Answers, found: Sequence[Hypothesis]) -> list[Hypothesis]:
        """`found` and what the mistakes give on this machine. Raises `MissingExtra`, `BadInput` where no artifact
        runs."""
        results = list(found)
        order = self._nearest_first(found)
        opened: dict[str, Answering] = {}
        # Single mistakes of every artifact before two of any, of which there are three times as many.
        for step, artifact in enumerate(order):
            self.listener.progress("mistakes", step, 2 * len(order))
            if (answering := self._open(artifact)) is None:
                continue
            opened[artifact.id] = answering
            results += self._singles(answers, answering, artifact.id)
            if self._is_clear(answers, results):
                break
        for step, (name, answering) in enumerate(opened.items()):
            if self._is_clear(answers, results):
                break
            self.listener.progress("mistakes", len(order) + step, 2 * len(order))
            results += self._pairs(answers, answering, name)
        self.listener.progress("mistakes", 2 * len(order), 2 * len(order))
        if not opened:
            raise self.missing or BadInput(
                f"no artifact of the bundle runs here: {'; '.join(self.why_not.values())}"
            )
        return results

    def _nearest_first(self, stored: Sequence[Hypothesis]) -> list[Artifact]:
        """The artifacts that may have answered; after the mistakes of the first it may be clear without the others'."""
        far = {
            each.artifact: each.likeness.typical
            for each in reversed(stored)
            if "label_order" not in each.mistakes
        }
        asked = [each for each in self.artifacts() if self._is_asked(each)]
        asked.sort(key=lambda each: far.get(each.id, np.inf))
        return list({each.id: each for each in map(self._on_tensors, asked)}.values())

    def _is_clear(self, answers: Answers, results: Sequence[Hypothesis]) -> bool:
        """Whether nothing is left to explain, or the reference may be right and no single mistake comes near it."""
        if explains_all(answers, results):
            return True
        ranking = ranking_of(answers, results, self.odd(answers))
        first = ranking.hypotheses[0]
        return not first.mistakes and ranking.accepted and ranking.sure and ranking.only_odd(first.likeness)

    def artifacts(self) -> list[Artifact]:
        """FP32 first."""
        return sorted(self.bundle.artifacts, key=lambda each: (each.precision != "fp32", each.runtime))

    def _is_asked(self, artifact: Artifact) -> bool:
        """FP32 is the same in every runtime, and the weights behind raw pixels are those on tensors."""
        if self.asked is None:
            return True
        asked = self.bundle.artifact(self.asked)
        if self._on_tensors(artifact).id == self._on_tensors(asked).id:
            return True
        return artifact.precision == "fp32" == asked.precision

    def _on_tensors(self, artifact: Artifact) -> Artifact:
        """With the same weights, which can be given what any mistake makes; itself where the bundle has none."""
        name = artifact.id.removesuffix("-image")
        return next((each for each in self.bundle.artifacts if each.id == name), artifact)

    def _open(self, artifact: Artifact) -> Answering | None:
        """None where it does not run here, and for the FP32 artifact of a second runtime."""
        if artifact.id in self._answering:
            return self._answering[artifact.id]
        same = [key for key in self._answering if self.bundle.artifact(key).precision == "fp32"]
        if artifact.precision == "fp32" and same:
            return None
        suited, lacking = able([artifact], "CPU")
        if not suited:
            self.why_not[artifact.id] = lacking[0]["reason"]
            return None
        try:
            runtimes, _ = open_installed(suited, size=self.bundle.preprocess.input_size)
        except MissingExtra as error:
            self.missing = error
            return None
        except BadInput as error:
            self.why_not[artifact.id] = str(error)
            return None
        self._answering[artifact.id] = Answering(
            self.bundle, runtimes[artifact.id], takes_pixels=artifact.takes_pixels
        )
        return self._answering[artifact.id]

    def _singles(self, answers: Answers, answering: Answering, artifact: str) -> list[Hypothesis]:
        explained = Explained(answers, self.bundle.labels)
        found: list[Hypothesis] = []
        for pipeline, rows in self._single_logits(answers, answering).items():
            variant = bool(pipeline) and pipeline[0] in VARIANTS
            found += explained.hypotheses(_names(pipeline), artifact, rows, whole=True, variant=variant)
        return found

    def _single_logits(self, answers: Answers, answering: Answering) -> dict[Pipeline, Logits]:
        singles: list[Pipeline] = [(), *single_mistakes(self.bundle.preprocess)]
        return answering.logits(list(filter(answering.makes, singles)), answers.images.tolist())

    def _pairs(self, answers: Answers, answering: Answering, artifact: str) -> list[Hypothesis]:
        """Of all pairs those that come near on a few images."""
        explained, images = Explained(answers, self.bundle.labels), answers.images.tolist()
        pairs = list(filter(answering.makes, paired_mistakes(self.bundle.preprocess)))
        few = _telling(self._single_logits(answers, answering))
        some = answering.logits(pairs, [images[i] for i in few])
        compare = comparison(answers.part(few))
        noise = max(FLOOR, noise_of_rounding(answers), 0.02)
        top1 = answers.kind == "top1"
        alike = {each: compare(some[each]) for each in pairs}
        ranked = sorted(pairs, key=lambda each: -score(alike[each].residuals, noise, top1=top1))
        best = [each for each in ranked[:_PAIRS] if alike[each].correlation >= _HOPELESS]
        found: list[Hypothesis] = []
        for pipeline, rows in answering.logits(best, images).items():
            found += explained.hypotheses(_names(pipeline), artifact, rows, whole=False)
        return found


def explains_all(answers: Answers, hypotheses: Sequence[Hypothesis]) -> bool:
    """Whether one of them leaves nothing to explain, of any image."""
    if answers.kind == "top1":
        return any(each.likeness.correlation == 1.0 for each in hypotheses)
    most = FLOOR + np.minimum(bounds_of_rounding(answers), _MOST_ROUNDING)
    return any(bool((each.likeness.residuals <= most).all()) for each in hypotheses)


def _names(pipeline: Pipeline) -> tuple[str, ...]:
    return tuple(step.mistake for step in pipeline)


def _telling(logits: dict[Pipeline, NDArray[np.float32]]) -> NDArray[np.int64]:
    """Positions of a few images that show something: evenly chosen, and those that an EXIF orientation turns."""
    right = logits[()]
    turned = next((rows for pipeline, rows in logits.items() if _names(pipeline) == ("exif_ignored",)), right)
    shows = np.flatnonzero(np.abs(turned - right).max(axis=1) > 1e-4)[:3]
    spread = np.linspace(0, len(right) - 1, _FEW).round().astype(np.int64)
    return np.unique(np.concatenate([spread, shows]))
