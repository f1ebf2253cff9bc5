"""The files of onnxruntime-web that a page needs, from its npm package. Reaches no network unless npm is asked for.

The package is MIT licensed, by Microsoft.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from edge_tl.device.errors import BadInput, EdgeTLError
from edge_tl.device.listener import SILENT, Listener

PACKAGE = "onnxruntime-web"
TESTED = "1.30.0"
OLDEST = (1, 20)  # of those that the page's tests passed with
# The registry's own digest of that version: what npm is asked for must be what the tests ran with.
_INTEGRITY = "sha512-q0y+JrrtukXSzsBWEMccVfqX25LRmosXHF+CaRJmg8pZClzcV7svNc4rKY3jL02Vb7QmRMDs1SigqR4CXAfKYQ=="
ENTRIES = {"wasm": "ort.wasm.min.mjs", "webgpu": "ort.webgpu.min.mjs"}
_LOADERS = re.compile(rb"ort-wasm-simd-threaded(?:\.[a-z]+)?\.mjs")
_MOST_BYTES = 256 << 20  # of one file; the largest has 28 MB
_PACK = f"npm pack {PACKAGE}@{TESTED}"

Reader = Callable[[str], bytes | None]


@dataclass(frozen=True)
class OrtWeb:
    """A version of onnxruntime-web: its files by name, and for each execution provider, the entry first, which it
    needs."""

    version: str
    license: str
    files: dict[str, bytes]
    providers: dict[str, tuple[str, ...]]

    @property
    def number(self) -> tuple[int, int]:
        """Major and minor version."""
        major, minor = self.version.split(".")[:2]
        return int(major), int(minor)


def ort_web(source: Path | None, *, npm: bool = False, listener: Listener = SILENT) -> OrtWeb:
    """onnxruntime-web from `source`: the archive that `npm pack` wrote, the package's folder, or one above it with
    `node_modules`; with `npm` instead, npm is called and fetches the tested version from its registry.

    Raises `BadInput` where neither is given, both are, or `source` is no such package.
    """
    if source is not None and npm:
        raise BadInput("--ort-web and --npm: give one. --npm fetches what --ort-web has.")
    if source is not None:
        return _read(source)
    if npm:
        return _fetched(listener)
    raise BadInput(
        f"the page needs the files of {PACKAGE}, which edge-tl does not fetch unasked. Type `{_PACK}` and add "
        f"--ort-web {PACKAGE}-{TESTED}.tgz; or add --npm, which calls npm and fetches them now (33 MB)."
    )


def _read(source: Path) -> OrtWeb:
    if source.is_dir():
        places = (source, source / PACKAGE, source / "node_modules" / PACKAGE, source / "package")
        for place in places:
            if (place / "package.json").is_file() and (place / "dist").is_dir():
                return _chosen(_of_folder(place), source)
    elif source.is_file():
        try:
            with tarfile.open(source, "r:gz") as archive:
                return _chosen(_of_archive(archive), source)
        except (tarfile.TarError, EOFError, OSError) as error:
            raise BadInput(f"--ort-web {source}: {error}. Give the archive that `{_PACK}` writes.") from None
    raise BadInput(
        f"--ort-web {source}: there is no {PACKAGE}. Give the archive that `{_PACK}` writes, or the folder of "
        f"`npm install {PACKAGE}@{TESTED}`."
    )


def _of_folder(place: Path) -> Reader:
    def read(name: str) -> bytes | None:
        path = place / name
        return path.read_bytes() if path.is_file() and path.stat().st_size <= _MOST_BYTES else None

    return read


def _of_archive(archive: tarfile.TarFile) -> Reader:
    """Members are read by name, into memory: nothing is unpacked where its paths say."""

    def read(name: str) -> bytes | None:
        try:
            member = archive.getmember(f"package/{name}")
        except KeyError:
            return None
        file = archive.extractfile(member) if member.isfile() and member.size <= _MOST_BYTES else None
        return None if file is None else file.read()

    return read


def _chosen(read: Reader, source: Path) -> OrtWeb:
    """The files that the page needs. Raises `BadInput`."""
    name, version, license_ = _package(read("package.json") or b"{}")
    if name != PACKAGE or not re.fullmatch(r"\d+\.\d+\.[\w.+-]+", version):
        found = f"{name} {version}".strip() or "no package.json"
        raise BadInput(f"--ort-web {source}: it is {found[:80]!r}, not {PACKAGE}. Type `{_PACK}`.")
    found_files: dict[str, bytes] = {}
    providers: dict[str, tuple[str, ...]] = {}
    for provider, entry in ENTRIES.items():
        module = read(f"dist/{entry}")
        loaders = sorted(set(_LOADERS.findall(module or b"")))
        names = [each.decode() for each in loaders]
        needed = (*names, *(f"{each.removesuffix('.mjs')}.wasm" for each in names))
        contents = {each: read(f"dist/{each}") for each in needed}
        if module is None or not contents or None in contents.values():
            continue
        found_files |= {entry: module, **{k: v for k, v in contents.items() if v is not None}}
        providers[provider] = (entry, *needed)
    taken = OrtWeb(version, license_, found_files, providers)
    if "wasm" not in providers or taken.number < OLDEST:
        raise BadInput(
            f"--ort-web {source}: {PACKAGE} {version} lacks what the page needs ({ENTRIES['wasm']} and its .wasm, of "
            f"{OLDEST[0]}.{OLDEST[1]} or newer). Type `{_PACK}`."
        )
    return taken


def _package(content: bytes) -> tuple[str, str, str]:
    """Name, version and license of a package.json."""
    try:
        said = json.loads(content)
    except ValueError:
        said = {}
    said = said if isinstance(said, dict) else {}
    name, version, license_ = (str(said.get(key, "")) for key in ("name", "version", "license"))
    return name, version, license_


def _fetched(listener: Listener) -> OrtWeb:
    """What `npm pack` fetches, held against the digest of what was tested. Raises `EdgeTLError`."""
    npm = shutil.which("npm")
    if npm is None:
        raise BadInput(f"--npm: npm is not installed. Install Node.js, or bring {PACKAGE} with --ort-web.")
    listener.note(f"npm fetches {PACKAGE} {TESTED} from its registry (33 MB): {_PACK}")
    with tempfile.TemporaryDirectory(prefix="edge-tl-npm-") as folder:
        command = [
            npm,
            "pack",
            f"{PACKAGE}@{TESTED}",
            "--loglevel=error",
            "--pack-destination",
            folder,
            "--fetch-retries=1",
        ]
        done = subprocess.run(command, capture_output=True, encoding="utf-8", errors="replace", check=False)
        packed = list(Path(folder).glob("*.tgz"))
        if done.returncode or len(packed) != 1:
            why = next(
                (line.strip() for line in reversed(done.stderr.splitlines()) if line.strip()),
                "it said nothing",
            )
            raise EdgeTLError(
                f"npm could not fetch {PACKAGE} {TESTED}: {why[:300]}. Bring it with --ort-web."
            )
        digest = base64.b64encode(hashlib.sha512(packed[0].read_bytes()).digest()).decode()
        if f"sha512-{digest}" != _INTEGRITY:
            raise EdgeTLError(
                f"npm fetched another {PACKAGE} {TESTED} than was tested: sha512-{digest}. Do not use it."
            )
        return _read(packed[0])
