"""The Markdown of a record: every number is the record's, user text is text, null is a dash."""

from __future__ import annotations

import copy
import re
from dataclasses import replace
from typing import Any

import pytest
from host.reports.samples import (
    artifact_rows,
    bundle,
    bundle_markdown,
    run,
    run_markdown,
    sample,
    unmeasured,
    with_changed_image,
)

from edge_tl.device.errors import BundleError
from edge_tl.device.format import number
from edge_tl.device.records.gate import GATES
from edge_tl.host.reports import bundle_tables
from edge_tl.host.reports import markdown as texts
from edge_tl.host.reports.confusion import most_confused

FOLDS = {"k": 2, "mean": 0.88, "std": 0.01, "interval": [0.8, 0.96], "accuracies": [0.87, 0.89]}
WEIRD = '<b>ünïcode & "quotes"</b>'


@pytest.fixture
def record() -> dict[str, Any]:
    return sample("bundle")


@pytest.fixture
def run_record() -> dict[str, Any]:
    return sample("run")


def markdown_tables(text: str) -> list[list[list[str]]]:
    blocks = re.findall(r"(?:^\|.*\|\n?)+", text, flags=re.M)
    return [[re.split(r"(?<!\\)\|", line)[1:-1] for line in block.splitlines()] for block in blocks]


def test_pytorch_comes_first_and_every_artifact_follows(record: dict[str, Any]) -> None:
    names = [row["name"] for row in artifact_rows(record)]
    assert names == ["PyTorch", "onnx-fp32", "onnx-int8", "openvino-fp32", "openvino-int8"]
    assert all(
        set(row) == {column.key for column in bundle_tables.ARTIFACTS} for row in artifact_rows(record)
    )


def test_numbers_are_the_records(record: dict[str, Any]) -> None:
    for row, item in zip(artifact_rows(record), [record["reference"], *record["artifacts"]], strict=True):
        assert float(row["accuracy"]) == pytest.approx(100 * item["accuracy"], abs=0.005)
        for key in ("p50", "p90", "p99"):
            value = (item["latency_ms"] or {}).get(key)
            assert row[key] == ("—" if value is None else f"{value:.2f}")
        if "id" in item:
            low, high = item["drop_ci_pp"]
            assert row["drop"] == f"{item['drop_pp']:.2f} [{low:.2f}, {high:.2f}]"
            assert float(row["agreement"]) == pytest.approx(100 * item["agreement"], abs=0.005)
            assert float(row["size"]) == pytest.approx(
                sum(f["bytes"] for f in item["files"]) / 1e6, abs=0.005
            )
    assert artifact_rows(record)[2]["speedup"] == "8.16 [7.95, 8.31]"


def test_a_speed_that_is_not_judged_is_no_figure(record: dict[str, Any]) -> None:
    """As the sentence has it: on a busy machine none, with a wide interval not that one; the record keeps them."""
    record["artifacts"][1] |= {"speedup": 383.51, "speedup_ci": [165.71, 887.58]}
    rows = artifact_rows(record)
    assert [row["speedup"] for row in rows[1:3]] == ["3.76 [3.69, 3.84]", "not judged"]
    assert "383.51" not in bundle_markdown(record)
    during = {"cores": 2, "others": 1.3, "stolen": 0.0}
    record["conditions"] = {"before": {}, "after": {}, "during": during}
    assert [row["speedup"] for row in artifact_rows(record)] == [
        "—",
        "not judged",
        "not judged",
        "—",
        "not judged",
    ]
    del record["conditions"]
    del record["artifacts"][1]["speedup_ci"]
    assert artifact_rows(record)[2]["speedup"] == "383.51"
    record["artifacts"][1]["speedup_ci"] = [None, 2.0]
    with pytest.raises(BundleError, match="speedup_ci"):
        bundle(record)


def test_results_name_the_failed_gate_and_the_recommendation(record: dict[str, Any]) -> None:
    assert [row["result"] for row in artifact_rows(record)] == [
        "reference", "pass", "pass, recommended", "pass", "FAIL: loss",
    ]  # fmt: skip
    del record["artifacts"][0]["passed"]
    assert artifact_rows(record)[1]["result"] == "not checked"


def test_unmeasured_is_a_dash_and_never_minus_zero(record: dict[str, Any]) -> None:
    unbenched = artifact_rows(record)[3]
    assert [unbenched[key] for key in ("p50", "p90", "p99", "speedup")] == ["—"] * 4
    assert [number(value) for value in (None, float("nan"), float("inf"), True, "3")] == ["—"] * 5
    assert number(-0.001) == "0.00"
    assert number(12345, 0) == "12,345"


def test_markdown_tables_have_equal_columns_aligned_right(record: dict[str, Any]) -> None:
    record["artifacts"][1]["changed"][0]["label"] = "a|b\nc"
    found = markdown_tables(bundle_markdown(record))
    assert len(found) == 4  # artifacts, two lists of changed answers, what ran
    for rows in found:
        assert len({len(row) for row in rows}) == 1
    rule = found[0][1]
    assert [cell.strip().endswith(":") for cell in rule] == [
        column.numeric for column in bundle_tables.ARTIFACTS
    ]
    assert "a\\|b c" in bundle_markdown(record)


def test_markdown_says_what_to_ship_first_and_what_failed(record: dict[str, Any]) -> None:
    text = bundle_markdown(record)
    assert text.splitlines()[2] == f"**{record['recommendation']}**"
    assert f"- **loss**, openvino-int8: measured 4.348 pp, limit 1 pp. Means: {GATES['loss']}" in text
    assert "train 2,934, calibration 300, evaluation 736" in text
    assert "cpu: Example CPU @ 2.00GHz" in text
    record["gates"][0]["passed"] = False
    assert GATES["pixels"] in bundle_markdown(record)


def test_a_failed_gate_of_a_newer_version_is_reported_with_its_reason(record: dict[str, Any]) -> None:
    record["gates"][0] |= {"gate": "power", "passed": False, "reason": "it draws too much"}
    text = bundle_markdown(record)
    assert "- **power**, all: " in text
    assert "a gate that this edge-tl does not know" in text


def test_changed_answers_are_listed_up_to_twenty(record: dict[str, Any]) -> None:
    text = bundle_markdown(record)
    changed = record["artifacts"][3]["changed"]
    assert len(changed) > 20
    assert changed[19]["image"] in text
    assert changed[20]["image"] not in text
    assert f"And {len(changed) - 20} more in report.json." in text
    lost = sum(item["pytorch"] == item["label"] for item in changed)
    assert f"openvino-int8, {len(changed)} ({lost} lost" in text


def test_labels_are_not_markup(record: dict[str, Any]) -> None:
    record["artifacts"][1]["changed"][0].update(
        label="[x](http://y)", pytorch="_i_ *b* `c`", device="a_b &lt;"
    )
    text = bundle_markdown(record)
    assert WEIRD not in text
    assert '&lt;b>ünïcode & "quotes"&lt;/b>' in text
    assert "[x\\](http://y)" in text
    assert r"\_i\_ \*b\* \`c\`" in text
    assert "a_b &amp;lt;" in text


def test_run_markdown_has_every_class_and_what_was_put_aside(run_record: dict[str, Any]) -> None:
    text = run_markdown(run_record)
    metrics = run_record["metrics"]
    assert f"{100 * metrics['accuracy']:.2f} % of the 736 images of val" in text
    classes = markdown_tables(text)[0][2:]
    assert len(classes) == len(run_record["labels"])
    for cells, item in zip(classes, metrics["per_class"], strict=True):
        assert [float(cell) for cell in cells[1:4]] == [
            pytest.approx(100 * item[key], abs=0.005) for key in ("precision", "recall", "f1")
        ]
    for piece in ("tulips/broken.jpg", "roses & co/1.jpg = tulips/2.jpg", "train 2,931", "features: 36.7"):
        assert piece in text
    assert all(len({len(row) for row in rows}) == 1 for rows in markdown_tables(text))


def test_run_markdown_has_what_a_training_leaves(run_record: dict[str, Any]) -> None:
    run_record["history"] = [
        {"stage": "full", "epoch": e, "train_loss": 2 / e, "val_loss": 1 / e, "val_accuracy": e / 100}
        | {"best": e <= 37, "seconds": 60.0, "image_size": 64, "images_per_s": 10.0, "lr": 0.00123}
        | {"epochs": 50}
        for e in range(1, 51)
    ]
    run_record["metrics"] |= {"top5": 0.991, "ece": 0.0213, "log_loss": 0.37812}
    run_record |= {"strategy_reason": "few | images", "folds": FOLDS}
    text = run_markdown(run_record)
    for piece in (
        "Head: linear, C = 0.003.",
        "Strategy head: few \\| images",
        "2-fold cross-validation: accuracy 88.00 %, standard deviation 1.00 percentage points, ",
        "- top-5 accuracy: 99.10 %",
        "- calibration error (ECE): 2.13 %",
        "- log loss: 0.3781",
        "Guo et al., 2017",
        "18 of 50 epochs; run.json has all.",
    ):
        assert piece in text
    epochs = next(rows for rows in markdown_tables(text) if rows[0][0].strip() == "epoch")
    assert [cell.strip() for cell in epochs[0]][1] == "loss"  # one stage, one image size: no columns for them
    assert len(epochs) == 2 + 18
    marked = [[cell.strip() for cell in row] for row in epochs[2:] if row[-1].strip()]
    assert marked == [["37", "0.0541", "0.0270", "37.00", "1.23e-03", "10", "0:01:00", "best"]]
    assert [int(epochs[2][0]), int(epochs[-1][0])] == [1, 50]


def test_run_markdown_of_a_head_alone_says_nothing_of_a_training(run_record: dict[str, Any]) -> None:
    text = run_markdown(run_record)
    assert "- accuracy: 87.09 %" in text
    for word in ("## Epochs", "cross-validation", "Strategy"):
        assert word not in text


def test_confused_pairs_are_sorted_and_off_the_diagonal() -> None:
    pairs = most_confused([[9, 1], [3, 7]], ["a", "b"], 5).rows
    assert [(p["label"], p["predicted"], p["count"], p["share"]) for p in pairs] == [
        ("b", "a", "3", "30.0"),
        ("a", "b", "1", "10.0"),
    ]


def test_a_record_before_any_measurement_still_prints() -> None:
    bare = unmeasured({"id": "onnx-fp32", "latency_ms": None, "speedup": None})
    rows = artifact_rows(bare)
    assert set(rows[1].values()) == {
        "onnx-fp32",
        "—",
        "not checked",
        "0.00",
    }  # the size of its files is known
    assert not re.search(r"\b(None|nan)\b", bundle_markdown(bare))


def test_a_file_name_that_is_not_utf8_can_be_written(record: dict[str, Any]) -> None:
    text = texts.bundle_markdown(with_changed_image(record, "daisy/\udcff.jpg"))
    assert b"daisy/" in text.encode("utf-8")


def test_rendering_leaves_the_record_alone(record: dict[str, Any]) -> None:
    before = copy.deepcopy(record)
    bundle_markdown(record)
    assert record == before


def test_a_figure_has_its_interval_and_its_caveat(run_record: dict[str, Any]) -> None:
    run_record["metrics"] |= {
        "accuracy": 0.9608,
        "accuracy_ci": [0.917, 0.982],
        "chosen_on_same_images": True,
        "n": 153,
    }
    run_record["kept"] = {
        "epoch": 0, "trained": 4, "planned": 4, "val_accuracy": 0.96, "start_val_accuracy": 0.96, "n_val": 153,
        "reason": "kept the solved head: none of 4 epochs was better",
    }  # fmt: skip
    text = run_markdown(run_record)
    assert "96.08 % of the 153 images" in text
    assert "95 % interval [91.70, 98.20] %" in text
    assert "These images also chose what was kept" in text
    assert "Kept the solved head: none of 4 epochs was better." in text
    run_record["metrics"]["chosen_on_same_images"] = False
    assert "also chose" not in run_markdown(run_record)


def test_no_label_and_no_file_name_steers_a_terminal(
    record: dict[str, Any], run_record: dict[str, Any]
) -> None:
    evil = "x\x1b]0;owned\x07\u202ey"
    record["artifacts"][0]["changed"] = [{"image": evil, "label": evil, "pytorch": evil, "device": "b"}]
    run_record["data"]["skipped"] = [{"path": evil, "reason": evil}]
    labels = (evil,) * len(record["labels"])
    unchecked = replace(bundle(record), name=evil, labels=labels)
    unchecked_run = replace(run(run_record), name=evil, labels=labels)
    for text in (texts.bundle_markdown(unchecked), texts.run_markdown(unchecked_run)):
        assert not set(text) & set("\x1b\x07\u202e")
        assert "x1b" in text
