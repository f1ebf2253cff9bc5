"""The columns of the CSV that `edge-tl predict --out` writes, as those that a diagnosis reads. Opens no file."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

_FORMULA = ("'=", "'+", "'-", "'@")  # an apostrophe stands before what a spreadsheet would run


class AnswerTable(NamedTuple):
    """`where` says of a row where it stands in the file; every cell is text, and every row has one for each column."""

    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    where: tuple[str, ...]


def is_predicted(header: Sequence[str]) -> bool:
    """Whether these are the columns of `predict`."""
    names = {name.lower() for name in header}
    return {"image", "label", "probability"} <= names and "file" not in names


def with_file_column(table: AnswerTable, labels: Sequence[str]) -> AnswerTable:
    """A table of `predict` with `file` and a probability of each label, where every answer has them all (`--top` as
    many as there are labels), else with the best label alone. Rows without an answer are left out."""
    at = {name.lower(): place for place, name in enumerate(table.header)}
    ranks = ["", *(f"_{rank}" for rank in range(2, len(labels) + 1))]
    places = [(at[f"label{rank}"], at[f"probability{rank}"]) for rank in ranks if f"probability{rank}" in at]
    files, answers, where = [], [], []
    for row, stands in zip(table.rows, table.where, strict=True):
        if row[at["label"]]:
            files.append(_text(row[at["image"]]))
            answers.append({_text(row[label]): row[p] for label, p in places if row[label]})
            where.append(stands)
    if all(answer.keys() == set(labels) for answer in answers):
        cells = [tuple(answer[label] for label in labels) for answer in answers]
        header = ("file", *labels)
    else:
        cells = [(next(iter(answer)),) for answer in answers]
        header = ("file", "label")
    return AnswerTable(header, tuple((f, *c) for f, c in zip(files, cells, strict=True)), tuple(where))


def _text(cell: str) -> str:
    return cell[1:] if cell.startswith(_FORMULA) else cell
