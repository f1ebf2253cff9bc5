"""A service with an artifact of raw pixels: images are answered, tensors refused in a sentence."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from device.raw_pixels_bundle import add_raw_pixels

from edge_tl.device.bundle import read_bundle

httpx = pytest.importorskip("httpx")


def test_images_are_answered_and_tensors_refused(start: Callable[..., Any], bundle_root: Path) -> None:
    bundle = read_bundle(add_raw_pixels(bundle_root, alone=True))
    image = bundle.golden_images()[1]
    with bundle.open("onnx-fp32-image") as model:
        expected = model.predict(image)
    with (
        start(bundle.root, "--artifact", "onnx-fp32-image") as service,
        httpx.Client(base_url=service.url, timeout=30, trust_env=False) as client,
    ):
        answer = client.post("/predict", files={"file": (image.name, image.read_bytes())}).json()
        best = answer["results"][0]["top"][0]
        assert (best["label"], best["probability"]) == (expected.label, pytest.approx(expected.probability))
        refused = {"error": "onnx-fp32-image takes images, not tensors. Post them to /predict."}
        there = f"/v2/models/{bundle.record.name}"
        for said in (client.get(there), client.post(f"{there}/infer", json={"inputs": []})):
            assert (said.status_code, said.json()) == (400, refused)
        assert client.get(f"{there}/ready").json()["ready"] is True
