"""Every program that can run here answers on golden images of every kind, and `diagnose` finds the reference."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from device.snippets.test_goldens import within_limits
from snippet_programs import build, read_answers

from edge_tl.device.bundle import Bundle
from edge_tl.device.snippets.program import write_program

pytestmark = pytest.mark.slow

# What each program says it does not read; every other file must get the reference's answer.
UNREAD = {
    "python": {"png-rgb-16-narrow"},
    "javascript": set(),
    "cpp": {"webp", "webp-alpha", "tiff", "tiff-grey-16"},
}


@pytest.mark.parametrize(
    ("lang", "artifact"),
    [
        ("python", "onnx-fp32"), ("python", "openvino-fp32"), ("cpp", "openvino-fp32"), ("cpp", "onnx-fp32"),
        ("javascript", "onnx-fp32"), ("javascript", "onnx-int8"),
    ],
)  # fmt: skip
def test_diagnose_finds_the_reference(
    of_every_kind: Bundle,
    tmp_path: Path,
    run_cli: Callable[..., Any],
    request: pytest.FixtureRequest,
    lang: str,
    artifact: str,
) -> None:
    bundle = of_every_kind
    packages = request.getfixturevalue("packages") if lang == "javascript" else None
    command = build(write_program(bundle, lang=lang, artifact=artifact), tmp_path, packages=packages)
    words = [*command, "--logits", str(bundle.root), *map(str, bundle.golden_images())]
    done = subprocess.run(words, capture_output=True, timeout=300)
    _, found = read_answers(done.stdout.decode("utf-8"))
    left = {path.stem for path in bundle.golden_images()} - {Path(name).stem for name in found}
    assert left == UNREAD[lang], done.stderr.decode()
    assert all(f"{name}." in done.stderr.decode() for name in left), "what is left out is named"
    assert done.returncode == bool(left)
    within_limits(bundle, found, artifact)
    (tmp_path / "answers.csv").write_bytes(done.stdout)
    said = run_cli("diagnose", bundle.root, tmp_path / "answers.csv", "--artifact", artifact, "--json")
    assert said.code == 0, said.json
    assert said.json["verdict"] == "reference"
    assert said.json["matches"] == []
    swapped = {name: row[::-1] for name, row in found.items()}
    rows = [
        ",".join(["file", *bundle.labels]),
        *(",".join([n, *map(str, np.asarray(r))]) for n, r in swapped.items()),
    ]
    (tmp_path / "other.csv").write_text("\n".join(rows), "utf-8")
    assert run_cli("diagnose", bundle.root, tmp_path / "other.csv").code == 1
