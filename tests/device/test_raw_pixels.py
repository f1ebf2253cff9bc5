"""Artifacts of raw pixels in the hands of everybody who reads a bundle."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from device.raw_pixels_bundle import add_raw_pixels
from device.test_bundle_lies import sealed

from edge_tl.device.bundle import file_record, read_bundle
from edge_tl.device.errors import BadInput, BundleError
from edge_tl.device.explain.heatmaps import Explainer
from edge_tl.device.gates import verify
from edge_tl.device.slim import slim


@pytest.fixture
def both(bundle_root: Path) -> Path:
    return add_raw_pixels(bundle_root)


@pytest.fixture
def alone(bundle_root: Path) -> Path:
    return add_raw_pixels(bundle_root, alone=True)


def test_the_gates_pass_and_the_answers_are_those_on_tensors(both: Path) -> None:
    bundle = read_bundle(both)
    assert verify(bundle).passed
    for artifact in (each for each in bundle.artifacts if each.takes_pixels):
        with bundle.open(artifact.id) as raw, bundle.open(artifact.id.removesuffix("-image")) as tensors:
            for image in bundle.golden_images():
                got, expected = raw.predict(image), tensors.predict(image)
                assert got.label == expected.label
                assert got.probability == pytest.approx(expected.probability, abs=0.02)


def test_one_on_tensors_answers_where_none_is_asked_for(both: Path) -> None:
    with read_bundle(both).open() as model:
        assert model.artifact.id == "openvino-fp32"


def test_heat_maps_are_refused_with_what_to_do(alone: Path) -> None:
    with read_bundle(alone).open() as model, pytest.raises(BadInput) as refused:
        Explainer(model)
    assert f"{model.artifact.id} of {alone} takes raw pixels and has no heat maps." in str(refused.value)
    assert str(refused.value).endswith("Export the run again with --input both.")


def test_the_gate_verb_takes_one(alone: Path, run_cli: Callable[..., Any]) -> None:
    done = run_cli("gate", alone, "--max-size-mb", 9, "--json")
    assert done.code == 0, done
    assert done.json["artifact"] == "openvino-fp32-image"


@pytest.mark.parametrize(
    ("name", "other"), [("onnx-fp32-image", "onnx-fp32"), ("onnx-fp32", "onnx-fp32-image")]
)
def test_a_record_that_lies_about_the_input_is_refused(
    both: Path, tmp_path: Path, name: str, other: str
) -> None:
    whole, small = read_bundle(both), tmp_path / "small"
    slim(whole, [name], small)
    main = whole.artifact(name).record.main
    shutil.copyfile(whole.artifact(other).path, small / main)

    def lie(record: dict[str, Any]) -> None:
        record["artifacts"][0]["files"] = [file_record(small, main).to_json()]

    sealed(small, lie)
    with pytest.raises(BundleError, match="its record calls the input of"):
        read_bundle(small)
