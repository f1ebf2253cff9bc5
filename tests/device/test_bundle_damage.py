"""One flipped bit, one missing file, one cut file anywhere in a bundle: it does not pass, and the file is named."""

from __future__ import annotations

import random
from itertools import product
from pathlib import Path

import pytest
from device.conftest import verify

from edge_tl.device import bundle as bundles
from edge_tl.device.bundle import read_bundle
from edge_tl.device.errors import BundleError, EdgeTLError

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
        return bool(verify(read_bundle(root), artifacts=["onnx-fp32"])["passed"])
    except EdgeTLError:
        return False


def test_every_file_is_listed_here(bundle_root: Path) -> None:
    found = {str(p.relative_to(bundle_root)) for p in bundle_root.rglob("*") if p.is_file()}
    assert found == {*FILES, bundles.RECORD}


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
    """Every byte of `preprocess`: bit 0 turns a digit into another one, bit 1 a decimal point into a comma."""
    path = bundle_root / bundles.RECORD
    intact = path.read_bytes()
    start = intact.index(b'"preprocess"') + len(b'"preprocess":')
    through = []
    for position, bit in product(range(start, intact.index(b'"reference"') - 2), (0, 1)):
        flip(path, position, bit)
        shown = path.read_bytes()[max(position - 25, start) : position + 10].split()
        try:
            if accepted(bundle_root):
                through.append(("passed", b" ".join(shown)))
        except Exception as error:
            through.append((repr(error), b" ".join(shown)))
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
