"""A bundle becomes a static folder whose record covers every file, or nothing is written."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from device.conftest import build
from device.raw_pixels_bundle import add_raw_pixels

from edge_tl.device.bundle import Bundle, read_bundle
from edge_tl.device.errors import BadInput, BundleError
from edge_tl.device.files import sha256_file
from edge_tl.device.preprocess import Preprocess
from edge_tl.device.records.artifact import FileRecord
from edge_tl.host.web import write as writing
from edge_tl.host.web.ort_web import OrtWeb
from edge_tl.host.web.record import WebRecord
from edge_tl.host.web.write import web_folder, write_web

ORT = OrtWeb(
    "1.30.0",
    "MIT",
    {"ort.wasm.min.mjs": b"1", "ort-wasm-simd-threaded.wasm": b"2"},
    {"wasm": ("ort.wasm.min.mjs", "ort-wasm-simd-threaded.wasm")},
)
PAGE = Path(writing.__file__).with_name("page")


def listed(value: Any) -> list[FileRecord]:
    """Every file record in a JSON value."""
    if isinstance(value, dict) and value.keys() == {"path", "sha256", "bytes"}:
        return [FileRecord(**value)]
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [file for each in inner for file in listed(each)]


@pytest.fixture
def opened(bundle: Path) -> Bundle:
    return read_bundle(bundle)


def test_the_record_covers_every_file(opened: Bundle, tmp_path: Path) -> None:
    out = tmp_path / "page"
    record = write_web(opened, out, ORT)
    stored = json.loads((out / "web.json").read_text("utf-8"))
    assert WebRecord.from_json(stored) == record
    files = listed(stored)
    assert all(sha256_file(out / file.path) == file.sha256 for file in files)
    there = {path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()}
    assert there == {file.path for file in files} | {"web.json"} | {path.name for path in PAGE.iterdir()}
    digest = hashlib.sha256((out / "web.json").read_bytes()).hexdigest()
    assert f'name="edge-tl-record" content="{digest}"' in (out / "index.html").read_text("utf-8")
    assert {artifact.id for artifact in record.artifacts} <= {"onnx-fp32", "onnx-int8"}
    assert record.labels == opened.record.labels
    assert [path.name for path in tmp_path.iterdir()] == ["page"]


def test_the_page_normalizes_the_stored_levels_to_the_stored_inputs(opened: Bundle, tmp_path: Path) -> None:
    record = write_web(opened, tmp_path / "page", ORT, artifacts=["onnx-fp32"])
    height, width = opened.preprocess.input_size
    levels = np.fromfile(tmp_path / "page" / record.golden.pixels.path, np.uint8).reshape(
        -1, height, width, 3
    )
    assert np.array_equal(opened.preprocess.normalize(levels), opened.golden_pixels())
    for each in record.golden.logits:
        stored = np.fromfile(tmp_path / "page" / each.file.path, "<f4")
        assert np.array_equal(stored, opened.golden_logits()[each.name].ravel())


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    build(tmp_path / "tiny")
    return tmp_path / "tiny"


def test_artifacts_of_raw_pixels_are_left_out(tiny: Path, tmp_path: Path) -> None:
    both = read_bundle(add_raw_pixels(tiny))
    record = write_web(both, tmp_path / "page", ORT)
    assert {artifact.id for artifact in record.artifacts} == {"onnx-fp32", "onnx-int8"}
    with pytest.raises(BadInput, match="onnx-fp32-image: the page runs ONNX artifacts that take tensors"):
        write_web(both, tmp_path / "other", ORT, artifacts=["onnx-fp32-image"])
    assert not (tmp_path / "other").exists()


def test_a_bundle_of_raw_pixels_alone_has_no_page(tiny: Path, tmp_path: Path) -> None:
    alone = read_bundle(add_raw_pixels(tiny, alone=True))
    with pytest.raises(BadInput, match="no ONNX artifact that takes tensors"):
        write_web(alone, tmp_path / "page", ORT)
    assert not (tmp_path / "page").exists()


def test_inputs_of_no_8_bit_pixels_are_refused() -> None:
    contract = Preprocess()
    inputs = np.zeros((1, 3, 4, 4), np.float32) + 0.001
    with pytest.raises(BundleError, match="8-bit"):
        writing._levels(inputs, contract)


def test_what_is_there_stays_unless_it_is_a_page_to_be_overwritten(opened: Bundle, tmp_path: Path) -> None:
    out = tmp_path / "page"
    out.mkdir()
    (out / "mine.txt").write_text("mine", "utf-8")
    for overwrite in (False, True):
        with pytest.raises(BadInput, match="no page of edge-tl"):
            write_web(opened, out, ORT, overwrite=overwrite)
    assert [path.name for path in out.iterdir()] == ["mine.txt"]
    (out / "mine.txt").unlink()
    write_web(opened, out, ORT, artifacts=["onnx-int8"])
    with pytest.raises(BadInput, match="--overwrite"):
        write_web(opened, out, ORT)
    (out / "ort" / "notes.txt").write_text("mine", "utf-8")
    with pytest.raises(BadInput, match=r"ort/notes\.txt is not of the page"):
        write_web(opened, out, ORT, overwrite=True)
    assert (out / "model.int8.onnx").exists()
    (out / "ort" / "notes.txt").unlink()
    write_web(opened, out, ORT, artifacts=["onnx-fp32"], overwrite=True)
    assert not (out / "model.int8.onnx").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["page"]
    with pytest.raises(BadInput, match="inside it"):
        write_web(opened, opened.root / "page", ORT)
    with pytest.raises(BadInput, match="a file is there"):
        write_web(opened, out / "web.json", ORT)


def test_what_fails_half_way_leaves_nothing(
    opened: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(writing, "_write_page", full)
    with pytest.raises(OSError, match="No space"):
        write_web(opened, tmp_path / "page", ORT)
    assert not list(tmp_path.iterdir())


def test_artifacts_that_no_page_runs_are_refused(opened: Bundle, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="openvino-fp32: the page runs ONNX"):
        write_web(opened, tmp_path / "page", ORT, artifacts=["openvino-fp32"])
    with pytest.raises(BadInput, match="no artifact 'onnx-fp64'"):
        write_web(opened, tmp_path / "page", ORT, artifacts=["onnx-fp64"])
    newer = [
        replace(each, record=replace(each.record, runtime_floor="onnxruntime>=1.31", opset=26))
        for each in opened.artifacts
    ]
    with pytest.raises(BadInput, match=r"for its opset 26; --ort-web has onnxruntime-web 1\.30\.0"):
        write_web(replace(opened, artifacts=newer), tmp_path / "page", ORT)
    failed = [replace(each, record=replace(each.record, passed=False)) for each in opened.artifacts]
    with pytest.raises(BadInput, match="no ONNX artifact that takes tensors and passed"):
        write_web(replace(opened, artifacts=failed), tmp_path / "page", ORT)
    assert not (tmp_path / "page").exists()


def test_the_page_names_no_other_place_and_writes_no_html() -> None:
    """Labels are anybody's, and the folder is all there is."""
    sources = {path.name: path.read_text("utf-8") for path in PAGE.iterdir()}
    assert len(sources) > 8
    for name, text in sources.items():
        if name.endswith(".js"):
            assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(", text), name
        assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)", text), name
    assert "default-src 'none'" in sources["index.html"]
    assert "unsafe-inline" not in sources["index.html"]


def test_the_verb_writes_beside_the_bundle(
    bundle: Path, run_cli: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edge_tl.host.web.ort_web.ort_web", lambda *_, **__: ORT)
    copy = tmp_path / "photos"
    shutil.copytree(bundle, copy)
    done = run_cli("web", copy, "--json")
    assert done.code == 0, done.err
    assert Path(done.json["web"]) == web_folder(copy) == tmp_path / "photos-web"
    assert done.json["runtime"]["version"] == "1.30.0"
    assert "python -m http.server" in done.err
    assert run_cli("verify", copy).code == 0, "the bundle is as it was"


def test_an_export_of_which_nothing_passed_says_that_there_is_no_page(
    bundle: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from edge_tl.cli._web_options import page_of_export

    copy = tmp_path / "photos"
    shutil.copytree(bundle, copy)
    page, said = page_of_export(copy, ORT, overwrite=False, then="next: verify")
    assert page == {"web": str(tmp_path / "photos-web")}
    assert "see it: python -m http.server" in said
    assert said.endswith("\nnext: verify")
    monkeypatch.setattr("edge_tl.host.web.write.runnable_in_browsers", lambda _: [])
    assert page_of_export(copy, ORT, overwrite=False, then="next: verify") == ({}, "next: verify")
    assert "no ONNX artifact passed, so there is no page" in capfd.readouterr().err


def test_what_export_needs_for_the_page_is_asked_for_first(run: Path, run_cli: Callable[..., Any]) -> None:
    done = run_cli("export", run, "--web")
    assert done.code == 2
    assert "npm pack onnxruntime-web" in done.err
    done = run_cli("export", run, "--npm")
    assert done.code == 2
    assert "are for --web" in done.err
