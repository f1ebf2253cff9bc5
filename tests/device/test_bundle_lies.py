"""A record that contradicts itself, its files or its models is refused, however well it is sealed."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from device.conftest import ASSETS, verify

from edge_tl.device import bundle as bundles
from edge_tl.device import model_metadata
from edge_tl.device.bundle import read_bundle
from edge_tl.device.errors import BadInput, BundleError
from edge_tl.device.files import sha256_file
from edge_tl.device.model import Model
from edge_tl.device.model_metadata import facts_of
from edge_tl.device.records.timing import RanRecord

Edit = Callable[..., None]
Record = dict[str, Any]


def sealed(root: Path, change: Callable[[Record], object], *, contract: bool = True) -> None:
    """Change the record and seal it anew, as somebody would who wants it to be read."""
    record = json.loads((root / bundles.RECORD).read_text("utf-8"))
    change(record)
    if contract:
        record["contract_seal"] = bundles.contract_seal(record["preprocess"])
    text = json.dumps(record | {"seal": bundles.seal(record)})
    (root / bundles.RECORD).write_text(text, encoding="utf-8")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda r: r["artifacts"].append(r["artifacts"][0]), "'onnx-fp32' is there twice"),
        (lambda r: r["artifacts"].append(r["artifacts"][0] | {"id": "onnx-fp16", "precision": "fp16"}),
         "'model.fp32.onnx' is there twice"),
        (lambda r: r["artifacts"][0].update(id="onnx-int8"), "'onnx-int8' is fp32 of onnxruntime"),
        (lambda r: r["artifacts"][0].update(runtime="openvino"), "the one .xml file"),
        (lambda r: r.update(artifacts=[]), "at least one artifact"),
        (lambda r: r.update(artifacts=r["artifacts"] * 9), "32 at most"),
        (lambda r: r.update(recommended="onnx-fp64"), "none of its artifacts"),
        (lambda r: r["artifacts"][1].update(passed=False), "recommended 'openvino-fp32' did not pass"),
        (lambda r: r["reference"].update(accuracy=1.5), "reference.accuracy: 1.5"),
        (lambda r: r["reference"].update(n=2.5), "reference.n: 2.5. It should be a whole number"),
        (lambda r: r["artifacts"][0].update(agreement=-0.1), "agreement: -0.1"),
        (lambda r: r.update(gates=3), "gates: 3. It should be a list"),
        (lambda r: r["labels"].pop(), r"float32 6x2"),
        (lambda r: r["labels"].append("newt"), r"float32 6x4"),
        (lambda r: r.update(labels=["dog"] * 3), "different texts"),
        (lambda r: r.update(labels=["dog", "", "eel"]), r"labels\[1\]: ''"),
        (lambda r: r.update(labels=None), "labels: None. It should be a list"),
        (lambda r: r.update(labels="dog"), "labels: 'dog'. It should be a list"),
        (lambda r: r["labels"].__setitem__(1, 5), r"labels\[1\]: 5. It should be text"),
        (lambda r: r["labels"].__setitem__(1, "\ud800"), "text that UTF-8 can hold"),
        (lambda r: r["labels"].__setitem__(1, "a\x1b[31mb"), r"U\+001B"),
        (lambda r: r["labels"].__setitem__(1, "a\u202eb"), r"U\+202E"),
        (lambda r: r.update(name="a\nb"), "without control characters"),
        (lambda r: r["golden"]["images"].pop(), "none of its images"),
        (lambda r: r["golden"]["images"].append(r["golden"]["images"][0]), "different paths"),
        (lambda r: (r["golden"]["images"].pop(), r["golden"]["files"].pop(5)), "float32 5x3xn?"),
        (lambda r: r["golden"]["files"].pop(0), "has no hash"),
        (lambda r: r["golden"]["files"].pop(), "has no hash"),
        (lambda r: r["artifacts"][1]["files"].pop(), "with the .bin beside it"),
        (lambda r: r["artifacts"][0]["limits"].update(golden_agreement=-1), "golden_agreement: -1"),
        (lambda r: r["artifacts"][0]["limits"].update(device_max_abs_diff=10**400), "beyond 64 bits"),
        (lambda r: r["artifacts"][0]["limits"].update(max_drop_pp="1"), r"artifacts\[0\].limits.max_drop_pp: '1'"),
        (lambda r: r["artifacts"][0]["files"][0].update(bytes=True), "whole number"),
        (lambda r: r["artifacts"][0]["files"][0].update(path="a" * 300), "a plain path"),
        (lambda r: r["artifacts"][0]["files"][0].update(path="C:model.onnx"), "a plain path"),
        (lambda r: r["artifacts"][0].update(latency_ms={"p50": "fast"}), "latency_ms.p50: 'fast'"),
        (lambda r: r["artifacts"][0].update(passed="yes"), "true or false"),
        (lambda r: r["artifacts"][0].update(proven_on=[1]), r"proven_on\[0\]: 1. It should be an object"),
        (lambda r: r.update(provenance=[]), "provenance: a list of 0. It should be an object"),
        (lambda r: r["preprocess"].pop("exif_transpose"), "no 'exif_transpose'"),
        (lambda r: r["preprocess"].update(std=[0.2, 0.2, 1e-320]), "preprocess.std"),
        (lambda r: r["preprocess"].update(std=[0.2, 0.2, 10**400]), "preprocess.std"),
        (lambda r: r["preprocess"].update(crop=[30_000, 30_000]), "preprocess.crop.*2048 at most"),
    ],
)  # fmt: skip
def test_a_lie_is_refused_though_it_is_sealed(
    bundle_root: Path, change: Callable[[Record], object], says: str
) -> None:
    sealed(bundle_root, change)
    with pytest.raises(BundleError, match=says) as caught:
        read_bundle(bundle_root)
    assert "\n" not in str(caught.value)
    assert "bundle.json" in str(caught.value) or "golden/" in str(caught.value)


def test_another_contract_is_refused_by_all_but_the_gate_that_names_it(bundle_root: Path) -> None:
    """`predict` gave other answers from it, exit code 0."""
    sealed(bundle_root, lambda r: r["preprocess"].update(std=[0.5, 0.5, 0.5]), contract=False)
    with pytest.raises(BundleError, match="preprocessing was altered after export"):
        read_bundle(bundle_root)
    gate = verify(read_bundle(bundle_root, contract_unproven=True), artifacts=["onnx-fp32"])["gates"][0]
    assert not gate["passed"]
    assert "altered after export" in gate["reason"]


@pytest.mark.parametrize("part", ["golden", "artifacts"])
def test_the_lists_of_files_are_sealed(bundle_root: Path, edit: Edit, part: str) -> None:
    """A golden could be dropped from the list and altered, a hash exchanged with the file: both passed."""
    name = "golden/images/05.png" if part == "golden" else "model.fp32.onnx"
    (bundle_root / name).write_bytes((bundle_root / name).read_bytes() + b"x")

    def change(record: Record) -> None:
        files = record["golden"]["files"] if part == "golden" else record["artifacts"][0]["files"]
        next(f for f in files if f["path"] == name).update(bundles.file_record(bundle_root, name).to_json())

    edit(bundle_root, change)
    with pytest.raises(BundleError, match="altered after export"):
        read_bundle(bundle_root)


@pytest.mark.parametrize(
    "name", ["weights.bin", "model.onnx.data", "more.onnx", "MODEL.XML", "weights.dat", "conv1.weight", "w"]
)
def test_what_a_runtime_could_read_and_no_hash_covers(bundle_root: Path, name: str) -> None:
    (bundle_root / name).write_bytes(b"")
    with pytest.raises(BundleError, match=f"{name} lies beside the models"):
        read_bundle(bundle_root)
    (bundle_root / name).rename(bundle_root / "notes.txt")
    assert read_bundle(bundle_root).labels == ["dog", "cat", "eel"]


@pytest.mark.parametrize("name", ["model.fp32.onnx", "bundle.json", "golden/images/00.jpg"])
def test_a_link_that_leaves_the_bundle_is_not_followed(bundle_root: Path, tmp_path: Path, name: str) -> None:
    shutil.move(bundle_root / name, tmp_path / "elsewhere")
    (bundle_root / name).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(BundleError, match="a link that leaves it"):
        read_bundle(bundle_root)


@pytest.mark.parametrize("name", ["golden/images/00.jpg", "golden/pixels.npz", "model.fp32.bin"])
def test_a_pipe_is_never_opened(bundle_root: Path, name: str) -> None:
    (bundle_root / name).unlink()
    os.mkfifo(bundle_root / name)
    with pytest.raises(BundleError, match="no ordinary file"):
        read_bundle(bundle_root)


def test_a_link_to_itself_and_a_folder_in_place_of_a_file(bundle_root: Path) -> None:
    image = bundle_root / "golden/images/00.jpg"
    image.unlink()
    image.symlink_to(image.name)
    with pytest.raises(BundleError, match="cannot be read"):
        read_bundle(bundle_root)
    image.unlink()
    image.mkdir()
    with pytest.raises(BundleError, match="no ordinary file"):
        read_bundle(bundle_root)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[" * 100_000 + "]" * 100_000, "recursion"),
        ('{"a": ' + "[" * 100 + "]" * 100 + "}", "nested more than 64 deep"),
        ('{"a": 1, "b": 2, "a": 3}', "the key 'a' is there twice"),
        ('{"a": NaN}', "NaN is no number"),
        ('{"a": ' + "9" * 5000 + "}", "Exceeds the limit"),
        ('{"schema_version": ' + "9" * 4000 + "}", "schema_version 9999"),
        ('{"schema_version": [2]}', "schema_version of another type"),
        ('{"schema_version": 2.0}', "schema_version"),
        (" " * (17 << 20), "17.*MB, at most 17 are read|18 MB"),
    ],
)
def test_json_of_any_depth_and_size_is_refused(bundle_root: Path, text: str, says: str) -> None:
    (bundle_root / bundles.RECORD).write_text(text)
    with pytest.raises(BadInput, match=says) as caught:
        read_bundle(bundle_root)
    assert len(str(caught.value)) < 500


# Facts in the model files; these bytes are a protocol buffer's field 14.


def told(facts: Record | str, key: bytes = b"model_info edge_tl") -> bytes:
    text = facts if isinstance(facts, str) else json.dumps(facts)
    entry = _bytes_field(1, key) + _bytes_field(2, text.encode())
    return _bytes_field(14, entry)


def _bytes_field(number: int, content: bytes) -> bytes:
    return bytes([number << 3 | 2]) + _varint(len(content)) + content


def _varint(value: int) -> bytes:
    more = value >> 7
    return bytes([value & 127 | 128]) + _varint(more) if more else bytes([value])


@pytest.fixture
def telling(bundle_root: Path, reseal: Edit) -> Callable[..., None]:
    """`telling(facts)`: the ONNX model's own metadata says so, and nothing else."""

    def write(content: bytes) -> None:
        (bundle_root / "model.fp32.onnx").write_bytes((ASSETS / "tiny.onnx").read_bytes() + content)
        reseal(bundle_root)

    return write


def test_a_model_that_says_what_the_record_says(bundle_root: Path, telling: Callable[..., None]) -> None:
    record = json.loads((bundle_root / bundles.RECORD).read_text("utf-8"))
    facts = {key: record[key] for key in ("labels", "preprocess")}
    telling(told(facts))
    assert facts_of(bundle_root / "model.fp32.onnx") == (facts, "tensor")
    assert verify(read_bundle(bundle_root), artifacts=["onnx-fp32"])["passed"]
    sealed(bundle_root, lambda r: r["preprocess"].update(std=[0.5, 0.5, 0.5]))
    with pytest.raises(BundleError, match=r"preprocessing is not that in model.fp32.onnx"):
        read_bundle(bundle_root)
    assert not verify(read_bundle(bundle_root, contract_unproven=True), artifacts=["onnx-fp32"])["passed"]


def test_labels_turned_round_of_models_that_say_nothing(
    bundle_root: Path, telling: Callable[..., None]
) -> None:
    """Without metadata nothing contradicts a record that was sealed anew: it once passed, with other answers."""
    telling(b"")
    sealed(bundle_root, lambda r: r["labels"].reverse())
    with pytest.raises(BundleError, match=r"model.fp32.onnx says nothing of its labels"):
        read_bundle(bundle_root, contract_unproven=True)


def test_other_labels_than_the_models_own(bundle_root: Path, telling: Callable[..., None]) -> None:
    contract = read_bundle(bundle_root).preprocess.to_json()
    telling(told({"labels": ["cat", "dog", "eel"], "preprocess": contract}))
    with pytest.raises(BundleError, match=r"labels are not those in model.fp32.onnx"):
        read_bundle(bundle_root, contract_unproven=True)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (told("[]"), "no JSON object"),
        (told("[" * 100_000), "no JSON object"),
        (told("{}") + told("{}"), "more than one 'edge_tl'"),
        (b"\xff", "no ONNX file"),
        (b"\x0b\x0c", "no ONNX file"),  # a group, which protocol buffers no longer have
        (b"\x72\xff\xff\xff\xff\x0f", "no ONNX file"),  # longer than the file
        # A graph's tag (7) with a bit beyond 32, which protocol buffers drop, and what it would hide.
        (b"\xba\x80\x80\x80\x10" + _bytes_field(7, _bytes_field(5, b"\x70\x01"))[1:], "no ONNX file"),
        # A graph (7) with a tensor (5) whose data_location (14) is EXTERNAL, and one with external_data (13).
        (_bytes_field(7, _bytes_field(5, b"\x70\x01")), "weights in another file"),
        (_bytes_field(7, _bytes_field(5, _bytes_field(13, b""))), "weights in another file"),
        # In an attribute (5) of a node (1) of a graph in an attribute.
        (
            _bytes_field(7, _bytes_field(1, _bytes_field(5, _bytes_field(6, _bytes_field(5, b"\x70\x01"))))),
            "weights in another file",
        ),
    ],
)
def test_a_model_file_that_cannot_be_trusted(
    bundle_root: Path, telling: Callable[..., None], content: bytes, says: str
) -> None:
    telling(content)
    with pytest.raises(BundleError, match=says) as caught:
        read_bundle(bundle_root)
    assert "model.fp32.onnx" in str(caught.value)


@pytest.mark.parametrize("content", [b"\x08\x01" * 3000, _bytes_field(14, b"\x08\x01" * 3000)])
def test_a_model_of_too_many_fields(
    bundle_root: Path, telling: Callable[..., None], monkeypatch: pytest.MonkeyPatch, content: bytes
) -> None:
    """Fifty million took minutes."""
    monkeypatch.setattr(model_metadata, "MOST_FIELDS", 2000)
    telling(content)
    with pytest.raises(BundleError, match="more than 2000 fields"):
        read_bundle(bundle_root)


@pytest.mark.parametrize(("times", "says"), [(900, "is there twice"), (20_000, "at most 1004 files")])
def test_a_file_that_is_listed_often_is_hashed_once(
    bundle_root: Path, monkeypatch: pytest.MonkeyPatch, times: int, says: str
) -> None:
    hashed: list[Path] = []

    def counted(path: Path, **options: Any) -> str:
        hashed.append(path)
        return sha256_file(path, **options)

    monkeypatch.setattr(bundles, "sha256_file", counted)
    sealed(bundle_root, lambda r: r["golden"]["files"].extend(r["golden"]["files"][:1] * times))
    with pytest.raises(BundleError, match=says):
        read_bundle(bundle_root)
    assert len(hashed) == len(set(hashed))


def test_an_ir_that_says_other_labels_or_declares_entities(bundle_root: Path, reseal: Edit) -> None:
    path = bundle_root / "model.fp32.xml"
    text = (ASSETS / "tiny.xml").read_text("utf-8")
    facts = json.dumps({"labels": ["a", "b", "c"], "preprocess": {}}).replace('"', "&quot;")
    info = f'<model_info><edge_tl value="{facts}" /></model_info></rt_info>\n</net>'
    path.write_text(text.replace("</rt_info>\n</net>", info), encoding="utf-8")
    reseal(bundle_root)
    with pytest.raises(BundleError, match=r"labels are not those in model.fp32.xml"):
        read_bundle(bundle_root)
    bomb = '<!DOCTYPE net [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;">]>'
    path.write_text(text.replace("<net", f"{bomb}<net", 1), encoding="utf-8")
    reseal(bundle_root)
    with pytest.raises(BundleError, match="document type"):
        read_bundle(bundle_root)


class Answers:
    """A runtime that answers what it is told."""

    def __init__(self, *values: float) -> None:
        self.values = values

    def __call__(self, inputs: np.ndarray) -> np.ndarray:
        return np.array([self.values] * len(inputs), np.float32)


@pytest.mark.parametrize("values", [(1, np.nan, 0), (1, np.inf, 0), (1, 2), (1, 2, 3, 4)])
def test_predict_refuses_answers_that_are_none(bundle_root: Path, values: tuple[float, ...]) -> None:
    """It printed "nan %" and ended with 0."""
    bundle = read_bundle(bundle_root)
    with pytest.raises(BundleError, match="its model answers with"):
        Model(bundle, bundle.artifacts[0], Answers(*values)).predict(bundle.golden_images()[0])  # type: ignore[arg-type]
    assert bundle.open().predict(bundle.golden_images()[0]).top


def test_no_gate_passes_on_nan(bundle_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """NaN is the largest of all to argmax, and so the same answer everywhere."""
    import importlib

    rooms = importlib.import_module("edge_tl.device.gates")
    bundle = read_bundle(bundle_root)
    nan = np.full((6, 3), np.nan, np.float32)
    monkeypatch.setattr(type(bundle), "golden_logits", lambda self: {"pytorch": nan, "onnx-fp32": nan})
    monkeypatch.setattr(
        rooms, "open_installed", lambda chosen, *_, **__: ({"onnx-fp32": Answers(*[np.nan] * 3)}, [])
    )
    monkeypatch.setattr(rooms, "ran", lambda runtime: RanRecord("CPU", "fp32", 1))
    result = verify(bundle, artifacts=["onnx-fp32"])
    assert not result["passed"]
    reasons = {gate["gate"]: gate["reason"] for gate in result["gates"] if not gate["passed"]}
    assert set(reasons) == {"device", "loss"}
    assert all("NaN or infinite on 6 of 6 golden images" in reason for reason in reasons.values())
    json.dumps(result, allow_nan=False)
