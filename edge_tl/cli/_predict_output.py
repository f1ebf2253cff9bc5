"""Where the answers of `predict` go as they come: lines, a file of rows, drawn copies, or one JSON object."""

from __future__ import annotations

import sys
from collections.abc import Generator, Iterable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from time import perf_counter
from types import TracebackType

from PIL import Image

from edge_tl.cli._console import KEPT, VERBOSE, complain, say, volume
from edge_tl.cli._listeners import LiveListener, open_listener
from edge_tl.device.errors import BadImage, BadInput, ReadError
from edge_tl.device.format import percentage
from edge_tl.device.images.decode import examine
from edge_tl.device.images.decode_warnings import RemarkCounts
from edge_tl.device.listener import SILENT
from edge_tl.device.machine import cores_allowed
from edge_tl.device.ordered_map import ordered_map
from edge_tl.device.predictions.annotate import (
    CopyNames,
    annotated_picture,
    check_annotated_folder,
    write_annotated,
)
from edge_tl.device.predictions.rows import RowsFile, check_rows_file, row_of
from edge_tl.device.records.prediction import FailedImage, Prediction, PredictionCounts
from edge_tl.device.text import printable

_EACH_S = 0.2  # between two looks at how far it is
SHOWN_FAILURES = 10  # where a file of rows has them all

Answer = tuple[Prediction, Image.Image | bytes | None]
"""An answer, and the image where it is not its file."""


@dataclass(frozen=True)
class OutputOptions:
    """What was asked for. Raises `BadInput`, before anything is computed, for what cannot be written."""

    out: Path | None
    annotated: Path | None
    top: int
    json: bool
    overwrite: bool = False
    video: bool = False

    def __post_init__(self) -> None:
        if self.overwrite and self.out is None:
            raise BadInput("--overwrite: nothing is written. Add --out FILE.csv or .jsonl, or leave it out.")
        if self.out is not None:
            check_rows_file(self.out, overwrite=self.overwrite)
        if self.annotated is not None:
            check_annotated_folder(self.annotated)


class _Progress:
    """How many answers there are, on a line that goes away at the end. `total` is 0 where nobody knows it. `shown`:
    somebody watches stderr, and the answers do not go to the same terminal."""

    def __init__(self, what: str, total: int, *, shown: bool) -> None:
        self._what, self._total, self._shown = what, total, shown
        self._last = 0.0
        self._listener = SILENT
        self._stack = ExitStack()

    def open(self) -> None:
        """Something may be shown from here on."""
        if self._shown:
            self._listener = self._stack.enter_context(open_listener(partial(LiveListener, transient=True)))

    def update(self, done: int) -> None:
        """So many are done. Told a few times a second: an image takes a millisecond."""
        now = perf_counter()
        if now - self._last >= _EACH_S or done == self._total:
            self._last = now
            self._listener.progress(self._what, done, self._total)

    def close(self) -> None:
        """Nothing is shown from here on."""
        self._stack.close()


class AnswerOutput:
    """A context manager. `take` shows or writes an answer at once; only `--json` without a file keeps them."""

    def __init__(self, options: OutputOptions, total: int | None) -> None:
        self.options = options
        self.results: list[Prediction] = []
        self.failed: list[FailedImage] = []
        self.remarks = RemarkCounts()
        self.answered = self.refused = 0
        self._rows: RowsFile | None = None
        lines = not options.json and options.out is None
        self._lines = lines
        self._progress = _Progress(
            "frames" if options.video else "images",
            total or 0,
            shown=(sys.stderr.isatty() or volume() == VERBOSE) and not (lines and sys.stdout.isatty()),
        )
        if options.out is not None:
            self._rows = RowsFile(
                options.out, top=options.top, video=options.video, overwrite=options.overwrite
            )

    def take(self, one: Prediction) -> None:
        """The next answer, or the next image without one."""
        if one.failure is None:
            self._answered(one)
        else:
            self._failed(one)
        if self._rows:
            self._rows.write(one)
        self._progress.update(self.answered + self.refused)

    def _answered(self, one: Prediction) -> None:
        self.answered += 1
        if one.remark:
            self.remarks.add(_name(one), one.remark)
        if self._lines:
            sys.stdout.write(printable(answer_line(one), keep=KEPT) + "\n")
            if self.options.video:  # whoever reads a camera's answers wants them now
                sys.stdout.flush()
        elif self._rows is None:
            kept = row_of(one)
            assert isinstance(kept, Prediction)
            self.results.append(kept)

    def _failed(self, one: Prediction) -> None:
        self.refused += 1
        if self._rows is None and self.options.json:
            kept = row_of(one)
            assert isinstance(kept, FailedImage)
            self.failed.append(kept)
        if self._rows is None or self.refused <= SHOWN_FAILURES:
            complain(f"not a usable image: {printable(one.image or '')}: {printable(one.failure)}")

    def finish(self) -> None:
        """Every answer is there: give the file its name."""
        self._progress.close()
        sys.stdout.flush()
        if self._rows:
            self._rows.finish()
            if self.refused > SHOWN_FAILURES:
                say(f"… {self.refused:,} images could not be used; their rows say why")
            say(f"{self.answered:,} answers and {self.refused:,} failures in {self._rows.path}")

    @property
    def counts(self) -> PredictionCounts | None:
        """Of the file of rows."""
        return self._rows.counts if self._rows else None

    def __enter__(self) -> AnswerOutput:
        self._progress.open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.close()
        if self._rows:
            self._rows.__exit__(kind, error, trace)


def answer_line(one: Prediction) -> str:
    """For a person."""
    labels = ", ".join(f"{printable(score.label)} {percentage(score.probability, 1)}" for score in one.top)
    time = "" if one.frame is None else f" ({one.time_s or 0.0:.2f} s)"
    return f"{_name(one)}{time}: {labels}"


def _name(one: Prediction) -> str:
    return printable(one.image or "") + ("" if one.frame is None else f" frame {one.frame}")


def with_copies(
    answers: Iterable[Answer], folder: Path | None, labels: list[str], max_pixels: int | None
) -> Generator[Prediction, None, None]:
    """The answers, each after its annotated copy was drawn, by threads; without a `folder`, the answers."""
    if folder is None:
        yield from (one for one, _ in answers)
        return
    folder.mkdir(parents=True, exist_ok=True)
    names = CopyNames(folder)
    named = ((one, source, None if one.failure is not None else names.of(one)) for one, source in answers)

    def draw(item: tuple[Prediction, Image.Image | bytes | None, Path | None]) -> Prediction:
        one, source, file = item
        if file is None:
            return one
        try:
            image = examine(one.image or "" if source is None else source, max_pixels=max_pixels).image
        except (BadImage, ReadError) as error:  # it went away between two looks
            return replace(one, top=(), failure=f"it could be read once and not again: {error.reason}")
        try:
            write_annotated(annotated_picture(image, one, labels), file)
        except (OSError, ValueError) as error:  # the answers are worth more than one copy
            why = f"no annotated copy: {getattr(error, 'strerror', None) or error}"
            return replace(one, remark=f"{one.remark}; {why}" if one.remark else why)
        return replace(one, annotated=str(file))

    threads = cores_allowed()
    yield from ordered_map(draw, named, threads=threads, ahead=2 * threads, name="annotate")
