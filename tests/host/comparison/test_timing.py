"""The names of files that a comparison times: one for every amount of work."""

from __future__ import annotations

from edge_tl.device.preprocess import Preprocess
from edge_tl.host.comparison import timing


def test_five_crops_share_no_file_with_one_look_at_the_same_pixels() -> None:
    one = Preprocess(resize_size=(256, 256), crop=(256, 256))
    five = Preprocess(resize_size=(256, 256), crop=(256, 256), five_crop=(224, 224))
    assert one.input_size == five.input_size
    assert timing._name("mobilenet_v2", one) == "mobilenet_v2-256x256"
    assert timing._name("mobilenet_v2", five) == "mobilenet_v2-256x256-five-224x224"
