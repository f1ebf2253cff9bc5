"""What a result depends on beside the data: recipe, seed, versions, machine; measures nothing."""

from __future__ import annotations

import platform
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version

from edge_tl import __version__
from edge_tl.device.machine import has_vnni, identity
from edge_tl.host.recipe.schema import Recipe
from edge_tl.host.runs.record import Provenance

# What decides the pixels that an encoded image becomes.
OF_PIXELS = ("pillow", "pillow-heif")
_PACKAGES = (
    "torch",
    "torchvision",
    "timm",
    "accelerate",
    "onnx",
    "onnxscript",
    "onnxruntime",
    "openvino",
    "nncf",
    "scikit-learn",
    "numpy",
    *OF_PIXELS,
)


def package_versions(*packages: str) -> dict[str, str]:
    """The version of each of `packages` that is here; "edge-tl" is the one that runs."""
    versions: dict[str, str] = {}
    for package in packages:
        try:
            versions[package] = __version__ if package == "edge-tl" else version(package)
        except PackageNotFoundError:
            continue
    return versions


def provenance(recipe: Recipe) -> Provenance:
    """Of what this process makes now by `recipe`."""
    return Provenance(
        recipe=recipe.model_dump(mode="json"),
        seed=recipe.seed,
        versions={"edge-tl": __version__, "python": platform.python_version()} | package_versions(*_PACKAGES),
        host=replace(identity(), vnni=has_vnni()),
    )
