"""The record of a bundle: all that `bundle.json` and `report.json` say.

Reads no file. Everything here may be anybody's: `from_json` names the key that is not as `export` writes it.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from typing import Annotated, Literal

from edge_tl.device.errors import BadInput, BundleError
from edge_tl.device.names import check_label, steers
from edge_tl.device.preprocess import Preprocess
from edge_tl.device.records.accuracy import ConfidenceRecord, Confusion
from edge_tl.device.records.answers import AnswersRecord
from edge_tl.device.records.artifact import ArtifactRecord, FilePath, FileRecord, Whole
from edge_tl.device.records.codec import Bounds, Fault, Fraction, Json, NotEmpty, Record, shown, written
from edge_tl.device.records.diagnosis import FingerprintsRecord
from edge_tl.device.records.gate import GATES, GateResult
from edge_tl.device.records.pictures import PicturesRecord
from edge_tl.device.records.timing import ConditionsRecord, LatencyRecord, RanRecord
from edge_tl.device.text import printable

MOST_CLASSES = 100_000
MOST_GOLDENS = 1000
MOST_ARTIFACTS = 32  # a runtime and a precision each


@dataclass(frozen=True)
class ReferenceRecord(Record):
    """PyTorch on the same `n` images of `split`; its confidence and latency as an artifact's."""

    framework: str | None = None
    accuracy: Fraction | None = None
    n: Whole | None = None
    split: str | None = None
    confidence: ConfidenceRecord | None = None
    confusion: Confusion | None = None
    latency_ms: LatencyRecord | None = written(None)
    ran: RanRecord | None = None
    load_ms: float | None = None
    first_ms: float | None = None


@dataclass(frozen=True)
class GoldenRecord(Record):
    """The encoded golden images, in the order of the stored pixels and logits, and every file below `golden/`.
    `left_out` says of kinds of image files why there is none of them."""

    images: tuple[FilePath, ...]
    files: tuple[FileRecord, ...]
    left_out: dict[str, str] = field(default_factory=dict)

    def check(self) -> None:
        """Raises `Fault` for no image, one that is listed twice, or too many files."""
        if not 1 <= len(self.images) <= MOST_GOLDENS or len(set(self.images)) != len(self.images):
            raise Fault("images", f"a list of {len(self.images)}", f"1 to {MOST_GOLDENS} different paths")
        if len(self.files) > MOST_GOLDENS + 4:
            raise Fault(
                "files", f"a list of {len(self.files)}", f"a list of at most {MOST_GOLDENS + 4} files"
            )


@dataclass(frozen=True)
class SlimmedRecord(Record):
    """The seal of the bundle that this one was made from, and the artifacts that were kept."""

    source: str = field(metadata={"key": "from"})
    kept: tuple[str, ...]


@dataclass(frozen=True)
class ProvenanceRecord(Record):
    """What a bundle was made of: the recipe of the export and that of the fine-tuning (`finetune`) with its versions
    and machine, the model and its head, the sizes of the image sets, the weights."""

    recipe: Json = None
    seed: int | None = None
    versions: dict[str, str] | None = None
    host: Json = None
    model: str | None = None
    pooled: bool | None = None
    hidden: tuple[Annotated[int, Bounds(1, 1 << 16)], ...] | None = None
    weights: str | None = None
    strategy: str | None = None
    finetune: Json = None
    sets: dict[str, Whole] | None = None
    weights_sha256: str | None = None
    run: str | None = None
    slimmed: SlimmedRecord | None = None


@dataclass(frozen=True)
class BundleRecord(Record):
    """A bundle. `bundle.json` holds what a device needs of it, sealed; `report.json` all of it, with the `bench` and
    the `verify` of the export, `pictures` of some answers and all `answers`, what the run says of its `training` and
    data, and a bench of the `steps` of a prediction. `preprocess_steps` is the contract in words, as in the file
    `readme`."""

    schema_version: Literal[1, 2]
    name: NotEmpty
    labels: tuple[NotEmpty, ...]
    preprocess: Preprocess
    reference: ReferenceRecord
    artifacts: tuple[ArtifactRecord, ...]
    golden: GoldenRecord
    provenance: ProvenanceRecord
    recommended: NotEmpty | None = written(None)
    recommendation: str | None = None
    passed: bool | None = None
    gates: tuple[GateResult, ...] = ()
    conditions: ConditionsRecord | None = None
    faults: dict[str, str] | None = None
    bench: Json = None
    verify: Json = None
    pictures: PicturesRecord | None = None
    answers: AnswersRecord | None = None
    training: Json = None
    steps: Json = None
    report: FileRecord | None = None
    readme: FileRecord | None = None
    preprocess_steps: tuple[str, ...] = ()
    fingerprints: FingerprintsRecord | None = None
    contract_seal: str | None = None
    seal: str | None = None

    def check(self) -> None:
        """Raises `Fault` for labels, a name or a number of artifacts that no bundle has."""
        if not 1 <= len(self.labels) <= MOST_CLASSES or len(set(self.labels)) != len(self.labels):
            raise Fault(
                "labels",
                f"a list of {len(self.labels)}",
                "a list of different texts, one for each class",
            )
        for place, label in enumerate(self.labels):
            try:
                check_label(label, "the bundle")
            except BadInput as error:
                said = str(error).partition(". Rename")[0].partition(". Give")[0]
                raise Fault(f"labels[{place}]", said, "a name that can be printed") from None
        if not 1 <= len(self.artifacts) <= MOST_ARTIFACTS:
            raise Fault(
                "artifacts",
                f"a list of {len(self.artifacts)}",
                f"a list of at least one artifact, {MOST_ARTIFACTS} at most",
            )
        if steers(self.name):
            raise Fault("name", shown(self.name), "text without control characters")

    def check_consistent(self, where: str) -> None:
        """Raises `BundleError` where the record in the file `where` contradicts itself. Call it after the seal was
        checked: an altered record is better called that."""
        ids = [artifact.id for artifact in self.artifacts]
        for artifact in self.artifacts:
            if artifact.id != artifact.proper_id:
                raise BundleError(
                    f"{where}: artifact {artifact.id!r} is {artifact.precision} of {artifact.runtime}, input "
                    f"{artifact.input}, which is "
                    f"{artifact.proper_id!r}. Do not use this bundle."
                )
        for what, names in (("artifact", ids), ("file", [file.path for file in self.files])):
            if twice := sorted(name for name, count in Counter(names).items() if count > 1):
                raise BundleError(f"{where}: {what} {twice[0]!r} is there twice. Do not use this bundle.")
        if self.recommended is None:
            return
        if self.recommended not in ids:
            raise BundleError(
                f"{where}: recommended {self.recommended!r} is none of its artifacts. Do not use this bundle."
            )
        if self.artifact(self.recommended).passed is False:
            raise BundleError(
                f"{where}: recommended {self.recommended!r} did not pass its gates. Do not use this bundle."
            )

    def artifact(self, artifact_id: str) -> ArtifactRecord:
        """Raises `KeyError` when the bundle has no such artifact."""
        for artifact in self.artifacts:
            if artifact.id == artifact_id:
                return artifact
        raise KeyError(artifact_id)

    @property
    def files(self) -> tuple[FileRecord, ...]:
        """Every file that a device needs beside `bundle.json`."""
        models = (file for artifact in self.artifacts for file in artifact.files)
        return (*models, *self.golden.files, *((self.readme,) if self.readme else ()))

    def for_device(self) -> BundleRecord:
        """Without what only a report shows: with a thousand classes the confusion matrices alone made `bundle.json`
        39 MB, and every `predict` reads it."""
        artifacts = tuple(
            replace(
                artifact,
                changed=None,
                confusion=None,
                confidence=_without_bins(artifact.confidence),
                ladder=None,
                layer_errors=None,
                quantization=None,
            )
            for artifact in self.artifacts
        )
        own = self.reference
        reference = replace(own, confusion=None, confidence=_without_bins(own.confidence))
        small = replace(self, artifacts=artifacts, reference=reference)
        return replace(small, bench=None, verify=None, pictures=None, answers=None, training=None, steps=None)

    def failed_at_export(self, artifact: ArtifactRecord) -> str | None:
        """That `artifact` failed when it was exported, and at which gates; None where it did not."""
        if artifact.passed is not False:
            return None
        mine = {g.gate for g in self.gates if g.artifact in (artifact.id, None) and g.passed is False}
        names = [*(name for name in GATES if name in mine), *sorted(mine - GATES.keys())]
        at = f" ({', '.join(names)})" if names else ""
        return (
            f"{printable(artifact.id)} failed its gates at export{at}: passing here does not make up for it."
        )


def _without_bins(confidence: ConfidenceRecord | None) -> ConfidenceRecord | None:
    return confidence and replace(confidence, bins=(), bins_before=())
