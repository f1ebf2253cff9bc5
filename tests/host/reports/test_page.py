"""The HTML page of a record: one file, nothing outside it, user text escaped, numbers as in the record."""

from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import fields, is_dataclass, replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("jinja2")
pytest.importorskip("matplotlib")

from host.reports.samples import artifact_rows, bundle, run_markdown, sample, unmeasured, with_changed_image
from host.reports.samples import run as as_run
from host.reports.test_ecdf_plot import bench, timing

from edge_tl.device.records.bench import MemoryRecord
from edge_tl.device.records.bundle import BundleRecord
from edge_tl.host.reports.page import write_bundle_page, write_run_page
from edge_tl.host.runs.record import RunRecord

WEIRD = '<b>ünïcode & "quotes"</b>'
VOID = {"meta", "link", "br", "img", "hr", "input"}


class Page(HTMLParser):
    """Collects tags, references, texts and tables; fails on tags that do not nest."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.references: list[str] = []
        self.ids: list[str] = []
        self.texts: list[str] = []
        self.tables: list[list[list[str]]] = []
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        for key, value in attrs:
            if key in ("src", "href", "xlink:href", "srcset", "data", "action", "poster"):
                self.references.append(value or "")
            if key == "id":
                self.ids.append(value or "")
        if tag not in VOID:
            self._open.append(tag)
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self.tables[-1][-1].append("")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1] not in ("style", "script"):
            self.texts.append(data)
            if "td" in self._open or "th" in self._open:
                self.tables[-1][-1][-1] = (self.tables[-1][-1][-1] + data).strip("\n")

    def table(self, first: str) -> list[list[str]]:
        """The first one whose first heading is `first`."""
        return next(rows for rows in self.tables if rows[0][0] == first)


@pytest.fixture
def record() -> dict[str, Any]:
    return sample("bundle")


@pytest.fixture
def run_record() -> dict[str, Any]:
    return sample("run")


@pytest.fixture
def trained(run_record: dict[str, Any]) -> dict[str, Any]:
    """A record with everything that is optional: epochs of two stages, all figures, folds, a reason."""
    history = [
        {"stage": "last <blocks>" if e < 4 else "full", "epoch": e, "epochs": 6, "image_size": 64, "lr": 0.01}
        | {"train_loss": 2 / e, "val_loss": 1.5 / e, "val_accuracy": accuracy, "best": best}
        | {"images_per_s": 88.2, "seconds": 3723.0}
        for e, accuracy, best in zip(
            range(1, 7),
            [0.5, 0.7, 0.6, 0.9125, 0.9, 0.91],
            [True, True, False, True, False, False],
            strict=True,
        )
    ]
    run_record["metrics"] |= {"top5": None, "macro_precision": 0.8695, "macro_recall": 0.8721, "ece": 0.0213}
    run_record["metrics"] |= {"log_loss": 0.37812}
    folds = {"k": 2, "mean": 0.88, "std": 0.0141, "interval": [0.7529, 1.0], "accuracies": [0.87, 0.89]}
    reason = "few images of <i>known</i> things."
    return run_record | {"history": history, "folds": folds, "strategy_reason": reason, "strategy": "gradual"}


def render(record: dict[str, Any], folder: Path, *, run: bool = False) -> tuple[str, Page]:
    path = folder / "page.html"
    if run:
        write_run_page(as_run(record), path)
    else:
        write_bundle_page(bundle(record), path)
    text = path.read_text("utf-8")
    return text, Page(text)


@pytest.mark.parametrize("run", [False, True])
def test_nothing_outside_the_file(
    record: dict[str, Any], run_record: dict[str, Any], tmp_path: Path, run: bool
) -> None:
    text, page = render(run_record if run else record, tmp_path, run=run)
    assert page.references
    assert all(reference.startswith(("#", "data:")) for reference in page.references)
    assert not {"img", "iframe", "object", "embed"} & set(page.tags)
    script = text.partition("<script>")[2].partition("</script>")[0]
    hashed = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{hashed}'" in text  # and no other: a label that is one does nothing
    assert page.tags.count("script") == 1
    assert not re.search(r"https?://|@import|url\((?!#)", text)
    assert text.startswith("<!doctype html>")
    assert "<?xml" not in text
    assert len(page.ids) == len(set(page.ids))
    assert all(r[1:] in page.ids for r in page.references if r.startswith("#"))


def test_every_artifact_with_the_records_numbers(record: dict[str, Any], tmp_path: Path) -> None:
    _, page = render(record, tmp_path)
    shown = [[cell.lstrip("✓✗ ") for cell in row] for row in page.table("artifact")[1:]]
    assert shown == [list(row[c] for c in (
        "name", "accuracy", "drop", "agreement", "p50", "p90", "p99", "speedup", "size", "result",
    )) for row in artifact_rows(record)]  # fmt: skip
    for row, artifact in zip(shown[1:], record["artifacts"], strict=True):
        assert row[0] == artifact["id"]
        assert float(row[1]) == pytest.approx(100 * artifact["accuracy"], abs=0.005)
    assert shown[3][4:8] == ["—"] * 4


def test_user_text_is_text(record: dict[str, Any], run_record: dict[str, Any], tmp_path: Path) -> None:
    record["name"] = "</title><script>alert(1)</script>"
    run_record["model"] = "<script>alert(1)</script>"
    record["recommendation"] = '<img src="http://example.com">'
    record["artifacts"][0]["id"] = "$x_i$ <i>odd</i>"
    for run, item in ((False, record), (True, run_record)):
        text, page = render(item, tmp_path, run=run)
        assert WEIRD not in text
        assert any(WEIRD in row for rows in page.tables for row in rows)
        assert not {"b", "img"} & set(page.tags)
        assert page.tags.count("script") == 1
        assert "<i>odd" not in text


def test_a_section_without_anything_to_show_is_absent(tmp_path: Path) -> None:
    _, page = render(unmeasured({"id": "onnx-fp32"}), tmp_path)
    assert page.texts.count("Artifacts beside PyTorch") == 1
    assert not {
        "Latency",
        "Accuracy drop",
        "Confidence",
        "Proven on",
        "The ladder to INT8",
        "This machine",
    } & set(page.texts)


def test_a_column_of_dashes_is_left_out_and_a_figure_keeps_it(record: dict[str, Any], tmp_path: Path) -> None:
    for artifact in record["artifacts"]:
        artifact |= {"speedup": None, "not_judged": None, "latency_ms": None}
    record["reference"] |= {"latency_ms": None}
    headings = render(record, tmp_path)[1].table("artifact")[0]
    assert "accuracy %" in headings
    assert not [heading for heading in headings if "ms" in heading or "speed" in heading]
    record["artifacts"][2]["latency_ms"] = {"p50": 1.5, "n": 30}
    assert "p50 ms" in render(record, tmp_path)[1].table("artifact")[0]


def test_the_card_has_both_sides_and_only_what_was_measured(record: dict[str, Any], tmp_path: Path) -> None:
    _, page = render(record, tmp_path)
    card = page.tables[0]
    shipped = next(a for a in record["artifacts"] if a["id"] == record["recommended"])
    assert card[0] == ["", "PyTorch", shipped["id"]]
    rows = {row[0]: row[1:] for row in card[1:]}
    assert rows["accuracy"] == [f"{100 * x['accuracy']:.2f} %" for x in (record["reference"], shipped)]
    assert rows["accuracy drop"][1].startswith(f"{shipped['drop_pp']:.2f} [{shipped['drop_ci_pp'][0]:.2f}, ")
    assert rows["one image, p50"] == [
        f"{x['latency_ms']['p50']:.2f} ms" for x in (record["reference"], shipped)
    ]
    assert rows["size"][1] == f"{sum(file['bytes'] for file in shipped['files']) / 1e6:.2f} MB"
    assert "memory, at most" not in rows  # no bench took it
    measured = replace(
        timing(shipped["id"], 100, 0), memory_mb=MemoryRecord(start=10.0, loaded=50.0, peak=61.4)
    )
    record["bench"] = bench(measured).to_json()
    rows = {row[0]: row[1:] for row in render(record, tmp_path)[1].tables[0][1:]}
    assert rows["memory, at most"] == ["—", "61 MiB"]
    record["recommended"] = None
    assert "In short" not in render(record, tmp_path)[1].texts


def test_gates_and_changed_answers_are_words_not_only_colours(record: dict[str, Any], tmp_path: Path) -> None:
    _, page = render(record, tmp_path)
    gates = next(rows for rows in page.tables if rows[0][0] == "gate")
    assert [row[2] for row in gates[1:]].count("✗ FAIL") == 1
    assert len(gates) == 1 + len(record["gates"])
    lists = [rows for rows in page.tables if rows[0][0] == "image"]
    expected = [len(a["changed"]) for a in record["artifacts"] if a["changed"]]
    assert [len(rows) - 1 for rows in lists] == expected


def test_drawings_carry_labels_and_theme_colours(record: dict[str, Any], tmp_path: Path) -> None:
    text, page = render(record, tmp_path)
    svgs = re.findall(r"<svg.*?</svg>", text, flags=re.S)
    front, latency, drop, before, heat, difference = svgs
    assert "on the front" in front
    assert latency.count("p50") == 4  # PyTorch and three artifacts; one was not benched
    assert "openvino-fp32" not in latency
    assert "p50 5.21 · p90 5.87 · p99 7.90 ms" in latency
    assert "budget 1.00" in drop
    assert all(
        "var(--ink)" in svg and not re.search(r"#0[1-5]0[1-5]0[1-5]", svg) for svg in (front, latency, drop)
    )
    for svg, matrix in (
        (before, record["reference"]["confusion"]),
        (heat, record["artifacts"][1]["confusion"]),
    ):
        counts = re.findall(r'text-anchor="middle"><title>[^<]*</title>(\d+)</text>', svg)
        assert [int(n) for n in counts] == [n for row in matrix for n in row]
    assert "more3" in difference or "fewer" in difference
    for owner in ("PyTorch on val", "onnx-int8 on val", "onnx-int8 minus PyTorch"):
        assert owner in page.texts
    assert all('role="img"' in svg and "<title" in svg for svg in svgs)


def test_no_budget_no_line(record: dict[str, Any], tmp_path: Path) -> None:
    del record["provenance"]["recipe"]["export"]["max_drop"]
    assert "budget" not in render(record, tmp_path)[0]


def test_many_classes_become_a_table_of_pairs(record: dict[str, Any], tmp_path: Path) -> None:
    k = 31
    record["labels"] = [f"class {i}" for i in range(k)]
    matrix = [[50 if i == j else 0 for j in range(k)] for i in range(k)]
    matrix[4][7] = 9
    record["artifacts"][1]["confusion"] = matrix
    text, page = render(record, tmp_path)
    assert 'class="heat"' not in text
    pairs = next(rows for rows in page.tables if rows[0][0] == "true label")
    assert pairs[1:] == [["class 4", "class 7", "9", "15.3"]]
    assert not any(
        "confus" in text.lower() and "PyTorch" in text for text in page.texts
    )  # its matrix is of 5 classes


def test_nothing_recommended_shows_pytorchs_matrix_and_a_warning(
    record: dict[str, Any], tmp_path: Path
) -> None:
    record["recommended"] = None
    text, page = render(record, tmp_path)
    assert 'class="callout bad"' in text
    assert "PyTorch on val" in page.texts


def test_run_page_has_classes_splits_and_what_was_put_aside(
    run_record: dict[str, Any], tmp_path: Path
) -> None:
    text, page = render(run_record, tmp_path, run=True)
    classes = page.tables[0][1:]
    assert [row[0] for row in classes] == run_record["labels"]
    for row, item in zip(classes, run_record["metrics"]["per_class"], strict=True):
        assert [float(cell) for cell in row[1:4]] == [
            pytest.approx(100 * item[key], abs=0.005) for key in ("precision", "recall", "f1")
        ]
        assert int(row[4]) == item["n"]
    for piece in (
        "tulips/broken.jpg",
        "roses & co/1.jpg = tulips/2.jpg",
        "2,931",
        "36.7",
        "C = 0.003, chosen",
    ):
        assert piece in page.texts
    assert text.count('class="heat"') == 1


def test_run_page_draws_the_training(trained: dict[str, Any], tmp_path: Path) -> None:
    text, page = render(trained, tmp_path, run=True)
    loss, accuracy, _ = re.findall(r"<svg.*?</svg>", text, flags=re.S)
    for svg in (loss, accuracy):
        assert "var(--accent)" in svg
        assert not re.search(r"#0[1-5]0[1-5]0[1-5]", svg)
        assert svg.count("stroke-dasharray") == 1  # the one change of stage
    assert "training" in loss
    assert "validation" in loss
    assert "best 91.25 in epoch 4" in accuracy
    assert "last <blocks>, then full" in "".join(page.texts)
    assert len(page.ids) == len(set(page.ids))
    epochs = next(rows for rows in page.tables if rows[0][0] == "epoch")
    assert "pixels" not in epochs[0]  # the same in all epochs
    best = [row for row in epochs[1:] if row[-1]]
    assert best == [["4", "full", "0.5000", "0.3750", "91.25", "1.00e-02", "88", "1:02:03", "best"]]
    assert text.count('<tr role="row" class="best">') == 1


def test_one_stage_has_no_line_and_an_unmeasured_epoch_no_point(
    trained: dict[str, Any], tmp_path: Path
) -> None:
    for item in trained["history"]:
        item["stage"] = "full"
    trained["history"][2] |= {"val_loss": None, "val_accuracy": None}
    text, page = render(trained, tmp_path, run=True)
    assert "stroke-dasharray" not in text
    assert "Dashed" not in text
    epochs = next(rows for rows in page.tables if rows[0][0] == "epoch")
    assert epochs[3][:4] == ["3", "0.6667", "—", "—"]


def test_a_training_that_helped_nothing_says_so(trained: dict[str, Any], tmp_path: Path) -> None:
    assert "Ring: the best epoch" in render(trained, tmp_path, run=True)[0]
    for item in trained["history"]:
        item["best"] = False
    text, _ = render(trained, tmp_path, run=True)
    assert "No epoch was better than the start" in text
    assert "Ring" not in text
    assert "No epoch was better than the start" in run_markdown(trained)


def test_a_long_list_of_heads_is_folded_away(trained: dict[str, Any], tmp_path: Path) -> None:
    grid = [{"epoch": e, "accuracy": e / 100, "log_loss": 1.0} for e in range(1, 61)]
    trained["head"] = {"epoch": 7, "hidden": [128], "dropout": 0.2, "grid": grid}
    _, page = render(trained, tmp_path, run=True)
    assert "Validation accuracy of 60" in page.texts
    assert "epoch = 60" in page.texts
    assert "hidden layers of 128; dropout 0.2" in page.texts


def test_run_page_has_figures_folds_and_reasons(trained: dict[str, Any], tmp_path: Path) -> None:
    text, page = render(trained, tmp_path, run=True)
    for piece in (
        "Figures on val",
        "86.95 %",
        "2.13 %",
        "0.3781",
        "linear, C = 0.003",
        "Strategy gradual: few images of <i>known</i> things.",
        "2-fold cross-validation: accuracy 88.00 %, standard deviation 1.41 percentage points, "
        "95 % interval of the mean [75.29, 100.00] %. Folds: 87.00, 89.00 %.",
    ):
        assert piece in page.texts
    assert "<i>known" not in text
    assert "top-5" not in text


def test_a_record_of_a_head_alone_shows_no_training(run_record: dict[str, Any], tmp_path: Path) -> None:
    text, _ = render(run_record, tmp_path, run=True)
    for word in ("<h2>Training", "cross-validation", "Strategy head:"):
        assert word not in text
    assert "<h2>Figures on val" in text


def test_the_page_of_a_bundle_that_was_not_measured_renders(tmp_path: Path) -> None:
    text, page = render(unmeasured({"id": "onnx-fp32"}), tmp_path)
    assert page.texts
    assert ">None<" not in text


def test_a_failed_write_leaves_the_old_page_and_no_other_file(
    record: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "page.html"
    path.write_text("old")

    def refuse(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("os.replace", refuse)
    with pytest.raises(OSError, match="disk full"):
        write_bundle_page(bundle(record), path)
    assert path.read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["page.html"]


def test_a_file_name_that_is_not_utf8_can_be_written(record: dict[str, Any], tmp_path: Path) -> None:
    whole = with_changed_image(record, "daisy/\udcff.jpg")
    whole = replace(whole, provenance=replace(whole.provenance, run="runs/\udcff"))
    write_bundle_page(whole, tmp_path / "page.html")
    text = (tmp_path / "page.html").read_text("utf-8")
    assert r"daisy/\udcff.jpg" in text


def test_no_name_steers_whoever_reads_the_page(
    record: dict[str, Any], run_record: dict[str, Any], tmp_path: Path
) -> None:
    """Escape sequences, bells and bidirectional overrides, wherever a name of somebody else's stands."""
    evil = "x\x1b]0;owned\x07\u202ey\u2066"

    kept = {"id", "gate", "runtime", "precision", "artifact", "recommended", "stage", "preprocess"}

    def spoil(value: Any) -> Any:
        if is_dataclass(value) and not isinstance(value, type):
            names = [each.name for each in fields(value) if each.name not in kept]
            return replace(value, **{name: spoil(getattr(value, name)) for name in names})
        if isinstance(value, dict):
            return {key: item if key in kept else spoil(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return type(value)(spoil(item) for item in value)
        return f"{value}{evil}" if isinstance(value, str) else value

    spoiled_bundle: BundleRecord = spoil(bundle(record))
    spoiled_run: RunRecord = spoil(as_run(run_record))
    path = tmp_path / "page.html"
    for write in (
        lambda: write_bundle_page(spoiled_bundle, path), lambda: write_run_page(spoiled_run, path),
    ):  # fmt: skip
        write()
        text = path.read_text("utf-8")
        assert not set(text) & set("\x1b\x07\u202e\u2066")
        assert "x1b" in text


def test_words_are_explained_where_they_stand(record: dict[str, Any], tmp_path: Path) -> None:
    text, _ = render(record, tmp_path)
    card = text.partition("<h2>In short</h2>")[2].partition("</section>")[0]
    for word in ("accuracy", "drop", "INT8", "p50, p90, p99", "size"):
        assert f"<dt>{word}</dt>" in card
    assert "<dt>recall</dt>" not in card


def test_how_to_make_it_again_quotes_what_a_shell_would_run(record: dict[str, Any], tmp_path: Path) -> None:
    record["name"] = "x; rm -rf ~"
    record["provenance"]["run"] = "../runs/$(id)"
    record["provenance"]["finetune"] = {"recipe": {"seed": 0, "export": {"int8": False, "max_drop": 0.5}}}
    record["provenance"]["recipe"] = {"seed": 0, "export": {"int8": True, "max_drop": 0.3}}
    _, page = render(record, tmp_path)
    for command in (
        "edge-tl finetune recipe.yaml --out 'runs/$(id)'",
        "edge-tl export 'runs/$(id)' --int8 --set export.max_drop=0.3",
        "edge-tl verify 'x; rm -rf ~'",
        "edge-tl bench 'x; rm -rf ~' --parts",
    ):
        assert command in page.texts
    hashes = [row[2] for row in page.table("file")[1:]]
    assert hashes == [file["sha256"] for artifact in record["artifacts"] for file in artifact["files"]]
