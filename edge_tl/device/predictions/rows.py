"""Answers as rows of a CSV or JSON Lines file, written as they come and there once they are whole.

A row is never half-written, and no row is kept in memory. A text that a spreadsheet would run as a formula gets an
apostrophe before it in a CSV, as OWASP advises ("CSV Injection"): names of files and labels may be anybody's.
"""

from __future__ import annotations

import csv
import io
import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import TextIO

from edge_tl.device.errors import BadInput
from edge_tl.device.files import fsync_folder, umask
from edge_tl.device.records.prediction import FailedImage, Prediction, PredictionCounts
from edge_tl.device.text import printable

SUFFIXES = (".csv", ".jsonl")
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def check_rows_file(path: Path, *, overwrite: bool) -> None:
    """Refuse, before anything is computed, a path that no rows could be saved at. Raises `BadInput`."""
    shown = printable(str(path))
    if path.suffix.lower() not in SUFFIXES:
        raise BadInput(f"--out {shown}: its name says no format. End it with .csv or .jsonl.")
    try:
        if path.is_dir():
            raise BadInput(f"--out {shown}: a folder is there. Give a file name.")
        if os.path.lexists(path) and not path.is_file():
            raise BadInput(f"--out {shown}: that is no ordinary file. Give another name.")
        if path.exists() and not overwrite:
            raise BadInput(f"--out {shown}: it is there already. Give another name, or add --overwrite.")
        above = next(folder for folder in path.absolute().parents if folder.exists())
        with tempfile.NamedTemporaryFile(dir=above, prefix=f".{path.name}."):  # permissions do not tell
            pass
    except OSError as error:
        raise BadInput(
            f"--out {shown}: nothing can be saved there ({error.strerror}). Give another path."
        ) from None


class RowsFile:
    """A context manager: `write` adds a row to a file beside `path`, `finish` gives it that name. Left without
    `finish`, it leaves nothing. `top` and `video` say which columns a CSV has.

    Raises `OSError`; `finish` raises `BadInput` where another file took the name meanwhile, unless `overwrite`.
    """

    def __init__(self, path: Path, *, top: int, video: bool = False, overwrite: bool = False) -> None:
        self.path, self._top, self._video, self._overwrite = path, top, video, overwrite
        self._results = self._failed = 0
        path.parent.mkdir(parents=True, exist_ok=True)
        number, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        self._scratch: Path | None = Path(name)
        # A byte of a file name that is not UTF-8 is written as its escape, which JSON reads back.
        self._file: TextIO = os.fdopen(number, "w", encoding="utf-8", errors="backslashreplace", newline="")
        self._csv = path.suffix.lower() == ".csv"
        if self._csv:
            self._write(list(_header(top, video=video)))

    def write(self, one: Prediction) -> None:
        """Add the row of one answer or failure."""
        if one.failure is None:
            self._results += 1
        else:
            self._failed += 1
        if self._csv:
            self._write(list(self._cells(one)))
        else:
            self._file.write(json.dumps(row_of(one).to_json(), ensure_ascii=False) + "\n")

    @property
    def counts(self) -> PredictionCounts:
        """The rows so far."""
        return PredictionCounts(self._results, self._failed)

    def finish(self) -> None:
        """Flush everything to the disk and give the file its name."""
        scratch = self._scratch
        assert scratch is not None
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        scratch.chmod(0o666 & ~umask())
        if self._overwrite or not hasattr(os, "link"):
            os.replace(scratch, self.path)
        else:
            self._name_once(scratch)
        self._scratch = None
        fsync_folder(self.path.parent)

    def _name_once(self, scratch: Path) -> None:
        """A link refuses a name that is taken, in one step; not every file system has links."""
        try:
            os.link(scratch, self.path)
        except FileExistsError:
            raise BadInput(
                f"--out {printable(str(self.path))}: another program wrote it meanwhile. Give another name."
            ) from None
        except OSError:
            os.replace(scratch, self.path)
        else:
            scratch.unlink()

    def __enter__(self) -> RowsFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._scratch is not None:
            self._file.close()
            self._scratch.unlink(missing_ok=True)

    def _write(self, cells: list[str]) -> None:
        line = io.StringIO()
        # Of a carriage return alone Python's writer does not know that readers take it for the end of a line.
        if any("\r" in cell for cell in cells):
            csv.writer(line, lineterminator="\n", quoting=csv.QUOTE_ALL).writerow(cells)
        else:
            csv.writer(line, lineterminator="\n").writerow(cells)
        self._file.write(line.getvalue())

    def _cells(self, one: Prediction) -> Iterator[str]:
        yield _as_text(one.image or "")
        if self._video:
            yield "" if one.frame is None else str(one.frame)
            yield "" if one.time_s is None else f"{one.time_s:.3f}"
        for place in range(self._top):
            score = one.top[place] if place < len(one.top) else None
            yield _as_text(score.label) if score else ""
            yield f"{score.probability:.6f}" if score else ""
        yield _as_text(one.remark or "")
        yield _as_text(one.failure or "")


def row_of(one: Prediction) -> Prediction | FailedImage:
    """An entry of `results` or of `failed`."""
    if one.failure is None:
        return one
    return FailedImage(one.image or "", one.failure, one.frame, one.time_s)


def _as_text(text: str) -> str:
    """What every program that reads a CSV takes for text. "-" alone, which stands for stdin, is none to compute."""
    return f"'{text}" if text.startswith(_FORMULA) and text != "-" else text


def _header(top: int, *, video: bool) -> Iterator[str]:
    yield "image"
    if video:
        yield from ("frame", "time_s")
    for place in range(1, top + 1):
        number = "" if place == 1 else f"_{place}"
        yield from (f"label{number}", f"probability{number}")
    yield from ("remark", "reason")
