"""Candidates that drop as a test says, without a model."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from edge_tl.host.int8 import qdq
from edge_tl.host.int8.candidates import Candidate
from edge_tl.host.int8.records import CandidateRecord, LayerSensitivity
from edge_tl.host.int8.settings import CandidateSettings

FIRST = CandidateSettings("onnx", "qdq", "99.9", 300, qdq.SIGNED, matrix_only=False)


def built(drop: float, divergence: float, latency: float = 1.0, **changes: Any) -> Candidate:
    """A candidate that drops by so many percentage points."""
    record = CandidateRecord(
        accuracy=0.5, accuracy_ci=(0.4, 0.6), drop_pp=drop, drop_ci_pp=(drop - 1, drop + 1), expected_drop_pp=drop,
        agreement=0.9, divergence=divergence, latency_ms=latency, size_mb=1.0, float_macs=0.0, seconds=1.0,
        settings=FIRST.record(0.0),
    )  # fmt: skip
    return Candidate(FIRST, Path("a.onnx"), Path("a.qdq.onnx"), replace(record, **changes))


class Scripted:
    """A source whose candidates drop as scripted; what is scripted as an exception is raised."""

    def __init__(self, *outcomes: float | Exception) -> None:
        self.outcomes = list(outcomes)
        self.asked: list[CandidateSettings] = []
        self.sensitivity: list[LayerSensitivity] = []
        self.selection = self.calibration = np.zeros((1000, 1))
        self.symmetric = False
        self.more: Any = None
        self.interval = 0.1
        """Half of the expected drop's."""

    def make(self, settings: CandidateSettings, **more: Any) -> Candidate:
        self.asked.append(settings)
        outcome = self.outcomes.pop(0) if self.outcomes else 9.0
        if isinstance(outcome, Exception):
            raise outcome
        interval = (outcome - self.interval, outcome + self.interval)
        return built(outcome, outcome / 10, expected_drop_ci_pp=interval)

    def use_all(self) -> None:
        self.selection, self.more = np.zeros((2000, 1)), None
