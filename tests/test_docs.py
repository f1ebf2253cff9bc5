"""The documentation names only verbs, options, links and figures that exist, and builds as a site without a warning."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import typer
import yaml

from edge_tl import __version__
from edge_tl.cli import app
from edge_tl.host.recipe.schema import Recipe

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *DOCS.rglob("*.md")])


def load(path: Path) -> ModuleType:
    specification = importlib.util.spec_from_file_location(path.stem, path)
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def commands() -> dict[str, Any]:
    """Every verb, and "recipes ls" and its siblings, as the program has them."""
    group: Any = typer.main.get_command(app)
    context = group.context_class(group, info_name="edge-tl")
    found: dict[str, Any] = {}
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        found[name] = command
        if hasattr(command, "list_commands"):
            found |= {
                f"{name} {sub}": command.get_command(context, sub) for sub in command.list_commands(context)
            }
    return found


COMMANDS = commands()


def lines_of_commands(page: Path) -> list[str]:
    """Each line of a code block that begins with edge-tl; one over several lines as one, without its comment."""
    text = page.read_text("utf-8").replace("\\\n", " ")
    code = [
        *re.findall(r"^```text\n(.*?)^```", text, re.MULTILINE | re.DOTALL),
        *re.findall(r"^ {4}.*$", text, re.MULTILINE),
    ]
    lines = [line.strip() for block in code for line in block.splitlines()]
    return [line.split("  #")[0] for line in lines if line.startswith("edge-tl ")]


def test_there_are_pages_and_command_lines() -> None:
    assert len(PAGES) > 20
    assert sum(len(lines_of_commands(page)) for page in PAGES) > 40


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_command_line_has_a_verb_and_options_that_exist(page: Path) -> None:
    for line in lines_of_commands(page):
        words = shlex.split(line)[1:]
        name = " ".join(words[:2]) if " ".join(words[:2]) in COMMANDS else words[0]
        assert name in COMMANDS, line
        command = COMMANDS[name]
        known = {
            option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)
        }
        for word in words:
            if word.startswith("-") and word != "-":  # which is stdin
                assert word.split("=")[0] in known | {"--help", "-h"}, f"{page.name}: {line}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_option_in_the_text_belongs_to_a_verb(page: Path) -> None:
    known = {
        option
        for command in COMMANDS.values()
        for parameter in command.params
        for option in (*parameter.opts, *parameter.secondary_opts)
    }
    others = {
        "--install-completion",
        "--help",
        "--version",
        "--nproc-per-node",
        "--cpu",
        "--device",
        "--only",
    }
    others |= {
        "--implicit-reexport",
        "--logits",
        "--patience",
        "--no-deps",
        "--strict",
        "--platform",
        "--backend-store-uri",
    }  # of other programs
    for option in re.findall(r"(?<![\w-])--[a-z][a-z0-9-]*", page.read_text("utf-8")):
        assert option in known | others, option


def test_the_tables_are_those_of_the_results() -> None:
    render = load(ROOT / "benchmarks" / "render.py")
    assert render.missing() == []
    assert sum(path.read_text("utf-8").count("<!-- /") for path in render.PAGES) > 10
    for path in render.PAGES:
        page = path.read_text("utf-8")
        assert page.count("<!-- /") >= 1
        assert render.rendered(page) == page, "run python benchmarks/render.py"


def test_the_site_builds_and_no_link_or_anchor_is_dead(tmp_path: Path) -> None:
    built = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path / "site")],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT), "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
    )
    assert built.returncode == 0, built.stderr
    cli = (tmp_path / "site" / "reference" / "cli.html").read_text("utf-8")
    recipe = (tmp_path / "site" / "reference" / "recipe.html").read_text("utf-8")
    for name in COMMANDS:
        assert f"edge-tl {name}" in cli
    assert "--fail-if-slower" in cli
    assert "train.layer_decay" in recipe
    assert all(path.stem in recipe for path in (ROOT / "recipes").glob("*.yaml"))
    assert "generated:" not in cli + recipe
    scripts = re.findall(r'(?:src|href)="(https?://[^"]+)"', cli)
    assert all("squidfunk.github.io" in url for url in scripts), "a page loads nothing from another host"


def test_the_generated_command_line_has_every_option_with_its_help() -> None:
    text = load(DOCS / "_generate.py").verbs()
    for name, command in COMMANDS.items():
        assert f"# edge-tl {name}\n" in text
        for parameter in command.params:
            if parameter.param_type_name == "option":
                assert max(parameter.opts, key=len) in text
                assert (
                    " ".join((parameter.help or "").split()).replace("|", "\\|").replace("<", "&lt;") in text
                )


def test_the_generated_recipe_has_every_field_with_its_default() -> None:
    text = load(DOCS / "_generate.py").recipe()
    rows = {row.split("`")[1]: row for row in text.splitlines() if row.startswith("| `")}
    sections = {
        name: field.default for name, field in Recipe.model_fields.items() if name not in ("name", "seed")
    }
    assert set(rows) == {
        f"{name}.{field}" for name, part in sections.items() for field in type(part).model_fields
    }
    for name, part in sections.items():
        for field, value in part:
            shown = re.split(r"(?<!\\) \| ", rows[f"{name}.{field}"])[2].strip("`").replace("'", '"')
            assert json.loads(shown) == value, field


def test_a_type_is_said_in_words() -> None:
    import ast

    takes = load(DOCS / "_generate.py").takes
    kind = ast.parse("Annotated[int, Field(ge=2, le=50)] | None", mode="eval").body
    assert takes(kind, {}) == "integer, at least 2, at most 50, or null"
    alias = {"Side": ast.parse("Annotated[float, Field(gt=0)]", mode="eval").body}
    assert takes(ast.parse("list[Side]", mode="eval").body, alias) == "list of number, above 0"
    assert takes(ast.parse("Literal['a', 'b']", mode="eval").body, {}) == "`a` or `b`"


FORMS = sorted([*(ROOT / ".github").rglob("*.yml"), ROOT / ".pre-commit-config.yaml"])


def test_workflow_hooks_and_issue_forms_are_yaml() -> None:
    assert len(FORMS) >= 4
    for path in FORMS:
        assert isinstance(yaml.safe_load(path.read_text("utf-8")), dict), path


def test_ci_runs_the_command_of_ci_on_the_oldest_and_the_newest_python() -> None:
    tomllib = pytest.importorskip("tomllib")  # Python 3.11
    classifiers = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["classifiers"]
    versions = re.findall(r"Python :: (3\.\d+)", " ".join(classifiers))
    [job] = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text("utf-8"))["jobs"].values()
    assert job["strategy"]["matrix"]["python"] == [versions[0], versions[-1]]
    assert any(step.get("run") == ".ci/run" for step in job["steps"])


def test_a_report_of_a_fault_asks_for_the_devices() -> None:
    form = (ROOT / ".github" / "ISSUE_TEMPLATE" / "bug.yml").read_text("utf-8")
    assert "edge-tl devices --json" in form


def test_hooks_fetch_nothing() -> None:
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text("utf-8"))
    assert [repo["repo"] for repo in hooks["repos"]] == ["local"]
    assert {hook["language"] for repo in hooks["repos"] for hook in repo["hooks"]} == {"system"}
    entries = " ".join(hook["entry"] for repo in hooks["repos"] for hook in repo["hooks"])
    assert all(word in entries for word in ("ruff format", "ruff check", "mypy"))


def test_every_page_names_the_wheel_of_this_version() -> None:
    named = {name for page in PAGES for name in re.findall(r"edge_tl-([\d.]+)-py3", page.read_text("utf-8"))}
    assert named == {__version__}


def test_every_file_that_contributing_names_exists() -> None:
    names = re.findall(
        r"`((?:edge_tl|tests|docs|benchmarks|recipes)/[\w./-]+)`",
        (ROOT / "CONTRIBUTING.md").read_text("utf-8"),
    )
    names = [name for name in names if not re.search(r"NAME|VERB", name)]
    assert len(names) > 15
    for name in names:
        assert (ROOT / name).exists(), name


def test_the_pictures_of_the_report_are_small_and_of_every_width() -> None:
    """As `docs/_pictures.py` writes them."""
    from PIL import Image

    heights = load(DOCS / "_pictures.py").HEIGHTS
    for width in heights:
        for scheme in ("light", "dark"):
            path = DOCS / "assets" / f"report-{width}-{scheme}.png"
            assert path.stat().st_size < 300_000, path
            with Image.open(path) as image:
                assert image.width == width
