"""Which artifact a program is for, what it holds of the bundle, what is refused."""

from __future__ import annotations

import ast
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from device.snippets.test_literals import HOSTILE

from edge_tl.device.bundle import Bundle, read_bundle
from edge_tl.device.errors import BadInput
from edge_tl.device.slim import slim
from edge_tl.device.snippets.program import LANGUAGES, WEB, write_program

RunCli = Callable[..., Any]


def with_record(bundle: Bundle, **changes: Any) -> Bundle:
    return replace(bundle, record=replace(bundle.record, **changes))


@pytest.mark.parametrize(
    ("lang", "runtime", "artifact"),
    [
        ("python", None, "openvino-fp32"),  # the recommended one
        ("python", "onnxruntime", "onnx-fp32"),  # of its precision
        ("cpp", "openvino", "openvino-fp32"),
        ("javascript", None, "onnx-fp32"),
        ("javascript", WEB, "onnx-fp32"),
        ("java", None, "onnx-fp32"),
        ("csharp", None, "onnx-fp32"),
        ("rust", None, "onnx-fp32"),
    ],
)
def test_the_artifact_and_its_file(bundle_root: Path, lang: str, runtime: str | None, artifact: str) -> None:
    bundle = read_bundle(bundle_root)
    program = write_program(bundle, lang=lang, runtime=runtime)
    assert program.artifact == artifact
    chosen = bundle.artifact(artifact)
    assert f'"{chosen.record.main}"' in program.text
    assert str(chosen.path.stat().st_size) in program.text
    assert program.text.isascii()
    assert "@@" not in program.text
    assert max(map(len, program.text.splitlines()[2:])) < 140
    first = program.text.splitlines()[1 if runtime == WEB else 0]
    assert artifact in first
    assert ("NOT RUN BY US" in first) == (lang in ("java", "csharp", "rust")) == (program.not_run is not None)


def test_what_is_refused(bundle_root: Path) -> None:
    bundle = read_bundle(bundle_root)
    for words, reason in [
        ({"lang": "cobol"}, "--lang cobol: no such language. Choose one of python"),
        ({"lang": "java", "runtime": "openvino"}, "--runtime openvino: a program in java uses onnxruntime"),
        ({"lang": "java", "artifact": "openvino-int8"}, "--artifact openvino-int8 runs on openvino"),
        (
            {"lang": "cpp", "runtime": "openvino", "artifact": "onnx-int8"},
            "runs on onnxruntime, this program",
        ),
        ({"lang": "cpp", "artifact": "onnx-int4"}, "no artifact 'onnx-int4'"),
    ]:
        with pytest.raises(BadInput, match=reason):
            write_program(bundle, **words)
    failed = tuple(replace(each, passed=False) for each in bundle.record.artifacts)
    artifacts = [replace(each, record=record) for each, record in zip(bundle.artifacts, failed, strict=True)]
    with pytest.raises(
        BadInput, match=r"onnx-fp32, .* did not pass at export\. Add --artifact onnx-fp32 to use"
    ):
        write_program(
            replace(with_record(bundle, artifacts=failed, recommended=None), artifacts=artifacts), lang="cpp"
        )


def test_a_bundle_without_such_an_artifact_says_what_it_has(bundle_root: Path, tmp_path: Path) -> None:
    slim(read_bundle(bundle_root), ["openvino-int8"], tmp_path / "small")
    small = read_bundle(tmp_path / "small")
    with pytest.raises(BadInput) as refused:
        write_program(small, lang="java")
    assert str(refused.value) == (
        f"this program needs an artifact for onnxruntime; {small.root} has openvino-int8. Choose --lang python or cpp "
        "with --runtime openvino, or take the whole bundle, of which this one is a part."
    )
    with pytest.raises(BadInput, match="needs an artifact for onnxruntime; "):
        write_program(small, lang="javascript", runtime="onnxruntime-web")


def test_session_options_are_in_every_program_of_onnx_runtime(bundle_root: Path) -> None:
    bundle = read_bundle(bundle_root)
    needing = [
        replace(each, record=replace(each.record, session_options={"session.x64quantprecision": "1"}))
        for each in bundle.artifacts
    ]
    for lang in LANGUAGES:
        said = write_program(replace(bundle, artifacts=needing), lang=lang, artifact="onnx-int8").text
        assert '"session.x64quantprecision"' in said, lang
        assert "session.x64quantprecision" not in write_program(bundle, lang=lang, artifact="onnx-int8").text


@pytest.mark.parametrize("lang", LANGUAGES)
def test_a_hostile_bundle_has_no_say_in_the_code(bundle_root: Path, lang: str) -> None:
    """Apart from literals and the first comment, the program is that of a harmless bundle."""
    bundle = read_bundle(bundle_root)
    labels = tuple(text or "empty" for text in HOSTILE)
    hostile = write_program(with_record(bundle, labels=labels, name=" ".join(HOSTILE)), lang=lang).text
    tame_labels = tuple("x" * len(text) for text in labels)
    tame = write_program(with_record(bundle, labels=tame_labels, name="tame"), lang=lang).text

    def code(text: str) -> str:
        lines = [line for line in text.splitlines() if not line.lstrip().startswith(('"', "concat!"))]
        return "\n".join(line.split(' = "')[0].split(" = concat!")[0] for line in lines[1:])

    assert code(hostile) == code(tame)
    assert len(hostile.splitlines()[0]) < 2000


def test_the_labels_of_a_python_program_are_the_bundles(bundle_root: Path) -> None:
    labels = tuple(text or "empty" for text in HOSTILE)
    text = write_program(with_record(read_bundle(bundle_root), labels=labels), lang="python").text
    assigned = [node for node in ast.parse(text).body if isinstance(node, ast.Assign)]
    (found,) = (
        n.value for n in assigned if isinstance(n.targets[0], ast.Name) and n.targets[0].id == "LABELS"
    )
    assert tuple(ast.literal_eval(found)) == labels


def test_the_verb_prints_writes_and_refuses(run_cli: RunCli, bundle_root: Path) -> None:
    done = run_cli("snippet", bundle_root, "--lang", "python")
    assert done.code == 0
    assert done.out == write_program(read_bundle(bundle_root), lang="python").text
    assert "openvino-fp32 on openvino" in done.err
    assert f"edge-tl diagnose {bundle_root} answers.csv" in done.err
    done = run_cli("snippet", bundle_root, "--lang", "rust", "--out", "main.rs", "--json")
    assert done.code == 0
    assert "warning: not run by us" in done.err
    assert Path("main.rs").read_text("ascii") == done.json["program"]
    assert {key: done.json[key] for key in ("lang", "runtime", "artifact", "path")} == {
        "lang": "rust", "runtime": "onnxruntime", "artifact": "onnx-fp32", "path": "main.rs",
    }  # fmt: skip
    for out, reason in [
        ("main.rs", "a file is there already"),
        (".", "a folder is there. Give a file name, e.g. classify.py"),
        ("no/such/folder.py", "there is no folder no/such"),
        (bundle_root / "classify.py", "inside the bundle"),
    ]:
        refused = run_cli("snippet", bundle_root, "--lang", "python", "--out", out)
        assert refused.code == 2
        assert reason in refused.err
    read_bundle(bundle_root)


def test_json_is_one_object(run_cli: RunCli, bundle_root: Path) -> None:
    done = run_cli("snippet", bundle_root, "--lang", "cpp", "--json")
    assert json.loads(done.out)["not_run"] is None
    assert json.loads(done.out)["path"] is None
