"""The functions behind the device's verbs, which take a bundle or its folder; `import edge_tl` has them.

Prints nothing and needs no PyTorch.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from edge_tl.device import gates
from edge_tl.device.bundle import Bundle, read_bundle
from edge_tl.device.listener import SILENT, Listener
from edge_tl.device.model import Picture, Prediction
from edge_tl.device.records.verification import VerifyResult

AnyPath = str | os.PathLike[str]


def load_bundle(path: AnyPath, *, max_pixels: int | None = None) -> Bundle:
    """Read and check the bundle in the folder `path`.

    Its models decode images of up to `max_pixels` pixels, Pillow's limit of 89 million when None. Raises `BundleError`
    that names the first file or field that is not as it was exported.
    """
    return read_bundle(Path(path)).reading(max_pixels)


def predict(
    bundle: AnyPath | Bundle,
    images: Iterable[Picture],
    *,
    artifact: str | None = None,
    device: str = "CPU",
    top: int = 3,
) -> list[Prediction]:
    """Classify `images` with the best artifact for this machine, or the one that is named. One prediction for each
    image, in order; an image that cannot be read is one with a `failure`. For the errors see `Bundle.open`."""
    with _bundle(bundle).open(artifact, device) as model:
        return list(model.predict_many(images, top=top))


def verify(
    bundle: AnyPath | Bundle,
    *,
    data: AnyPath | None = None,
    artifacts: Sequence[str] = (),
    device: str = "CPU",
    allow_fallback: bool = False,
    listener: Listener = SILENT,
) -> VerifyResult:
    """Run the gates on this machine: pixels, device and loss. With `data`, a labelled folder, accuracy on it too.

    A gate that fails is a result, `passed` is false; for the errors see `edge_tl.device.gates.verify`.
    """
    if not isinstance(bundle, Bundle):  # the pixels gate says what is wrong with the contract
        bundle = read_bundle(Path(bundle), contract_unproven=True)
    return gates.verify(
        bundle,
        data=None if data is None else Path(data),
        artifacts=artifacts,
        device=device,
        allow_fallback=allow_fallback,
        listener=listener,
    )


def _bundle(bundle: AnyPath | Bundle) -> Bundle:
    return bundle if isinstance(bundle, Bundle) else read_bundle(Path(bundle))
