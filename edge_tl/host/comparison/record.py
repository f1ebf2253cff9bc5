"""The record of a comparison, `compare.json`: its trials, what was timed, the pick. Measures and chooses nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from edge_tl.device.errors import BadInput
from edge_tl.device.records.bench import BenchResult, MethodRecord
from edge_tl.device.records.codec import Bounds, Fraction, Json, Record, written
from edge_tl.device.records.machine import MachineRecord
from edge_tl.device.records.timing import ConditionsRecord, Interval, LatencyRecord, RanRecord
from edge_tl.host.comparison.pareto import Budget

KIND = "comparison"
State = Literal["complete", "failed", "left behind"]


@dataclass(frozen=True, kw_only=True)
class TrialFacts(Record):
    """What a training was and how accurate it is; accuracies are fractions. The study keeps it with its trial."""

    document = "result of a trial"
    advice = "run edge-tl compare again, with --out another folder"
    error = BadInput

    trained: str | None = written(None)
    epochs: int | None = written(None)
    accuracy: Fraction | None = written(None)
    split: str | None = written(None)
    n: int | None = written(None)
    val_accuracy: Fraction | None = written(None)
    n_val: int | None = written(None)
    seconds: float | None = written(None)


@dataclass(frozen=True, kw_only=True)
class ComparedTrial(TrialFacts):
    """A combination that was tried. `state` "left behind": its process is gone. None is what is not known, e.g. of one
    that failed; `interval` is of the validation accuracy."""

    name: str
    model: str
    strategy: str
    lr: float | None
    state: State
    reason: str | None
    latency_ms: LatencyRecord | None = written(None)
    size_mb: float | None = written(None)
    interval: Interval | None = written(None)
    front: bool = written(False)

    @property
    def complete(self) -> bool:
        """Whether it has an accuracy."""
        return self.state == "complete"

    @property
    def p50_ms(self) -> float | None:
        """The median latency, where it was measured."""
        return self.latency_ms.p50 if self.latency_ms else None


@dataclass(frozen=True, kw_only=True)
class Rival(Record):
    """Another trial, and the p-value that both answer equally well."""

    name: str
    p_value: float


@dataclass(frozen=True, kw_only=True)
class TrialChoice(Record):
    """Names of trials: the front, the pick within the budget, the runner-up, the fastest that is not significantly less
    accurate; without a pick the nearest misses. `not_judged` is why no latency decided: the machine was busy. Then
    there is no front and no faster one, and of equally accurate trials the smallest is the pick."""

    front: tuple[str, ...]
    pick: str | None
    runner_up: Rival | None
    faster: Rival | None
    nearest: tuple[str, ...]
    not_judged: str | None = None


@dataclass(frozen=True, kw_only=True)
class GridRecord(Record):
    """What was combined, and how many combinations were to be tried."""

    models: tuple[str, ...]
    strategies: tuple[str, ...]
    lrs: tuple[float, ...]
    trials: Annotated[int, Bounds(1)]


@dataclass(frozen=True, kw_only=True)
class TimingRecord(Record):
    """How the models were timed: the method, the conditions, what ran of each, and why some have no latency."""

    method: MethodRecord
    conditions: ConditionsRecord | None
    ran: dict[str, RanRecord]
    unmeasured: dict[str, str]


@dataclass(frozen=True, kw_only=True)
class ComparisonRecord(TrialChoice):
    """A comparison."""

    document = "compare.json"
    advice = "run edge-tl compare again"
    error = BadInput

    schema_version: Literal[1] = written(1)
    kind: Literal["comparison"] = written("comparison")
    name: str
    study: str
    trials: tuple[ComparedTrial, ...]
    budget: Budget
    grid: GridRecord
    weights: dict[str, str]
    machine: MachineRecord
    timing: TimingRecord
    versions: dict[str, str]
    seed: int
    recipe: Json

    def trial(self, name: str) -> ComparedTrial:
        """The trial of that name."""
        return next(trial for trial in self.trials if trial.name == name)


@dataclass(frozen=True, kw_only=True)
class TimedModels(Record):
    """What was timed, by the names of the files: the bench, their sizes in bytes, and why some were not exported."""

    document = "timed/bench.json"
    advice = "run edge-tl compare again"
    error = BadInput

    machine: MachineRecord
    method: MethodRecord
    bench: BenchResult | None
    bytes: dict[str, int]
    unmeasured: dict[str, str]
