"""Draw the images: three classes, told apart by colour and shape, with noise. Seeded."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

SIDE = 32
COUNTS = {"train": 10, "val": 4, "test": 8}


def draw(root: Path, *, seed: int = 6) -> None:
    """Write `root/SPLIT/{bar,disc,ring}/NN.jpg`."""
    rng = np.random.default_rng(seed)
    for split, count in COUNTS.items():
        for label in ("bar", "disc", "ring"):
            folder = root / split / label
            folder.mkdir(parents=True)
            for number in range(count):
                one(label, rng).save(folder / f"{number:02}.jpg", quality=85)


def one(label: str, rng: np.random.Generator) -> Image.Image:
    """One RGB image of SIDE by SIDE pixels."""
    ground = tuple(int(value) for value in rng.integers(20, 90, 3))
    colour = [int(value) for value in rng.integers(60, 150, 3)]
    colour[("bar", "disc", "ring").index(label)] = int(rng.integers(150, 255))
    image = Image.new("RGB", (SIDE, SIDE), ground)
    pen = ImageDraw.Draw(image)
    x, y, size = (int(value) for value in (*rng.integers(2, 8, 2), rng.integers(14, 22)))
    box = (x, y, x + size, y + size)
    if label == "bar":
        pen.rectangle((x, y + size // 3, x + size, y + size // 3 + 6), fill=tuple(colour))
    elif label == "disc":
        pen.ellipse(box, fill=tuple(colour))
    else:
        pen.ellipse(box, outline=tuple(colour), width=4)
    noisy = np.asarray(image, dtype=np.float32) + rng.normal(0, 12, (SIDE, SIDE, 3))
    return Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8))


if __name__ == "__main__":
    draw(Path(sys.argv[1]))
