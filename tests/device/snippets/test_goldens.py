"""Programs that are compiled and run with their real runtime answer on every golden within the limits of the gates."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from snippet_programs import Answers, answers, build

from edge_tl.device.bundle import REFERENCE, Bundle, read_bundle
from edge_tl.device.metrics import softmax
from edge_tl.device.snippets.program import write_program

ROWS = [
    ("python", "onnx-fp32"), ("python", "onnx-int8"), ("python", "openvino-fp32"), ("python", "openvino-int8"),
    ("cpp", "openvino-fp32"), ("cpp", "openvino-int8"), ("cpp", "onnx-fp32"), ("cpp", "onnx-int8"),
]  # fmt: skip


def check(bundle: Bundle, command: list[str], artifact: str) -> None:
    header, logits = answers(command, "--logits", bundle.root, *bundle.golden_images())
    assert header == ["file", *bundle.labels]
    assert len(logits) == len(bundle.golden_images())
    within_limits(bundle, logits, artifact)
    _, probabilities = answers(command, bundle.root, *bundle.golden_images())
    for name, row in logits.items():
        expected = softmax(row[None].astype(np.float32))[0].tolist()
        assert probabilities[name].tolist() == pytest.approx(expected, rel=1e-5, abs=1e-7)
    _, failing = answers(command, bundle.root, "absent.jpg", bundle.golden_images()[0], code=1)
    assert list(failing) == [bundle.golden_images()[0].name]


def within_limits(bundle: Bundle, found: Answers, artifact: str) -> None:
    """The gates device and loss."""
    limits = bundle.artifact(artifact).limits
    names = [path.name for path in bundle.golden_images()]
    assert [name for name in names if name in found] == list(found)
    rows = np.stack(list(found.values()))
    places = [names.index(name) for name in found]
    expected = {name: logits[places] for name, logits in bundle.golden_logits().items()}
    assert np.abs(rows - expected[artifact]).max() <= limits.device_max_abs_diff
    agreement = (rows.argmax(1) == expected[REFERENCE].argmax(1)).mean()
    assert agreement >= limits.golden_agreement


@pytest.mark.slow
@pytest.mark.parametrize(("lang", "artifact"), ROWS)
def test_python_and_cpp_answer_as_the_bundle(
    bundle_root: Path, tmp_path: Path, lang: str, artifact: str
) -> None:
    pytest.importorskip("onnxruntime" if artifact.startswith("onnx") else "openvino")
    bundle = read_bundle(bundle_root)
    command = build(write_program(bundle, lang=lang, artifact=artifact), tmp_path)
    check(bundle, command, artifact)
    short = answers_nothing(command, bundle_root)
    assert "usage: " in short


@pytest.mark.slow
@pytest.mark.parametrize("artifact", ["onnx-fp32", "onnx-int8"])
def test_javascript_answers_as_the_bundle(
    bundle_root: Path, tmp_path: Path, packages: Path, artifact: str
) -> None:
    bundle = read_bundle(bundle_root)
    program = write_program(bundle, lang="javascript", artifact=artifact)
    check(bundle, build(program, tmp_path, packages=packages), artifact)


@pytest.mark.slow
def test_a_python_program_needs_no_edge_tl_and_refuses_another_model(
    bundle_root: Path, tmp_path: Path
) -> None:
    program = write_program(read_bundle(bundle_root), lang="python", artifact="onnx-fp32")
    command = build(program, tmp_path)
    hidden = f"import sys; sys.modules['edge_tl'] = None; sys.argv = sys.argv[1:]; exec(open({command[1]!r}).read())"
    image = next((bundle_root / "golden/images").iterdir())
    done = subprocess.run(
        [sys.executable, "-c", hidden, "x", bundle_root, image], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    with (bundle_root / "model.fp32.onnx").open("ab") as file:
        file.write(b"\0")
    done = subprocess.run([*command, bundle_root, image], capture_output=True, text=True)
    assert done.returncode == 1
    assert "is not the file that this program was written for" in done.stderr


def answers_nothing(command: list[str], *words: object) -> str:
    done = subprocess.run([*command, *map(str, words)], capture_output=True, text=True)
    assert done.returncode != 0
    assert done.stdout == ""
    return done.stderr
