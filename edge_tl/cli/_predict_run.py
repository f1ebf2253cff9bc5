"""`predict` from an opened model to its answers, and what a person is told after them."""

from __future__ import annotations

import sys
from contextlib import closing
from typing import NoReturn

from edge_tl.cli._console import say
from edge_tl.cli._heatmaps import HeatmapFiles, with_heatmaps
from edge_tl.cli._predict_input import image_answers, video_answers
from edge_tl.cli._predict_output import AnswerOutput, OutputOptions, with_copies
from edge_tl.device.artifact_choice import stand_in_note
from edge_tl.device.errors import EXIT_INTERRUPTED
from edge_tl.device.explain.heatmaps import Explainer
from edge_tl.device.model import Model
from edge_tl.device.predictions.sources import ImageSources
from edge_tl.device.predictions.video import Video
from edge_tl.device.records.heatmap import DrawnHeatmaps
from edge_tl.device.records.prediction import PredictResult
from edge_tl.device.runtimes.open import notes, ran


def answered(
    model: Model, found: ImageSources | Video, where: OutputOptions, drawn: HeatmapFiles | None
) -> tuple[AnswerOutput, DrawnHeatmaps | None]:
    """Every answer, shown or written as `where` asks, and what was drawn. An interrupt keeps the answers until then and
    ends the program."""
    explainer = Explainer(model) if drawn else None
    if isinstance(found, Video):
        answers, total = video_answers(model, found, where.top), None
    else:
        answers = image_answers(model, found, where.top)
        total = len(found.images) + len(found.failed)
    with AnswerOutput(where, total) as output:
        copies = with_copies(answers, where.annotated, model.labels, model.bundle.preprocess.max_pixels)
        try:
            # Closed in this order: what draws ends before what answers.
            with closing(answers), closing(copies):
                for one in with_heatmaps(copies, explainer, drawn):
                    output.take(one)
        except KeyboardInterrupt:
            _interrupted(output)
        output.finish()
    if isinstance(found, Video):
        found.close()
        if said := found.ended_early():
            say(f"warning: {said}")
    if explainer is None or drawn is None:
        return output, None
    say(f"{output.answered} heat map{'s' * (output.answered != 1)} in {drawn.folder} ({explainer.said})")
    return output, DrawnHeatmaps(explainer.method, explainer.device, str(drawn.folder))


def _interrupted(output: AnswerOutput) -> NoReturn:
    """The rows that are there are whole: a camera is ended so, and of a folder they say how far it came."""
    output.finish()
    say(f"interrupted after {output.answered + output.refused:,} images.")
    sys.exit(EXIT_INTERRUPTED)


def result_of(model: Model, output: AnswerOutput, drawn: DrawnHeatmaps | None) -> PredictResult:
    """What `--json` prints."""
    options = output.options
    return PredictResult(
        artifact=model.artifact.id,
        device=model.runtime.device,
        tuned=model.tuned is not None,
        threads=model.tuned.threads if model.tuned else None,
        results=tuple(output.results) if options.out is None else None,
        failed=tuple(output.failed) if options.out is None else None,
        out=None if options.out is None else str(options.out),
        n=output.counts,
        annotated=None if options.annotated is None else str(options.annotated),
        heatmaps=drawn,
    )


def tell_notes(model: Model, output: AnswerOutput, *, named: bool, device: str | None) -> None:
    """How images were read, and what ran in place of what."""
    asked = device or (model.tuned.device if model.tuned else None) or "CPU"
    warnings = notes({} if asked.upper() == "CPU" else {model.artifact.id: ran(model.runtime)})
    for warning in [*output.remarks.lines(), *warnings]:
        say(f"warning: {warning}")
    if model.note:
        say(model.note if model.tuned else f"note: {model.note}")
    if not named and not model.tuned and (other := stand_in_note(model.bundle, model.artifact, asked)):
        say(f"note: {other}")
