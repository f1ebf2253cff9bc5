"""Files of rows, read back by the standard library's own readers."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from edge_tl.device.errors import BadInput
from edge_tl.device.predictions.rows import RowsFile, check_rows_file
from edge_tl.device.records.prediction import Prediction, Score

ODD = 'a "quoted", name\nof two lines ü.png'
GOOD = Prediction(ODD, (Score("daisy, the", 0.75), Score("rose", 0.25)), remark="grey")
BAD = Prediction("b.png", (), failure='no "image"')


def read_csv(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_a_csv_has_a_row_for_every_image(tmp_path: Path) -> None:
    path = tmp_path / "new" / "rows.csv"
    with RowsFile(path, top=3) as rows:
        rows.write(GOOD)
        rows.write(BAD)
        assert not path.exists()
        rows.finish()
    first, second = read_csv(path)
    assert first == {
        "image": ODD, "label": "daisy, the", "probability": "0.750000", "label_2": "rose",
        "probability_2": "0.250000", "label_3": "", "probability_3": "", "remark": "grey", "reason": "",
    }  # fmt: skip
    assert (second["image"], second["label"], second["reason"]) == ("b.png", "", 'no "image"')
    assert [each.name for each in path.parent.iterdir()] == ["rows.csv"]
    assert (rows.counts.results, rows.counts.failed) == (1, 1)


def test_json_lines_are_entries_of_results_and_of_failed(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    with RowsFile(path, top=3) as rows:
        rows.write(GOOD)
        rows.write(BAD)
        rows.finish()
    first, second = (json.loads(line) for line in path.read_text("utf-8").splitlines())
    assert Prediction.from_json(first) == GOOD
    assert second == {"image": "b.png", "reason": 'no "image"'}


@pytest.mark.parametrize("begin", ["=cmd|' /C calc'!A0", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1"])
def test_no_cell_is_a_formula_and_json_lines_have_the_name_as_it_is(tmp_path: Path, begin: str) -> None:
    one = Prediction(f"{begin}.png", (Score(begin, 0.25),), remark=begin)
    for suffix in ("csv", "jsonl"):
        with RowsFile(tmp_path / f"rows.{suffix}", top=1) as rows:
            rows.write(one)
            rows.write(Prediction("-", (Score("daisy", 1.0),), failure=begin))
            rows.finish()
    first, second = read_csv(tmp_path / "rows.csv")
    assert (first["image"], first["label"], first["remark"]) == (f"'{begin}.png", f"'{begin}", f"'{begin}")
    assert float(first["probability"]) == 0.25
    assert (second["image"], second["reason"]) == ("-", f"'{begin}")  # stdin's name
    assert json.loads((tmp_path / "rows.jsonl").read_text("utf-8").splitlines()[0])["image"] == one.image


def test_a_name_that_is_not_utf8_is_written_as_its_escape(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    with RowsFile(path, top=1) as rows:
        rows.write(Prediction("caf\udce9.png", (Score("x", 1.0),)))
        rows.finish()
    assert json.loads(path.read_text("utf-8"))["image"] == "caf\udce9.png"


def test_frames_have_columns_of_their_own(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    with RowsFile(path, top=1, video=True) as rows:
        rows.write(Prediction("v.mp4", (Score("x", 1.0),), frame=30, time_s=1.0012))
        rows.finish()
    assert read_csv(path)[0] | {"frame": "30", "time_s": "1.001"} == read_csv(path)[0]


def test_what_is_not_finished_leaves_nothing(tmp_path: Path) -> None:
    with RowsFile(tmp_path / "rows.csv", top=1) as rows:
        rows.write(GOOD)
    assert list(tmp_path.iterdir()) == []


def test_a_file_is_replaced_only_when_asked(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("mine")
    with pytest.raises(BadInput, match="is there already"):
        check_rows_file(path, overwrite=False)
    check_rows_file(path, overwrite=True)
    with pytest.raises(BadInput, match="meanwhile"), RowsFile(path, top=1) as rows:
        rows.finish()
    assert path.read_text() == "mine"
    assert list(tmp_path.iterdir()) == [path]
    with RowsFile(path, top=1, overwrite=True) as rows:
        rows.finish()
    assert read_csv(path) == []


@pytest.mark.parametrize(("name", "said"), [("rows.txt", "no format"), ("folder.csv", "a folder is there")])
def test_a_path_that_cannot_be_is_refused(tmp_path: Path, name: str, said: str) -> None:
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(BadInput, match=said):
        check_rows_file(tmp_path / name, overwrite=True)
