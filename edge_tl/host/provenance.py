"""What a result depends on beside the data: recipe, seed, versions, machine; it must not measure anything."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from edge_tl import __version__
from edge_tl.host.settings import Recipe
from edge_tl.target.machine import has_vnni, identity


def provenance(recipe: Recipe) -> dict[str, Any]:
    """`{recipe, seed, versions, host}`, plain data."""
    packages = [
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
        "pillow",
    ]
    versions = {"edge-tl": __version__, "python": platform.python_version()}
    for package in packages:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    settings = recipe.model_dump(mode="json")
    host = identity() | {"vnni": has_vnni()}
    return {"recipe": settings, "seed": recipe.seed, "versions": versions, "host": host}
