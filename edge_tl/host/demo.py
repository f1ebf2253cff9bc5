"""The whole chain on data that the package brings: scikit-learn's handwritten digits, offline. Never prints."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from edge_tl.device.bench.effort import QUICK
from edge_tl.device.errors import BadInput
from edge_tl.device.files import write_atomic
from edge_tl.device.listener import SILENT, Listener
from edge_tl.host.export.pipeline import export
from edge_tl.host.recipe import builtin
from edge_tl.host.recipe.load import parse, read_settings
from edge_tl.host.runs import checkpoint
from edge_tl.host.training.finetune import finetune

DIGITS, RUN, BUNDLE = "digits", "run", "bundle"
MARK = ".edge-tl-demo"


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


def run_demo(out: Path, *, wait_quiet_s: float = 0.0, listener: Listener = SILENT) -> dict[str, Any]:
    """Fine-tune, export, quantize, time and verify on the digits, below `out`; before timing, wait `wait_quiet_s`
    seconds at most for a quiet machine.

    Returns the bundle's record with `bundle` and `report`, the paths of the folder and of the page. In a folder that
    an earlier demo made and marked, its run and bundle are made anew. Raises `BadInput` for any other that holds a run.
    """
    checkpoint.claim(out, (DIGITS, RUN, BUNDLE))
    again = (out / MARK).is_file()
    if not again and ((out / RUN).exists() or (out / BUNDLE).exists()):
        raise BadInput(f"--out {out}: holds a run or a bundle that is not the demo's. Choose another folder.")
    write_atomic(out / MARK, b"edge-tl demo made this folder and writes over what is in it.\n")
    settings = read_settings(builtin.get("demo"))
    settings["data"]["path"] = str(write_digits(out / DIGITS))
    recipe = parse(settings, source="recipe demo")
    finetune(recipe, out / RUN, overwrite=again, listener=listener)
    effort = replace(QUICK, wait_quiet_s=wait_quiet_s, steps=True)
    record = export(out / RUN, out / BUNDLE, recipe, effort=effort, overwrite=again, listener=listener)
    return record | {"report": str(out / BUNDLE / "report.html")}
