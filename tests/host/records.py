"""The record of a small run, for tests of what reads one."""

from __future__ import annotations

import numpy as np

from edge_tl.device.preprocess import Preprocess
from edge_tl.device.records.machine import MachineRecord
from edge_tl.host.images.data_record import DataRecord, SampleRows, SplitSizes
from edge_tl.host.runs.record import HeadRecord, RunProvenance, RunRecord, SecondsRecord
from edge_tl.host.training.metrics import classification_metrics

MACHINE = MachineRecord(os="Linux", arch="x86_64", cpu=None, cores_allowed=1, isa=())
RECORD = RunRecord(
    name="x",
    model="mobilenet_v3_small",
    weights="none",
    pooled=True,
    hidden=(),
    dropout=0.0,
    strategy="head",
    strategy_reason="asked for",
    labels=("a", "b", "é"),
    preprocess=Preprocess(),
    data=DataRecord(path="photos", n=SplitSizes(0, 0, 0), skipped=(), duplicates=(), samples=SampleRows([])),
    metrics=classification_metrics(
        np.array([0, 1, 2]), np.eye(3, dtype=np.float32), "abé", split="val", chosen_on_same_images=True
    ),
    val_accuracy=1.0,
    head=HeadRecord(),
    history=(),
    best_epoch=None,
    micro_batch=None,
    seconds=SecondsRecord(0.0, 0.0, 0.0),
    provenance=RunProvenance({}, 0, {}, MACHINE, None, 0, 1),
    files=(),
)
