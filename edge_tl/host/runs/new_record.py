"""The record of a run that was made now, by fine-tuning or by an import: the one place that puts it together."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

from edge_tl.device.names import cleaned
from edge_tl.host.images.data_record import DataRecord
from edge_tl.host.images.dataset import Dataset
from edge_tl.host.models.weights import PretrainedModel
from edge_tl.host.recipe.schema import Recipe
from edge_tl.host.runs.provenance import provenance
from edge_tl.host.runs.record import (
    BatchNormMode,
    EpochRecord,
    FoldsRecord,
    HeadRecord,
    KeptEpoch,
    MetricsRecord,
    PrecisionRecord,
    RunProvenance,
    RunRecord,
    SecondsRecord,
)
from edge_tl.host.runs.resize_records import CropLossRecord, ImageSizes, ResizeComparison


@dataclass(frozen=True)
class TrainingFacts:
    """How weights came to be; the fields are `RunRecord`'s."""

    strategy: str
    strategy_reason: str
    matched: dict[str, str] | None = None
    hidden: tuple[int, ...] = ()
    dropout: float = 0.0
    head: HeadRecord = field(default_factory=HeadRecord)
    val_accuracy: float | None = None
    history: tuple[EpochRecord, ...] = ()
    best_epoch: int | None = None
    kept: KeptEpoch | None = None
    batch_norm: BatchNormMode | None = None
    micro_batch: int | None = None
    precision: PrecisionRecord | None = None


@dataclass(frozen=True)
class Evaluation:
    """How good the weights are, and what it took to find out; the fields are `RunRecord`'s and its provenance's."""

    metrics: MetricsRecord
    seconds: SecondsRecord
    folds: FoldsRecord | None = None
    image_sizes: ImageSizes | None = None
    crop_loss: CropLossRecord | None = None
    resize_comparison: ResizeComparison | None = None
    features: str | None = None
    features_computed: int = 0
    processes: int = 1


def new_record(
    run: Path,
    recipe: Recipe,
    source: PretrainedModel,
    dataset: Dataset,
    training: TrainingFacts,
    evaluation: Evaluation,
) -> RunRecord:
    """The record of the run in the folder `run`; `checkpoint.save` adds the weights' file to it. `source` is what was
    fine-tuned, or what was imported."""
    made = provenance(recipe)
    return RunRecord(
        name=cleaned(run.resolve().name),
        model=source.name,
        weights=source.origin,
        pooled=source.pooled,
        labels=tuple(dataset.labels),
        preprocess=source.contract,
        data=DataRecord.of(replace(dataset, root=dataset.root.resolve())),
        metrics=evaluation.metrics,
        folds=evaluation.folds,
        image_sizes=evaluation.image_sizes,
        crop_loss=evaluation.crop_loss,
        resize_comparison=evaluation.resize_comparison,
        seconds=evaluation.seconds,
        provenance=RunProvenance(
            recipe=made.recipe,
            seed=made.seed,
            versions=made.versions,
            host=made.host,
            features=evaluation.features,
            features_computed=evaluation.features_computed,
            processes=evaluation.processes,
        ),
        files=(),
        **vars(training),
    )
