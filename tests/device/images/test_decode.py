"""Damaged EXIF costs at most the orientation; limits are each call's own; HEIC where its decoder is installed."""

from __future__ import annotations

import io
import struct
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from edge_tl.device.errors import BadImage, BundleError
from edge_tl.device.images import decode as decoding
from edge_tl.device.images.decode import decode
from edge_tl.device.preprocess import Preprocess

PICTURE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (16, 12, 3), dtype=np.uint8))
SIGNED_SHORT, SIGNED, FLOAT, SIGNED_RATIONAL, TEXT, SIGNED_BYTE = 8, 9, 11, 10, 2, 6


def exif(orientation: int) -> bytes:
    tags = Image.Exif()
    tags[0x0112], tags[0x011A], tags[0x011B], tags[0x0128] = orientation, 72.0, 72.0, 2
    tags[0x0132] = "2020:01:01 00:00:00"
    tags[0x010F] = "maker"
    tags.get_ifd(0x8769)[0x9003] = "2020:01:01 00:00:00"
    return tags.tobytes()


def jpeg(block: bytes) -> bytes:
    buffer = io.BytesIO()
    PICTURE.save(buffer, "JPEG", exif=block)
    return buffer.getvalue()


def png(block: bytes) -> bytes:
    buffer = io.BytesIO()
    PICTURE.save(buffer, "PNG", exif=block)
    return buffer.getvalue()


def webp(block: bytes) -> bytes:
    buffer = io.BytesIO()
    PICTURE.save(buffer, "WEBP", exif=block, lossless=True)
    return buffer.getvalue()


def one_entry(tag: int, kind: int, raw: bytes) -> bytes:
    """An EXIF block, turned a quarter, with one more entry of whatever type."""
    head = b"II*\0" + struct.pack("<LH", 8, 2) + struct.pack("<HHLHH", 0x112, 3, 1, 6, 0)
    inline = len(raw) <= 4
    value = raw.ljust(4, b"\0") if inline else struct.pack("<L", 8 + 2 + 24 + 4)
    entry = struct.pack("<HHL", tag, kind, 1) + value
    return b"Exif\0\0" + head + entry + struct.pack("<L", 0) + (b"" if inline else raw)


ODD = {
    "a negative resolution": one_entry(0x11A, SIGNED_RATIONAL, struct.pack("<2l", -1, 0)),
    "a resolution in words": one_entry(0x11A, TEXT, b"72\0"),
    "a date that is a number": one_entry(0x132, FLOAT, struct.pack("<f", 1.5)),
    "a unit below zero": one_entry(0x128, SIGNED_SHORT, struct.pack("<h", -1)),
    "a long below zero": one_entry(0x8769, SIGNED, struct.pack("<l", -7)),
}


def outcome(content: bytes) -> Any:
    """What Pillow itself makes of the file: an array, or the exception."""
    try:
        return np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(content))))
    except Exception as error:
        return error


@pytest.mark.parametrize("name", ODD)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_odd_metadata_costs_nothing(name: str) -> None:
    upright = np.asarray(Image.open(io.BytesIO(jpeg(b""))).transpose(Image.Transpose.ROTATE_270))
    assert np.array_equal(np.asarray(decode(jpeg(ODD[name]))), upright)


@pytest.mark.parametrize("encode", [jpeg, png, webp], ids=lambda f: f.__name__)
@settings(deadline=None, max_examples=300)
@given(
    st.sampled_from([1, 3, 6, 8]),
    st.lists(
        st.tuples(st.floats(0, 1, exclude_max=True), st.sampled_from([0, 1, 127, 128, 255])), max_size=6
    ),
)
def test_however_an_exif_block_is_damaged_the_pixels_are_used(
    encode: Any, orientation: int, damage: list[tuple[float, int]]
) -> None:
    """As Pillow turns them where it can; else by the tag alone, or as they are stored."""
    block = bytearray(exif(orientation))
    for where, value in damage:
        block[6 + int(where * (len(block) - 6))] = value
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        content = encode(bytes(block))
        got, want = np.asarray(decode(content)), outcome(content)
        if isinstance(want, np.ndarray):
            assert np.array_equal(got, want)
        else:
            plain = Image.open(io.BytesIO(encode(b"")))
            turned = [np.asarray(plain.transpose(turn)) for turn in Image.Transpose]
            assert any(np.array_equal(got, one) for one in (np.asarray(plain), *turned))


def test_a_block_that_keeps_pillow_from_opening_the_file_costs_at_most_the_orientation(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    content = jpeg(exif(6))
    real = Image.open

    def strict(file: Any, **options: Any) -> Image.Image:
        """As Pillow does where it reads a resolution that is none."""
        if b"Exif" in file.getvalue():
            raise Image.UnidentifiedImageError("cannot identify image file")
        return real(file, **options)

    want = np.asarray(decode(content))
    monkeypatch.setattr(decoding.Image, "open", strict)
    assert np.array_equal(np.asarray(decode(content)), want)
    with pytest.raises(BadImage, match="not an image"):
        decode(b"\xff\xd8\xff\xe1\0\x08Exif\0\0")


def test_avif_whose_metadata_is_damaged_is_read() -> None:
    buffer = io.BytesIO()
    try:
        PICTURE.save(buffer, "AVIF", exif=exif(6), quality=100)
    except (OSError, KeyError):
        pytest.skip("this Pillow writes no AVIF")
    whole = buffer.getvalue()
    at = max(whole.find(b"MM\0*"), whole.find(b"II*\0"))
    assert at > 0
    damaged = whole[:at] + b"XX" + whole[at + 2 :]
    with pytest.raises((Image.UnidentifiedImageError, ValueError)):
        Image.open(io.BytesIO(damaged))
    want = np.asarray(decode(whole))
    assert want.shape == (12, 16, 3)
    assert np.array_equal(np.asarray(decode(damaged)), want)


@pytest.mark.parametrize(
    "error", [TypeError("x"), AttributeError("x"), KeyError("x"), struct.error("x"), Exception()]
)
def test_whatever_a_decoder_raises_the_file_is_named(
    error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "odd.jpg").write_bytes(jpeg(b""))

    def fail(*anything: Any, **more: Any) -> None:
        raise error

    monkeypatch.setattr(Image.Image, "load", fail)
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", fail)
    with pytest.raises(BadImage, match=r"odd\.jpg"):
        decode(tmp_path / "odd.jpg")


def test_the_limit_is_each_calls_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    buffer = io.BytesIO()
    Image.new("RGB", (100, 50), "red").save(buffer, "PNG")
    large, small = buffer.getvalue(), png(b"")
    assert decode(large, max_pixels=5000).size == (100, 50)
    assert Image.MAX_IMAGE_PIXELS == 1000
    with pytest.raises(BadImage, match=r"too many pixels \(5000, the limit is 4999\).*--max-pixels 5000"):
        decode(large, max_pixels=4999)
    with pytest.raises(BadImage, match="the limit is 100"):  # it can be lowered, too
        decode(small, max_pixels=100)

    def attempt(i: int) -> bool:
        try:
            return decode(large, max_pixels=5000 if i % 2 else None).size == (100, 50)
        except BadImage as error:
            return i % 2 == 0 and "5000, the limit is 1000" in error.reason

    with ThreadPoolExecutor(8) as pool:  # a raised limit beside others that are not
        assert all(pool.map(attempt, range(200)))
    assert Image.MAX_IMAGE_PIXELS == 1000
    assert Preprocess(resize_size=(8, 8), crop=(8, 8), max_pixels=5000).apply(large).shape == (3, 8, 8)


def test_no_record_holds_or_raises_the_limit() -> None:
    raised = Preprocess(max_pixels=10**9)
    assert "max_pixels" not in raised.to_json()
    assert raised == Preprocess()
    with pytest.raises(BundleError, match="unknown field 'max_pixels'"):
        Preprocess.from_json(Preprocess().to_json() | {"max_pixels": 10**9})


def test_formats_that_take_any_bytes_or_start_programs_are_no_images() -> None:
    postscript = io.BytesIO()
    PICTURE.save(postscript, "EPS")
    targa = io.BytesIO()
    PICTURE.save(targa, "TGA")
    for content in (postscript.getvalue(), targa.getvalue()):
        with pytest.raises(BadImage, match="not an image"):
            decode(content)


HEIC = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic"


def test_heic_without_its_decoder_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    for kind in ("HEIF", "AVIF"):
        monkeypatch.delitem(Image.OPEN, kind, raising=False)
    with pytest.raises(BadImage, match=r'HEIC needs a decoder: pip install "edge-tl\[heic\]"') as caught:
        decode(HEIC)
    assert not caught.value.of_bytes  # after the installation it is an image
    with pytest.raises(BadImage, match=r"AVIF needs .*edge-tl\[heic\]"):
        decode(b"\0\0\0\x18ftypavif\0\0\0\0mif1avif")
    assert decode(png(b"")).size == (12, 16)


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_heic_is_read_where_its_decoder_is_installed() -> None:
    heif = pytest.importorskip("pillow_heif")
    buffer = io.BytesIO()
    encoded = heif.from_pillow(Image.new("RGB", (64, 48), (200, 30, 30)))
    if not heif.libheif_info()["HEIF"]:
        pytest.skip("this pillow-heif has no encoder")
    encoded.save(buffer, quality=100)
    got = decode(buffer.getvalue())
    assert got.size == (64, 48)
    assert np.abs(np.asarray(got).astype(int) - (200, 30, 30)).max() < 8
    with pytest.raises(BadImage):
        decode(buffer.getvalue()[:200])


@pytest.mark.parametrize("size", [(0, 0), (0, 5), (5, 0)])
def test_an_image_in_memory_without_pixels_is_a_bad_image(size: tuple[int, int]) -> None:
    with pytest.raises(BadImage, match="no pixels"):
        Preprocess().apply(Image.new("RGB", size))


def test_the_limit_of_pixels_holds_for_images_in_memory_too() -> None:
    with pytest.raises(BadImage, match=r"too many pixels \(64, the limit is 60\)"):
        decode(Image.new("RGB", (8, 8)), max_pixels=60)


@pytest.mark.parametrize("kind", ["png", "bmp"])
def test_pixels_of_an_icon_are_counted_before_they_are_decoded(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its directory says 256 x 256 at most; the picture inside may have any size."""
    inside = io.BytesIO()
    Image.new("RGB", (1200, 900), "red").save(inside, "PNG" if kind == "png" else "DIB")
    content = bytearray(inside.getvalue())
    if kind == "bmp":
        struct.pack_into("<i", content, 8, 1800)  # with its mask
        content += bytes(1216 // 8 * 900)
    entry = struct.pack("<BBBBHHII", 0, 0, 0, 0, 1, 24, len(content), 22)
    icon = struct.pack("<HHH", 0, 1, 1) + entry + bytes(content)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # "Image was not the expected size", as in any program of ours
        assert decode(icon).size == (1200, 900)
    loaded: list[str] = []
    monkeypatch.setattr(decoding, "_upright_rgb", lambda image: loaded.append("decoded"))
    with pytest.raises(BadImage, match=r"too many pixels \(1080000, the limit is 1000000\)"):
        decode(icon, max_pixels=1_000_000)
    assert loaded == []
    with pytest.raises(BadImage):
        decode(icon[:30], max_pixels=1_000_000)
