"""Grey levels of any width become 8 bits by their range, the same wherever the numbers are stored."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import numpy as np
import pytest
from PIL import Image

from edge_tl.device.images import grey
from edge_tl.device.images.decode import ALIKE, decode, examine
from edge_tl.device.images.decode_warnings import mixed_ranges
from edge_tl.device.preprocess import Preprocess

RNG = np.random.default_rng(0)
PICTURE = RNG.integers(0, 256, (40, 30), dtype=np.uint8)


def saved(values: Any, kind: str, mode: str | None = None) -> bytes:
    buffer = io.BytesIO()
    image = Image.fromarray(values)
    (image if mode is None else image.convert(mode)).save(buffer, kind)
    return buffer.getvalue()


def big_endian_tiff(values: Any) -> bytes:
    """16-bit grey in Motorola's byte order: Pillow opens it in mode "I;16B"."""
    buffer = io.BytesIO()
    height, width = values.shape
    Image.frombytes("I;16B", (width, height), values.astype(">u2").tobytes()).save(buffer, "TIFF")
    return buffer.getvalue()


STORED = {
    "float TIFF in 0..1": (saved((PICTURE / 255).astype(np.float32), "TIFF"), grey.UNIT),
    "float TIFF in 0..255": (saved(PICTURE.astype(np.float32), "TIFF"), grey.EIGHT_BITS),
    "int32 TIFF": (saved(PICTURE.astype(np.int32), "TIFF"), grey.EIGHT_BITS),
    "16-bit PNG that holds 8-bit values": (saved(PICTURE.astype(np.uint16), "PNG"), grey.EIGHT_BITS),
    "16-bit TIFF that holds 8-bit values": (saved(PICTURE.astype(np.uint16), "TIFF"), grey.EIGHT_BITS),
    "big-endian TIFF that holds 8-bit values": (big_endian_tiff(PICTURE.astype(np.uint16)), grey.EIGHT_BITS),
    "16-bit PNG": (saved(PICTURE.astype(np.uint16) * 257, "PNG"), None),
    "big-endian 16-bit TIFF": (big_endian_tiff(PICTURE.astype(np.uint16) * 257), None),
    "int32 TIFF of 16 bits": (saved(PICTURE.astype(np.int32) * 257, "TIFF"), None),
    "float TIFF of 16 bits": (saved(PICTURE.astype(np.float32) * 257, "TIFF"), grey.SIXTEEN_BITS),
}


@pytest.mark.parametrize("name", STORED)
def test_the_same_picture_however_wide_it_is_stored(name: str) -> None:
    content, remark = STORED[name]
    got = examine(content)
    np.testing.assert_array_equal(np.asarray(got.image), np.stack([PICTURE] * 3, -1))
    assert got.remark == remark
    assert np.array_equal(np.asarray(decode(content)), np.asarray(got.image))


def png_of_16_bits(values: Any, kind: int) -> bytes:
    """What Pillow cannot write: colour of 16 bits a channel."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return (
            struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))
        )

    height, width = values.shape[:2]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    head = struct.pack(">IIBBBBB", width, height, 16, kind, 0, 0, 0)
    parts = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + parts


@pytest.mark.parametrize(("channels", "kind"), [(3, 2), (4, 6)])
def test_colour_of_sixteen_bits_that_holds_eight_is_not_black(channels: int, kind: int) -> None:
    colours = RNG.integers(0, 256, (40, 30, channels), dtype=np.uint16)
    for values, remark in ((colours, grey.EIGHT_BITS), (colours * 257, None)):
        got = examine(png_of_16_bits(values, kind))
        np.testing.assert_array_equal(np.asarray(got.image), colours[..., :3])
        assert got.remark == remark
    black = examine(png_of_16_bits(colours * 0, kind))
    assert (black.image.getextrema(), black.remark) == (((0, 0),) * 3, None)


def test_a_colour_tiff_of_sixteen_bits_too() -> None:
    """In both byte orders."""
    colours = RNG.integers(0, 256, (40, 30, 3), dtype=np.uint16)
    for order, bytes_ in (("II", "<"), ("MM", ">")):
        pixels = colours.astype(f"{bytes_}u2").tobytes()
        tags = [
            (256, 30),
            (257, 40),
            (258, 16),
            (259, 1),
            (262, 2),
            (273, 8),
            (277, 3),
            (278, 40),
            (279, len(pixels)),
        ]
        body = struct.pack(f"{bytes_}H", len(tags))
        for tag, value in tags:
            bits = tag == 258
            at = 8 + len(pixels) if bits else value
            body += struct.pack(f"{bytes_}HHII", tag, 3 if bits else 4, 3 if bits else 1, at)
        bits_at = 8 + len(pixels)
        head = order.encode() + struct.pack(f"{bytes_}HI", 42, bits_at + 6)
        content = head + pixels + struct.pack(f"{bytes_}HHH", 16, 16, 16) + body + b"\0\0\0\0"
        got = examine(content)
        np.testing.assert_array_equal(np.asarray(got.image), colours)
        assert got.remark == grey.EIGHT_BITS


def test_what_lies_outside_of_sixteen_bits_is_stretched() -> None:
    hounsfield = RNG.integers(-1024, 3072, (40, 30)).astype(np.int32)
    hounsfield[0, :2] = -1024, 3071
    levels, remark = grey.to_levels(hounsfield)
    assert (levels.min(), levels.max(), remark) == (0, 255, grey.STRETCHED)
    np.testing.assert_allclose(levels, (hounsfield + 1024) / 4095 * 255, atol=0.5)


def test_resampling_that_overshoots_one_is_still_from_zero_to_one() -> None:
    levels, remark = grey.to_levels(np.array([[-0.03, 0.5, 1.04]], np.float32))
    assert levels.tolist() == [[0, 128, 255]]
    assert remark == grey.UNIT


def test_what_is_no_number_is_black() -> None:
    levels, remark = grey.to_levels(np.array([[np.nan, 1.0, np.inf, 0.0, -np.inf]], np.float32))
    assert levels.tolist() == [[0, 255, 0, 0, 0]]
    assert remark == grey.UNIT
    assert grey.to_levels(np.full((2, 2), np.nan, np.float32))[0].tolist() == [[0, 0], [0, 0]]


@pytest.mark.parametrize("least", [0.3, 10.0, 300.0, -5000.0])
def test_what_is_no_number_is_black_where_nothing_else_is(least: float) -> None:
    """It took the least level of the image: 77 where that was 0.3."""
    values = np.array([[np.nan, least, 2 * abs(least), np.inf, -np.inf]], np.float32)
    levels, _ = grey.to_levels(values)
    assert levels[0, [0, 3, 4]].tolist() == [0, 0, 0]
    known = grey.to_levels(values[:, 1:3])[0]
    assert levels[:, 1:3].tolist() == known.tolist()


def test_one_set_read_in_different_ways_is_said_so() -> None:
    """One scene as 16-bit PNG, with a largest value of 255 and of 256: 126.6 on average, and 0."""
    scene = RNG.integers(0, 256, (40, 30)).astype(np.uint16)
    scene[0, 0] = 255
    other = scene.copy()
    other[0, 0] = 256
    read = [examine(saved(values, "PNG")) for values in (scene, other)]
    assert np.asarray(read[0].image).mean() > 100 > 1 > np.asarray(read[1].image).mean()
    sentence = mixed_ranges(one.remark for one in read)
    assert sentence
    assert "1 with 0 to 255 as black to white" in sentence
    assert "1 by the width of their numbers" in sentence
    assert mixed_ranges([read[0].remark] * 3) is None
    assert mixed_ranges([None, grey.FAINT, grey.SIXTEEN_BITS]) is None  # one scale
    assert mixed_ranges([None, f"{ALIKE}: {grey.EIGHT_BITS}"]) is None  # black in a set of 16 bits
    framed = Preprocess(resize_size=(20, 20), crop=(16, 16)).framed(saved(other, "PNG"))
    assert framed.remark == f"{ALIKE}: {grey.FAINT}"  # not alike in the file
    assert mixed_ranges([read[0].remark, framed.remark])
    assert mixed_ranges([]) is None
    assert mixed_ranges([grey.UNIT, None])
    assert mixed_ranges([grey.UNIT, grey.STRETCHED])


def test_twelve_bits_in_sixteen_are_almost_black_and_said_to_be() -> None:
    levels, remark = grey.to_levels(np.array([[0, 4095]], np.uint16))
    assert (levels.tolist(), remark) == ([[0, 15]], grey.FAINT)


@pytest.mark.parametrize("extreme", [np.float32(3.4e38), np.float32(-3.4e38)])
def test_the_widest_numbers_do_not_overflow(extreme: np.float32) -> None:
    levels, _ = grey.to_levels(np.array([[extreme, 0, -extreme]], np.float32))
    assert sorted(levels[0].tolist())[::2] == [0, 255]


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "P", "I;16", "F", "1", "CMYK"])
def test_an_image_of_one_colour_is_remarked_on(mode: str) -> None:
    contract = Preprocess(resize_size=(20, 20), crop=(16, 16))
    image = Image.new(mode, (30, 40))
    assert (contract.framed(image).remark or "").startswith(ALIKE)
    assert contract.framed(Image.fromarray(PICTURE)).remark is None
    dot = np.zeros((400, 300), np.uint8)
    dot[200, 150] = 255  # lost by the resize, but it is there
    assert contract.framed(Image.fromarray(dot)).remark is None


@pytest.mark.parametrize("size", [(1, 1), (1, 40), (40, 1), (37, 41)])
@pytest.mark.parametrize("more", [0, 1, 2])
@pytest.mark.parametrize("channel", [0, 1, 2])
def test_one_pixel_anywhere_decides_whether_an_image_is_of_one_colour(
    size: tuple[int, int], more: int, channel: int
) -> None:
    """The places are those that are looked at first, and others."""
    contract = Preprocess(resize="exact", resize_size=(size[1], size[0]), crop=None)
    width, height = size
    places = {(0, 0), (width - 1, height - 1), (width // 3, height // 3), (width // 2, 0), (width - 1, 0)}
    for x, y in places:
        pixels = np.full((height, width, 3), 90, np.uint8)
        pixels[y, x, channel] += more
        remark = contract.framed(Image.fromarray(pixels)).remark
        assert (remark == ALIKE) == (more <= 1 or size == (1, 1))
