"""The shelf of recipes: what is listed, found and copied is what lies in the folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge_tl.device.errors import BadInput
from edge_tl.host.recipe import builtin

FOLDER = Path(__file__).parents[3] / "recipes"


def test_every_file_of_the_folder_is_on_the_shelf():
    names = sorted(path.name for path in FOLDER.iterdir() if path.suffix == ".yaml")
    assert len(names) >= 4
    assert [path.name for path in builtin.recipes()] == names
    assert all(path.read_bytes() == (FOLDER / path.name).read_bytes() for path in builtin.recipes())


def test_a_recipe_is_found_by_its_name_only():
    assert builtin.get("demo").name == "demo.yaml"
    assert builtin.find("demo") == builtin.get("demo")
    assert builtin.find("demo.yaml") is None
    assert builtin.find("../recipes/demo") is None


def test_an_unknown_name_is_refused_with_the_names_there_are():
    with pytest.raises(BadInput, match="no recipe 'dmeo'") as caught:
        builtin.get("dmeo")
    assert all(path.stem in str(caught.value) for path in builtin.recipes())


def test_a_copy_is_exact_and_overwrites_nothing(tmp_path: Path):
    recipe = builtin.get("demo")
    assert builtin.copy_recipe(recipe, tmp_path) == tmp_path / "demo.yaml"
    written = builtin.copy_recipe(recipe, tmp_path / "new" / "mine.yaml")
    assert written.read_bytes() == recipe.read_bytes()
    written.write_text("mine")
    for target in (written, tmp_path):
        with pytest.raises(BadInput, match="exists"):
            builtin.copy_recipe(recipe, target)
    assert written.read_text() == "mine"


def test_the_purpose_is_the_first_comment_line(tmp_path: Path):
    for recipe in builtin.recipes():
        assert recipe.read_text(encoding="utf-8").startswith(f"# {builtin.purpose(recipe)}\n")
    (tmp_path / "bare.yaml").write_text("seed: 1\n#no space\n")
    assert builtin.purpose(tmp_path / "bare.yaml") == ""
