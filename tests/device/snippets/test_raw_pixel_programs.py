"""The program of an artifact of raw pixels runs and gives `predict`'s answers."""

from __future__ import annotations

from pathlib import Path

import pytest
from device.raw_pixels_bundle import add_raw_pixels
from snippet_programs import answers, build

from edge_tl.device.bundle import read_bundle
from edge_tl.device.snippets.program import write_program


@pytest.mark.parametrize(
    ("lang", "artifact"),
    [
        ("python", "onnx-fp32-image"),
        ("python", "openvino-int8-image"),
        pytest.param("cpp", "openvino-fp32-image", marks=pytest.mark.slow),
        pytest.param("cpp", "onnx-fp32-image", marks=pytest.mark.slow),
        pytest.param("javascript", "onnx-fp32-image", marks=pytest.mark.slow),
    ],
)
def test_a_program_gives_the_answers_of_predict(
    bundle_root: Path, tmp_path: Path, request: pytest.FixtureRequest, lang: str, artifact: str
) -> None:
    bundle = read_bundle(add_raw_pixels(bundle_root))
    packages = request.getfixturevalue("packages") if lang == "javascript" else None
    program = write_program(bundle, lang=lang, artifact=artifact)
    assert "MEAN" not in program.text
    command = build(program, tmp_path, packages=packages)
    header, found = answers(command, bundle.root, *bundle.golden_images())
    assert header == ["file", *bundle.labels]
    with bundle.open(artifact) as model:
        for path in bundle.golden_images():
            expected = model.predict(path)
            row = found[path.name]
            assert bundle.labels[int(row.argmax())] == expected.label
            assert row.max() == pytest.approx(expected.probability, abs=1e-3)
            assert row.sum() == pytest.approx(1, abs=1e-4)
