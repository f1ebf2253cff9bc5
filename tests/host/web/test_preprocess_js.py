"""preprocess.js gives Pillow's pixels and the contract's floats, bit for bit."""

from __future__ import annotations

import json
import random
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edge_tl.device.preprocess import INTERPOLATIONS, Preprocess

PAGE = Path(__file__).parents[3] / "edge_tl" / "host" / "web" / "page"
NODE = shutil.which("node")

SCRIPT = """
import {readFileSync, writeFileSync} from "node:fs";
import {normalize, pixels} from "./preprocess.mjs";
for (const {i, width, height, contract} of JSON.parse(readFileSync("cases.json"))) {
  const got = pixels({data: new Uint8Array(readFileSync(`${i}.in`)), width, height}, contract);
  writeFileSync(`${i}.u8`, got.data);
  writeFileSync(`${i}.f32`, new Uint8Array(normalize(got.data, contract).buffer));
}
"""


def contracts(seed: int) -> list[tuple[tuple[int, int], Preprocess]]:
    """Images' (width, height), slivers and equal sizes among them, with contracts of every kind."""
    draw = random.Random(seed)
    found = []
    for _ in range(120):
        size = draw.choice(
            [
                (draw.randint(1, 40), draw.randint(1, 40)),
                (draw.randint(90, 500), draw.randint(90, 500)),
                (draw.randint(40, 90), draw.randint(200, 500)),
                (1, 90), (90, 2), (97, 98), (64, 64),
            ]
        )  # fmt: skip
        side = draw.choice([32, 64, 97, 150])
        policy = draw.choice(["shorter", "shorter", "exact", "letterbox", "none"])
        boxed = policy == "letterbox"
        contract = Preprocess(
            resize=policy,
            resize_size=(side, side + draw.choice([0, 4])),
            interpolation=draw.choice(list(INTERPOLATIONS)),
            crop=None if boxed else (side - draw.choice([0, 3]), side + draw.choice([-5, 0, 6])),
            std=(0.229, 0.224, draw.choice([0.225, 1.0])),
            pad=draw.choice([(0, 0, 0), (124, 116, 104)]) if boxed else None,
        )
        found.append((size, contract))
    return found


@pytest.mark.skipif(NODE is None, reason="node is not installed")
def test_pixels_and_floats_are_those_of_pillow(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    cases, wanted = [], []
    for i, ((width, height), contract) in enumerate(contracts(0)):
        image = rng.integers(0, 256, (height, width, 3), np.uint8)  # noise: every rounding and clip shows
        image.tofile(tmp_path / f"{i}.in")
        wanted.append((contract, contract.pixels(Image.fromarray(image))))
        case = {"i": i, "width": width, "height": height, "contract": contract.to_json()}
        cases.append(case)
    (tmp_path / "cases.json").write_text(json.dumps(cases), "utf-8")
    shutil.copyfile(PAGE / "preprocess.js", tmp_path / "preprocess.mjs")
    (tmp_path / "run.mjs").write_text(SCRIPT, "utf-8")
    assert NODE is not None
    subprocess.run([NODE, "run.mjs"], cwd=tmp_path, check=True, timeout=120)
    for i, (contract, pixels) in enumerate(wanted):
        got = np.fromfile(tmp_path / f"{i}.u8", np.uint8)
        assert np.array_equal(got, pixels.ravel()), (i, contract, cases[i])
        floats = np.fromfile(tmp_path / f"{i}.f32", "<f4")
        assert np.array_equal(floats, contract.normalize(pixels).ravel()), (i, contract)
