"""The base of every record in `run.json`. Knows none of them."""

from __future__ import annotations

from typing import Annotated, ClassVar

from edge_tl.device.errors import BadInput
from edge_tl.device.records.codec import Bounds, Record

Whole = Annotated[int, Bounds(0)]


class RunPart(Record):
    """What is wrong with it is said of `run.json`, as `BadInput`."""

    document: ClassVar[str] = "run.json"
    advice: ClassVar[str] = "the file is damaged; fine-tune again"
    error: ClassVar[type[BadInput]] = BadInput
