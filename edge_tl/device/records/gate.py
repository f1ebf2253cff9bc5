"""One judgement of a bundle: what was measured, against which limit, and why it passed or not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Gate:
    """`measured` and `limit` are in `unit`; `artifact` is None for the pixels gate, `measured` where there was nothing
    to measure. What could not be decided here is not `judged`, and does not fail."""

    gate: str
    artifact: str | None
    measured: float | None
    limit: float
    unit: str
    passed: bool
    reason: str
    judged: bool = True


def failed_at_export(record: dict[str, Any], artifact: dict[str, Any]) -> str | None:
    """That `artifact` of a bundle's `record` failed when it was exported, and at which gates; None where it did not."""
    if artifact.get("passed") is not False:
        return None
    listed = record.get("gates")
    gates = [gate for gate in listed if isinstance(gate, dict)] if isinstance(listed, list) else []
    mine = [g for g in gates if g.get("artifact") in (artifact["id"], None) and g.get("passed") is False]
    names = [name for name in ("pixels", "device", "loss", "speed") if name in [g.get("gate") for g in mine]]
    at = f" ({', '.join(names)})" if names else ""
    return f"{artifact['id']} failed its gates at export{at}: passing here does not make up for it."
