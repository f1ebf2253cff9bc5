"""The model card: front matter that Hugging Face's own code reads, figures that are the record's, nothing invented."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edge_tl.device.bundle import read_bundle, read_report
from edge_tl.device.metrics import wilson_interval
from edge_tl.device.model_card import CARD, card_text
from edge_tl.device.records.bundle import BundleRecord
from edge_tl.device.slim import slim

TINY = Path(__file__).parents[1] / "records" / "bundle-of-version-2"


@pytest.fixture
def record() -> BundleRecord:
    """Of a bundle that an earlier version wrote, with figures."""
    found = read_report(TINY)
    first, *others = found.artifacts
    measured = replace(
        first, accuracy=0.75, drop_pp=1.25, drop_ci_pp=(-0.5, 3.0), agreement=0.98, passed=True
    )
    return replace(
        found,
        artifacts=(measured, *(replace(each, accuracy=None, drop_pp=None) for each in others)),
        reference=replace(found.reference, accuracy=0.7625, n=80, split="test"),
    )


def card_of(text: str) -> Any:
    hub = pytest.importorskip("huggingface_hub")
    return hub.ModelCard(text)


def test_the_front_matter_is_what_hugging_face_reads(record: BundleRecord) -> None:
    data = card_of(card_text(record)).data
    assert (data.library_name, data.pipeline_tag, data.license) == (
        "edge-tl",
        "image-classification",
        "unknown",
    )
    assert {"image-classification", "onnx", "fp32"} <= set(data.tags)
    assert data.metrics == ["accuracy"]
    assert not data.get("datasets")
    first = record.artifacts[0]
    accuracy = next(found for found in data.eval_results if found.metric_type == "accuracy")
    assert accuracy.metric_value == first.accuracy
    assert accuracy.metric_args["interval_95"] == pytest.approx(wilson_interval(60, 80), abs=1e-5)
    assert f"{first.id}, 95 % interval 0.6" in accuracy.metric_name
    drop = next(found for found in data.eval_results if found.metric_type == "accuracy_drop_pp")
    assert (drop.metric_value, drop.metric_args["interval_95"]) == (1.25, [-0.5, 3.0])
    # Of what was not measured there is no metric.
    assert len(data.eval_results) == 2


def test_without_an_evaluation_there_is_no_result(record: BundleRecord) -> None:
    bare = replace(
        record,
        reference=replace(record.reference, accuracy=None, n=None),
        artifacts=tuple(
            replace(each, accuracy=None, drop_pp=None, drop_ci_pp=None) for each in record.artifacts
        ),
    )
    text = card_text(bare)
    assert card_of(text).data.eval_results is None
    assert "model-index" not in text
    assert "Accuracy: the record holds none." in text


def test_the_interval_is_wilsons(record: BundleRecord) -> None:
    stats = pytest.importorskip("scipy.stats")
    n = record.reference.n or 0
    for right in (0, 1, n // 3, n - 1, n):
        text = card_text(replace(record, reference=replace(record.reference, accuracy=right / n)))
        (row,) = [line for line in text.splitlines() if line.startswith("| PyTorch |")]
        low, high = map(float, re.findall(r"[\d.]+", row.partition("[")[2])[:2])
        want = stats.binomtest(right, n).proportion_ci(method="wilson")
        assert (low, high) == pytest.approx((100 * want.low, 100 * want.high), abs=0.0051)


def test_what_is_not_measured_is_said(record: BundleRecord) -> None:
    text = card_text(record)
    unknown = text.partition("## What was not measured")[2].partition("## How to use it")[0]
    for word in ("Other machines", "other images", "fair", "license"):
        assert word in unknown
    assert "| PyTorch | 76.25 [" in text
    assert "1.25 [-0.50, 3.00]" in text


def test_names_of_others_do_nothing_in_it(record: BundleRecord) -> None:
    yaml = pytest.importorskip("yaml")
    evil = "a|b <script>x</script> [c](http://d) **e** `f` 😀 ---"
    text = card_text(replace(record, name=evil, labels=(evil, "plain")))
    assert "<script>" not in text.partition("\n---\n")[2]
    assert not re.search(r"(?<!\\)\]\(http", text.partition("\n---\n")[2])
    front = yaml.safe_load(text.split("\n---\n")[0].removeprefix("---"))
    assert front["model-index"][0]["name"] == evil


def test_a_slimmed_bundle_has_its_own_which_may_be_edited(tmp_path: Path) -> None:
    keep = read_bundle(TINY).record.artifacts[0].id
    slim(read_bundle(TINY), [keep], tmp_path / "small")
    card = tmp_path / "small" / CARD
    assert card.read_text("utf-8").startswith("---\nlicense: unknown\n")
    assert f"`{keep}`" in card.read_text("utf-8")
    card.write_text(card.read_text("utf-8").replace("license: unknown", "license: cc-by-4.0"), "utf-8")
    assert read_bundle(tmp_path / "small").record.name == "small"
