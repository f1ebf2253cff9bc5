"""A bundle is whole and unaltered, or it is refused; one flipped bit anywhere is found."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_tl.target import bundle as bundles
from edge_tl.target.bundle import read_bundle
from edge_tl.target.errors import BadInput, BundleError, EdgeTLError
from edge_tl.target.verify import verify

Edit = Callable[..., None]

# Every file of the fixture's bundle; `test_every_file_is_listed_here` keeps this list honest.
FILES = [
    "model.fp32.onnx", "model.fp32.xml", "model.fp32.bin", "model.int8.onnx", "model.int8.xml",
    "model.int8.bin", "golden/pixels.npz", "golden/logits.npz", "golden/images/00.jpg",
    "golden/images/01.jpg", "golden/images/02.png", "golden/images/03.png", "golden/images/04.png",
    "golden/images/05.png",
]  # fmt: skip


def flip(path: Path, position: int, bit: int) -> None:
    content = bytearray(path.read_bytes())
    content[position % len(content)] ^= 1 << bit
    path.write_bytes(content)


def accepted(root: Path) -> bool:
    """Whether a damaged bundle gets through; any other error than the tree's own fails the test."""
    try:
        bundle = read_bundle(root)
        return bool(verify(bundle, artifacts=["onnx-fp32", "openvino-fp32"])["passed"])
    except EdgeTLError as error:
        assert len(str(error)) > 20
        return False


def test_every_file_is_listed_here(bundle_root: Path) -> None:
    found = {str(p.relative_to(bundle_root)) for p in bundle_root.rglob("*") if p.is_file()}
    assert found == {*FILES, bundles.RECORD}


def test_round_trip(bundle_root: Path) -> None:
    bundle = read_bundle(bundle_root)
    record = json.loads((bundle_root / bundles.RECORD).read_text("utf-8"))
    assert bundle.record == record
    assert bundle.labels == record["labels"] == ["dog", "cat", "eel"]
    assert bundle.preprocess.to_json() == record["preprocess"]
    assert [a.id for a in bundle.artifacts] == [a["id"] for a in record["artifacts"]]
    suffixes = {a.id: (a.runtime, a.precision, a.path.name) for a in bundle.artifacts}
    assert suffixes == {
        "onnx-fp32": ("onnxruntime", "fp32", "model.fp32.onnx"),
        "openvino-fp32": ("openvino", "fp32", "model.fp32.xml"),
        "onnx-int8": ("onnxruntime", "int8", "model.int8.onnx"),
        "openvino-int8": ("openvino", "int8", "model.int8.xml"),
    }
    assert all(a.path.is_file() and a.limits == a.record["limits"] for a in bundle.artifacts)
    assert bundle.artifact("onnx-int8") is bundle.artifacts[2]


def test_goldens(bundle_root: Path) -> None:
    bundle = read_bundle(bundle_root)
    pixels, logits = bundle.golden_pixels(), bundle.golden_logits()
    assert pixels.shape == (6, 3, 16, 16)
    assert pixels.dtype == np.float32
    assert [path.name for path in bundle.golden_images()] == [Path(f).name for f in FILES[8:]]
    for path, stored in zip(bundle.golden_images(), pixels, strict=True):
        assert np.array_equal(bundle.preprocess.apply(path), stored)
    assert set(logits) == {"pytorch", *(a.id for a in bundle.artifacts)}
    assert all(value.shape == (6, 3) and value.dtype == np.float32 for value in logits.values())
    assert len(set(logits["pytorch"].argmax(axis=1))) > 1, "goldens of one class prove little"


def test_a_moved_bundle_is_a_bundle(bundle_root: Path, tmp_path: Path) -> None:
    moved = shutil.move(bundle_root, tmp_path / "über raschung")
    assert accepted(Path(moved))


def test_unknown_artifact_names_those_there_are(bundle_root: Path) -> None:
    with pytest.raises(BadInput, match=r"no artifact 'x'.*onnx-fp32, openvino-fp32, onnx-int8, openvino-int8"):
        read_bundle(bundle_root).artifact("x")


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("where", ["first", "middle", "last", "random"])
def test_one_flipped_bit_in_a_file_is_found_and_named(bundle_root: Path, name: str, where: str) -> None:
    size = (bundle_root / name).stat().st_size
    draw = random.Random(name)
    position = {"first": 0, "middle": size // 2, "last": size - 1, "random": draw.randrange(size)}[where]
    flip(bundle_root / name, position, draw.randrange(8))
    with pytest.raises(BundleError, match="damaged file in bundle") as caught:
        read_bundle(bundle_root)
    assert name in str(caught.value)


@pytest.mark.parametrize("draw", range(40))
def test_one_flipped_bit_in_the_record_does_not_pass(bundle_root: Path, draw: int) -> None:
    rng = random.Random(draw)
    position, bit = rng.randrange(1 << 30), rng.randrange(8)
    flip(bundle_root / bundles.RECORD, position, bit)
    assert not accepted(bundle_root)


def test_no_flipped_bit_in_the_contract_passes(bundle_root: Path) -> None:
    """Every byte of `preprocess`, its lowest bit: the one that turns a digit into another digit."""
    path = bundle_root / bundles.RECORD
    intact = path.read_bytes()
    start = intact.index(b'"preprocess"') + len(b'"preprocess":')
    through = []
    for position in range(start, intact.index(b'"reference"') - 2):
        flip(path, position, 0)
        if accepted(bundle_root):
            through.append(path.read_bytes()[max(position - 25, start) : position + 10].decode())
        path.write_bytes(intact)
    assert through == []


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_named(bundle_root: Path, name: str) -> None:
    (bundle_root / name).unlink()
    with pytest.raises(BundleError, match="missing file") as caught:
        read_bundle(bundle_root)
    assert name in str(caught.value)


@pytest.mark.parametrize("name", FILES[::5])
@pytest.mark.parametrize("keep", [0, -1])
def test_a_cut_file_is_named(bundle_root: Path, name: str, keep: int) -> None:
    (bundle_root / name).write_bytes((bundle_root / name).read_bytes()[:keep])
    with pytest.raises(BundleError, match="damaged") as caught:
        read_bundle(bundle_root)
    assert name in str(caught.value)


def test_a_folder_without_a_record_is_no_bundle(bundle_root: Path, tmp_path: Path) -> None:
    (bundle_root / bundles.RECORD).unlink()
    with pytest.raises(BundleError, match=r"not a bundle.*bundle\.json"):
        read_bundle(bundle_root)
    for path in (tmp_path / "none", bundle_root / FILES[0]):
        with pytest.raises(BundleError, match="no such bundle"):
            read_bundle(path)


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b"\xff\xfe"])
def test_a_record_that_is_no_json_object(bundle_root: Path, content: bytes) -> None:
    (bundle_root / bundles.RECORD).write_bytes(content)
    with pytest.raises(BadInput, match=r"bundle\.json"):
        read_bundle(bundle_root)


@pytest.mark.parametrize("version", [0, 2, "1", None])
def test_another_schema_version_is_refused(bundle_root: Path, reseal: Edit, version: object) -> None:
    reseal(bundle_root, lambda record: record.update(schema_version=version))
    with pytest.raises(BundleError, match=rf"schema_version {version!r}.*reads 1"):
        read_bundle(bundle_root)


@pytest.mark.parametrize(
    "key", ["name", "labels", "preprocess", "reference", "artifacts", "golden", "provenance"]
)
def test_a_missing_key_is_named(bundle_root: Path, edit: Edit, key: str) -> None:
    edit(bundle_root, lambda record: record.pop(key))
    with pytest.raises(BundleError, match=f"no '{key}'"):
        read_bundle(bundle_root)


@pytest.mark.parametrize("outside", ["../secret", "golden/../../secret", "{parent}/secret"])
@pytest.mark.parametrize("part", ["artifact", "golden"])
def test_a_file_outside_of_the_bundle_is_refused(
    bundle_root: Path, reseal: Edit, outside: str, part: str
) -> None:
    (bundle_root.parent / "secret").write_bytes(b"x")

    def change(record: dict[str, Any]) -> None:
        owner = record["golden"] if part == "golden" else record["artifacts"][0]
        owner["files"].append({"path": outside.format(parent=bundle_root.parent)})

    reseal(bundle_root, change)
    with pytest.raises(BundleError, match="outside"):
        read_bundle(bundle_root)


def test_a_golden_image_that_no_hash_covers_is_refused(bundle_root: Path, reseal: Edit) -> None:
    (bundle_root.parent / "secret.png").write_bytes((bundle_root / FILES[-1]).read_bytes())
    reseal(bundle_root, lambda record: record["golden"]["images"].__setitem__(5, "../secret.png"))
    with pytest.raises(BundleError):
        read_bundle(bundle_root)


@pytest.mark.parametrize(
    "change",
    [
        lambda r: r.update(name="other"),
        lambda r: r["labels"].reverse(),
        lambda r: r["artifacts"][0]["limits"].update(device_max_abs_diff=1e9),
        lambda r: r["artifacts"][0].update(id="onnx-fp16"),
        lambda r: r["artifacts"].reverse(),
        lambda r: r["golden"]["images"].reverse(),
        lambda r: r["provenance"].update(seed=1),
        lambda r: r.pop("seal"),
        lambda r: r.update(seal="0" * 64),
        lambda r: r.update(extra=1),
    ],
)
def test_an_altered_record_is_refused(bundle_root: Path, edit: Edit, change: Any) -> None:
    edit(bundle_root, change)
    with pytest.raises(BundleError, match="altered after export"):
        read_bundle(bundle_root)


@pytest.mark.parametrize(
    "change",
    [
        lambda r: r.update(artifacts=5),
        lambda r: r.update(artifacts=[5]),
        lambda r: r["artifacts"][0].pop("id"),
        lambda r: r["artifacts"][0].update(files="model.fp32.onnx"),
        lambda r: r["artifacts"][1].update(files=r["artifacts"][1]["files"][1:]),  # the .bin without its .xml
        lambda r: r["artifacts"][0].update(limits={}),
        lambda r: r.update(golden=[]),
        lambda r: r.update(labels=7),
        lambda r: r.update(preprocess=[]),
    ],
)
def test_a_record_of_another_shape_is_a_bundle_error(bundle_root: Path, edit: Edit, change: Any) -> None:
    """Sealed as it is, so that only its shape is wrong; `verify` may be the one to notice."""

    def sealed(record: dict[str, Any]) -> None:
        change(record)
        try:
            record["seal"] = bundles.seal(record)
        except (AttributeError, TypeError):
            record["seal"] = ""

    edit(bundle_root, sealed)
    with pytest.raises(BundleError):
        verify(read_bundle(bundle_root))


def test_the_seal_survives_a_new_layout_of_the_json(bundle_root: Path) -> None:
    record = json.loads((bundle_root / bundles.RECORD).read_text("utf-8"))
    text = json.dumps(dict(reversed(record.items())), indent=7)
    (bundle_root / bundles.RECORD).write_text(text, encoding="utf-8")
    assert accepted(bundle_root)


def test_write_record_refuses_nan(bundle_root: Path, reseal: Edit) -> None:
    before = (bundle_root / bundles.RECORD).read_bytes()
    with pytest.raises(ValueError, match="JSON"):
        reseal(bundle_root, lambda record: record["reference"].update(accuracy=float("nan")))
    assert (bundle_root / bundles.RECORD).read_bytes() == before
