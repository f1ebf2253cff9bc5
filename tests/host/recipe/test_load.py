"""Recipes: refusals that name the field and the nearest key, `--set`, and every recipe that is shipped."""

from __future__ import annotations

import re
import shlex
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_tl.device.errors import BadInput
from edge_tl.host.recipe import load as recipes

FOLDER = Path(__file__).parents[3] / "recipes"
SHIPPED = sorted(FOLDER.rglob("*.y*ml"))


def flat(record: dict[str, Any], before: str = "") -> dict[str, Any]:
    """`{"head.C": …}`"""
    found: dict[str, Any] = {}
    for key, value in record.items():
        found |= flat(value, f"{before}{key}.") if isinstance(value, dict) else {before + key: value}
    return found


FIELDS = sorted(flat(recipes.Recipe().model_dump()))
SECTIONS = sorted({name.split(".")[0] for name in FIELDS if "." in name})


def nested(name: str, value: Any) -> dict[str, Any]:
    *sections, last = name.split(".")
    found: dict[str, Any] = {last: value}
    for part in reversed(sections):
        found = {part: found}
    return found


def test_the_fields_are_those_of_the_design():
    assert SECTIONS == ["augment", "data", "export", "head", "model", "train"]
    assert {"seed", "data.path", "model.weights", "train.epochs", "head.C", "export.max_drop"} <= set(FIELDS)


@pytest.mark.parametrize("field", ["data.path", "model.weights"])
def test_a_path_with_a_null_character_is_refused(field: str):
    with pytest.raises(BadInput, match=f"{field}.*null character"):
        recipes.parse(nested(field, "a\0b"))


@pytest.mark.parametrize(
    ("wrong", "nearest"),
    [
        ("trian", "train"),
        ("sed", "seed"),
        ("dta.path", "data"),
        ("lern_rate", "train"),  # nothing is near: one that exists is named all the same
        ("train.epoch", "train.epochs"),
        ("train.stratgy", "train.strategy"),
        ("model.image_sise", "model.image_size"),
        ("head.max_iters", "head.max_iter"),
        ("head.c", "head.C"),
        ("export.maxdrop", "export.max_drop"),
        ("data.on_bad_imge", "data.on_bad_image"),
    ],
)
def test_an_unknown_key_is_refused_with_the_nearest_one(wrong: str, nearest: str):
    with pytest.raises(BadInput) as caught:
        recipes.parse(nested(wrong, 1), source="my.yaml")
    unknown, named = re.findall(r"'([^']*)'", str(caught.value))
    assert str(caught.value).startswith("my.yaml: unknown key")
    assert unknown == (wrong if nearest != "data" else "dta")
    if wrong != "lern_rate":
        assert named == nearest
    assert named in FIELDS + SECTIONS


@settings(deadline=None)
@given(st.sampled_from([f for f in FIELDS if len(f.split(".")[-1]) > 4]), st.data())
def test_one_typing_error_away_the_meant_key_is_named(name: str, data: st.DataObject):
    *section, key = name.split(".")
    at = data.draw(st.integers(1, len(key) - 2))
    kind = data.draw(st.sampled_from(["drop", "double", "swap"]))
    typo = {
        "drop": key[:at] + key[at + 1 :],
        "double": key[:at] + key[at] + key[at:],
        "swap": key[:at] + key[at + 1] + key[at] + key[at + 2 :],
    }[kind]
    if typo == key:
        return
    with pytest.raises(BadInput, match=re.escape(f"Nearest: {name!r}.")):
        recipes.parse(nested(".".join([*section, typo]), 1))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("seed", -1),
        ("seed", 1.5),
        ("data.val", 1.0),
        ("data.test", -0.1),
        ("data.on_bad_image", "ignore"),
        ("model.image_size", 31),
        ("model.image_size", "large"),
        ("model.resize", "stretch"),
        ("train.strategy", "fulll"),
        ("train.epochs", 0),
        ("head.C", "many"),
        ("head.C", []),
        ("head.max_iter", 0),
        ("export.int8", "perhaps"),
        ("export.max_drop", -1),
        ("export.max_drop", float("nan")),
        ("export.calibration_images", 0),
        ("export.golden_images", 1),
    ],
)
def test_a_wrong_type_or_range_names_the_field_and_the_value(name: str, value: Any):
    with pytest.raises(BadInput) as caught:
        recipes.parse(nested(name, value), source="my.yaml")
    assert f"my.yaml: {name} = {value!r}" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("strength", [0.0, -1.0, float("inf"), float("nan")])
def test_a_strength_that_is_no_positive_number_is_refused(strength: float):
    with pytest.raises(BadInput, match=r"head\.C"):
        recipes.parse({"head": {"C": [0.1, strength]}})


@pytest.mark.parametrize(("value", "shown"), [(-1, "-1"), (300, "300"), (100.5, "100.5")])
def test_a_refused_max_drop_is_read_back_with_its_unit(value: float, shown: str):
    with pytest.raises(BadInput, match=re.escape(f"{value} was read as {shown} percentage points.")):
        recipes.parse({"export": {"max_drop": value}})


@pytest.mark.parametrize("value", [{"train": None}, {"train": "head"}, {"model": ["mobilenet_v2"]}, {1: 2}])
def test_a_section_that_is_no_mapping_is_refused(value: dict[Any, Any]):
    with pytest.raises(BadInput, match=str(next(iter(value)))):
        recipes.parse(value)


YAML_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
NAMES = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,8}", fullmatch=True)


@settings(max_examples=50, deadline=None)
@given(st.lists(NAMES, min_size=1, max_size=3), YAML_VALUES)
def test_set_reads_any_yaml_value_into_any_depth(path: list[str], value: Any):
    chosen: dict[str, Any] = {"other": 1}
    text = yaml.safe_dump(value, default_flow_style=True, width=10**9)
    if path[0] == "other":
        return
    recipes.override(chosen, f"{'.'.join(path)}={text}")
    assert chosen == {"other": 1} | nested(".".join(path), value)


@given(st.floats(0, 100), st.integers(1, 10**6), st.lists(st.floats(1e-30, 1e30), min_size=1, max_size=4))
def test_numbers_survive_set_however_python_writes_them(drop: float, epochs: int, strengths: list[float]):
    chosen: dict[str, Any] = {}
    for text in (f"export.max_drop={drop}", f"train.epochs={epochs}", f"head.C={strengths}"):
        recipes.override(chosen, text)
    recipe = recipes.parse(chosen)  # YAML 1.1 reads 1e-05 as text; the field still gets the number
    assert (recipe.export.max_drop, recipe.train.epochs, recipe.head.C) == (drop, epochs, strengths)


@pytest.mark.parametrize("text", ["head.max_iter", "=3", " = 3", "head.C=[1", "seed.low=1"])
def test_a_malformed_set_is_refused(text: str):
    with pytest.raises(BadInput, match="--set"):
        recipes.override({"seed": 0}, text)


def test_a_parsed_recipe_can_be_written_and_read_again():
    recipe = recipes.parse({"seed": 3, "head": {"C": [0.5]}, "export": {"int8": True}})
    assert recipes.parse(yaml.safe_load(yaml.safe_dump(recipe.model_dump(mode="json")))) == recipe


@pytest.mark.parametrize(
    ("content", "words"),
    [(b"- a\n", "list"), (b"seed: [\n", "not YAML"), (b"\xff\xfe\x00", "not YAML"), (b"text", "str")],
)
def test_a_file_that_holds_no_mapping_is_refused(tmp_path: Path, content: bytes, words: str):
    path = tmp_path / "bad.yaml"
    path.write_bytes(content)
    with pytest.raises(BadInput, match=words) as caught:
        recipes.read_settings(path)
    assert str(path) in str(caught.value)


def test_an_absent_file_is_refused_and_an_empty_one_is_all_defaults(tmp_path: Path):
    with pytest.raises(BadInput, match="no such recipe"):
        recipes.read_settings(tmp_path / "absent.yaml")
    (tmp_path / "empty.yaml").write_text("# nothing\n")
    assert recipes.parse(recipes.read_settings(tmp_path / "empty.yaml")) == recipes.Recipe()


def test_there_are_recipes():
    assert len(SHIPPED) >= 4


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_a_shipped_recipe_validates_and_tells_how_to_run_it(path: Path):
    text = path.read_text(encoding="utf-8")
    first, second, *_ = text.splitlines()
    assert first.startswith("# ")
    assert len(first) > 20
    assert second == "#"
    recipe = recipes.parse(recipes.read_settings(path), source=path.name)
    assert recipe.model_dump()
    # The command under the purpose: verbs and names must be real, and it must start with this very recipe.
    line = next(line for line in text.splitlines() if line.startswith("#     edge-tl "))
    commands = [shlex.split(part) for part in line.removeprefix("#").split("&&")]
    assert all(words[0] == "edge-tl" for words in commands)
    assert commands[0][1] in ("finetune", "compare", "demo", "recipes")
    assert path.stem in commands[0]
    for words in commands:
        for option, value in pairwise(words):
            if option == "--set":
                changed = recipes.read_settings(path)
                recipes.override(changed, value)
                assert recipes.parse(changed) != recipe


@pytest.mark.parametrize(
    "name", ["../../../x", "/tmp/x", "a/b", "..", "con", "a\x1b[31m", ".hidden", "a\nb", "C:x", ""]
)
def test_a_recipes_name_is_one_folders(name: str, tmp_path: Path):
    with pytest.raises(BadInput, match="name") as caught:
        recipes.parse({"name": name}, source="my.yaml")
    assert "cannot name a folder" in str(caught.value)


@pytest.mark.parametrize(
    "text", ["model: {name: 'factory:evil:run'}", "model:\n  name: ' factory:os:getcwd'"]
)
def test_a_file_names_no_code(text: str, tmp_path: Path):
    (tmp_path / "my.yaml").write_text(text)
    with pytest.raises(BadInput, match="names code") as caught:
        recipes.read_settings(tmp_path / "my.yaml")
    assert "--factory" in str(caught.value)


@pytest.mark.parametrize(
    "field", ["augment.mixup", "augment.cutmix", "train.weight_decay", "train.checkpoint_seconds"]
)
@pytest.mark.parametrize("value", [".inf", ".nan"])
def test_no_number_is_infinite_or_none(field: str, value: str):
    settings: dict[str, Any] = {}
    recipes.override(settings, f"{field}={value}")
    with pytest.raises(BadInput, match="finite"):
        recipes.parse(settings)
