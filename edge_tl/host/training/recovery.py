"""What a training goes on from, and what it cannot: numbers that are none, and memory that is not there.

Trains nothing and touches no file.
"""

from __future__ import annotations

from collections.abc import Sequence

from edge_tl.device.errors import BadInput, EdgeTLError
from edge_tl.host.training import distributed


class Diverged(Exception):
    """Something is NaN or infinite: `what`."""

    def __init__(self, what: str) -> None:
        super().__init__(what)
        self.what = what


def given_up(what: str, files: Sequence[str]) -> EdgeTLError:
    """After the second time; `files` are the last batch's."""
    return EdgeTLError(
        f"{what} not a number even at half the learning rate. The last batch: {', '.join(files)}. "
        "Look at these files, or lower --set train.lr."
    )


def smaller(micro_batch: int, error: RuntimeError) -> int:
    """How many images to try at once after `micro_batch` were too many for the memory. Raises `BadInput` where fewer
    are not possible, or not without the other processes."""
    said = f"out of memory with {micro_batch} images at once ({str(error).splitlines()[0][:120]})"
    if micro_batch <= distributed.count():
        raise BadInput(f"{said}. Use a smaller --image-size or model.") from None
    if distributed.many():  # the others wait for this one's gradients
        raise BadInput(f"{said}. Go on with --resume --set train.micro_batch={micro_batch // 2}.") from None
    return (micro_batch + 1) // 2
