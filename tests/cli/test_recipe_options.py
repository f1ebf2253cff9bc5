"""From what a person typed to a recipe: data, recipes and runs are distinguished, options come before `--set`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from edge_tl.cli import _recipe_options, _verbs, compare
from edge_tl.cli._options import wait_quiet_s
from edge_tl.cli._recipe_options import typed_settings
from edge_tl.device.errors import BadInput
from edge_tl.host.models.input_size import check_size
from edge_tl.host.models.weights import check_weights
from edge_tl.host.runs import checkpoint


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("rung", [1, 2, 3, 4, 5])
def test_the_last_rung_is_a_number_from_1_to_5(rung: int):
    assert _recipe_options.ladder_rung(f"up-to={rung}") == rung


@pytest.mark.parametrize(
    "text", ["", "3", "up-to", "up-to=", "up-to=0", "up-to=6", "up-to=-1", "up-to=33", "up to=3", "up-to=3.0"]
)
def test_another_last_rung_is_refused_with_how_to_write_it(text: str):
    with pytest.raises(BadInput, match="up-to=N with N from 1 to 5") as caught:
        _recipe_options.ladder_rung(text)
    assert f"--ladder {text}:" in str(caught.value)


@pytest.mark.parametrize(
    ("text", "want"),
    [
        ("90", 90),
        ("90s", 90),
        ("10m", 600),
        ("1h", 3600),
        ("1.5h", 5400),
        ("0.5m", 30),
        (" 10m ", 600),
        ("0.1", 0.1),
    ],
)
def test_a_time_budget_is_read_in_seconds(text: str, want: float):
    assert _recipe_options.time_budget_s(text) == pytest.approx(want)


@pytest.mark.parametrize(
    "text",
    ["", "0", "0s", "0.0m", "-5s", "+5s", "m", "10 m", "10min", "1h30m", "1d", ".5h", "1e3", "inf", "nan"],
)
def test_another_time_budget_is_refused_with_how_to_write_it(text: str):
    with pytest.raises(BadInput, match="write it as 90s, 10m or 1h") as caught:
        _recipe_options.time_budget_s(text)
    assert f"--time-budget {text}:" in str(caught.value)


def test_what_was_not_typed_stays_unsaid():
    assert _recipe_options.ladder_rung(None) is None
    assert _recipe_options.time_budget_s(None) is None


def test_a_time_budget_without_end_is_refused_by_the_recipe():
    endless = _recipe_options.time_budget_s("9" * 400)
    with pytest.raises(BadInput, match=r"^--time-budget=inf"):
        typed_settings({}, "options").changed({"export.time_budget_s": endless}, None).recipe()


def test_a_folder_and_a_list_are_data(here: Path):
    for name in ("photos", "photos/list.csv", "data-{000..003}.tar", "absent"):
        found = _recipe_options.data_settings(name)
        assert (found.settings, found.source, found.run) == ({"data": {"path": name}}, "options", None)
        assert found.recipe().data.path == name


@pytest.mark.parametrize("suffix", [".yaml", ".yml"])
def test_a_recipe_file_is_read_and_named_in_errors(suffix: str, here: Path):
    Path(f"my{suffix}").write_text("data: {path: photos}\ntrain: {epochs: 3}\n")
    found = _recipe_options.data_settings(f"my{suffix}")
    assert (found.source, found.run) == (f"my{suffix}", None)
    assert (found.recipe().data.path, found.recipe().train.epochs) == ("photos", 3)
    Path(f"my{suffix}").write_text("train: {epoch: 3}\n")
    with pytest.raises(BadInput, match=rf"my{suffix}: unknown key 'train\.epoch'"):
        _recipe_options.data_settings(f"my{suffix}").recipe()
    Path(f"my{suffix}").unlink()
    with pytest.raises(BadInput, match="no such recipe"):
        _recipe_options.data_settings(f"my{suffix}")


def test_a_recipe_of_the_package_is_found_by_name_unless_a_folder_has_it(here: Path):
    found = _recipe_options.data_settings("demo")
    assert (found.source, found.run) == ("demo.yaml", None)
    assert found.recipe().model.weights == "embedded"
    (here / "demo").mkdir()
    assert _recipe_options.data_settings("demo").settings == {"data": {"path": "demo"}}


def test_a_runs_folder_gives_the_recipe_it_was_asked_for(run: Path, images: Path):
    found = _recipe_options.data_settings(str(run))
    assert (found.run, found.source) == (run, str(run / checkpoint.RECIPE))
    assert found.recipe().data.path == str(images)
    assert found.recipe().model_dump(mode="json") == checkpoint.read_run(run).provenance.recipe


def test_a_finished_run_gives_the_settings_it_was_made_with(run: Path, tmp_path: Path):
    found = _recipe_options.run_settings(run).changed(
        {"export.int8": True, "export.max_drop": None}, ["export.ladder=2"]
    )
    before = checkpoint.read_run(run).provenance.recipe
    recipe = found.recipe()
    assert found.run == run
    assert (recipe.export.int8, recipe.export.ladder) == (True, 2)
    assert recipe.export.max_drop == before["export"]["max_drop"]
    assert recipe.model.name == before["model"]["name"]
    assert checkpoint.read_run(run).provenance.recipe == before
    with pytest.raises(BadInput, match="no such run"):
        _recipe_options.run_settings(tmp_path / "absent")
    with pytest.raises(BadInput, match="not a finished run"):
        _recipe_options.run_settings(tmp_path)


def test_options_of_none_leave_a_setting_and_false_and_0_do_not():
    settings = {"seed": 3, "export": {"int8": True, "max_drop": 0.5}}
    kept = typed_settings(settings, "options").changed(
        {"seed": None, "export.int8": None, "model.name": None}, None
    )
    assert kept.settings == {"seed": 3, "export": {"int8": True, "max_drop": 0.5}}
    changed = kept.changed({"seed": 0, "export.int8": False, "export.max_drop": 0.0}, [])
    recipe = changed.recipe()
    assert (recipe.seed, recipe.export.int8, recipe.export.max_drop) == (0, False, 0.0)


def test_assignments_come_after_options_and_the_last_one_counts():
    flags = {"model.name": "resnet18", "train.epochs": 2}
    sets = ["train.epochs=3", "train.epochs=4", "model.mean=[0, 0.5, 1]", "name=null"]
    recipe = typed_settings({"name": "x"}, "options").changed(flags, sets).recipe()
    assert (recipe.model.name, recipe.train.epochs, recipe.name) == ("resnet18", 4, None)
    assert recipe.model.mean == (0, 0.5, 1)


@pytest.mark.parametrize(
    ("flags", "match"),
    [
        ({"export.max_drop": -1.0}, r"^--max-drop=-1\.0: .* -1\.0 was read as -1 percentage points\.$"),
        ({"export.precisions": ["fp16", "int3"]}, r"^--precision=int3: give 'fp16' or 'w8'\.$"),
        ({"export.target_cpu": "z80"}, r"^--target-cpu=z80: give 'any'"),
        ({"export.max_p95_ms": 0.0}, r"^--max-p95=0\.0: "),
        ({"seed": -1}, r"^--seed=-1: "),
    ],
)
def test_a_value_that_cannot_be_is_named_by_the_option_that_was_typed(flags: dict[str, Any], match: str):
    with pytest.raises(BadInput, match=match):
        typed_settings({}, "--set").changed(flags, None).recipe()


def test_what_was_not_typed_is_named_by_its_source_and_what_was_assigned_last_by_that():
    with pytest.raises(BadInput, match=r"^flowers\.yaml: train\.epochs = 0: "):
        typed_settings({"train": {"epochs": 0}}, "flowers.yaml").changed(
            {"seed": 1}, ["head.max_iter=3"]
        ).recipe()
    with pytest.raises(BadInput, match=r"^--set train\.epochs=0: "):
        typed_settings({}, "options").changed({"train.epochs": 3}, ["train.epochs=0"]).recipe()


def test_every_option_is_spelled_as_the_verbs_spell_it():
    known = {option for verb in ("finetune", "export") for option in _options_of(verb)}
    assert set(_recipe_options._OPTIONS.values()) <= known


def _options_of(verb: str) -> list[str]:
    return [spelling for parameter in _verbs.load(verb).params for spelling in parameter.opts]


def test_an_empty_section_is_made_one():
    recipe = typed_settings({"train": None}, "options").changed({"train.epochs": 2}, None).recipe()
    assert recipe.train.epochs == 2


@pytest.mark.parametrize(
    ("settings", "sets", "match"),
    [
        ({}, ["train.epochs"], r"--set train\.epochs: write it as section\.field=value"),
        ({}, ["=3"], "write it as section"),
        ({}, ["train.epochs=["], "is not a YAML value"),
        ({"train": "fast"}, ["train.epochs=3"], r"--set train\.epochs=3: train: 'fast' is a value"),
        ({}, ["train.epoch=3"], r"--set train\.epoch: unknown key 'train\.epoch'. Nearest: 'train\.epochs'"),
        ({}, ["train.epochs=0"], r"^--set train\.epochs=0: give 1 or more"),
        ({}, ["train={epochs: 0}"], r"^--set train\.epochs=0: give 1 or more"),
    ],
)
def test_assignments_that_cannot_be_are_refused(settings: dict[str, Any], sets: list[str], match: str):
    with pytest.raises(BadInput, match=match):
        typed_settings(settings, "options").changed({}, sets).recipe()


def test_a_wait_is_a_duration_of_a_day_at_most() -> None:
    assert [wait_quiet_s(text) for text in (None, "90s", "5m", "24h", "45")] == [
        0.0,
        90.0,
        300.0,
        86400.0,
        45.0,
    ]
    for text in ("25h", "soon", "0", "-5m", "9" * 400):
        with pytest.raises(BadInput, match=f"--wait-quiet {text}: "):
            wait_quiet_s(text)


@pytest.mark.parametrize(
    ("assignment", "said"),
    [
        ("train.epochs=x", "give a whole number"),
        ("train.lr=x", "give a number"),
        ("export.int8=perhaps", "give true or false"),
        ("export.max_drop=-1", "give 0 or more"),
        ("export.threshold=1", "give less than 1"),
        ("data.group_by='('", "no regular expression"),
    ],
)
def test_a_wrong_value_is_refused_with_what_to_give(assignment: str, said: str) -> None:
    with pytest.raises(BadInput, match=said) as caught:
        typed_settings({}).changed({}, [assignment]).recipe()
    assert assignment.partition("=")[0] in str(caught.value)
    for theirs in ("Input should", "Value error", "unable to parse"):
        assert theirs not in str(caught.value)


def test_what_an_export_would_ignore_is_refused() -> None:
    """It would stand in the record as if it had been done."""
    plain = typed_settings({})
    for assignment in ("train.epochs=3", "model.name=resnet18", "data.path=x", "head.max_iter=9"):
        with pytest.raises(BadInput, match="export does not use"):
            plain.changed({}, [assignment]).refuse_unused()
    for field, value in (("export.ladder", 3), ("export.time_budget_s", 60.0), ("export.target_cpu", "avx2")):
        with pytest.raises(BadInput, match=r"no effect without INT8\. Add --int8"):
            plain.changed({field: value}).refuse_unused()
        plain.changed({field: value, "export.int8": True}).refuse_unused()
    plain.changed(
        {"seed": 3, "data.max_pixels": 9, "export.max_drop": 1.0}, ["augment.flip=0"]
    ).refuse_unused()


def test_a_field_that_the_grid_sets_is_refused() -> None:
    for assignment, models, lrs in (
        ("train.strategy=full", None, None),
        ("model.name=resnet18", "resnet18", None),
        ("train.lr=1", None, "1e-3"),
    ):
        with pytest.raises(BadInput, match="every trial has its own"):
            compare._check_grid([assignment], models, lrs)
    compare._check_grid(["model.name=resnet18", "train.lr=0.1", "train.epochs=2"], None, None)


def test_weights_that_are_none_are_refused_before_an_image_is_read(tmp_path: Path) -> None:
    for source in ("imagenet", "none", "embedded"):
        check_weights(source)
    for wrong in ("nope", str(tmp_path)):
        with pytest.raises(BadInput, match="none of imagenet, embedded and none"):
            check_weights(wrong)


def test_an_image_that_vgg_cannot_be_exported_with_is_refused_early() -> None:
    with pytest.raises(BadInput, match="vgg16 cannot be exported below 64 pixels"):
        check_size("vgg16", 48)
    check_size("vgg16", 64)
