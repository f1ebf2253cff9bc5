"""What of a run, a bundle or a bench goes to a tracker: settings as texts, figures as numbers with the ends of their
intervals. Sends nothing. What was not measured is left out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from edge_tl.device.records.bench import BenchResult
from edge_tl.device.records.bundle import BundleRecord
from edge_tl.device.records.codec import Json
from edge_tl.device.records.timing import Interval, LatencyRecord
from edge_tl.host.recipe.schema import Recipe
from edge_tl.host.runs.record import EpochRecord, RunRecord

Figures = dict[str, float]
Settings = dict[str, str]

_PATHS = ("data.path", "model.weights")
_OF_RUN = ("report.html", "report.md", "run.json", "recipe.yaml")
_OF_BUNDLE = ("report.html", "report.md", "report.json", "bundle.json", "README.md")


def settings_of_recipe(recipe: Recipe) -> Settings:
    """Every setting that is set; of paths the last part, for a tracker may be a server."""
    return _settings(recipe.model_dump(mode="json"))


def settings_of_run(record: RunRecord) -> Settings:
    """The recipe as it was validated, and what became of it."""
    found = _settings(record.provenance.recipe)
    found |= {"strategy": record.strategy, "classes": str(len(record.labels))}
    found |= {f"images.{name}": str(n) for name, n in vars(record.data.n).items() if n}
    return found | {"machine.cpu": str(record.provenance.host.cpu), **_versions(record.provenance.versions)}


def figures_of_run(record: RunRecord) -> Figures:
    """The evaluation of a run, on the images of its `split`."""
    metrics, seconds = record.metrics, record.seconds
    named = {
        "accuracy": metrics.accuracy,
        "macro_f1": metrics.macro_f1,
        "ece": metrics.ece,
        "log_loss": metrics.log_loss,
        "images": metrics.n,
        "seconds.train": seconds.train,
        "seconds.total": seconds.total,
    }
    return _numbers(named) | _ends("accuracy", metrics.accuracy_ci)


def figures_of_epoch(epoch: EpochRecord) -> Figures:
    """An epoch, as its step."""
    return _numbers(
        {
            "train_loss": epoch.train_loss,
            "val_loss": epoch.val_loss,
            "val_accuracy": epoch.val_accuracy,
            "lr": epoch.lr,
            "images_per_s": epoch.images_per_s,
        }
    )


def settings_of_bundle(record: BundleRecord) -> Settings:
    """The recipe of the export, the recommendation, the machine."""
    made = record.provenance
    found = _settings(made.recipe) if isinstance(made.recipe, dict) else {}
    cpu = made.host.get("cpu") if isinstance(made.host, dict) else None
    found |= {
        "recommended": record.recommended or "none",
        "passed": str(record.passed),
        "machine.cpu": str(cpu),
    }
    return found | _versions(made.versions or {})


def figures_of_bundle(record: BundleRecord) -> Figures:
    """Of every artifact what the report's table has: `onnx-int8/drop_pp`, with the ends of its interval as
    `onnx-int8/drop_pp_low` and `_high`; a speed that was not judged is none of them."""
    found: Figures = _numbers({"pytorch/accuracy": record.reference.accuracy, "images": record.reference.n})
    if record.reference.latency_ms:
        found |= _latency("pytorch", record.reference.latency_ms)
    for each in record.artifacts:
        size = sum(file.bytes for file in each.files) / 1e6
        named = {
            "accuracy": each.accuracy,
            "drop_pp": each.drop_pp,
            "agreement": each.agreement,
            "speedup": each.speedup,
            "size_mb": size,
            "passed": None if each.passed is None else float(each.passed),
        }
        found |= {f"{each.id}/{name}": value for name, value in _numbers(named).items()}
        found |= _ends(f"{each.id}/drop_pp", each.drop_ci_pp) | _ends(f"{each.id}/speedup", each.speedup_ci)
        if each.latency_ms:
            found |= _latency(each.id, each.latency_ms)
    return found


def settings_of_bench(result: BenchResult) -> Settings:
    """How it was measured, and where."""
    method = {name: str(value) for name, value in vars(result.method).items() if value is not None}
    found = {f"method.{name}": value for name, value in method.items()}
    return found | {"kind": result.kind, "machine.cpu": str(result.machine.cpu), "bundle": result.name or ""}


def figures_of_bench(result: BenchResult) -> Figures:
    """Latencies of every artifact, speed-ups with their intervals where they were judged, throughputs."""
    found: Figures = {}
    for each in result.artifacts:
        found |= _latency(each.id, each.latency_ms)
        found |= {f"{each.id}/{name}": value for name, value in _numbers({"speedup": each.speedup}).items()}
        found |= _ends(f"{each.id}/speedup", each.speedup_ci)
    for row in result.sweep or ():
        name = f"{row.artifact}/batch_{row.batch}/threads_{row.threads or 'all'}/ms_per_image"
        found |= _numbers({name: row.ms_per_image})
    for rate in result.throughput or ():
        found |= {f"{rate.artifact}/batch_{rate.batch}/images_per_s": rate.images_per_s}
    return found


def files_of_run(run: Path) -> list[Path]:
    """What is kept of a run beside its figures; the weights stay where they are."""
    return [run / name for name in _OF_RUN if (run / name).is_file()]


def files_of_bundle(bundle: Path) -> list[Path]:
    """What is kept of a bundle beside its figures: its record and its reports; the models stay where they are."""
    return [bundle / name for name in _OF_BUNDLE if (bundle / name).is_file()]


def _latency(name: str, ms: LatencyRecord) -> Figures:
    named = {"p50_ms": ms.p50, "p90_ms": ms.p90, "p95_ms": ms.p95, "p99_ms": ms.p99}
    found = {f"{name}/{key}": value for key, value in _numbers(named).items()}
    return found | _ends(f"{name}/p50_ms", ms.p50_ci)


def _ends(name: str, ends: Interval | tuple[float | None, float | None] | None) -> Figures:
    return _numbers({f"{name}_low": ends[0], f"{name}_high": ends[1]}) if ends else {}


def _numbers(named: Mapping[str, float | int | None]) -> Figures:
    return {name: float(value) for name, value in named.items() if value is not None}


def _versions(versions: Mapping[str, str]) -> Settings:
    return {f"version.{name}": text for name, text in versions.items()}


def _settings(recipe: Json) -> Settings:
    found = dict(_flat("", recipe))
    return {key: Path(text).name if key in _PATHS else text for key, text in found.items()}


def _flat(name: str, value: Json) -> Iterator[tuple[str, str]]:
    """`("train.lr", "0.001")` for every setting that is set."""
    if isinstance(value, dict):
        for key, below in value.items():
            yield from _flat(f"{name}.{key}" if name else str(key), below)
    elif value is not None:
        yield name, str(value)
