"""Which class each evaluation image was answered with, so that two bundles can be compared image by image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from edge_tl.device.records.codec import Bounds, Fault, Pattern, Record

MOST_ANSWERS = 20_000  # images; beyond, a report would be megabytes of them
DIGITS = 16

_Digest = Annotated[str, Pattern(f"[0-9a-f]{{{DIGITS}}}", f"{DIGITS} hexadecimal digits")]
_Class = Annotated[int, Bounds(0, 100_000)]


@dataclass(frozen=True)
class AnswersRecord(Record):
    """For each image the first digits of the SHA-256 of its file, its true class, PyTorch's answer, and those of the
    artifacts by id; classes by their place among the bundle's labels."""

    images: tuple[_Digest, ...]
    labels: tuple[_Class, ...]
    pytorch: tuple[_Class, ...]
    artifacts: dict[str, tuple[_Class, ...]]

    def check(self) -> None:
        """Raises `Fault` where there is not one answer for each image."""
        columns: dict[str, Sequence[int]] = {"labels": self.labels, "pytorch": self.pytorch}
        for key, column in (*columns.items(), *self.artifacts.items()):
            if len(column) != len(self.images):
                raise Fault(
                    key, f"a list of {len(column)}", f"a list of {len(self.images)}, one for each image"
                )
        if len(self.images) > MOST_ANSWERS:
            raise Fault("images", f"a list of {len(self.images)}", f"{MOST_ANSWERS} at most")
