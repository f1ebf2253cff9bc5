"""What a run records of itself, `run.json`, as types. Knows no model and writes no file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from edge_tl.device.errors import BadInput
from edge_tl.device.names import check_label, check_name
from edge_tl.device.preprocess import Preprocess
from edge_tl.device.records.accuracy import Confusion, Interval
from edge_tl.device.records.codec import Bounds, Count, Fault, Fraction, Json, Pattern, shown, written
from edge_tl.device.records.machine import MachineRecord
from edge_tl.host.images.data_record import DataRecord
from edge_tl.host.images.dataset import Dataset
from edge_tl.host.images.findings import SplitName
from edge_tl.host.runs.resize_records import CropLossRecord, ImageSizes, ResizeComparison
from edge_tl.host.runs.run_part import RunPart, Whole

SCHEMA_VERSION = 1
WEIGHTS = "model.safetensors"

BatchNormMode = Literal["frozen", "train"]


@dataclass(frozen=True)
class EpochRecord(RunPart):
    """One pass over the training images. Epochs count from 1 over all stages; accuracies are fractions, losses nats;
    `seconds` since the training began; `best`: better than the start and every epoch before."""

    stage: str
    epoch: int
    epochs: int
    """Of the whole training, as planned."""
    train_loss: float
    val_loss: float | None
    val_accuracy: float | None
    lr: float
    """The head's, after the last step."""
    image_size: int
    """Side of the training images in pixels."""
    images_per_s: float
    seconds: float
    best: bool


@dataclass(frozen=True)
class PrecisionRecord(RunPart):
    """What a training computed in (the master weights are fp32 in either) and why; the training images a second of
    both where they were timed."""

    used: Literal["fp32", "bf16"]
    reason: str
    """A sentence for people."""
    fp32_images_per_s: float | None = None
    bf16_images_per_s: float | None = None


@dataclass(frozen=True)
class ClassMetrics(RunPart):
    """Precision, recall and F1 of one class, fractions, on its `n` images."""

    label: str
    precision: Fraction
    recall: Fraction
    f1: Fraction
    n: Whole


@dataclass(frozen=True, kw_only=True)
class MetricsRecord(RunPart):
    """How good the answers are on the `n` images of `split`. Fractions in [0, 1], but `log_loss` in nats; see
    `training.metrics` for what each is."""

    split: SplitName
    n: Whole
    accuracy: Fraction
    accuracy_ci: Interval | None = None
    """Not in runs of older versions."""
    top5: Fraction | None
    """None with five classes or fewer."""
    macro_precision: Fraction
    macro_recall: Fraction
    macro_f1: Fraction
    ece: float
    log_loss: float
    per_class: tuple[ClassMetrics, ...]
    confusion: Confusion
    chosen_on_same_images: bool | None = None
    """Whether the head's regularization and the epoch were the best by these very images. Not in older runs."""


@dataclass(frozen=True)
class TriedHead(RunPart):
    """One head that was tried on frozen features: a penalty of a linear one, an epoch of one with hidden layers.
    Accuracy and log loss (nats) on the validation images."""

    accuracy: Fraction
    log_loss: float
    C: float | None = None
    epoch: int | None = None
    iterations: int | None = None


@dataclass(frozen=True)
class HeadRecord(RunPart):
    """How the head was solved on frozen features, and what was tried: `C`, the inverse penalty, of a linear one;
    `epoch` of one with `hidden` layers. Empty where the head was trained with the backbone, or elsewhere."""

    C: float | None = None
    epoch: int | None = None
    grid: tuple[TriedHead, ...] = ()
    hidden: tuple[int, ...] = ()
    dropout: Fraction | None = None


@dataclass(frozen=True)
class KeptEpoch(RunPart):
    """Which epoch's weights the run holds; 0 is the start. Accuracies on the `n_val` validation images."""

    epoch: Whole
    trained: Whole
    planned: Whole
    val_accuracy: Fraction
    start_val_accuracy: Fraction | None
    n_val: Whole
    reason: str
    """A sentence for people."""


@dataclass(frozen=True)
class FoldsRecord(RunPart):
    """The accuracies of a cross-validation, their mean and standard deviation, and the mean's 95 % interval."""

    k: int
    mean: Fraction
    std: float
    interval: Interval
    accuracies: tuple[Fraction, ...]


@dataclass(frozen=True)
class SecondsRecord(RunPart):
    """What reading the images and computing their features took, what training did, and all of it."""

    features: float
    train: float
    total: float


@dataclass(frozen=True)
class Provenance(RunPart):
    """What a result depends on beside the data: `recipe` as it was validated (`recipe.load.parse` reads it), versions
    of packages by name, and the machine."""

    recipe: dict[str, Json]
    seed: int
    versions: dict[str, str]
    host: MachineRecord


@dataclass(frozen=True)
class RunProvenance(Provenance):
    """Of a run. `features` names what computed the frozen features, "cache" where none of them had to be; None where no
    strategy asked for them."""

    features: str | None
    features_computed: Whole
    processes: int


@dataclass(frozen=True)
class WeightsFile(RunPart):
    """The file of the weights and the SHA-256 of its content."""

    path: Literal["model.safetensors"]
    sha256: Annotated[str, Pattern("[0-9a-f]{64}", "64 hexadecimal digits")]


@dataclass(frozen=True, kw_only=True)
class RunRecord(RunPart):
    """A finished run: what was trained on what, how good it is, how it came to be. What was not measured is None."""

    schema_version: Literal[1] = written(SCHEMA_VERSION)
    kind: Literal["run"] = written("run")
    name: str
    model: str
    weights: str
    """Where the training started from: "imagenet", "none", a file's name."""
    pooled: bool
    """The head reads pooled features: the architecture's own hidden classifier layers are left out."""
    matched: dict[str, str] | None = None
    """The model's name of each tensor of a file whose tensors were matched by their order."""
    hidden: tuple[Annotated[int, Bounds(1, 8192)], ...]
    dropout: Fraction
    strategy: str
    strategy_reason: str
    labels: tuple[str, ...]
    preprocess: Preprocess
    data: DataRecord
    metrics: MetricsRecord
    val_accuracy: Fraction | None
    """On the images that chose: the best of several by it, so it flatters a little. None for an imported model."""
    head: HeadRecord
    history: tuple[EpochRecord, ...]
    best_epoch: int | None
    kept: KeptEpoch | None = written(None)
    batch_norm: BatchNormMode | None = written(None)
    micro_batch: int | None
    precision: PrecisionRecord | None = None
    """None where no backbone was trained, and in older runs."""
    folds: FoldsRecord | None = None
    image_sizes: ImageSizes | None = None
    """None where no header could be read, for an imported model, and in older runs."""
    crop_loss: CropLossRecord | None = None
    """None where the contract crops nothing, and in older runs."""
    resize_comparison: ResizeComparison | None = None
    """None where nobody asked for it."""
    seconds: SecondsRecord
    provenance: RunProvenance
    files: Annotated[tuple[WeightsFile, ...], Count(1, 1)]

    def check(self) -> None:
        """Raises `Fault` for a name or labels that no run of ours has."""
        try:
            check_name(self.name, "name")
        except BadInput:
            raise Fault("name", shown(self.name), "a name that is a folder's on every system") from None
        if not self.labels or len(set(self.labels)) < len(self.labels):
            raise Fault("labels", shown(list(self.labels)), "different names")
        for i, label in enumerate(self.labels):
            try:
                check_label(label, "labels")
            except BadInput:
                raise Fault(f"labels[{i}]", shown(label), "a label that can be printed") from None

    @property
    def sha256(self) -> str:
        """Of the weights' file."""
        return self.files[0].sha256

    def dataset(self) -> Dataset:
        """The images of the run, each in its split. Raises `BadInput` for a row that no run of ours has."""
        return self.data.dataset(self.labels)
