"""Sizes and places of a letterbox in whole numbers: Python's own, which rounds doubles."""

from __future__ import annotations

from math import gcd

import numpy as np
import openvino
import pytest
from openvino import opset13 as ops

from edge_tl.device.images.frame import centre_offset, fitted_size
from edge_tl.device.preprocess import Preprocess
from edge_tl.host.convert.openvino_frame import letterbox_begin, resized_size

FRAMES = [(224, 224), (96, 128), (33, 7), (2048, 2047)]  # (height, width)


def sizes(frame: tuple[int, int]) -> list[tuple[int, int]]:
    """`(height, width)`: drawn, long strips, and shapes whose other side would be a whole number and a half, where the
    rounding of doubles decides."""
    drawn = np.random.default_rng(0).integers(1, 5000, (500, 2)).tolist()
    strips = [
        (1, 100),
        (1, 65535),
        (65535, 1),
        (178, 1_000_000),
        (1, 170_000_000),
        (170_000_000, 1),
        (13000, 13000),
    ]
    ties = []
    for side in set(frame):
        for n in range(1, 2 * side, 2 * (side // 200) + 2):
            common = gcd(n, 2 * side)
            over, under = n // common, 2 * side // common
            for times in (1, 3):
                ties += [(over * times, under * times), (under * times, over * times)]
    return [*map(tuple, drawn), *strips, *ties]


@pytest.mark.parametrize("frame", FRAMES, ids=str)
def test_sizes_and_places_are_those_of_doubles(frame: tuple[int, int]) -> None:
    contract = Preprocess(resize="letterbox", resize_size=frame, crop=None, pad=(0, 0, 0))
    given = ops.parameter([2], np.int32)
    resized = resized_size(contract, given)
    model = openvino.Model([resized, letterbox_begin(resized, frame)], [given], "frame")
    request = openvino.Core().compile_model(model, "CPU").create_infer_request()
    for height, width in sizes(frame):
        found = request.infer([np.array([height, width], np.int32)])
        wide, high = fitted_size((width, height), (frame[1], frame[0]))
        assert found[0].tolist() == [high, wide], (height, width)
        begin = [-centre_offset(frame[0], high), -centre_offset(frame[1], wide)]
        assert found[1].tolist() == begin, (height, width)
