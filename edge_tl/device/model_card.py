"""README.md of a bundle: a model card as Hugging Face reads it, with YAML in front, made from the record alone.

Every figure is the record's, with its interval; what was not measured is said. Nothing checks the file afterwards:
whoever publishes a bundle adds the license and the words that only a person knows.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from edge_tl.device.bench.machine_use import busy_reason
from edge_tl.device.files import write_atomic
from edge_tl.device.format import DASH, interval, number, one_line
from edge_tl.device.metrics import wilson_interval
from edge_tl.device.records.accuracy import Interval
from edge_tl.device.records.artifact import ArtifactRecord
from edge_tl.device.records.bundle import BundleRecord

CARD = "README.md"
_SHOWN_LABELS = 50
_MARKS = re.compile(r"([\\`*_\[\]<>|#~$&])")  # what Markdown or HTML would act on
_HEADINGS = (
    "artifact", "accuracy % [95 % interval]", "drop pp [interval]", "same answer as PyTorch %", "p50 ms", "size MB",
    "result",
)  # fmt: skip


def write_card(root: Path, record: BundleRecord) -> None:
    """Write the card of `record` into the bundle at `root`."""
    write_atomic(root / CARD, card_text(record).encode())


def card_text(record: BundleRecord) -> str:
    """The card: front matter, figures, what was not measured, how to use it, labels."""
    name = _plain(record.name)
    source = _plain(record.provenance.model or "a model")
    return "\n".join(
        [
            "---",
            *_front_matter(record),
            "---",
            "",
            f"# {name}",
            "",
            f"An image classifier with {len(record.labels)} labels: {source}, fine-tuned on somebody's own photographs "
            "and exported by edge-tl for devices without PyTorch.",
            "",
            "## Accuracy and speed",
            "",
            *_figures(record),
            "",
            "## What was not measured",
            "",
            *(f"- {line}" for line in _unknown(record)),
            "",
            "## How to use it",
            "",
            *_use(record),
            "",
            "## Labels",
            "",
            "In the order of the outputs:",
            "",
            *(f"{place}. {_plain(label)}" for place, label in enumerate(record.labels[:_SHOWN_LABELS])),
            *(
                [f"\n… and {more} more in `bundle.json`."]
                if (more := len(record.labels) - _SHOWN_LABELS) > 0
                else []
            ),
            "",
            "## How it was made",
            "",
            *(f"- {line}" for line in _made(record)),
            "",
        ]
    )


def _front_matter(record: BundleRecord) -> Iterator[str]:
    """YAML. Texts are written as JSON, which YAML reads as it is meant, whatever they hold."""
    formats = {"onnxruntime": "onnx"}  # the Hub's word
    kinds = {
        word
        for each in record.artifacts
        for word in (formats.get(each.runtime, each.runtime), each.precision)
    }
    model = [one_line(record.provenance.model)] if record.provenance.model else []
    yield "license: unknown"
    yield "library_name: edge-tl"
    yield "pipeline_tag: image-classification"
    yield f"tags: {_yaml(['image-classification', 'edge-tl', *sorted(kinds), *model])}"
    yield "metrics: [accuracy]"
    results = [row for each in record.artifacts for row in _results(each, record.reference.n)]
    if not results:
        return
    yield "model-index:"
    yield f"- name: {_yaml(one_line(record.name))}"
    yield "  results:"
    yield "  - task: {type: image-classification, name: Image Classification}"
    said = f"held-out images of the photographs it was fine-tuned on ({one_line(record.reference.split or 'a split')})"
    yield f"    dataset: {{type: unknown, name: {_yaml(said)}}}"
    yield "    metrics:"
    yield from results


def _results(artifact: ArtifactRecord, n: int | None) -> Iterator[str]:
    """The metrics of an artifact, each with its interval and the number of images."""
    if artifact.accuracy is not None and n:
        low, high = wilson_interval(round(artifact.accuracy * n), n)
        name = f"accuracy of {artifact.id}, 95 % interval {low:.4f} to {high:.4f}, {n} images"
        yield _metric("accuracy", artifact.accuracy, name, (low, high))
    if artifact.drop_pp is not None:
        ends = artifact.drop_ci_pp
        within = f", 95 % interval {ends[0]:.2f} to {ends[1]:.2f}" if ends else ""
        name = f"accuracy drop of {artifact.id} from PyTorch in percentage points{within}"
        yield _metric("accuracy_drop_pp", artifact.drop_pp, name, ends)


def _metric(kind: str, value: float, name: str, ends: Interval | None) -> str:
    args = f", args: {_yaml({'interval_95': [round(end, 6) for end in ends]})}" if ends else ""
    return f"    - {{type: {kind}, value: {round(value, 6)!r}, name: {_yaml(name)}{args}}}"


def _figures(record: BundleRecord) -> Iterator[str]:
    reference = record.reference
    yield f"| {' | '.join(_HEADINGS)} |"
    yield "|---|---|---|---|---|---|---|"
    latency = reference.latency_ms.p50 if reference.latency_ms else None
    first = [
        "PyTorch",
        _accuracy(reference.accuracy, reference.n),
        DASH,
        DASH,
        number(latency),
        DASH,
        "reference",
    ]
    yield f"| {' | '.join(first)} |"
    for each in record.artifacts:
        size = sum(file.bytes for file in each.files)
        cells = [
            f"`{each.id}`",
            _accuracy(each.accuracy, reference.n),
            interval(each.drop_pp, each.drop_ci_pp),
            number(each.agreement, 2, 100),
            number(each.latency_ms.p50 if each.latency_ms else None),
            number(size, 2, 1e-6),
            _result(each, record.recommended),
        ]
        yield f"| {' | '.join(cells)} |"
    yield ""
    yield (
        f"{DASH}: not measured. A drop is PyTorch's accuracy less the artifact's on the same images: positive is worse."
    )
    host = record.provenance.host if isinstance(record.provenance.host, dict) else {}
    where = f" on {_plain(cpu)}" if isinstance(cpu := host.get("cpu"), str) else ""
    cores = f", {int(allowed)} cores" if isinstance(allowed := host.get("cores_allowed"), int) else ""
    images = f"{reference.n or 'no'} images of the split {_plain(reference.split or DASH)}"
    yield f"Measured when the model was exported{where}{cores}, on {images}."
    if record.recommendation:
        yield ""
        yield f"Recommended: `{record.recommended or 'none'}`. {_plain(record.recommendation)}"


def _result(artifact: ArtifactRecord, recommended: str | None) -> str:
    if artifact.passed is None:
        return "not judged"
    if not artifact.passed:
        return "did not pass its gates"
    return "passed, recommended" if artifact.id == recommended else "passed"


def _unknown(record: BundleRecord) -> Iterator[str]:
    """What a reader could take for measured."""
    if busy := busy_reason(record.conditions):
        yield f"Speed: {_plain(busy)}, so the times in the table say little, and no artifact is called faster."
    if record.reference.accuracy is None or not record.reference.n:
        yield "Accuracy: the record holds none."
    else:
        yield (
            "Accuracy on other images: the held-out ones come from the same collection. The intervals cover the choice "
            "of images, not a new camera, place or season."
        )
    for each in record.artifacts:
        if (each.drop_pp is None) != (each.accuracy is None) or (
            each.accuracy is None and each.passed is not None
        ):
            yield f"The accuracy drop of `{each.id}`."
        if each.requires:
            yield f"`{each.id}` on CPUs without {' or '.join(each.requires)}: it is not for them."
    if record.reference.split == "val":
        yield "Accuracy on images that chose nothing: the validation images also chose what was kept. Expect less."
    yield "Other machines: INT8 gives other numbers on other instructions. `edge-tl verify FOLDER` checks one."
    yield "What it answers to images of none of its labels, and whether it is fair to people: nobody looked."
    yield "Whose the photographs are and what they show: edge-tl knows their number alone."
    yield "The license, which follows from the pretrained weights and the photographs: set `license` above."


def _use(record: BundleRecord) -> Iterator[str]:
    chosen = next((each for each in record.artifacts if each.id == record.recommended), None)
    if chosen is None:
        yield "No artifact is recommended: see the table."
        yield ""
    extra = chosen.family.extra if chosen else "ort,openvino"
    yield "```sh"
    yield f'pip install "edge_tl-VERSION-py3-none-any.whl[{extra}]"   # no package index has edge-tl'
    yield "edge-tl verify FOLDER        # does this machine give the same answers?"
    yield "edge-tl predict FOLDER image.jpg"
    yield "```"
    yield ""
    yield (
        "Without edge-tl: `README.txt` says every step of the preprocessing with its rounding, and how to check your "
        "own code against the images in `golden/`; `edge-tl snippet FOLDER --lang cpp` writes a program."
    )


def _made(record: BundleRecord) -> Iterator[str]:
    made = record.provenance
    if made.model:
        yield f"Model: {_plain(made.model)}" + (
            f", weights: {_plain(Path(made.weights).name)}" if made.weights else ""
        )
    if made.strategy:
        yield f"Fine-tuning: {_plain(made.strategy)}" + (
            f", seed {made.seed}" if made.seed is not None else ""
        )
    if made.sets:
        yield "Images: " + ", ".join(f"{count} for {_plain(name)}" for name, count in made.sets.items())
    if made.versions:
        yield "Versions: " + ", ".join(
            f"{_plain(name)} {_plain(text)}" for name, text in made.versions.items()
        )
    yield "`bundle.json` says all of this to programs, with a hash of every file that a device reads."


def _accuracy(accuracy: float | None, n: int | None) -> str:
    if accuracy is None or not n:
        return number(accuracy, 2, 100)
    low, high = wilson_interval(round(accuracy * n), n)
    return f"{number(accuracy, 2, 100)} [{number(low, 2, 100)}, {number(high, 2, 100)}]"


def _plain(text: str) -> str:
    """What anybody's record says, on one line, with nothing in it that Markdown would act on."""
    return _MARKS.sub(r"\\\1", one_line(text))


def _yaml(value: str | Sequence[str] | dict[str, list[float]]) -> str:
    return json.dumps(value, ensure_ascii=False)
