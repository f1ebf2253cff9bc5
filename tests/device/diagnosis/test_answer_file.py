"""A file of answers may be anybody's: what cannot be used is told in one sentence."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from edge_tl.device.diagnosis.answer_file import read_answers
from edge_tl.device.errors import BadInput

IMAGES = [f"golden/images/{i:02d}.jpg" for i in range(10)]
LABELS = ["dog", "cat", "zéro"]
HEADER = "file,dog,cat,zéro"
ROWS = [f"{i:02d}.jpg,{i}.5,-1,0" for i in range(10)]


def table(*lines: str) -> str:
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize(
    "content",
    [
        table(HEADER, *ROWS).encode(),
        table(HEADER, *ROWS).encode("utf-8-sig"),
        table(HEADER, *ROWS).encode("utf-16"),
        table(HEADER, *ROWS).replace("\n", "\r\n").encode(),
        table(HEADER, *ROWS).replace(",", ";").replace(".5;", ",5;").encode(),
        table(HEADER, *(f"some/where/golden/images/{row}" for row in ROWS)).encode(),
    ],
    ids=["plain", "BOM", "UTF-16", "CRLF", "semicolons", "paths"],
)
def test_a_table_is_read(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "answers.csv"
    path.write_bytes(content)
    found = read_answers(path, IMAGES, LABELS)
    assert found.kind == "logits"
    assert found.values is not None
    assert found.values[3].tolist() == [3.5, -1, 0]
    assert found.images.tolist() == list(range(10))


def test_labels_may_be_called_anything(tmp_path: Path) -> None:
    """A program that we print writes them so, and its answers could not be read."""
    labels, path = ["file", "semi;colon;s;", 'a,"b"', "ends with a space "], tmp_path / "answers.csv"
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([["file", *labels], *([f"{i:02d}.jpg", i, 1, 2, 3] for i in range(10))])
    found = read_answers(path, IMAGES, labels)
    assert found.values is not None
    assert found.values[7].tolist() == [7, 1, 2, 3]
    path = tmp_path / "top1.json"
    path.write_text(json.dumps({f"{i:02d}.jpg": labels[3] for i in range(10)}))
    assert read_answers(path, IMAGES, labels).top1.tolist() == [3] * 10


def test_labels_alone_and_json(tmp_path: Path) -> None:
    path = tmp_path / "top1.csv"
    path.write_text(table("file,label", *(f"{i:02d}.jpg,cat" for i in range(10))))
    assert read_answers(path, IMAGES, LABELS).top1.tolist() == [1] * 10
    rows = [{"file": f"{i:02d}.jpg", "dog": 0.2, "cat": 0.3, "zéro": 0.5} for i in range(10)]
    for value in (rows, {row["file"]: {k: v for k, v in row.items() if k != "file"} for row in rows}):
        path = tmp_path / "answers.json"
        path.write_text(json.dumps(value))
        assert read_answers(path, IMAGES, LABELS).kind == "probabilities"


PREDICTED = "image,label,probability,label_2,probability_2,label_3,probability_3,remark,reason"


def predicted(*rows: str) -> str:
    return table(PREDICTED, *rows)


def test_the_csv_of_predict_is_read_with_every_label_as_probabilities(tmp_path: Path) -> None:
    path = tmp_path / "all.csv"
    path.write_text(
        predicted(*(f"b/golden/images/{i:02d}.jpg,cat,0.7,zéro,0.2,dog,0.1,," for i in range(10)))
    )
    found = read_answers(path, IMAGES, LABELS)
    assert found.kind == "probabilities"
    assert found.values is not None
    assert found.values[4].tolist() == [0.1, 0.7, 0.2]


def test_the_csv_of_predict_with_the_best_labels_is_read_as_labels(tmp_path: Path) -> None:
    path = tmp_path / "top.csv"
    rows = [f"b/golden/images/{i:02d}.jpg,cat,0.7,zéro,0.2" for i in range(9)]
    bad = "b/golden/images/09.jpg,,,,,,image file is truncated"
    path.write_text(
        table("image,label,probability,label_2,probability_2,remark,reason", *(f"{r},," for r in rows), bad)
    )
    found = read_answers(path, IMAGES, LABELS)
    assert found.kind == "top1"
    assert found.top1.tolist() == [1] * 9
    assert found.images.tolist() == list(range(9))


def test_a_label_that_a_spreadsheet_would_run_is_the_label(tmp_path: Path) -> None:
    path = tmp_path / "formula.csv"
    path.write_text(
        table("image,label,probability,remark,reason", *(f"{i:02d}.jpg,'=a,0.9,," for i in range(10)))
    )
    assert read_answers(path, IMAGES, ["b", "=a"]).top1.tolist() == [1] * 10


def test_the_csv_of_predict_of_other_images_is_told(tmp_path: Path) -> None:
    path = tmp_path / "other.csv"
    path.write_text(predicted("photos/a.jpg,cat,0.7,zéro,0.2,dog,0.1,,"))
    with pytest.raises(BadInput, match="no golden image of the bundle"):
        read_answers(path, IMAGES, LABELS)
    with pytest.raises(BadInput, match="JSON Lines are not read"):
        read_answers(tmp_path / "rows.jsonl", IMAGES, LABELS)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "empty"),
        (table(HEADER), "at least 8"),
        (table(HEADER, *ROWS[:7]), "at least 8"),
        (table(HEADER, *ROWS, ROWS[0]), "twice"),
        (table(HEADER, "../../etc/passwd,1,2,3", *ROWS), "no golden image"),
        (table(HEADER, "99.jpg,1,2,3", *ROWS), "no golden image"),
        (table(HEADER, *ROWS[1:], "00.jpg,nan,1,2"), "no number"),
        (table(HEADER, *ROWS[1:], "00.jpg,1e999,1,2"), "no number"),
        (table(HEADER, *ROWS[1:], "00.jpg,1e30,1,2"), "beyond"),
        (table(HEADER, *ROWS[1:], "00.jpg,,1,2"), "no number"),
        (table(HEADER, *ROWS[1:], "00.jpg,1"), "cells"),
        (table("file,dog,cat", *(row.rpartition(",")[0] for row in ROWS)), "no column for the label"),
        (table("file,dog,cat,eel", *ROWS), "no label"),
        (table("file,dog,dog,cat", *ROWS), "twice"),
        (table("name,dog,cat,zéro", *ROWS), "no column file"),
        (table("file,label", *(f"{i:02d}.jpg,eel" for i in range(10))), "no label"),
    ],
)
def test_what_cannot_be_used_is_one_sentence(tmp_path: Path, content: str, said: str) -> None:
    path = tmp_path / "answers.csv"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(BadInput, match=said) as error:
        read_answers(path, IMAGES, LABELS)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 400


@pytest.mark.parametrize(
    "content", [b"PK\x03\x04rest", b"\xd0\xcf\x11\xe0", b"file,\xff\xfe\xfa", b"file\0,a"]
)
def test_no_table_at_all(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "answers.csv"
    path.write_bytes(content)
    with pytest.raises(BadInput):
        read_answers(path, IMAGES, LABELS)
    with pytest.raises(BadInput, match="cannot read"):
        read_answers(tmp_path / "none.csv", IMAGES, LABELS)
    with pytest.raises(BadInput, match="cannot read"):
        read_answers(tmp_path, IMAGES, LABELS)


@pytest.mark.parametrize("text", ["[]", "3", "[1]", "{", '[{"file": "00.jpg", "dog": [1]}]', '{"a": NaN}'])
def test_json_that_holds_no_rows(tmp_path: Path, text: str) -> None:
    path = tmp_path / "answers.json"
    path.write_text(text)
    with pytest.raises(BadInput):
        read_answers(path, IMAGES, LABELS)
