"""What an export concludes from its measurements: limits that travel with an artifact, gates on accuracy and speed,
what to ship. Measures nothing: everything it needs is in the record and the timings it is given.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from edge_tl.device import metrics
from edge_tl.device.bench import ratio
from edge_tl.device.bench.machine_use import as_proven, busy_reason
from edge_tl.device.bundle import REFERENCE
from edge_tl.device.records.accuracy import ChangedAnswer, ProvenOn
from edge_tl.device.records.artifact import ArtifactRecord, BudgetRecord, LimitsRecord
from edge_tl.device.records.bench import ArtifactTiming, BenchResult
from edge_tl.device.records.bundle import BundleRecord
from edge_tl.device.records.gate import GateResult
from edge_tl.device.records.verification import VerifyResult
from edge_tl.host.export import recommendation
from edge_tl.host.export.image_gates import preprocessing_gates
from edge_tl.host.images.dataset import Sample
from edge_tl.host.recipe.schema import Export

_SHOWN = {
    "AVX2": "AVX2",
    "AVX512_CORE": "AVX-512 without VNNI",
    "SSE41": "SSE4.1",
}  # oneDNN's caps, for people
Blocks = dict[str, list[NDArray[np.int64]]]
"""Timed calls in nanoseconds by id, in blocks."""


def limits(
    precision: str, own: NDArray[np.float32], expected: NDArray[np.float32], max_drop: float
) -> LimitsRecord:
    """What a device may differ by. FP32: a thousandth of the largest logit. FP16: a fiftieth. INT8 and 8-bit weights:
    no more than quantization itself cost on the host, and less than half of the largest logit, so that a device that
    answers nothing never passes. But for FP32, one answer beyond the host's.

    `own` are the host's logits `(n, classes)` of the artifact, `expected` PyTorch's divided by the same temperature,
    see `in_units_of`.
    """
    highest = float(np.abs(own).max())
    difference, least = 1e-3 * max(1.0, highest), 1.0
    if precision == "fp16":  # 11 bits of mantissa where an accelerator computes in them
        difference = 2e-2 * max(1.0, highest)
    if precision != "fp32":
        difference = min(max(difference, metrics.max_abs_diff(own, expected)), 0.5 * highest)
        same = int(np.sum(metrics.top1(own) == metrics.top1(expected)))
        # Not rounded: 0.666667 would refuse the 4 of 6 that it stands for.
        least = max(0, same - 1) / len(own)
    return LimitsRecord(difference, least, max_drop)


def in_units_of(
    name: str, expected: NDArray[np.float32], temperatures: Mapping[str, float]
) -> NDArray[np.float32]:
    """PyTorch's calibrated logits (`expected`) divided by the temperature of artifact `name` instead, as that
    artifact's are. Each has its own: what lies between logits of two temperatures is mostly the temperatures, not what
    quantization cost."""
    factor = temperatures[REFERENCE] / temperatures[name]
    return expected if factor == 1.0 else expected * np.float32(factor)


def changed(
    samples: Sequence[Sample], labels: list[str], expected: metrics.Ints, got: metrics.Ints
) -> tuple[ChangedAnswer, ...]:
    """The images that the artifact answers otherwise than PyTorch."""
    return tuple(
        ChangedAnswer(sample.path, labels[sample.label], labels[a], labels[b])
        for sample, a, b in zip(samples, expected, got, strict=True)
        if a != b
    )


def conclude(
    record: BundleRecord,
    timing: BenchResult,
    checked: VerifyResult,
    asked: Export,
    missing: Mapping[str, str] | None = None,
) -> BundleRecord:
    """The record with latencies, gates, budgets and the recommendation; `timing` is the result of the bench, `missing`
    says why an artifact that was asked for could not be made."""
    busy = busy_reason(timing.conditions, timing.machine.cores_allowed)
    rows = {row.id: row for row in timing.artifacts}
    blocks = {name: [np.array(b, np.int64) for b in row.samples_ns] for name, row in rows.items()}
    timed = replace(
        record,
        conditions=timing.conditions,
        artifacts=tuple(_timed(artifact, rows[artifact.id], busy) for artifact in record.artifacts),
    )
    # What preprocesses and what does not are no rivals.
    tensors = [each for each in record.artifacts if not each.takes_pixels]
    pixels = [each for each in record.artifacts if each.takes_pixels]
    of_kind = {False: _fastest_fp32(tensors, blocks), True: _fastest_fp32(pixels, blocks)}
    gates = list(checked.gates)
    artifacts = []
    for artifact in timed.artifacts:
        fastest = of_kind[artifact.takes_pixels]
        if artifact.precision != "fp32" and fastest is not None:
            over = ratio.speedup(blocks[fastest], blocks[artifact.id], rows[artifact.id].block_round)
            over = as_proven(over, busy)
            artifact = replace(
                artifact,
                faster_than_fp32=over.speedup,
                faster_than_fp32_ci=over.speedup_ci,
                not_judged=(busy and over.not_judged) or artifact.not_judged or over.not_judged,
            )
        gates += _own_gates(artifact, asked)
        artifacts.append(_judge(artifact, gates, asked))
    gates += [
        GateResult("loss", name, None, asked.max_drop, "pp", False, f"not made: {reason}")
        for name, reason in (missing or {}).items()
    ]
    rivals = [each for each in artifacts if not each.takes_pixels] or artifacts
    choice = recommendation.recommend(rivals, of_kind[not tensors], busy)
    reference = rows[REFERENCE]
    return replace(
        timed,
        reference=replace(
            record.reference,
            latency_ms=reference.latency_ms,
            ran=reference.ran,
            load_ms=reference.load_ms,
            first_ms=reference.first_ms,
        ),
        artifacts=tuple(artifacts),
        gates=tuple(gates),
        recommended=choice.artifact,
        recommendation=choice.sentence + recommendation.learned_nothing(record.reference, record.labels),
        passed=all(gate.passed for gate in gates) and choice.artifact is not None,
    )


def _timed(artifact: ArtifactRecord, row: ArtifactTiming, busy: str | None) -> ArtifactRecord:
    """With what the bench found; its samples stay in the report's bench. One of raw pixels is not compared with
    PyTorch, which was given tensors."""
    if artifact.takes_pixels:
        why = busy or "it preprocesses as well, which PyTorch was not timed with"
        row = replace(row, speedup=None, speedup_ci=None, distinguishable=None, not_judged=why)
    return replace(
        artifact,
        latency_ms=row.latency_ms,
        ran=row.ran,
        load_ms=row.load_ms,
        first_ms=row.first_ms,
        steady=row.steady,
        speedup=row.speedup,
        speedup_ci=row.speedup_ci,
        distinguishable=row.distinguishable,
        not_judged=row.not_judged,
    )


def _fastest_fp32(artifacts: Sequence[ArtifactRecord], blocks: Blocks) -> str | None:
    full = [artifact.id for artifact in artifacts if artifact.precision == "fp32"]
    return min(full, key=lambda name: float(np.median(np.concatenate(blocks[name]))), default=None)


def _own_gates(artifact: ArtifactRecord, asked: Export) -> list[GateResult]:
    """The gates that only an export has: the drop on the evaluation images, and the speed."""
    gates = [*_drop_gates(artifact, asked), *preprocessing_gates(artifact)]
    if artifact.precision in ("fp32", "int8"):  # the others are for accelerators and for size
        gates.append(_speed_gate(artifact))
    return gates


def _judge(artifact: ArtifactRecord, gates: Sequence[GateResult], asked: Export) -> ArtifactRecord:
    mine = [gate for gate in gates if gate.artifact in (artifact.id, None)]
    return replace(
        artifact,
        passed=all(gate.passed for gate in mine),
        reasons=tuple(gate.reason for gate in mine if not gate.passed),
        budgets=_budgets(artifact, asked),
    )


def _budgets(artifact: ArtifactRecord, asked: Export) -> tuple[BudgetRecord, ...]:
    """Latency and size, where a budget was asked for."""
    p95 = None if artifact.latency_ms is None else artifact.latency_ms.p95
    found = []
    if (most := asked.max_p95_ms) is not None:
        found.append(BudgetRecord("p95", p95, most, "ms", p95 is not None and p95 <= most))
    if (most := asked.max_size_mb) is not None:
        size = artifact.size_mb
        found.append(BudgetRecord("size", size, most, "MB", size <= most))
    return tuple(found)


def _drop_gates(artifact: ArtifactRecord, asked: Export) -> list[GateResult]:
    """The drop on this CPU; of an artifact made for lesser ones, the drop under their instruction sets as well, unless
    it is refused there."""
    gates = [_drop_gate(artifact.id, artifact, asked.max_drop, "")]
    judged = {"any": _SHOWN, "avx2": {"AVX2": _SHOWN["AVX2"]}}.get(asked.target_cpu, {})
    for row in artifact.proven_on or () if not artifact.requires else ():
        if row.cap not in judged:
            continue
        where = f" with no more than {judged[row.cap]}"
        # Not proven there, and nothing against it.
        if row.fault is not None and (asked.target_cpu == "any" or artifact.takes_pixels):
            said = f"not judged: accuracy drop{where}: {row.fault}"
            gates.append(GateResult("loss", artifact.id, None, asked.max_drop, "pp", True, said, False))
        else:
            gates.append(_drop_gate(artifact.id, row, asked.max_drop, where))
    return gates


def _drop_gate(name: str, measured: ArtifactRecord | ProvenOn, max_drop: float, where: str) -> GateResult:
    drop, interval = measured.drop_pp, measured.drop_ci_pp
    if drop is None or interval is None:
        fault = measured.fault if isinstance(measured, ProvenOn) else None
        reason = f"accuracy drop{where} not measured: {fault or 'no figure'}"
        return GateResult("loss", name, None, max_drop, "pp", False, reason)
    low, high = interval
    reason = (
        f"accuracy drop{where} {drop:+.2f} percentage points [{low:.2f}, {high:.2f}], "
        f"budget {max_drop:g} percentage points"
    )
    if drop < 0:
        reason = f"{recommendation.change(drop, interval)}{where}, budget {max_drop:g} percentage points"
    if low <= 0 <= max_drop < drop:
        reason += "; so few images cannot tell it from no loss: give more"
    return GateResult("loss", name, drop, max_drop, "pp", drop <= max_drop, reason)


def _speed_gate(artifact: ArtifactRecord) -> GateResult:
    """Fails only when the interval shows the artifact slower than PyTorch; not on a machine that others keep busy."""
    speedup, interval = artifact.speedup, artifact.speedup_ci
    if speedup is None or interval is None:
        why = f"not judged: {artifact.not_judged or 'not timed'}"
        return GateResult("speed", artifact.id, None, 1.0, "x", True, why, False)
    passed = interval[1] >= 1.0
    reason = f"{speedup:.2f} [{interval[0]:.2f}, {interval[1]:.2f}] times PyTorch's speed"
    reason += "" if passed else ": slower than PyTorch here"
    return GateResult("speed", artifact.id, speedup, 1.0, "x", passed, reason)
