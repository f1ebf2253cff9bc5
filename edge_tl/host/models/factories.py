"""Which function of a person's own may build a model: the one that was typed in this command, and no other.

A run's record may be somebody else's, and a factory is code. What was typed reaches the processes that the command
starts through the environment, so a run is opened there as it is here.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from edge_tl.device.errors import BadInput
from edge_tl.device.text import printable
from edge_tl.host.recipe.schema import FACTORY

VARIABLE = "EDGE_TL_FACTORY"


def permit_factory(model: str) -> None:
    """Let runs of `model`, `factory:package.module:function`, be opened by this process and those it starts."""
    os.environ[VARIABLE] = model


@contextmanager
def permitted(factory: str | None) -> Iterator[None]:
    """Within, runs may be opened whose model `factory`, `package.module:function`, makes; None changes nothing."""
    before = os.environ.get(VARIABLE)
    if factory is not None:
        permit_factory(f"{FACTORY}{factory}")
    try:
        yield
    finally:
        if factory is not None:
            os.environ.pop(VARIABLE)
            os.environ.update({} if before is None else {VARIABLE: before})


def check_permitted(model: str, where: str) -> None:
    """Raises `BadInput` where `model`, which the record at `where` names, is a factory that nobody typed."""
    if model.startswith(FACTORY) and os.environ.get(VARIABLE) != model:
        function = printable(model.removeprefix(FACTORY))
        raise BadInput(
            f"{printable(where)}: its model is made by {function}, code that a file may not start. If that is yours, "
            f"say so: --factory {function}, in Python factory={function!r}"
        )
