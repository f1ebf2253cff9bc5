"""Which result files edge-tl wrote itself, so that the next result of that name may replace them. It must not write."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from edge_tl.device.errors import BadInput
from edge_tl.device.files import read_json

MAKER = "edge-tl"  # in a drawing's metadata: Creator in SVG, Software in PNG
_HEAD = 1 << 16  # bytes of an SVG within which its metadata stands
# What each verb's result always holds, and no other program's file does.
_RESULTS = (
    {"schema", "kind", "date", "machine"},  # bench
    {"passed", "gates", "ran", "machine"},  # verify
    {"machine", "conditions", "runtimes"},  # devices
    {"objective", "over", "machine_id", "bundle_seal"},  # tune
    {"passed", "gates", "artifact", "machine"},  # gate
    {"base", "files", "rows", "not_compared"},  # bench --compare
)


def is_result(file: Path) -> bool:
    """Whether `file` is a result in JSON or a drawing that edge-tl wrote; an empty file is not. Raises `OSError`."""
    if file.suffix == ".svg":
        with file.open("rb") as opened:
            return f"<dc:title>{MAKER}</dc:title>".encode() in opened.read(_HEAD)
    if file.suffix == ".xml":
        with file.open("rb") as opened:
            return b'<testsuites name="edge-tl gate"' in opened.read(256)
    if file.suffix == ".png":
        try:
            with Image.open(file, formats=["PNG"]) as image:
                return bool(image.info.get("Software") == MAKER)
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
            return False
    try:
        keys = read_json(file).keys()
    except BadInput:
        return False
    return any(keys >= wanted for wanted in _RESULTS)
