"""Any file to upright 8-bit RGB, or a `BadImage` that names it."""

from __future__ import annotations

import contextlib
import io
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageOps

from edge_tl.device.errors import BadImage
from edge_tl.device.images.decode import decode
from edge_tl.device.preprocess import Preprocess

RNG = np.random.default_rng(0)
NOISE = RNG.integers(0, 256, (40, 30, 3), dtype=np.uint8)
DEEP = RNG.integers(0, 65536, (40, 30), dtype=np.uint16)
SMALL = Preprocess(resize_size=(20, 20), crop=(16, 16))
# EXIF 2.3, tag 274: how the stored rows and columns must be turned to be seen upright.
UPRIGHT: dict[int, Callable[[NDArray[Any]], NDArray[Any]]] = {
    1: lambda a: a,
    2: np.fliplr,
    3: lambda a: np.rot90(a, 2),
    4: np.flipud,
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: np.rot90(a.swapaxes(0, 1), 2),
    8: np.rot90,
}


def encode(image: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def exif(orientation: int) -> Image.Exif:
    tags = Image.Exif()
    tags[0x0112] = orientation
    return tags


@pytest.mark.parametrize("orientation", UPRIGHT)
@pytest.mark.parametrize("kind", ["PNG", "TIFF", "JPEG", "WEBP"])
def test_exif_orientation(orientation: int, kind: str) -> None:
    lossless = {"lossless": True} if kind == "WEBP" else {}
    content = encode(Image.fromarray(NOISE), kind, exif=exif(orientation), **lossless)
    stored = Image.open(io.BytesIO(content))
    got = np.asarray(decode(content))
    assert np.array_equal(got, np.asarray(ImageOps.exif_transpose(stored)))
    if kind != "JPEG":
        assert np.array_equal(got, UPRIGHT[orientation](NOISE))
    else:
        untouched = Image.open(io.BytesIO(encode(Image.fromarray(NOISE), kind)))
        assert np.array_equal(got, UPRIGHT[orientation](np.asarray(untouched)))


@pytest.mark.parametrize("orientation", UPRIGHT)
def test_sixteen_bit_grey_keeps_its_high_byte(orientation: int) -> None:
    for kind in ("PNG", "TIFF"):
        got = np.asarray(decode(encode(Image.fromarray(DEEP), kind, exif=exif(orientation))))
        assert np.array_equal(got, UPRIGHT[orientation](np.stack([DEEP >> 8] * 3, axis=-1)))


def test_sixteen_bit_pgm_keeps_its_high_byte() -> None:
    """Pillow opens it in mode "I", not "I;16", and would clip it to white."""
    got = np.asarray(decode(b"P5 30 40 65535\n" + DEEP.astype(">u2").tobytes()))
    assert np.array_equal(got, np.stack([DEEP >> 8] * 3, axis=-1))


def test_cmyk_is_ink() -> None:
    ink = RNG.integers(0, 256, (9, 7, 4), dtype=np.uint8)
    got = np.asarray(decode(encode(Image.fromarray(ink, "CMYK"), "TIFF"))).astype(float)
    paper = 255 - ink.astype(float)
    assert np.abs(got - paper[..., :3] * paper[..., 3:] / 255).max() <= 1
    jpeg = encode(Image.fromarray(ink, "CMYK"), "JPEG")
    assert np.array_equal(np.asarray(decode(jpeg)), np.asarray(Image.open(io.BytesIO(jpeg)).convert("RGB")))


def test_alpha_is_dropped_and_colours_stay() -> None:
    alpha = RNG.integers(0, 256, (40, 30, 1), dtype=np.uint8)
    assert np.array_equal(
        np.asarray(decode(encode(Image.fromarray(np.dstack([NOISE, alpha])), "PNG"))), NOISE
    )
    grey = np.dstack([NOISE[..., :1], alpha])
    assert np.array_equal(
        np.asarray(decode(encode(Image.fromarray(grey, "LA"), "PNG"))), NOISE[..., [0, 0, 0]]
    )


@pytest.mark.parametrize("transparency", [None, 0, 5])
def test_palette(transparency: int | None) -> None:
    image = Image.fromarray(NOISE).quantize(16)
    colours = image.getpalette()
    assert colours is not None
    options = {} if transparency is None else {"transparency": transparency}
    expected = np.reshape(colours, (-1, 3))[np.asarray(image)]
    assert np.array_equal(np.asarray(decode(encode(image, "PNG", **options))), expected)
    assert np.array_equal(np.asarray(decode(encode(image, "GIF", **options))), expected)


def test_palette_with_an_alpha_table_is_quiet() -> None:
    """An everyday PNG; Pillow's warning about it belongs on nobody's terminal."""
    image = Image.fromarray(NOISE).quantize(16)
    colours = image.getpalette()
    assert colours is not None
    expected = np.reshape(colours, (-1, 3))[np.asarray(image)]
    content = encode(image, "PNG", transparency=bytes(range(0, 256, 16)))
    assert np.array_equal(np.asarray(decode(content)), expected)


def test_two_levels_and_grey() -> None:
    bits = NOISE[..., 0] > 127
    assert np.array_equal(
        np.asarray(decode(encode(Image.fromarray(bits), "PNG"))), np.stack([bits * 255] * 3, -1)
    )
    grey = encode(Image.fromarray(NOISE[..., 0]), "PNG")
    assert np.array_equal(np.asarray(decode(grey)), NOISE[..., [0, 0, 0]])


def test_sources_are_equal_and_unchanged(tmp_path: Path) -> None:
    content = encode(Image.fromarray(NOISE), "PNG", exif=exif(6))
    (tmp_path / "a.png").write_bytes(content)
    image = Image.open(io.BytesIO(content))
    got = [
        SMALL.apply(source) for source in (content, tmp_path / "a.png", str(tmp_path / "a.png"), image, image)
    ]
    assert all(np.array_equal(got[0], other) for other in got)
    assert image.size == (30, 40)
    assert image.getexif()[0x0112] == 6


def test_a_truncated_jpeg_is_refused_wherever_it_ends() -> None:
    content = encode(Image.fromarray(NOISE), "JPEG")
    for end in [0, 1, 2, 20, *random.Random(0).sample(range(21, len(content) - 2), 60)]:
        with pytest.raises(BadImage, match="image in memory"):
            decode(content[:end])


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF", "TIFF", "BMP", "PPM", "JPEG2000", "AVIF"])
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_damaged_file_is_refused_or_read_but_never_a_traceback(
    kind: str, capfd: pytest.CaptureFixture[str]
) -> None:
    try:
        content = encode(Image.fromarray(NOISE), kind)
    except (OSError, KeyError):
        pytest.skip(f"this Pillow writes no {kind}")
    draw = random.Random(1)
    for _ in range(300):
        broken = bytearray(content[: draw.choice([len(content), draw.randrange(len(content))])])
        for _ in range(draw.choice([1, 2, 8]) if broken else 0):
            broken[draw.randrange(min(len(broken), draw.choice([64, 300, 10**9])))] = draw.randrange(256)
        with contextlib.suppress(BadImage):
            assert decode(bytes(broken)).mode == "RGB"
    capfd.readouterr()  # libtiff talks on stderr


def test_what_is_no_image_is_named(tmp_path: Path) -> None:
    (tmp_path / "notes.jpg").write_text("shopping list", encoding="utf-8")
    (tmp_path / "empty.png").write_bytes(b"")
    for name, reason in (
        ("notes.jpg", "not an image"),
        ("empty.png", "the file is empty"),
        ("none.jpg", "no such file"),
        ("", "a folder"),
    ):
        with pytest.raises(BadImage, match=reason) as caught:
            decode(tmp_path / name)
        assert str(tmp_path / name) in str(caught.value)


def test_no_file_is_left_open(tmp_path: Path) -> None:
    """A garbage collector that closes files late runs a long folder out of descriptors; Python warns of each."""
    frames = [Image.fromarray(NOISE), Image.fromarray(255 - NOISE)]
    frames[0].save(tmp_path / "two.gif", save_all=True, append_images=frames[1:])
    (tmp_path / "cut.jpg").write_bytes(encode(frames[0], "JPEG")[:900])
    decode(tmp_path / "two.gif")
    with pytest.raises(BadImage):
        decode(tmp_path / "cut.jpg")


@pytest.mark.parametrize("pixels", [1500, 2500])
def test_a_bomb_is_refused_between_one_and_two_limits_too(
    pixels: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = encode(Image.new("RGB", (pixels // 50, 50)), "PNG")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with pytest.raises(BadImage, match="too many pixels"):
        decode(content)


def test_a_bomb_is_refused_outside_of_pytest_too() -> None:
    """Here warnings are errors; a person's Python has other filters."""
    code = (
        "import io; from PIL import Image; from edge_tl.device.preprocess import decode\n"
        "b = io.BytesIO(); Image.new('L', (50, 30)).save(b, 'PNG'); Image.MAX_IMAGE_PIXELS = 1000\n"
        "decode(b.getvalue())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "BadImage: not a usable image: image in memory: too many pixels" in done.stderr


def test_a_sliver_does_not_become_a_bomb(monkeypatch: pytest.MonkeyPatch) -> None:
    """1 x 900 px are few, but with a shorter side of 20 they become 20 x 18,000: a 1 x 30,000 px file of 100
    bytes would need 6 GB at 256."""
    content = encode(Image.new("RGB", (1, 900)), "PNG")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with pytest.raises(BadImage):
        SMALL.apply(content)
