"""The public API on a device, without PyTorch: the examples of docs/api.md run, and importing it costs nothing."""

from __future__ import annotations

import inspect
import subprocess
import sys
from pathlib import Path

import pytest
from examples import examples

import edge_tl
from edge_tl.device.bundle import read_bundle

PAGE = examples("api.md")
HOST = "On the host"


@pytest.fixture
def folder(bundle_root: Path, labelled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with what the examples name."""
    bundle_root.rename(tmp_path / "photos")
    (tmp_path / "image.jpg").write_bytes((tmp_path / "photos/golden/images/00.jpg").read_bytes())
    (tmp_path / "broken.jpg").write_text("no image", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("section", [name for name in PAGE if name != HOST])
def test_the_examples_run(folder: Path, section: str, capsys: pytest.CaptureFixture[str]) -> None:
    names: dict[str, object] = {"edge_tl": edge_tl}
    exec(compile(PAGE[section], f"docs/api.md, {section}", "exec"), names)
    said = capsys.readouterr().out
    if section == "On the device":
        assert "broken.jpg: not an image that Pillow can read" in said
        labels = {
            str(getattr(names[name], "label", None)) for name in ("from_bytes", "from_pillow", "from_pixels")
        }
        assert len(labels) == 1
        assert "pixels None True the same pixels as at export" in said
    else:
        assert said


def test_every_kind_of_example_is_there() -> None:
    assert {"On the device", HOST, "Errors", "Progress"} == set(PAGE)


def test_a_folder_and_a_bundle_give_the_same_predictions(folder: Path) -> None:
    bundle = edge_tl.load_bundle("photos")
    assert edge_tl.predict("photos", ["image.jpg"]) == edge_tl.predict(bundle, ["image.jpg"])
    (one,) = edge_tl.predict(bundle, ["image.jpg"], artifact="onnx-int8", top=1)
    assert [score.label for score in one.top] == [one.label]


def test_the_limit_of_pixels_is_the_callers(folder: Path) -> None:
    with edge_tl.load_bundle("photos", max_pixels=10).open() as model, pytest.raises(edge_tl.BadImage):
        model.predict("image.jpg")


def test_verify_names_an_altered_contract_and_load_bundle_refuses_it(folder: Path) -> None:
    record = Path("photos/bundle.json")
    record.write_text(record.read_text("utf-8").replace('"bilinear"', '"bicubic"'), encoding="utf-8")
    with pytest.raises(edge_tl.BundleError, match="altered"):
        edge_tl.load_bundle("photos")
    result = edge_tl.verify("photos")
    assert [gate.gate for gate in result.gates if not gate.passed] == ["pixels"]


def test_every_public_name_is_there_and_documented() -> None:
    for name in edge_tl.__all__:
        value = getattr(edge_tl, name, None) if name != "RunResult" else int
        assert value is not None, name
        assert name == "__version__" or inspect.getdoc(value), name
    assert set(edge_tl.__all__) <= set(dir(edge_tl))
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = edge_tl.nonsense


def test_import_loads_nothing_of_weight() -> None:
    code = "import sys; before = set(sys.modules); import edge_tl; print(*sorted(set(sys.modules) - before))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert loaded & {"numpy", "PIL", "torch", "typer", "onnxruntime", "openvino"} == set()
    assert {name for name in loaded if name.startswith("edge_tl")} == {"edge_tl"}


def test_the_types_are_shipped() -> None:
    assert (Path(edge_tl.__file__).parent / "py.typed").is_file()
    assert read_bundle.__annotations__["return"] == "Bundle"
