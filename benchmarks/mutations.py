"""Ways to damage a bundle, or to lie with it: each changes a copy and says what must come of it.

It must not read a bundle through edge-tl, which is what is tried; it seals through it, because a liar would.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import random
import struct
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from edge_tl.device import bundle as bundles

Record = Any
REFUSED, FAILS, ANY = "refused", "verify fails", "any"  # what must come of a mutant
SEALS = ("none", "seal", "files")  # left as it was; sealed anew; every file hashed anew and sealed
# Beside the seal, the goldens or the models' own metadata know better: sealed anew, it contradicts itself.
_KNOWN_BETTER = ("labels", "preprocess", "schema_version")
_OF_FILES = ("files", "images", "id", "runtime", "precision", "path", "sha256", "bytes")


@dataclass
class Mutant:
    """A copy of the bundle in `root`, beside which lies `secret`, outside of it. `record` is its record, to be changed
    and then written by `write`."""

    root: Path
    rng: random.Random
    record: Record

    @property
    def secret(self) -> Path:
        return self.root.parent / "secret"

    def any_file(self) -> Path:
        files = [part for part in (*self.record["artifacts"], self.record["golden"])]
        return self.root / self.rng.choice(self.rng.choice(files)["files"])["path"]

    def write(self, seal: str, text: Callable[[str], str] = str) -> None:
        """The record as JSON, which `text` may spoil."""
        record = self.record
        if isinstance(record, dict):
            if seal == "files":
                _hash_anew(self.root, record)
            if seal != "none":
                for name, make in (
                    ("contract_seal", lambda content: bundles.contract_seal(content["preprocess"])),
                    ("seal", bundles.seal),
                ):
                    try:
                        record[name] = make(record)
                    except (TypeError, ValueError, KeyError, RecursionError):
                        record[name] = "0" * 64
        with contextlib.suppress(
            RecursionError
        ):  # what this cannot write is no mutant: the bundle stays as it is
            (self.root / bundles.RECORD).write_bytes(
                text(json.dumps(record)).encode("utf-8", "surrogatepass")
            )


Mutation = Callable[[Mutant, str], str]


def apply(kind: str, mutant: Mutant, seal: str) -> str:
    """Change the copy; returns what must come of it."""
    return MUTATIONS[kind](mutant, seal)


def _hash_anew(root: Path, record: Record) -> None:
    for part in _parts(record):
        files = part.get("files") if isinstance(part, dict) else None
        for entry in files if isinstance(files, list) else ():
            try:
                path = root / entry["path"]
                if path.is_file() and path.stat().st_size < 1 << 28:
                    entry |= bundles.file_record(root, entry["path"]).to_json()
            except (TypeError, KeyError, ValueError, OSError, AttributeError):
                continue


def _parts(record: Record) -> list[Any]:
    artifacts = record.get("artifacts")
    return [*(artifacts if isinstance(artifacts, list) else ()), record.get("golden")]


# The record's values.


def _places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if path:
        yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, child in items:
        yield from _places(child, (*path, key))


def _at(record: Record, path: tuple[Any, ...]) -> Any:
    for key in path:
        record = record[key]
    return record


def _nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


VALUES: list[Callable[[Any], Any]] = [
    lambda v: None, lambda v: True, lambda v: False, lambda v: 0, lambda v: -1, lambda v: 1, lambda v: 2**63,
    lambda v: 10**400, lambda v: 1e308, lambda v: -1e308, lambda v: 1e-320, lambda v: 0.1, lambda v: 30_000,
    lambda v: float("nan"), lambda v: float("inf"), lambda v: "", lambda v: "x", lambda v: "x" * 100_000,
    lambda v: "\ud800", lambda v: "a\x00b", lambda v: "\x1b[31m", lambda v: "../secret/file", lambda v: "/etc/passwd",
    lambda v: "factory:evil:run", lambda v: "n" * 300, lambda v: [], lambda v: {}, lambda v: [v], lambda v: {"a": v},
    lambda v: _nested(80), lambda v: _nested(900), lambda v: [0] * 100_000, lambda v: str(v), lambda v: [v, v],
    lambda v: v * 2 if isinstance(v, int | float | str) else v, lambda v: -v if isinstance(v, int | float) else [v],
    lambda v: v[:-1] if isinstance(v, list | str) and v else None,
    lambda v: v[::-1] if isinstance(v, list | str) else None,
    lambda v: v + v[:1] if isinstance(v, list) else None,
]  # fmt: skip


def _judged(mutant: Mutant, seal: str, before: Record, path: tuple[Any, ...]) -> str:
    """What must come of a change at `path` of the record."""
    if _same(mutant.record, before):
        return ANY
    if seal == "none" and path[0] not in ("seal", "contract_seal"):
        return REFUSED
    if path[0] in _KNOWN_BETTER or (seal == "seal" and path[-1] in _OF_FILES[3:]):
        return REFUSED
    return ANY


def _same(a: Any, b: Any) -> bool:
    try:
        return json.dumps(a, sort_keys=True) == json.dumps(b, sort_keys=True)
    except RecursionError:  # deeper than any record of ours
        return False


def value(mutant: Mutant, seal: str) -> str:
    """One value becomes one of another type or size."""
    before = json.loads(json.dumps(mutant.record))
    path = mutant.rng.choice(list(_places(mutant.record)))
    parent = _at(mutant.record, path[:-1])
    parent[path[-1]] = mutant.rng.choice(VALUES)(parent[path[-1]])
    must = _judged(mutant, seal, before, path)
    mutant.write(seal)
    return must


def values(mutant: Mutant, seal: str) -> str:
    """Several at once."""
    musts = set()
    for _ in range(mutant.rng.randint(2, 6)):
        before = json.loads(json.dumps(mutant.record))
        path = mutant.rng.choice(list(_places(mutant.record)))
        parent = _at(mutant.record, path[:-1])
        parent[path[-1]] = mutant.rng.choice(VALUES)(parent[path[-1]])
        musts.add(_judged(mutant, seal, before, path))
    mutant.write(seal)
    return REFUSED if musts == {REFUSED} else ANY  # one may undo another


def removed(mutant: Mutant, seal: str) -> str:
    """A key or an item less."""
    before = json.loads(json.dumps(mutant.record))
    path = mutant.rng.choice(list(_places(mutant.record)))
    del _at(mutant.record, path[:-1])[path[-1]]
    must = _judged(mutant, seal, before, path)
    mutant.write(seal)
    return REFUSED if seal == "none" and len(path) == 1 else must


def exchanged(mutant: Mutant, seal: str) -> str:
    """Two values of the record change places."""
    before = json.loads(json.dumps(mutant.record))
    a, b = mutant.rng.sample([p for p in _places(mutant.record) if len(p) > 1], 2)
    if a[: len(b)] == b or b[: len(a)] == a:
        mutant.write(seal)
        return ANY
    first, second = _at(mutant.record, a), _at(mutant.record, b)
    _at(mutant.record, a[:-1])[a[-1]], _at(mutant.record, b[:-1])[b[-1]] = second, first
    must = REFUSED if REFUSED in (_judged(mutant, seal, before, a), _judged(mutant, seal, before, b)) else ANY
    mutant.write(seal)
    return must


def moved(mutant: Mutant, seal: str) -> str:
    """A value of the record is copied over another."""
    before = json.loads(json.dumps(mutant.record))
    a, b = mutant.rng.sample(list(_places(mutant.record)), 2)
    source = json.loads(json.dumps(_at(mutant.record, a)))
    _at(mutant.record, b[:-1])[b[-1]] = source
    must = _judged(mutant, seal, before, b)
    mutant.write(seal)
    return must


def text(mutant: Mutant, seal: str) -> str:
    """What is no JSON any more, or JSON that readers take differently."""
    whole = json.dumps(mutant.record)
    rng = mutant.rng
    at = rng.randrange(len(whole))
    spoilt = rng.choice(
        [
            whole[:at], whole[:at] + whole[at + 1 :], whole[:at] + rng.choice('{}[]",:0\\') + whole[at:],
            "[" * 200_000, '{"a":' * 100_000, whole.replace("{", '{"schema_version": 1, ', 1),
            whole.replace('"labels"', '"labels": ["x"], "labels"', 1), whole + whole, "[" + whole + "]", "null", "",
            "\ufeff" + whole[:at], whole.replace("0", "9" * 5000, 1), "9" * 5000, '"\\ud800"',
            whole.replace(": ", ": NaN, ", 1), '{"a": 1e999999}', whole.replace('"name"', '"name\\u0000"', 1),
        ]
    )  # fmt: skip
    must = REFUSED
    try:
        if _same(json.loads(spoilt), mutant.record):
            must = ANY
    except (ValueError, RecursionError):
        pass
    mutant.write("none", lambda _: spoilt)
    return must


def padded(mutant: Mutant, seal: str) -> str:
    """Another layout of the same JSON, or 17 MB of it."""
    room = mutant.rng.choice([0, 1, 17 << 20])
    mutant.write(
        seal, lambda whole: " " * room + json.dumps(json.loads(whole), indent=mutant.rng.randint(0, 9))
    )
    return REFUSED if room > 1 << 20 else ANY


# Lies that a single value does not make.


def labels(mutant: Mutant, seal: str) -> str:
    """Labels that are not the model's."""
    own: Any = mutant.record["labels"]
    mutant.record["labels"] = mutant.rng.choice(
        [own[::-1], own[1:], [*own, "newt"], own[:1] * len(own), [*own[:-1], ""], "".join(own), None, {}, [None] * 3,
         list(range(3)), [own], [label + " " for label in own], ["a\nb", *own[1:]], own * 500]
    )  # fmt: skip
    mutant.write(seal)
    return REFUSED


def contract(mutant: Mutant, seal: str) -> str:
    """Another preprocessing than the model was proven with."""
    change = mutant.rng.choice(
        [{"std": [0.5, 0.5, 0.5]}, {"std": [1e-320] * 3}, {"mean": [0, 0, 0]}, {"crop": [30_000, 30_000]},
         {"crop": [2048, 2048]}, {"resize_size": [30_000, 30_000], "resize": "exact"}, {"interpolation": "nearest"},
         {"crop": None, "resize": "exact"}, {"crop": [16, 15]}, {"max_pixels": 10**12}, {"resize": "none"}]
    )  # fmt: skip
    mutant.record["preprocess"] |= change
    mutant.write(seal)
    return REFUSED


def artifacts(mutant: Mutant, seal: str) -> str:
    """Artifacts twice, none, or under each other's names."""
    own = mutant.record["artifacts"]
    a, b = mutant.rng.sample(range(len(own)), 2)
    kind = mutant.rng.randrange(6)
    if kind == 0:
        own.append(json.loads(json.dumps(own[a])))
    elif kind == 1:
        mutant.record["artifacts"] = []
    elif kind == 2:
        own[a]["id"], own[b]["id"] = own[b]["id"], own[a]["id"]
    elif kind == 3:
        own[a]["files"] = json.loads(json.dumps(own[b]["files"]))
    elif kind == 4:
        own.append(
            json.loads(json.dumps(own[a])) | {"id": f"{own[a]['id'].split('-')[0]}-w8", "precision": "w8"}
        )
    else:
        mutant.record["recommended"] = "onnx-fp64"
    mutant.write(seal)
    return REFUSED


def file_lists(mutant: Mutant, seal: str) -> str:
    """A golden, or its hash, out of its list; a file from outside in it."""
    golden, rng = mutant.record["golden"], mutant.rng
    kind = rng.randrange(6)
    if kind == 0:
        golden["files"].pop(rng.randrange(len(golden["files"])))
    elif kind == 1:
        golden["images"].pop(rng.randrange(len(golden["images"])))
    elif kind == 2:
        name = rng.choice(["../secret/file", str(mutant.secret / "file"), "golden/../../secret/file"])
        golden["files"].append({"path": name, "sha256": "0" * 64, "bytes": 6})
    elif kind == 3:
        golden["images"][0] = rng.choice(["../secret/image.png", "/dev/stdin", "golden", ".", "bundle.json"])
    elif kind == 4:
        golden["images"].append(golden["images"][0])
    else:
        rng.choice(mutant.record["artifacts"])["files"].append(golden["files"][0])
    mutant.write(seal)
    return REFUSED


# Files.


def bytes_changed(mutant: Mutant, seal: str) -> str:
    """Some bytes of a file."""
    path = mutant.any_file()
    content = bytearray(path.read_bytes())
    for _ in range(mutant.rng.choice([1, 1, 1, 8, 64])):
        content[mutant.rng.randrange(len(content))] ^= 1 << mutant.rng.randrange(8)
    changed = bytes(content) != path.read_bytes()
    path.write_bytes(bytes(content))
    mutant.write(seal)
    return REFUSED if changed and seal != "files" else ANY


def length_changed(mutant: Mutant, seal: str) -> str:
    """A file cut short, made longer, emptied, or 3 GB long without taking them."""
    path = mutant.any_file()
    content = path.read_bytes()
    kind = mutant.rng.randrange(4)
    if kind == 3:
        os.truncate(path, 3 << 30)
        seal = "seal" if seal == "files" else seal
    else:
        path.write_bytes([content[: mutant.rng.randrange(len(content))], content + b"x", b""][kind])
    mutant.write(seal)
    return ANY if seal == "files" else REFUSED


def no_file(mutant: Mutant, seal: str) -> str:
    """A pipe, a folder, nothing, or a link in place of a file, of the record too."""
    path = mutant.rng.choice([mutant.any_file(), mutant.any_file(), mutant.root / bundles.RECORD])
    mutant.write(seal)
    kind = mutant.rng.randrange(7)
    content = path.read_bytes()
    path.unlink()
    if kind == 0:
        os.mkfifo(path)
    elif kind == 1:
        path.mkdir()
    elif kind == 2:
        path.symlink_to(path.name)
    elif kind == 3:
        path.symlink_to("/dev/zero")
    elif kind == 4:
        (mutant.secret / "moved").write_bytes(content)
        path.symlink_to(mutant.secret / "moved")
    elif kind == 5:
        path.symlink_to(mutant.root / "golden")
    return REFUSED


def beside(mutant: Mutant, seal: str) -> str:
    """Files that the record does not list: code, and what a runtime might read."""
    name = mutant.rng.choice(
        ["evil.py", "numpy.py", "sitecustomize.py", "weights.bin", "more.onnx", "x.data", "a.xml"]
    )
    (mutant.root / name).write_text("raise SystemExit('it ran')\n")
    mutant.record["provenance"] |= {"model": "factory:evil:run", "run": "../secret"}
    mutant.write("seal")
    return ANY if name.endswith(".py") else REFUSED


def arrays(mutant: Mutant, seal: str) -> str:
    """Archives that unpack to gigabytes, tell of them, hold pickles, or are none."""
    path = mutant.root / mutant.rng.choice([bundles.GOLDEN_PIXELS, bundles.GOLDEN_LOGITS])
    with np.load(path) as file:
        own = {name: file[name] for name in file.files}
    name = mutant.rng.choice(list(own))
    kind = mutant.rng.randrange(9)
    if kind < 6:
        shape, dtype, data = [
            ((100_000, 100_000), "<f4", b""),
            (own[name].shape, "<f4", b""),
            (own[name].shape, "|O", b"cos\nsystem\n(S'touch evil'\ntR."),
            (own[name].shape, "<f8", own[name].astype("<f8").tobytes()),
            ((10**30, 10**30), "<f4", b""),
            (own[name].shape[::-1], "<f4", own[name].tobytes()),
        ][kind]
        head = repr({"descr": dtype, "fortran_order": False, "shape": shape}).encode() + b"\n"
        member = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(head)) + head + data
        path.write_bytes(_archive({n: member if n == name else _npy(a) for n, a in own.items()}))
        if kind == 1:
            (mutant.root / bundles.GOLDEN_PIXELS).write_bytes(bomb_archive())
    elif kind == 6:
        path.write_bytes(_archive({("n" * 60_000): b"", **{n: _npy(a) for n, a in own.items()}}))
    elif kind == 7:
        path.write_bytes(_archive({str(i): b"" for i in range(2_000)}))
    else:
        own[name] = own[name] * np.float32(mutant.rng.choice([np.nan, np.inf, -1]))
        np.savez(path, **own)  # type: ignore[arg-type]
    mutant.write(seal)
    return REFUSED if seal != "files" or kind < 8 else FAILS


def _npy(array: Any) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


@cache
def bomb_archive() -> bytes:
    """400 MB of zeros under the name and the header of the goldens' pixels."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file, file.open("pixels.npy", "w") as member:
        member.write(_npy(np.zeros((6, 3, 16, 16), np.float32)))
        for _ in range(400):
            member.write(bytes(1 << 20))
    return buffer.getvalue()


def _archive(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in members.items():
            file.writestr(f"{name}.npy", content)
    return buffer.getvalue()


@cache
def bomb_image() -> bytes:
    """400 megapixels in 50 KB."""
    buffer = io.BytesIO()
    Image.new("1", (20_000, 20_000)).save(buffer, "PNG")
    return buffer.getvalue()


def images(mutant: Mutant, seal: str) -> str:
    """A golden image of hundreds of megapixels, of another picture, cut short, or no image."""
    path = mutant.root / mutant.rng.choice(mutant.record["golden"]["images"])
    kind = mutant.rng.randrange(5)
    if kind == 0:
        content = bomb_image()
    elif kind == 1:
        buffer = io.BytesIO()
        Image.new("RGB", (mutant.rng.randint(1, 60), 1), "red").save(buffer, "PNG")
        content = buffer.getvalue()
    elif kind == 2:
        content = path.read_bytes()[: mutant.rng.randrange(1, path.stat().st_size)]
    elif kind == 3:
        content = mutant.rng.choice(
            [b"", b"GIF89a", b"%!PS-Adobe\n", b"<svg/>", b"P5 99999 99999 255\n", b"\xff\xd8"]
        )
    else:
        content = bytearray(path.read_bytes())
        for _ in range(20):
            content[mutant.rng.randrange(len(content))] = mutant.rng.randrange(256)
    path.write_bytes(bytes(content))
    mutant.write(seal)
    # Some bytes of an image may change without a pixel that moves by two levels.
    return REFUSED if seal != "files" else FAILS if kind in (0, 1, 3) else ANY


def models(mutant: Mutant, seal: str) -> str:
    """A model with weights elsewhere, other labels inside, entities, or another model."""
    root, rng = mutant.root, mutant.rng
    kind = rng.randrange(7)
    onnx, xml = root / rng.choice(["model.fp32.onnx", "model.int8.onnx"]), root / "model.fp32.xml"
    if kind == 0:  # a graph (7) with a tensor (5) in a file elsewhere (13, 14)
        onnx.write_bytes(onnx.read_bytes() + b"\x3a\x04\x2a\x02\x70\x01")
    elif kind == 1:
        other = onnx.read_bytes().replace(b'"dog", "cat"', b'"cat", "dog"')
        onnx.write_bytes(other)
    elif kind == 2:
        onnx.write_bytes(onnx.read_bytes() + onnx.read_bytes())
    elif kind == 3:
        text = xml.read_text("utf-8")
        bomb = "".join(f'<!ENTITY a{i + 1} "{f"&a{i};" * 10}">' for i in range(9))
        xml.write_text(text.replace("<net", f'<!DOCTYPE net [<!ENTITY a0 "ha">{bomb}]><net', 1), "utf-8")
    elif kind == 4:
        xml.write_text(xml.read_text("utf-8").replace("&quot;dog&quot;", "&quot;fox&quot;"), "utf-8")
    elif kind == 5:
        onnx.write_bytes(b"\x0b" * 1000)
    else:
        onnx.write_bytes(rng.randbytes(rng.randint(0, 3000)))
    mutant.write(seal)
    return REFUSED if seal != "files" or kind < 6 else FAILS


MUTATIONS: dict[str, Mutation] = {
    made.__name__: made
    for made in (
        value, values, removed, exchanged, moved, text, padded, labels, contract, artifacts, file_lists,
        bytes_changed, length_changed, no_file, beside, arrays, images, models,
    )
}  # fmt: skip
# How often each is drawn: values have the most places to go wrong.
WEIGHTS = {"value": 8, "values": 4, "removed": 3, "exchanged": 3, "moved": 3, "text": 2, "bytes_changed": 4}
