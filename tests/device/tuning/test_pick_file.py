"""A pick may be anybody's: whatever lies in `tuned/`, the bundle opens, and a line says what was not used."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edge_tl.device.bundle import Bundle, read_bundle
from edge_tl.device.errors import BundleError
from edge_tl.device.machine import cores_allowed, identity
from edge_tl.device.records.timing import LatencyRecord
from edge_tl.device.records.tuned import TunedRecord
from edge_tl.device.slim import slim
from edge_tl.device.tuning.pick_file import machine_id, own_pick, pick_path, write_pick

Edit = Callable[..., None]


@pytest.fixture
def bundle(bundle_root: Path) -> Bundle:
    return read_bundle(bundle_root)


def picked(bundle: Bundle, **changes: Any) -> TunedRecord:
    """The pick of the tiny INT8 ONNX artifact, which the record does not recommend, on one thread."""
    files = {file.path: file.sha256 for file in bundle.artifact("onnx-int8").record.files}
    record = TunedRecord(
        objective="latency",
        artifact="onnx-int8",
        device="CPU",
        threads=1,
        latency_ms=LatencyRecord(p50=1.0, p50_ci=(0.9, 1.1), n=100),
        over=(),
        machine_id=machine_id(identity()),
        machine=identity(),
        when="2026-01-01T00:00:00+00:00",
        bundle_seal=bundle.record.seal or "",
        files=files,
    )
    return replace(record, **changes)


def test_a_pick_of_this_machine_and_bundle_is_opened(bundle: Bundle) -> None:
    write_pick(bundle.root, picked(bundle))
    with read_bundle(bundle.root).open() as model:
        assert (model.artifact.id, model.runtime.threads) == ("onnx-int8", 1)
        assert model.note == "tuned for this machine: onnx-int8, 1 thread"
    write_pick(bundle.root, picked(bundle, not_judged="this machine was busy"))
    with bundle.open() as model:
        assert model.note == "tuned for this machine while it was busy: onnx-int8, 1 thread"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"bundle_seal": "0" * 64}, "exported or made smaller since"),
        ({"files": {}}, "onnx-int8 is another file since"),
        ({"artifact": "onnx-int4"}, "names no artifact of this bundle"),
        ({"threads": 4096}, "asks for 4096 threads"),
        ({"machine_id": "another-0123"}, "not for this machine as it is"),
        ({"device": "TPU9000"}, "onnx-int8, picked for this machine, is not used: --device TPU9000"),
        ({"artifact": None, "device": None, "threads": None, "latency_ms": None}, "names no artifact"),
    ],
)
def test_a_pick_that_does_not_fit_is_a_note(bundle: Bundle, changes: dict[str, Any], said: str) -> None:
    write_pick(bundle.root, picked(bundle, **changes))
    with bundle.open() as model:
        assert (model.artifact.id, model.tuned) == ("openvino-fp32", None)
        assert model.note is not None
        assert said in model.note
        assert model.note.endswith(f"Run edge-tl tune {bundle.root}")


@pytest.mark.parametrize(
    "content",
    [
        b"", b"[]", b"{}", b'{"artifact": "onnx-int8"}', b"\xff\xfe", b"[" * 5000, b" " * (2 << 20),
        b'{"threads": 1, "threads": 2}', b'{"schema": "edge-tl tuned 9"}',
    ],
)  # fmt: skip
def test_a_damaged_pick_is_a_note(bundle: Bundle, content: bytes) -> None:
    path = pick_path(bundle.root, machine_id(identity()))
    path.parent.mkdir()
    path.write_bytes(content)
    pick, note = own_pick(bundle)
    assert pick is None
    assert note is not None
    assert note.startswith("the pick for this machine is not used: ")
    assert "\n" not in note
    assert len(note) < 600


def test_what_is_no_file_is_a_note_and_is_not_followed(bundle: Bundle, tmp_path: Path) -> None:
    path = pick_path(bundle.root, machine_id(identity()))
    path.parent.mkdir()
    outside = tmp_path / "outside.json"
    outside.write_text(json.dumps(picked(bundle).to_json()))
    for make in (lambda: path.symlink_to(outside), lambda: os.mkfifo(path), path.mkdir):
        make()
        pick, note = own_pick(bundle)
        assert pick is None
        assert note is not None
        path.rmdir() if path.is_dir() else path.unlink()


def test_nothing_is_written_through_a_link(bundle: Bundle, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (bundle.root / "tuned").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(BundleError, match="a link that leaves it"):
        write_pick(bundle.root, picked(bundle))
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_an_artifact_that_failed_for_its_answers_is_never_picked(bundle_root: Path, reseal: Edit) -> None:
    def fail(record: dict[str, Any]) -> None:
        next(a for a in record["artifacts"] if a["id"] == "onnx-int8")["passed"] = False

    reseal(bundle_root, fail)
    bundle = read_bundle(bundle_root)
    write_pick(bundle_root, picked(bundle))
    pick, note = own_pick(bundle)
    assert pick is None
    assert note is not None
    assert "failed its gates at export" in note


def test_an_artifact_whose_instructions_are_not_here_is_never_picked(bundle_root: Path, reseal: Edit) -> None:
    def require(record: dict[str, Any]) -> None:
        next(a for a in record["artifacts"] if a["id"] == "onnx-int8")["requires"] = ["dotprod2000"]

    reseal(bundle_root, require)
    bundle = read_bundle(bundle_root)
    write_pick(bundle_root, picked(bundle))
    pick, note = own_pick(bundle)
    assert pick is None
    assert note is not None
    assert "requires a CPU with dotprod2000" in note


def test_a_smaller_bundle_has_no_pick_and_refuses_that_of_the_whole(bundle: Bundle, tmp_path: Path) -> None:
    write_pick(bundle.root, picked(bundle))
    slim(bundle, ["onnx-int8"], tmp_path / "smaller")
    smaller = read_bundle(tmp_path / "smaller")
    assert not (smaller.root / "tuned").exists()
    write_pick(smaller.root, picked(bundle))
    assert "made smaller since" in str(own_pick(smaller)[1])


def test_the_name_of_a_machine_tells_what_decides_and_not_whose_it_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    here = identity()
    name = machine_id(here)
    assert name == machine_id(identity())
    others = [
        replace(here, cores_allowed=cores_allowed() + 1),
        replace(here, isa=("sse4_1",)),
        replace(here, versions={**(here.versions or {}), "onnxruntime": "9.9"}),
        replace(here, cpu="Another"),
    ]
    assert len({name, *map(machine_id, others)}) == 5
    assert name == machine_id(replace(here, kernel="another", governor="powersave", memory_mb=1))
    assert os.uname().nodename.lower() not in name or len(os.uname().nodename) < 4
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")
    assert machine_id(here) != name
