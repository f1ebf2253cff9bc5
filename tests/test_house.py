"""What keeps the house readable, counted: a change that undoes one of these is told here."""

from __future__ import annotations

import ast
import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]
FILES = sorted((REPOSITORY / "edge_tl").rglob("*.py"))
TREES = {path: ast.parse(path.read_text("utf-8")) for path in FILES}
DOCS = [
    REPOSITORY / "README.md",
    REPOSITORY / "CONTRIBUTING.md",
    *sorted((REPOSITORY / "docs").rglob("*.md")),
]

MOST_DICTS = 60  # at the edge where JSON is read and written
MOST_LINES_OF_A_FUNCTION = 60
MOST_PARAMETERS = 6
MOST_LINES_OF_A_FILE = 300

# One interface under one name: programs that run as a process, and the package's functions for what is behind them.
SHARED_NAMES = {"main", "bench", "export", "finetune", "predict", "tune", "verify"}
# A key of JSON stays what other programs read.
KEYS = re.compile(r'json_key\("(neighbours|verdict)"|`(neighbours|verdict)`|"(neighbours|verdict)":')

# Private words of before, and the field's words for them. Each is refused in names, messages, comments, help and docs.
OLD_WORDS = {
    "workshop": "candidates", "judged model": "candidate", "crew": "run_all", "errand": "job", "parcel": "upload",
    "shelf": "builtin", "the desk": "the host", "hidden_head": "mlp_head", "judgement": "evaluation",
    "verdict": "gates", "neighbours": "cpu_load", "room at fault": "which gate failed", "results that keep": "results",
    "edge_tl/target": "edge_tl/device", "edge_tl.target": "edge_tl.device",
}  # fmt: skip


def name(path: Path) -> str:
    return path.relative_to(REPOSITORY).as_posix()


def functions(tree: ast.Module) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    return (n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef))


def is_verb(function: ast.FunctionDef | ast.AsyncFunctionDef, path: Path) -> bool:
    """The signature of a verb is its command line, one parameter an option; the package's function of that name takes
    the same."""
    return (path.parent.name == "cli" and function.name == path.stem) or path.name == "api.py"


def parameters(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    asked = function.args
    names = [arg.arg for arg in (*asked.posonlyargs, *asked.args, *asked.kwonlyargs)]
    return len(names) - (names[:1] in (["self"], ["cls"]))


def test_the_walk_found_the_package() -> None:
    assert len(FILES) > 100
    assert all(path.is_file() for path in DOCS)


def test_untyped_dictionaries_stay_at_the_edge() -> None:
    untyped = re.compile(r"(?:dict|Mapping|MutableMapping)\[str, (?:Any|object)\]")
    counts = Counter({name(path): len(untyped.findall(path.read_text("utf-8"))) for path in FILES})
    assert counts.total() <= MOST_DICTS, counts.most_common(20)


def test_functions_are_short() -> None:
    long = {
        f"{name(path)}:{function.lineno} {function.name}": function.end_lineno - function.lineno + 1
        for path, tree in TREES.items()
        for function in functions(tree)
        if function.end_lineno is not None
    }
    assert not {k: n for k, n in long.items() if n > MOST_LINES_OF_A_FUNCTION}


def test_functions_take_few_parameters() -> None:
    many = {
        f"{name(path)}:{function.lineno} {function.name}": parameters(function)
        for path, tree in TREES.items()
        for function in functions(tree)
        if not is_verb(function, path)
    }
    assert not {k: n for k, n in many.items() if n > MOST_PARAMETERS}


def test_files_are_short() -> None:
    lines = {name(path): len(path.read_text("utf-8").splitlines()) for path in FILES}
    assert not {k: n for k, n in lines.items() if n > MOST_LINES_OF_A_FILE}


def test_a_public_name_means_one_thing() -> None:
    """A verb may be called as the function behind it, which the package gives as its own name too."""
    places: dict[str, list[str]] = defaultdict(list)
    for path, tree in TREES.items():
        if path.parent.name == "cli":
            continue
        for node in tree.body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
                places[node.name].append(name(path))
    assert not {k: v for k, v in places.items() if len(v) > 1 and k not in SHARED_NAMES}


@pytest.mark.parametrize("word", OLD_WORDS)
def test_the_words_of_the_field_are_used(word: str) -> None:
    pattern = re.compile(rf"(?<![a-z]){re.escape(word)}(?![a-z])", re.IGNORECASE)
    found = [
        f"{name(path)}:{number}: {line.strip()[:80]}"
        for path in [*FILES, *DOCS]
        for number, line in enumerate(path.read_text("utf-8").splitlines(), 1)
        if pattern.search(line.replace("_", " ") if " " in word else line) and not KEYS.search(line)
    ]
    assert not found, f"say {OLD_WORDS[word]!r}"
