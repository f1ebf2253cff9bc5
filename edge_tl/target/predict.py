"""Labels and probabilities for images; it must not open a folder or print."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edge_tl.target.bundle import Artifact, Bundle
from edge_tl.target.compare import softmax
from edge_tl.target.errors import BadInput, MissingExtra
from edge_tl.target.runtime import Runtime, open_runtime
from edge_tl.target.runtimes.offered import able


def open_best(
    bundle: Bundle, artifact: str | None = None, device: str = "CPU", *, allow_fallback: bool = False
) -> tuple[Artifact, Runtime]:
    """The artifact asked for, else the recommended one, else the first whose runtime is installed and has `device`.

    Raises `FellBack` when another device ran, unless `allow_fallback`.
    """
    if artifact:
        chosen = bundle.artifact(artifact)
        return chosen, open_runtime(chosen.path, device=device, allow_fallback=allow_fallback)
    order = sorted(bundle.artifacts, key=lambda a: a.id != bundle.record.get("recommended"))
    order, _ = able(order, device)
    missing: MissingExtra | None = None
    for candidate in order:
        try:
            return candidate, open_runtime(candidate.path, device=device, allow_fallback=allow_fallback)
        except MissingExtra as error:
            missing = error
    raise missing or BadInput(f"no artifact in {bundle.root}. Export again.")


def predict(
    bundle: Bundle, runtime: Runtime, images: Sequence[Path | bytes], *, top: int = 3
) -> list[dict[str, Any]]:
    """One record an image: `{image, top[]{label, probability}}`, best first. Raises `BadImage`."""
    results = []
    for image in images:
        probabilities = softmax(runtime(bundle.preprocess.apply(image)[None])[0])
        best = probabilities.argsort()[::-1][:top]
        results.append(
            {
                "image": str(image) if isinstance(image, Path) else None,
                "top": [{"label": bundle.labels[i], "probability": float(probabilities[i])} for i in best],
            }
        )
    return results
