"""The whole chain on data that the package brings: scikit-learn's handwritten digits, offline; it must not print."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

DIGITS = "digits"


def write_digits(folder: Path) -> Path:
    """The 1,797 digits of scikit-learn (8 by 8 pixels, 16 grey levels) as PNG files, one folder a class.

    Source: E. Alpaydin and C. Kaynak, "Optical Recognition of Handwritten Digits", UCI repository, 1998.
    """
    from sklearn.datasets import load_digits

    digits = load_digits()
    for index, (pixels, label) in enumerate(zip(digits.images, digits.target, strict=True)):
        path = folder / str(label) / f"{index:04d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            Image.fromarray((pixels * (255 / 16)).round().astype(np.uint8)).save(path)
    return folder
