"""A CSV or JSON file of answers, which may be anybody's, as one row of texts for each image. Opens no other file."""

from __future__ import annotations

import csv
import math
from collections import Counter
from collections.abc import Sequence
from itertools import islice
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from edge_tl.device.diagnosis.answers import Answers, Kind, answers_of
from edge_tl.device.diagnosis.predicted_rows import AnswerTable, is_predicted, with_file_column
from edge_tl.device.errors import BadInput
from edge_tl.device.files import read_json_value, read_small
from edge_tl.device.names import same
from edge_tl.device.text import printable

LEAST = 8
"""Images that a diagnosis needs."""

_MOST_BYTES = 64 << 20
_MOST_VALUE = 1e9
_MOST_ROWS = 10_000  # more than a bundle may have images
_TOP1 = ("label", "top1", "top-1")
_SIGNATURES = {
    b"PK\x03\x04": "an Excel workbook or another archive",
    b"\xd0\xcf\x11\xe0": "an old Excel file",
}


def read_answers(
    path: Path, images: Sequence[str], labels: Sequence[str], kind: Kind | None = None
) -> Answers:
    """The answers in `path`, for `images`, the paths of a bundle's golden images, and its `labels`.

    A table with the column `file` and either one column for each label or the column `label` (or `top1`); or the CSV of
    `edge-tl predict --out`. `kind` says what the numbers are; by default they say it themselves. Raises `BadInput` that
    names the first row or column which cannot be used, and `ReadError`.
    """
    if path.suffix.lower() == ".jsonl":
        raise BadInput(
            f"{printable(path)}: JSON Lines are not read here. Write a CSV: predict --out answers.csv."
        )
    content = read_small(path, most=_MOST_BYTES)
    table = _from_json(path) if path.suffix.lower() == ".json" else _from_csv(path, content)
    if is_predicted(table.header):
        table = with_file_column(table, labels)
    try:
        return _answers(table, images, labels, kind)
    except _Unusable as error:
        raise BadInput(f"{printable(path)}: {error}") from None


class _Unusable(Exception):
    """What is wrong with the table and what to do, without the file's name."""


def _from_csv(path: Path, content: bytes) -> AnswerTable:
    for signature, what in _SIGNATURES.items():
        if content.startswith(signature):
            raise BadInput(f"{printable(path)}: this is {what}. Save the table as CSV (UTF-8).")
    wide = content.startswith((b"\xff\xfe", b"\xfe\xff"))
    try:
        text = content.decode("utf-16" if wide else "utf-8-sig")
    except UnicodeDecodeError:
        raise BadInput(f"{printable(path)}: it is not UTF-8. Save the table as CSV (UTF-8).") from None
    if "\0" in text:
        raise BadInput(f"{printable(path)}: this is no text. Give a CSV or JSON file.")
    delimiter = max(",;\t", key=lambda each: _columns_by(each, text.splitlines()[:1]))
    try:
        lines = list(islice(csv.reader(text.splitlines(), delimiter=delimiter, strict=True), _MOST_ROWS))
    except csv.Error as error:
        raise BadInput(f"{printable(path)}: no CSV ({error}). Write the table again.") from None
    filled = [(number, row) for number, row in enumerate(lines, 1) if any(cell.strip() for cell in row)]
    if not filled:
        raise BadInput(f"{printable(path)}: it is empty. Write the columns file and one for each label.")
    (_, header), body = filled[0], filled[1:]
    for number, row in body:
        if len(row) != len(header):
            raise BadInput(
                f"{printable(path)}: line {number} has {len(row)} cells, the header {len(header)}. Write it again."
            )
    if delimiter != ",":  # where cells are not separated by commas, a comma may be the decimal point
        body = [(number, [_decimal_point(cell) for cell in row]) for number, row in body]
    return AnswerTable(
        tuple(cell.strip() for cell in header),
        tuple(tuple(cell.strip() for cell in row) for _, row in body),
        tuple(f"line {number}" for number, _ in body),
    )


def _columns_by(delimiter: str, first: list[str]) -> tuple[bool, int]:
    """Whether the first line has a column file by this delimiter, and how many it has: labels may hold any of them."""
    cells = next(csv.reader(first, delimiter=delimiter), [])
    return any(cell.strip().lower() == "file" for cell in cells), len(cells)


def _decimal_point(cell: str) -> str:
    changed = cell.replace(",", ".")
    return changed if cell.count(",") == 1 and _number(changed) is not None else cell


def _from_json(path: Path) -> AnswerTable:
    """A list of objects with the key "file"; or an object, of such a list under "answers", or with an object or a label
    for each file."""
    value = read_json_value(path, most=_MOST_BYTES)
    if isinstance(value, dict) and isinstance(value.get("answers"), list):
        value = value["answers"]
    if isinstance(value, dict):
        value = [
            {"file": name, **(row if isinstance(row, dict) else {"label": row})}
            for name, row in value.items()
        ]
    if not isinstance(value, list) or not value or not all(isinstance(row, dict) for row in value):
        raise BadInput(
            f"{printable(path)}: it holds no rows. Write a list of objects, each with the key file and one for each "
            "label."
        )
    header = tuple(value[0])
    for number, row in enumerate(value):
        if row.keys() != value[0].keys():
            raise BadInput(
                f"{printable(path)}: row {number + 1} has other keys than the first. Write it again."
            )
        if bad := [key for key in header if isinstance(row[key], dict | list | bool | None)]:
            raise BadInput(
                f"{printable(path)}: row {number + 1}, {printable(bad[0][:60])!r}: neither a number nor text."
            )
    rows = tuple(tuple(_written(row[key]) for key in header) for row in value)
    return AnswerTable(header, rows, tuple(f"row {number}" for number in range(1, len(rows) + 1)))


def _written(value: object) -> str:
    return repr(value) if isinstance(value, float) else str(value)[:1000]


def _answers(table: AnswerTable, images: Sequence[str], labels: Sequence[str], kind: Kind | None) -> Answers:
    names = [_cell(name) for name in table.header]
    wanted = [_cell(label) for label in labels]
    # A label may be called file, too; the images come first.
    most = {"file": 1 + wanted.count("file")}
    if twice := sorted(name for name, count in Counter(names).items() if count > most.get(name, 1)):
        raise _Unusable(f"the column {_shown(twice[0])} is there twice. Name each label once.")
    lowered = [name.lower() for name in names]
    if "file" not in lowered:
        raise _Unusable(
            f"there is no column file. Its header is {_shown(', '.join(names))}; name the column of golden images file."
        )
    at_file = names.index("file") if "file" in names else lowered.index("file")
    positions = _positions([row[at_file] for row in table.rows], table.where, images)
    columns = {name: place for place, name in enumerate(names) if place != at_file}
    if any(name in columns for name in wanted) or not any(name.lower() in _TOP1 for name in columns):
        _check_columns(columns, wanted)
        return _scores(table, positions, [columns[name] for name in wanted], kind)
    if extra := [name for name in columns if name.lower() not in _TOP1]:
        raise _Unusable(f"the column {_shown(extra[0])} is no label of the bundle. Leave it out.")
    if len(columns) > 1 or kind not in (None, "top1"):
        raise _Unusable(
            "it holds labels alone. Give either one column of labels, or one of numbers for each label."
        )
    index = {name: i for i, name in enumerate(wanted)}
    place = next(iter(columns.values()))
    top1 = [_label(row[place], where, index) for row, where in zip(table.rows, table.where, strict=True)]
    return Answers("top1", positions, None, np.array(top1, np.int64))


def _positions(files: Sequence[str], where: Sequence[str], images: Sequence[str]) -> NDArray[np.int64]:
    known = {PurePosixPath(image).name: i for i, image in enumerate(images)}
    found = []
    for name, place in zip(files, where, strict=True):
        *folders, last = name.replace("\\", "/").split("/")
        if last not in known or (folders and folders[-1] != "images") or ".." in folders:
            raise _Unusable(
                f"{place}: {_shown(name)} is no golden image of the bundle. Use the names in golden/images, e.g. "
                f"{next(iter(known))}."
            )
        found.append(known[last])
    if twice := sorted(i for i, count in Counter(found).items() if count > 1):
        raise _Unusable(f"{PurePosixPath(images[twice[0]]).name} is there twice. Answer each image once.")
    least = min(LEAST, len(images))
    if len(found) < least:
        raise _Unusable(
            f"{len(found)} of the {len(images)} golden images are answered, at least {least} are needed. Run your "
            "pipeline on all of golden/images."
        )
    return np.array(found, np.int64)


def _check_columns(columns: dict[str, int], wanted: Sequence[str]) -> None:
    if unknown := [name for name in columns if name not in set(wanted)]:
        raise _Unusable(
            f"the column {_shown(unknown[0])} is no label of the bundle. Its labels are "
            f"{_shown(', '.join(wanted[:8]))}{', …' if len(wanted) > 8 else ''}."
        )
    if missing := [name for name in wanted if name not in columns]:
        raise _Unusable(
            f"there is no column for the label {_shown(missing[0])}. Give one for each of the {len(wanted)} labels, or "
            "the column label alone."
        )


def _scores(
    table: AnswerTable, positions: NDArray[np.int64], places: Sequence[int], kind: Kind | None
) -> Answers:
    values = np.empty((len(table.rows), len(places)))
    decimals = 0
    exact = False
    for i, (row, where) in enumerate(zip(table.rows, table.where, strict=True)):
        for j, place in enumerate(places):
            cell = row[place]
            number = _number(cell)
            if number is None or abs(number) > _MOST_VALUE:
                why = "is no number" if number is None else f"is beyond {_MOST_VALUE:g}"
                raise _Unusable(
                    f"{where}, {_shown(table.header[place])}: {_shown(cell)} {why}. Write it again."
                )
            values[i, j] = number
            exact |= "e" in cell.lower()
            decimals = max(decimals, len(cell.partition(".")[2]))
    step = 0.0 if exact or decimals > 12 else 10.0**-decimals
    scores = answers_of(positions, values, step, None if kind == "top1" else kind)
    return Answers("top1", positions, None, scores.top1) if kind == "top1" else scores


def _number(cell: str) -> float | None:
    """A finite number; None for anything else."""
    try:
        value = float(cell) if len(cell) <= 400 and "_" not in cell else math.nan
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _label(cell: str, where: str, index: dict[str, int]) -> int:
    if (found := index.get(_cell(cell))) is None:
        raise _Unusable(
            f"{where}: {_shown(cell)} is no label of the bundle. Its labels are {_shown(', '.join(list(index)[:8]))}."
        )
    return found


def _cell(label: str) -> str:
    """A label as a table holds it: spaces around what stands in a cell count for nothing."""
    return same(label).strip()


def _shown(text: str) -> str:
    return f"'{printable(text if len(text) <= 60 else text[:60] + '…')}'"
