"""Programs whose model answers with its input: every value is the contract's, bit for bit, in every language that can
be compiled here, under every policy and filter."""

from __future__ import annotations

import struct
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from device.conftest import encode, picture
from PIL import Image
from snippet_programs import answers, build

from edge_tl.device.bundle import Bundle, read_bundle
from edge_tl.device.preprocess import RESIZE_POLICIES, Preprocess
from edge_tl.device.snippets.program import write_program

CONTRACTS = {
    "shorter": Preprocess(resize_size=(20, 20), crop=(16, 16)),
    "bicubic": Preprocess(
        resize_size=(17, 17), interpolation="bicubic", crop=(12, 16), std=(0.5, 0.25, 1 / 3)
    ),
    "lanczos": Preprocess(resize_size=(33, 33), interpolation="lanczos", crop=(40, 15), mean=(0.1, 0.2, 0.3)),
    "nearest": Preprocess(resize_size=(19, 19), interpolation="nearest", crop=(19, 19)),
    "exact": Preprocess(resize="exact", resize_size=(9, 14), crop=None),
    "exact and crop": Preprocess(resize="exact", resize_size=(9, 14), interpolation="bicubic", crop=(12, 11)),
    "none": Preprocess(resize="none", crop=(25, 30)),
}
if "letterbox" in RESIZE_POLICIES:
    pad = {"pad": (124, 116, 104)}
    CONTRACTS["letterbox"] = Preprocess(resize="letterbox", resize_size=(15, 22), crop=None, **pad)  # type: ignore[arg-type]
MARK = b"-- pixels of the test --"  # fakes/image.rs


def images() -> dict[str, bytes]:
    sizes = [(40, 30), (27, 41), (1, 7), (5, 3), (333, 17), (100, 100), (16, 16), (64, 48), (45, 22)]
    found = {f"{w}x{h}.png": encode(picture(i, width=w, height=h), "PNG") for i, (w, h) in enumerate(sizes)}
    for turn in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = turn
        found[f"turn {turn}.jpg"] = encode(picture(turn, width=31, height=44), "JPEG", quality=92, exif=exif)
    found["turned.png"] = encode(picture(20, width=31, height=44), "PNG", exif=exif)
    alpha = picture(21).convert("RGBA")
    alpha.putalpha(picture(22).convert("L"))
    found["alpha.png"] = encode(alpha, "PNG")
    found["palette.png"] = encode(picture(23).quantize(20), "PNG", transparency=3)
    found["grey.png"] = encode(picture(24).convert("L"), "PNG")
    found["grey.jpg"] = encode(picture(25).convert("L"), "JPEG")
    found["444.jpg"] = encode(picture(26, width=77), "JPEG", subsampling=0, quality=80)
    found["progressive.jpg"] = encode(picture(27, width=77), "JPEG", progressive=True)
    wide = np.random.default_rng(28).integers(0, 65536, (30, 40)).astype(np.uint16)
    found["16 bits.png"] = encode(Image.fromarray(wide), "PNG")
    whole = found["turn 6.jpg"]
    at = whole.index(b"Exif\0\0") + 6
    found["damaged, exif.jpg"] = whole[: at + 4] + b"\xff\xff\xff\x7f" + whole[at + 8 :]
    # A chunk behind the end, as long as 32 bits go round: a sum in them stood still.
    behind = struct.pack(">I4s8x", (1 << 32) - 12, b"abcd")
    found["behind its end.png"] = encode(picture(29), "PNG") + behind
    return found


def identity(bundle: Bundle, contract: Preprocess) -> Bundle:
    """A bundle whose classes are the values of its input."""
    labels = tuple(f"v{i}" for i in range(3 * contract.input_size[0] * contract.input_size[1]))
    return replace(bundle, record=replace(bundle.record, labels=labels), preprocess=contract)


def check(bundle: Bundle, lang: str, folder: Path, packages: Path | None = None) -> None:
    folder.mkdir()
    program = write_program(bundle, lang=lang, artifact="onnx-fp32")
    command = build(program, folder, packages=packages, fake=True)
    paths = []
    for name, content in images().items():
        (folder / name).write_bytes(content)
        if lang == "rust":
            content += pixels_behind(folder / name)
        paths.append(folder / name)
        paths[-1].write_bytes(content)
    (folder / "broken.jpg").write_bytes(images()["444.jpg"][:300])
    header, found = answers(command, "--logits", bundle.root, folder / "broken.jpg", *paths, code=1)
    assert header == ["file", *bundle.labels]
    assert [path.name for path in paths] == list(found)
    wrong = {
        path.name: float(np.abs(found[path.name] - bundle.preprocess.apply(path).ravel()).max())
        for path in paths
        if not np.array_equal(found[path.name].astype(np.float32), bundle.preprocess.apply(path).ravel())
    }
    assert not wrong


@contextmanager
def ignored_warnings() -> Iterator[None]:
    """Of damaged EXIF."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def pixels_behind(path: Path) -> bytes:
    """The stored pixels, not turned, for a language whose decoder is not here."""
    with ignored_warnings(), Image.open(path) as image:
        if image.mode.startswith("I"):
            image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
        rgb = image.convert("RGBA").convert("RGB") if image.mode == "P" else image.convert("RGB")
    content: bytes = rgb.tobytes()
    return MARK + struct.pack("<II", *rgb.size) + content


@pytest.mark.slow
@pytest.mark.parametrize("contract", CONTRACTS)
@pytest.mark.parametrize("lang", ["cpp", "java", "rust"])
def test_compiled_programs_prepare_as_the_contract_says(
    bundle_root: Path, tmp_path: Path, lang: str, contract: str
) -> None:
    check(identity(read_bundle(bundle_root), CONTRACTS[contract]), lang, tmp_path / "program")


@pytest.mark.slow
@pytest.mark.parametrize("contract", CONTRACTS)
def test_a_javascript_program_prepares_as_the_contract_says(
    bundle_root: Path, tmp_path: Path, packages: Path, contract: str
) -> None:
    check(
        identity(read_bundle(bundle_root), CONTRACTS[contract]), "javascript", tmp_path / "program", packages
    )


@pytest.mark.parametrize("contract", CONTRACTS)
def test_a_python_program_prepares_as_the_contract_says(
    bundle_root: Path, tmp_path: Path, contract: str
) -> None:
    bundle = identity(read_bundle(bundle_root), CONTRACTS[contract])
    pytest.importorskip("onnxruntime")
    program = write_program(bundle, lang="python", artifact="onnx-fp32")
    names: dict[str, object] = {"__name__": "program"}
    exec(compile(program.text, "classify.py", "exec"), names)
    for name, content in images().items():
        (tmp_path / name).write_bytes(content)
        made = names["prepare"](names["decode"](tmp_path / name))  # type: ignore[operator]
        np.testing.assert_array_equal(made[0], bundle.preprocess.apply(tmp_path / name), err_msg=name)
