"""What a comparison may be extended with: trials that are there stay, where what is asked would not change them."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from edge_tl.device.errors import BadInput
from edge_tl.host.comparison.study import _same_settings
from edge_tl.host.recipe.schema import Recipe
from edge_tl.host.runs import checkpoint


def asked(strategy: str, epochs: int | None) -> Recipe:
    return Recipe.model_validate({"train": {"strategy": strategy, "epochs": epochs}})


def test_epochs_are_nothing_to_a_head_and_much_to_others(tmp_path: Path) -> None:
    for strategy in ("head", "full"):
        run = tmp_path / strategy
        run.mkdir()
        (run / checkpoint.RECORD).write_text("{}")
        (run / checkpoint.RECIPE).write_text(yaml.safe_dump(asked(strategy, None).model_dump(mode="json")))
    _same_settings(tmp_path / "head", asked("head", 2))
    with pytest.raises(BadInput, match=r"train\.epochs = the default, and this asks for 2\. Choose another"):
        _same_settings(tmp_path / "full", asked("full", 2))
