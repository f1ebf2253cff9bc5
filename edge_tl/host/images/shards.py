"""Labelled images in WebDataset tar shards, found by their headers and read in place.

Unpacks, writes and decodes nothing. The convention is the WebDataset format:
members of a tar file that differ only after the first dot of their base name are one sample.
"""

from __future__ import annotations

import hashlib
import json
import re
import tarfile
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from edge_tl.device.errors import BadInput
from edge_tl.device.images.folders import FIRST_BYTES, IMAGE_SUFFIXES, looks_like_image
from edge_tl.device.images.reading import is_transient
from edge_tl.device.names import LONGEST_LABEL
from edge_tl.device.text import printable
from edge_tl.host.images.shard_patterns import SUFFIX as SUFFIX

CLASSES = "classes.txt"
_KEY = re.compile(r"((?:.*/)?[^/.]+)\.([^/]+)", re.DOTALL)
_INTEGER = re.compile(r"[+-]?[0-9]{1,18}")
_BLOCK = 512
LARGEST_TEXT = 1 << 20  # bytes of a .cls or .json, and of a header's own text (a long name)
LARGEST_IMAGE = 1 << 30
_CHUNK = 1 << 20
# Headers whose content tarfile reads at once: long names and links, and pax records.
_TEXT_HEADERS = {tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK, *(b"x", b"g", b"X")}


@dataclass(frozen=True)
class Member:
    """One encoded image in a tar file: `size` bytes from byte `offset` of `shard`; `name` is the tar's own."""

    shard: Path
    offset: int
    size: int
    name: str

    @property
    def suffix(self) -> str:
        """As `Path.suffix`."""
        return PurePosixPath(self.name).suffix

    def read_bytes(self) -> bytes:
        """The encoded image, read at random. Raises `OSError`, also when the shard has become shorter."""
        with self.shard.open("rb") as file:
            file.seek(self.offset)
            content = file.read(self.size)
        if len(content) != self.size:
            raise OSError(f"the shard ends at {len(content)} of the image's {self.size} bytes")
        return content

    def sha256(self) -> str:
        """Hex SHA-256 of the encoded image, a piece at a time. Raises as `read_bytes`."""
        digest = hashlib.sha256()
        with self.shard.open("rb") as file:
            file.seek(self.offset)
            left = self.size
            while left and (piece := file.read(min(left, _CHUNK))):
                digest.update(piece)
                left -= len(piece)
        if left:
            raise OSError(f"the shard ends at {self.size - left} of the image's {self.size} bytes")
        return digest.hexdigest()

    def __str__(self) -> str:
        return f"{self.shard}!{self.name}"


class _Bounded(tarfile.TarInfo):
    """A header whose text is bounded before tarfile reads it."""

    def _proc_member(self, archive: tarfile.TarFile) -> tarfile.TarInfo:
        if self.type in _TEXT_HEADERS and self.size > LARGEST_TEXT:
            raise tarfile.ReadError(f"a header of {self.size:,} bytes at byte {self.offset}")
        return super()._proc_member(archive)  # type: ignore[misc, no-any-return]


@dataclass(frozen=True)
class ShardIndex:
    """The `images` of a shard with their labels, in the order of the tar; names of what was not used: `closed`, members
    that have no bytes of their own here (links, sparse files), and `others`, which are no sample's image or label."""

    images: list[tuple[Member, str]]
    closed: list[str]
    others: list[str]


def index_shard(shard: Path) -> ShardIndex:
    """Every image of `shard` with its label; one pass over the headers.

    The label is the text of the sample's .cls, or `label`, `class` or `cls` of its .json. An image is known by its
    name; in a sample with a label and no such name, by its first bytes. Hidden members are passed over. Raises
    `BadInput` naming shard and sample, `OSError` when the shard cannot be read now.
    """
    members = _Members()
    try:
        with shard.open("rb") as file:
            for info in _headers(shard, file):
                members.add(shard, file, info)
    except (
        tarfile.TarError,
        OSError,
        ValueError,
        OverflowError,
        EOFError,
    ) as error:  # as tarfile raises them
        if is_transient(error):
            raise
        raise BadInput(f"cannot read shard {shard}: {error}. Copy or write it again, uncompressed.") from None
    return members.indexed(shard)


@dataclass
class _Members:
    """What the headers of one shard name, by the sample's key and the extension: `images`, `unnamed` members that begin
    like an image, labels in `texts`; `closed` and `others` as in `ShardIndex`."""

    images: dict[str, dict[str, Member]] = field(default_factory=lambda: defaultdict(dict))
    unnamed: dict[str, dict[str, Member]] = field(default_factory=lambda: defaultdict(dict))
    texts: dict[str, dict[str, str]] = field(default_factory=lambda: defaultdict(dict))
    closed: list[str] = field(default_factory=list)
    others: list[str] = field(default_factory=list)

    def add(self, shard: Path, file: BinaryIO, info: tarfile.TarInfo) -> None:
        """Place the member of one header. Raises `BadInput`, `OSError`."""
        if info.isdir() or _hidden(info.name):
            return
        if not info.isreg() or info.issparse():
            self.closed.append(info.name)
            return
        if not (parts := _KEY.fullmatch(info.name)):
            self.others.append(info.name)
            return
        key, extension = parts[1], parts[2].lower()
        text = extension in ("cls", "json")
        image = not text and f".{extension.rpartition('.')[2]}" in IMAGE_SUFFIXES
        limit = LARGEST_TEXT if text else LARGEST_IMAGE
        if (text or image) and info.size > limit:
            raise BadInput(
                f"{shard}: {printable(info.name)!r} has {info.size:,} bytes; at most {limit:,} are read. Write "
                "it again without that member."
            )
        member = Member(shard, info.offset_data, info.size, info.name)
        if image:
            if extension in self.images[key]:
                raise BadInput(f"{shard} holds {info.name!r} twice. Write the shard again.")
            self.images[key][extension] = member
        elif text:
            file.seek(info.offset_data)
            label = _label(shard, info.name, file.read(info.size), extension)
            if label is not None:
                self.texts[key][extension] = label
        elif info.size <= LARGEST_IMAGE and _is_image(file, info):
            self.unnamed[key][extension] = member
        else:
            self.others.append(info.name)

    def indexed(self, shard: Path) -> ShardIndex:
        """Every image with its label, in the order of the tar. Raises `BadInput` for one without the other."""
        images, texts, others = self.images, self.texts, self.others
        for key, found in self.unnamed.items():
            if key in texts and key not in images:
                images[key] = found
            else:
                others += [member.name for member in found.values()]
        if unlabelled := [key for key in images if key not in texts]:
            raise BadInput(
                f"{shard}: {unlabelled[0]!r} has an image but no label. Add a .cls, or a .json with the key label."
            )
        if empty := [key for key in texts if key not in images]:
            raise BadInput(
                f"{shard}: {empty[0]!r} has a label but no image. Add an image, or remove the label."
            )
        labelled = [
            (_one_image(shard, key, found), texts[key].get("cls") or texts[key]["json"])
            for key, found in images.items()
        ]
        return ShardIndex(sorted(labelled, key=lambda pair: pair[0].offset), self.closed, others)


def _is_image(file: BinaryIO, info: tarfile.TarInfo) -> bool:
    file.seek(info.offset_data)
    return looks_like_image(file.read(min(info.size, FIRST_BYTES)))


def class_names(folders: list[Path]) -> list[str] | None:
    """The lines of the `classes.txt` beside the shards: names of the labels 0, 1, …; None where there is none."""
    found: dict[Path, list[str]] = {}
    for path in (folder / CLASSES for folder in folders):
        if path.is_file():
            if path.stat().st_size > LARGEST_TEXT:
                raise BadInput(f"{path}: more than {LARGEST_TEXT:,} bytes. Give one class name a line.")
            try:
                names = [line.strip() for line in path.read_text("utf-8-sig").rstrip().splitlines()]
            except UnicodeDecodeError:
                raise BadInput(f"not UTF-8: {path}. Save it as UTF-8.") from None
            seen: set[str] = set()
            for line, name in enumerate(names, 1):
                if not name or name in seen:
                    what = f"the name {name!r} again" if name else "an empty name"
                    raise BadInput(f"{path}, line {line}: {what}. Give every class a name of its own.")
                seen.add(name)
            found[path] = names
    if len({tuple(names) for names in found.values()}) > 1:
        raise BadInput(f"{' and '.join(map(str, found))} differ. Keep one, or make them the same.")
    return next(iter(found.values()), None)


def class_name(label: str, names: list[str] | None, member: Member) -> str:
    """The class name of an integer `label`; any other label stays. Raises `BadInput` for one without a name."""
    if names is None or not is_integer(label):
        return label
    if not 0 <= int(label) < len(names):
        raise BadInput(
            f"{member}: label {label}, but {CLASSES} has {len(names)} lines, for 0 to {len(names) - 1}. "
            "Add the missing names."
        )
    return names[int(label)]


def is_integer(text: str) -> bool:
    """Whether `text` is an integer in digits."""
    return _INTEGER.fullmatch(text) is not None


def _headers(shard: Path, file: BinaryIO) -> Iterator[tarfile.TarInfo]:
    """Every header, checking what tarfile lets pass: after the first member it takes any unreadable header for the
    end, and a header can send it back to where it was."""
    with tarfile.open(fileobj=file, mode="r:", tarinfo=_Bounded) as tar:
        before = -1
        while (info := tar.next()) is not None:
            tar.members.clear()  # type: ignore[attr-defined]  # it would remember all: a kilobyte each
            if info.offset <= before:
                raise BadInput(f"damaged shard: {shard}, a header points back. Copy or write it again.")
            before = info.offset
            yield info
        end = file.tell()
        file.seek(max(end - _BLOCK, 0))
        if file.read(_BLOCK) != bytes(_BLOCK):
            raise BadInput(
                f"truncated or damaged shard: {shard}, it has no end-of-archive mark after byte {end}. "
                "Copy or write it again."
            )


def _label(shard: Path, name: str, content: bytes, extension: str) -> str | None:
    try:
        text = content.decode("utf-8-sig").strip()
        value = json.loads(text) if extension == "json" else text
    except (ValueError, RecursionError) as error:
        raise BadInput(f"{shard}: {name!r} cannot be read ({error}). Write it again.") from None
    if extension == "json":
        if not isinstance(value, dict):
            return None
        value = next((value[key] for key in ("label", "class", "cls") if key in value), None)
        if value is None:
            return None
        if type(value) not in (int, str):
            raise BadInput(f"{shard}: {name!r} has the label {value!r}. A label is an integer or a name.")
    if not (label := str(value).strip()):
        raise BadInput(f"{shard}: {name!r} has an empty label. A label is an integer or a name.")
    if len(label) > LONGEST_LABEL:
        raise BadInput(f"{shard}: {name!r} has a label of {len(label):,} characters. A label is a name.")
    return label


def _one_image(shard: Path, key: str, found: dict[str, Member]) -> Member:
    plain = [member for extension, member in found.items() if "." not in extension] or list(found.values())
    if len(plain) > 1:
        raise BadInput(
            f"{shard}: {key!r} has several images: {', '.join(m.name for m in plain)}. Keep one a sample."
        )
    return plain[0]


def _hidden(name: str) -> bool:
    return any(part.startswith(".") and part not in (".", "..") for part in name.split("/"))
