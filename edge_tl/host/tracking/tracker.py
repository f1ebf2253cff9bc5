"""One interface for the trackers of `--track`. A tracker that fails ends no work: it is left behind with a warning."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from edge_tl.device.errors import BadInput, EdgeTLError
from edge_tl.device.files import write_json
from edge_tl.device.listener import SILENT, Event, Listener, Listeners, Silent
from edge_tl.device.records.bench import BenchResult
from edge_tl.device.records.bundle import BundleRecord
from edge_tl.device.text import printable
from edge_tl.host.listeners import EpochEvent
from edge_tl.host.recipe.schema import Recipe
from edge_tl.host.runs.record import RunRecord
from edge_tl.host.tracking import facts

NAMES = ("mlflow", "wandb")


class Tracker(Protocol):
    """One run of an experiment tracker, open until its `end`. `where` it is kept; `look`: what shows it."""

    where: str
    look: str

    def settings(self, values: Mapping[str, str]) -> None:
        """Log texts, each once."""

    def figures(self, values: facts.Figures, step: int | None) -> None:
        """Log numbers, of the epoch `step` or of the whole."""

    def files(self, folder: str, paths: Sequence[Path]) -> None:
        """Keep copies of files below `folder`."""

    def end(self, *, failed: bool) -> None:
        """Close it."""


class Tracking:
    """What a verb tells of, to every tracker that was asked for; one that fails is taken out of `trackers`. `note` is
    told what went wrong."""

    def __init__(self, trackers: dict[str, Tracker], note: Callable[[str], None]) -> None:
        self._trackers, self._note = trackers, note
        self._known: set[str] = set()

    def beside(self, listener: Listener) -> Listener:
        """`listener`, and every epoch to the trackers as it ends."""
        return Listeners(listener, _Epochs(self)) if self._trackers else listener

    def epoch(self, event: EpochEvent) -> None:
        """The end of an epoch."""
        self._each(lambda tracker: tracker.figures(facts.figures_of_epoch(event.record), event.record.epoch))

    def recipe(self, recipe: Recipe) -> None:
        """What is about to be done: of work that fails it says what that was."""
        self._tell("recipe", facts.settings_of_recipe(recipe), {}, [])

    def run(self, folder: Path, record: RunRecord) -> None:
        """A finished run."""
        self._tell(
            "run", facts.settings_of_run(record), facts.figures_of_run(record), facts.files_of_run(folder)
        )

    def bundle(self, folder: Path, record: BundleRecord) -> None:
        """An exported bundle."""
        paths = facts.files_of_bundle(folder)
        self._tell("bundle", facts.settings_of_bundle(record), facts.figures_of_bundle(record), paths)

    def bench(self, result: BenchResult) -> None:
        """A measured latency, with its raw samples as a file."""
        with tempfile.TemporaryDirectory() as folder:
            write_json(Path(folder) / "bench.json", result.to_json())
            paths = [Path(folder) / "bench.json"]
            self._tell("bench", facts.settings_of_bench(result), facts.figures_of_bench(result), paths)

    def end(self, *, failed: bool) -> None:
        """Close every tracker, and say where each is."""
        for name, tracker in list(self._trackers.items()):
            self._each(lambda one: one.end(failed=failed), only=name)
            if name in self._trackers:
                where, look = (without_password(text) for text in (tracker.where, tracker.look))
                self._note(f"tracked by {name} in {where}; to look at it: {look}")

    def _tell(self, what: str, settings: facts.Settings, figures: facts.Figures, paths: list[Path]) -> None:
        # A value is told once.
        new = {key: value for key, value in settings.items() if key not in self._known}
        self._known |= new.keys()
        self._each(lambda tracker: tracker.settings(new))
        if figures:
            self._each(lambda tracker: tracker.figures(figures, None))
        if paths:
            self._each(lambda tracker: tracker.files(what, paths))

    def _each(self, tell: Callable[[Tracker], None], *, only: str | None = None) -> None:
        for name, tracker in list(self._trackers.items()):
            if only not in (None, name):
                continue
            try:
                tell(tracker)
            except Exception as error:  # a server that is gone, a full disk: the result is worth more
                del self._trackers[name]
                self._note(f"warning: {name} is told no more: {_said(error)}")


def without_password(text: str) -> str:
    """With stars for the user and the password of every address."""
    return re.sub(r"//[^/@\s]+@", "//***@", text)


def _said(error: Exception) -> str:
    return printable(without_password(" ".join(str(error).split())))[:300]


class _Epochs(Silent):
    """Epochs of the training itself: those of folds, which are sections, are other trainings."""

    def __init__(self, tracking: Tracking) -> None:
        self._tracking = tracking

    def event(self, event: Event) -> None:
        if isinstance(event, EpochEvent):
            self._tracking.epoch(event)

    @contextmanager
    def section(self, title: str) -> Iterator[Listener]:
        yield SILENT


@contextmanager
def tracked(asked: Sequence[str], name: str, note: Callable[[str], None]) -> Iterator[Tracking]:
    """Trackers for `asked`: "mlflow" or "wandb", each also with "=WHERE"; closed as failed where the work raises.

    Raises `BadInput` for another name, or where a tracker cannot be opened, and `MissingExtra`, before any work."""
    opened: dict[str, Tracker] = {}
    tracking = Tracking(opened, note)
    try:
        for text in asked:
            kind, equals, where = text.partition("=")
            _check(kind, text, known=opened, empty=bool(equals) and not where)
            opened[kind] = _open(kind, name, where or None)
        yield tracking
    except BaseException:
        tracking.end(failed=True)
        raise
    tracking.end(failed=False)


def _check(kind: str, text: str, *, known: Mapping[str, Tracker], empty: bool) -> None:
    if kind not in NAMES:
        raise BadInput(f"--track {text}: no such tracker. Give mlflow or wandb, or mlflow=FOLDER.")
    if empty:
        raise BadInput(f"--track {text}: nothing stands after the =. Give a folder, or {kind} alone.")
    if kind in known:
        raise BadInput(f"--track {text}: {kind} is given twice. Give it once.")


def _open(kind: str, name: str, where: str | None) -> Tracker:
    try:
        if kind == "mlflow":
            from edge_tl.host.tracking.mlflow_ import MlflowTracker

            return MlflowTracker(name, where)
        from edge_tl.host.tracking.wandb_ import WandbTracker

        return WandbTracker(name, where)
    except EdgeTLError:
        raise
    except Exception as error:  # each has its own, for a server that does not answer or a database of others
        asked = without_password(f"{kind}={where}" if where else kind)
        raise BadInput(
            f"--track {asked}: it cannot be opened ({type(error).__name__}: {_said(error)}). "
            "Give another place, or leave it out."
        ) from None
