"""What of a bundle's record the device needs, and what only a report shows: the one place that knows.

`bundle.json` is read by every `predict`; with a thousand classes the confusion matrices alone made it 39 MB.
"""

from __future__ import annotations

from typing import Any

_OF_ARTIFACT = ("changed", "confusion", "ladder", "quantization")
_OF_REFERENCE = ("confusion",)


def split(record: dict[str, Any]) -> tuple[dict[str, Any], bool]:
    """The device's part of `record`, and whether there was more in it."""
    artifacts = [_without(artifact, _OF_ARTIFACT) for artifact in record["artifacts"]]
    reference = _without(record["reference"], _OF_REFERENCE)
    device = record | {"artifacts": artifacts, "reference": reference}
    return device, device != record


def _without(part: dict[str, Any], keys: tuple[str, ...]) -> dict[str, Any]:
    return {key: value for key, value in part.items() if key not in keys}
