"""The device's part of edge-tl as a wheel, made from the package that runs here; the same code gives the same bytes.

Nothing that only the host reads is in it. The project's own wheel, with everything, is hatchling's.
"""

from __future__ import annotations

import base64
import hashlib
import importlib.metadata
import io
import re
import zipfile
from dataclasses import dataclass
from pathlib import Path

import edge_tl
from edge_tl.device.errors import EdgeTLError
from edge_tl.device.runtimes.families import FAMILIES

EXTRAS = tuple(family.extra for family in FAMILIES)
# Verbs that need the host part, and what they alone share.
HOST_CLI = {
    "_browser", "_bundle_text", "_compare_options", "_recipe_options", "_remote_run", "_run_text",
    "_training_listeners", "_web_options", "_whole_progress",
    "compare", "demo", "export", "finetune", "import_", "models", "recipes", "report", "run", "web",
}  # fmt: skip
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the first moment that a zip can hold


@dataclass(frozen=True)
class Wheel:
    """`requirements` are the base's; `extras` those of each runtime."""

    name: str
    content: bytes
    requirements: tuple[str, ...]
    extras: dict[str, tuple[str, ...]]

    @property
    def sha256(self) -> str:
        """Hex digest of the file."""
        return hashlib.sha256(self.content).hexdigest()


def build_wheel(package: Path | None = None) -> Wheel:
    """The wheel of `package`, by default the one that is running. Raises `EdgeTLError` where pip did not install it."""
    package = package or Path(edge_tl.__file__).parent
    try:
        declared = importlib.metadata.requires("edge-tl") or []
    except importlib.metadata.PackageNotFoundError:
        raise EdgeTLError(
            "edge-tl is not installed here, so what it requires is not known. Run: pip install -e ."
        ) from None
    requirements, extras = _requirements(declared)
    version = edge_tl.__version__
    info = f"edge_tl-{version}.dist-info"
    metadata = ["Metadata-Version: 2.1", "Name: edge-tl", f"Version: {version}", "Requires-Python: >=3.10"]
    metadata += [f"Requires-Dist: {line}" for line in requirements]
    for extra, lines in extras.items():
        metadata += [f"Provides-Extra: {extra}", *(f'Requires-Dist: {r}; extra == "{extra}"' for r in lines)]
    files = {name: (package / name).read_bytes() for name in _sources(package)}
    members = {f"edge_tl/{name}": content for name, content in files.items()} | {
        f"{info}/METADATA": _lines(metadata),
        f"{info}/WHEEL": _lines(
            ["Wheel-Version: 1.0", "Generator: edge-tl", "Root-Is-Purelib: true", "Tag: py3-none-any"]
        ),
        f"{info}/entry_points.txt": _lines(["[console_scripts]", "edge-tl = edge_tl.__main__:main"]),
    }
    record = [f"{name},sha256={_digest(content)},{len(content)}" for name, content in members.items()]
    members[f"{info}/RECORD"] = _lines([*record, f"{info}/RECORD,,"])
    return Wheel(f"edge_tl-{version}-py3-none-any.whl", _zipped(members), requirements, extras)


def _sources(package: Path) -> list[str]:
    """The device's modules, its verbs, and what lies at the top of the package."""
    found = [*package.glob("*.py"), *package.glob("py.typed"), *(package / "device").rglob("*.py")]
    found += (package / "device/snippets/templates").glob("*.txt")
    found += [path for path in (package / "cli").glob("*.py") if path.stem not in HOST_CLI]
    return sorted(path.relative_to(package).as_posix() for path in found)


def _requirements(declared: list[str]) -> tuple[tuple[str, ...], dict[str, tuple[str, ...]]]:
    parsed = [re.fullmatch(r"([^;]+?)\s*(?:;\s*extra == ['\"](\w+)['\"])?", line) for line in declared]
    pairs = [(found[1], found[2]) for found in parsed if found]
    base = tuple(name for name, extra in pairs if not extra)
    return base, {wanted: tuple(name for name, extra in pairs if extra == wanted) for wanted in EXTRAS}


def _zipped(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:  # zlib's output differs by version
        for name, content in members.items():
            entry = zipfile.ZipInfo(name, _EPOCH)
            entry.external_attr = 0o100644 << 16
            entry.create_system = 3  # Unix, whatever this host is
            archive.writestr(entry, content)
    return buffer.getvalue()


def _digest(content: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()


def _lines(lines: list[str]) -> bytes:
    return ("\n".join(lines) + "\n").encode()
