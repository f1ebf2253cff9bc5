"""What `finetune` and `import` return: a finished run and its record, and the JSON object that they print."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge_tl.host.runs.record import RunRecord

_KEYS = (
    "model",
    "strategy",
    "strategy_reason",
    "labels",
    "metrics",
    "val_accuracy",
    "head",
    "history",
    "best_epoch",
    "seconds",
    "kept",
)


@dataclass(frozen=True)
class RunResult:
    """A finished run: its folder and its record."""

    run: Path
    record: RunRecord

    def to_json(self) -> dict[str, Any]:
        """The object that `finetune --json` and `import --json` print."""
        record = self.record.to_json()
        data = record["data"]
        return {
            "run": str(self.run),
            **{key: record[key] for key in _KEYS},
            "classes": len(self.record.labels),
            **{key: data[key] for key in ("n", "skipped", "not_images", "duplicates")},
            "features_computed": self.record.provenance.features_computed,
            **({"folds": record["folds"]} if self.record.folds else {}),
            **({"resize_comparison": record["resize_comparison"]} if self.record.resize_comparison else {}),
        }
