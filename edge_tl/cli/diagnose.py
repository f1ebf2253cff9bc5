"""The verb diagnose: which classic mistake somebody's own pipeline makes. It needs no PyTorch."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from edge_tl.cli._console import finish, say
from edge_tl.cli._listeners import open_listener
from edge_tl.cli._options import BundlePath, Debug, Json
from edge_tl.device.errors import EXIT_GATE_FAILED
from edge_tl.device.text import printable

if TYPE_CHECKING:
    from edge_tl.device.records.diagnosis import DiagnosisResult, MatchRecord

AnswersPath = Annotated[
    Path,
    typer.Argument(
        help="A CSV or JSON of what your pipeline answered for golden/images: the column file, and one of logits or "
        "probabilities for each label, or the column label alone; or what predict --out x.csv wrote of these images.",
        metavar="ANSWERS",
    ),
]
Meant = Annotated[
    Literal["auto", "logits", "probabilities", "top1"],
    typer.Option("--kind", help="What the numbers are meant to be; probabilities finds a missing softmax."),
]
MeantArtifact = Annotated[
    str | None,
    typer.Option(help="The artifact that should have answered, e.g. onnx-int8.", show_default="any of them"),
]


def diagnose(
    bundle: BundlePath,
    answers: AnswersPath,
    artifact: MeantArtifact = None,
    kind: Meant = "auto",
    json: Json = False,
    debug: Debug = False,
) -> int:
    """Name the mistake in your own pipeline.

    From what it answered for golden/images. The CSV begins with e.g. file,daisy,roses.
    """
    from edge_tl.device.bundle import read_bundle
    from edge_tl.device.diagnosis.answer_file import read_answers
    from edge_tl.device.diagnosis.diagnose import diagnose as diagnosed

    loaded = read_bundle(bundle)
    given = read_answers(
        answers, loaded.record.golden.images, loaded.labels, None if kind == "auto" else kind
    )
    with open_listener() as listener:
        result = diagnosed(loaded, given, artifact=artifact, listener=listener)
    for note in result.notes:
        say(f"note: {note}")
    if result.differs:
        names = ", ".join(Path(name).name for name in result.differs[:6])
        more = f" and {len(result.differs) - 6} more" if len(result.differs) > 6 else ""
        say(f"note: not explained by this: {names}{more}; your decoder may read this kind of file otherwise")
    code = 0 if result.outcome == "reference" else EXIT_GATE_FAILED
    do = "change that" if result.matches else "compare your input with golden/pixels.npz"
    then = None if code == 0 else f"next: {do}, answer the golden images again, and diagnose again"
    return finish(result.to_json(), "\n".join(_text(result)), as_json=json, code=code, then=then)


def _text(result: DiagnosisResult) -> list[str]:
    compared = f"{result.n} images, {result.kind}"
    if result.outcome == "reference":
        nearest = f"; nearest is {result.artifact}" if result.artifact else ""
        on = f" on {result.n - len(result.differs)} of {result.n} images" if result.differs else ""
        doubt = ", which is no proof" if result.closest else ""
        return [
            f"Your outputs match the reference{on}{doubt}: {_alike(result, result.correlation)} ({compared}{nearest})."
        ]
    if result.outcome == "mistake":
        said = "The closest to your outputs" if result.closest else "Your outputs match"
        joint = " are" if len(result.matches) > 1 else " is" if result.closest else ""
        lines = [f"{said}{joint} ({compared}):"]
        return [*lines, *_named(result)]
    lines = [f"Your outputs match nothing known ({compared})."]
    if result.correlation is not None:
        lines.append(f"  {_alike(result, result.correlation)} with the reference")
    if result.closest:
        return [*lines, "  What would answer so:", *_named(result)]
    return [*lines, *(f"  {printable(match.change)}" for match in result.matches)]


def _named(result: DiagnosisResult) -> list[str]:
    lines: list[str] = []
    for match in result.matches:
        lines += [f"  {match.mistake}: {_figures(result, match)}", f"    {printable(match.change)}"]
    return lines


def _alike(result: DiagnosisResult, value: float | None) -> str:
    if value is None:
        return "not compared"
    return f"{value:.1%} equal answers" if result.kind == "top1" else f"correlation {value:.4f}"


def _figures(result: DiagnosisResult, match: MatchRecord) -> str:
    found = _alike(result, match.correlation)
    if match.expected_accuracy is None or match.mistake == "other_artifact":
        return found
    if _is_unseen(result, match):
        return f"{found}; accuracy does not show it: {match.expected_accuracy:.2f} with it and without"
    instead = f" instead of {result.reference_accuracy:.2f}" if result.reference_accuracy is not None else ""
    ci = match.expected_accuracy_ci
    interval = f" [{ci[0]:.2f}, {ci[1]:.2f}]" if ci else ""
    return f"{found}; expected accuracy {match.expected_accuracy:.2f}{interval}{instead}"


def _is_unseen(result: DiagnosisResult, match: MatchRecord) -> bool:
    """Whether both accuracies are the same in print."""
    return (
        result.reference_accuracy is not None
        and f"{match.expected_accuracy:.2f}" == f"{result.reference_accuracy:.2f}"
    )
