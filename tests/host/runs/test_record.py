"""The record of a run: read as it was written, refused by the name of the key, and what `finetune --json` prints."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from host.records import RECORD

from edge_tl.device.errors import BadInput
from edge_tl.host.images.data_record import SampleRows
from edge_tl.host.runs.record import EpochRecord, FoldsRecord, KeptEpoch, RunRecord, TriedHead, WeightsFile
from edge_tl.host.runs.result import RunResult

WHOLE = replace(
    RECORD,
    head=replace(RECORD.head, C=0.1, grid=(TriedHead(0.9, 0.3, C=0.1, iterations=7),)),
    history=(EpochRecord("all blocks", 1, 1, 0.5, 0.4, 0.9, 0.01, 64, 80.0, 2.0, True),),
    best_epoch=1,
    kept=KeptEpoch(1, 1, 1, 0.9, 0.8, 30, "kept epoch 1 of 1"),
    batch_norm="frozen",
    micro_batch=8,
    folds=FoldsRecord(2, 0.9, 0.01, (0.8, 1.0), (0.89, 0.91)),
    files=(WeightsFile("model.safetensors", "0" * 64),),
)


def test_what_was_written_is_read_back() -> None:
    assert RunRecord.from_json(json.loads(json.dumps(WHOLE.to_json(), allow_nan=False))) == WHOLE


@pytest.mark.parametrize(
    ("path", "value", "named"),
    [
        (("metrics", "accuracy"), 1.5, "metrics.accuracy"),
        (("metrics", "per_class", 0, "n"), -1, "metrics.per_class[0].n"),
        (("metrics", "confusion"), 5, "metrics.confusion"),
        (("head", "grid", 0, "accuracy"), "x", "head.grid[0].accuracy"),
        (("history", 0, "stage"), None, "history[0].stage"),
        (("kept", "epoch"), 0.5, "kept.epoch"),
        (("folds", "interval"), [0.1], "folds.interval"),
        (("seconds", "total"), "x", "seconds.total"),
        (("provenance", "features_computed"), -1, "provenance.features_computed"),
        (("data", "n", "val"), None, "data.n.val"),
        (("files", 0, "sha256"), "0", "files[0].sha256"),
        (("labels",), ["a", "a", "é"], "labels"),
        (("later",), 1, "later"),
    ],
    ids=str,
)
def test_what_no_run_holds_is_refused_by_the_name_of_its_key(path: tuple[Any, ...], value: Any, named: str):
    record = json.loads(json.dumps(WHOLE.to_json()))
    place = record
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    with pytest.raises(BadInput) as caught:
        RunRecord.from_json(record, "runs/x/run.json")
    assert str(caught.value).startswith(f"runs/x/run.json: {named}: ")
    assert "\n" not in str(caught.value)


def test_reading_a_run_looks_at_no_image_of_it() -> None:
    """It may list millions; whoever asks for the dataset is told of a bad row."""
    record = RunRecord.from_json(
        WHOLE.to_json() | {"data": WHOLE.data.to_json() | {"samples": [["no", "row"]]}}
    )
    assert record.data.samples == SampleRows([["no", "row"]])
    with pytest.raises(BadInput, match=r"data\.samples\[0\] is not"):
        record.dataset()


def test_the_keys_that_finetune_prints_are_those_that_programs_rely_on() -> None:
    printed = RunResult(Path("runs/x"), WHOLE).to_json()
    assert set(printed) == {
        "run", "model", "strategy", "strategy_reason", "labels", "metrics", "val_accuracy", "head", "history",
        "best_epoch", "seconds", "kept", "classes", "n", "skipped", "not_images", "duplicates",
        "features_computed", "folds",
    }  # fmt: skip
    assert (printed["run"], printed["classes"], printed["n"]) == (
        str(Path("runs/x")),
        3,
        {"train": 0, "val": 0, "test": 0},
    )
    assert "folds" not in RunResult(Path("x"), RECORD).to_json()
