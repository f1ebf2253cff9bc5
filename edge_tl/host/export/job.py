"""What one export works with."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from edge_tl.device.errors import EdgeTLError
from edge_tl.device.listener import SILENT, Listener
from edge_tl.device.preprocess import Preprocess
from edge_tl.device.runtimes.open import Logits
from edge_tl.host.export.kept_inputs import KeptInputs
from edge_tl.host.export.notable import NotableAnswers
from edge_tl.host.images.dataset import Dataset, Sample
from edge_tl.host.isolated import IsolatedProcess
from edge_tl.host.models.reference import TorchRuntime
from edge_tl.host.recipe.schema import Recipe
from edge_tl.host.runs.record import RunRecord


@dataclass(frozen=True)
class ExportJob:
    """`saved` is the run's record, `sets` the images of each purpose (see `artifacts.sets_of`), `isolated` the process
    that makes and runs artifacts, `inputs` the model inputs that are asked for more than once. `missing` says, by id,
    why an artifact could not be made or did not run; `faults` what else went wrong, by what it was, e.g.
    "report.html"; `notable`, by id, which answers the report shows."""

    reference: TorchRuntime
    saved: RunRecord
    dataset: Dataset
    contract: Preprocess
    sets: dict[str, list[Sample]]
    recipe: Recipe
    staging: Path
    isolated: IsolatedProcess
    inputs: KeptInputs
    listener: Listener = SILENT
    missing: dict[str, str] = field(default_factory=dict)
    faults: dict[str, str] = field(default_factory=dict)
    notable: dict[str, NotableAnswers] = field(default_factory=dict)
    _rows: dict[str, dict[str, Logits]] = field(default_factory=dict, init=False, repr=False)

    @property
    def scratch(self) -> Path:
        """A folder for what the bundle will not have."""
        folder = self.staging / "scratch"
        folder.mkdir(exist_ok=True)
        return folder

    def keep_logits(self, artifact: str, samples: Sequence[Sample], logits: Logits) -> None:
        """Remember what the artifact's file, as it is now, answers: `logits` `(n, classes)` of `samples`."""
        digests = [sample.digest for sample in samples]
        self._rows.setdefault(artifact, {}).update(zip(digests, logits, strict=True))

    def kept_logits(self, artifact: str, samples: Sequence[Sample]) -> Logits | None:
        """Those of `samples`, in their order; None unless all of them were kept."""
        rows = self._rows.get(artifact, {})
        if not samples or any(sample.digest not in rows for sample in samples):
            return None
        return np.stack([rows[sample.digest] for sample in samples])

    def forget_logits(self) -> None:
        """Before files change."""
        self._rows.clear()

    def lacks(self, artifact: str, error: BaseException | str) -> None:
        """Enter why there is no such artifact, and say it."""
        self.missing[artifact] = said(error) if isinstance(error, BaseException) else error
        self.listener.note(f"{artifact}: {self.missing[artifact]}")

    @contextmanager
    def entering(self, artifact: str) -> Iterator[None]:
        """What fails inside is an entry of the artifact, but for a disk that is full or a folder that is gone."""
        try:
            yield
        except OSError:
            raise
        except Exception as error:  # converters, the ladder and runtimes raise anything
            self.lacks(artifact, error)

    def failed(self, what: str, error: BaseException) -> None:
        """Enter why something beside the artifacts could not be had, and say it."""
        self.faults[what] = said(error)
        self.listener.note(f"warning: {what}: {self.faults[what]}")


def said(error: BaseException) -> str:
    """An error as an entry: its first line, and its type where the words are not ours."""
    line = next((each.strip() for each in str(error).splitlines() if each.strip()), "")[:300]
    return (
        line if line and isinstance(error, (EdgeTLError, TimeoutError)) else f"{type(error).__name__}: {line}"
    )
