"""The rows of a .csv or .tsv list of images. Opens none of the files that the list names."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TextIO

from edge_tl.device.errors import BadInput

_COLUMNS = {
    "path": ("path", "file", "filename", "image", "filepath"),
    "label": ("label", "class", "category", "target"),
    "split": ("split",),
    "group": ("group",),
}
LARGEST = 1 << 30  # bytes of a list: ten million images
LONGEST = 1 << 16  # characters of a line
DIALECTS = {".csv": "excel", ".tsv": "excel-tab"}


def read_rows(path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """`(line number, {"path": …, "label": …})` of every row that is not blank; the keys are those of `_COLUMNS` that
    the header has. A row that spans lines has the number of its last. Raises `BadInput`, for a list of more than 1 GiB
    and a line of more than 65,536 characters too, before they are read."""
    if (size := path.stat().st_size) > LARGEST:
        raise BadInput(f"{path}: {size:,} bytes. A list of images has at most {LARGEST:,}; divide it.")
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.reader(_lines(path, file), DIALECTS[path.suffix.lower()], strict=True)
        try:
            header = next(reader, [])
            at = _columns(path, header)
            for cells in reader:
                if len(cells) > len(header):
                    raise BadInput(
                        f"{path}, line {reader.line_num}: {len(cells)} cells, the header has {len(header)}: "
                        f"{cells[-1]!r}. Quote cells that hold the separator."
                    )
                if any(cells):
                    cells += [""] * (len(header) - len(cells))
                    yield reader.line_num, {name: cells[i] for name, i in at.items()}
        except UnicodeDecodeError:
            raise BadInput(f"not UTF-8: {path}, after line {reader.line_num}. Save it as UTF-8.") from None
        except csv.Error as error:
            raise BadInput(f"{path}, line {reader.line_num}: {error}. Correct the line.") from None


def _lines(path: Path, file: TextIO) -> Iterator[str]:
    """The lines of a file, none read beyond its limit."""
    number = 0
    while line := file.readline(LONGEST + 1):
        number += 1
        if len(line) > LONGEST:
            raise BadInput(
                f"{path}, line {number}: longer than {LONGEST:,} characters. Is it a list of images and labels?"
            )
        yield line


def _columns(path: Path, header: Sequence[str]) -> dict[str, int]:
    names = [name.strip().lower() for name in header]
    at = {}
    for column, known in _COLUMNS.items():
        if present := [name for name in known if name in names]:
            if names.count(present[0]) > 1:
                raise BadInput(f"{path}, line 1: two columns {present[0]!r}. Keep one.")
            at[column] = names.index(present[0])
        elif column in ("path", "label"):
            raise BadInput(
                f"{path}, line 1: no column for the {column} in {', '.join(header)!r}. "
                f"Name it {', '.join(known[:-1])} or {known[-1]}."
            )
    return at
