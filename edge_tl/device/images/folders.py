"""What lies in a folder of images: which files are images, by their first bytes; everything else by name and reason.

Links are followed, each folder once. Decodes no image and opens nothing but regular files.
"""

from __future__ import annotations

import errno
import heapq
import os
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from edge_tl.device.errors import BadInput
from edge_tl.device.names import encodable
from edge_tl.device.records.image_files import FileKind
from edge_tl.device.text import printable

IMAGE_SUFFIXES = frozenset(
    ".jpg .jpeg .jpe .jfif .mpo .png .apng .webp .bmp .dib .gif .tif .tiff .ppm .pgm .pbm .pnm .avif .avifs .heic "
    ".heif .hif .jp2 .j2k .jxl .tga .pcx".split()
)
# Their first bytes are TIFF's, and what Pillow finds in them is a thumbnail.
_RAW_SUFFIXES = frozenset(
    ".arw .cr2 .cr3 .crw .dng .erf .kdc .mrw .nef .nrw .orf .pef .raf .raw .rw2 .rwl .sr2 .srf .srw .x3f".split()
)
_RAW = "a camera's raw file: convert it to JPEG, PNG or TIFF"
_SPECIAL = "no regular file (a pipe, a socket or a device), so it is not opened"
_AGAIN = "a link to a folder that is listed already"
_CYCLE = "a link to a folder that it lies in"
_SYSTEMS_OWN = frozenset(
    ["thumbs.db", "desktop.ini", ".ds_store", "ehthumbs.db", "picasa.ini", ".picasa.ini"]
)
FIRST_BYTES = 32
_MAGIC = re.compile(
    rb"\xff\xd8\xff"  # JPEG, MPO
    rb"|\x89PNG\r\n\x1a\n|GIF8[79]a|RIFF....WEBP"
    rb"|BM....\0\0\0\0....[\x0c\x28\x34\x38\x40\x6c\x7c]\0\0\0"
    rb"|II[*+]\0|MM\0[*+]"  # TIFF, BigTIFF
    rb"|\0\0..ftyp(?:hei[cxms]|hev[cxms]|mif1|msf1|avi[fs])"  # HEIC, AVIF
    rb"|\0\0\0\x0cjP  \r\n\x87\n|\xff\x4f\xff\x51\0"  # JPEG 2000
    rb"|\xff\x0a|\0\0\0\x0cJXL \r\n\x87\n"  # JPEG XL
    rb"|P[1-7][ \t\r\n]|8BPS\0\x01|qoif",
    re.DOTALL,
)
# What says something of one entry. Anything else (too many open files, an I/O error) says something of the machine,
# and is an error rather than an image left out.
_OF_THE_ENTRY = {errno.EACCES, errno.EPERM, errno.ENOENT, errno.ELOOP, errno.ENOTDIR, errno.ENAMETOOLONG}


@dataclass(frozen=True)
class SkippedPath:
    """A file or folder that might have held an image and is not used."""

    path: Path
    reason: str


@dataclass
class FolderListing:
    """The `images` of a folder, sorted; what is `skipped` and why; `others`, files that are no images."""

    images: list[Path] = field(default_factory=list)
    skipped: list[SkippedPath] = field(default_factory=list)
    others: list[Path] = field(default_factory=list)


def looks_like_image(first: bytes) -> bool:
    """Whether a file that begins so (32 bytes say it) is an image of a known format, whatever its name."""
    return _MAGIC.match(first) is not None


def class_folders(root: Path) -> list[Path]:
    """The visible sub-folders of `root`, sorted by name: one per class. Raises `BadInput` where `root` is closed."""
    try:
        with os.scandir(root) as entries:
            found = [e.name for e in entries if not e.name.startswith((".", "__")) and _is_folder(e)]
    except OSError as error:
        raise BadInput(
            f"cannot read the folder {printable(str(root))}: {error.strerror}. Give one that you may read."
        ) from None
    return [root / name for name in sorted(found)]


def images_in(folder: Path, *, below: bool = True) -> FolderListing:
    """Everything in `folder` and, with `below`, in its sub-folders, linked ones too. Hidden files and folders are
    `others`. Raises `BadInput` when the machine, and not one entry, is at fault."""
    found = FolderListing()
    above = {_identity(parent) for path in (folder.absolute(), folder.resolve()) for parent in path.parents}
    seen: set[tuple[int, int] | None] = set()
    plain, linked = [folder], list[Path]()  # linked ones last, so that a real folder keeps its own name
    while plain or linked:
        here = plain.pop() if plain else heapq.heappop(linked)
        identity = _identity(here)
        if identity and (identity in above or identity in seen):
            found.skipped.append(SkippedPath(here, _CYCLE if identity in above else _AGAIN))
        else:
            seen.add(identity)
            for path, is_link in _list_one(here, found, below):
                if is_link:
                    heapq.heappush(linked, path)
                else:
                    plain.append(path)
    found.images.sort()
    found.skipped.sort(key=lambda one: one.path)
    found.others.sort()
    return found


def count_kinds(others: Iterable[Path]) -> list[FileKind]:
    """Files that are no images by their kind, the most frequent first."""
    count: Counter[str] = Counter()
    example: dict[str, Path] = {}
    for path in others:
        kind = _kind(path)
        count[kind] += 1
        example.setdefault(kind, path)
    return [FileKind(kind, n, encodable(str(example[kind]))) for kind, n in count.most_common()]


def _list_one(folder: Path, found: FolderListing, below: bool) -> list[tuple[Path, bool]]:
    """Sort what lies in `folder` into `found`; its sub-folders, and whether each is a link."""
    folders = []
    try:
        with os.scandir(folder) as entries:
            held = list(entries)
    except OSError as error:
        found.skipped.append(SkippedPath(folder, _reason(error, folder)))
        return []
    for entry in held:
        path = folder / entry.name
        try:
            if entry.name.startswith("."):
                found.others.append(path)
            elif entry.is_dir():
                if below:
                    folders.append((path, entry.is_symlink()))
            elif entry.is_file():
                _place(path, found)
            else:
                dangling = entry.is_symlink() and not os.path.exists(path)
                found.skipped.append(SkippedPath(path, "a link to nothing" if dangling else _SPECIAL))
        except OSError as error:
            found.skipped.append(SkippedPath(path, _reason(error, path)))
    return folders


def _place(path: Path, found: FolderListing) -> None:
    """A regular file: an image by its suffix or its first bytes, or not. Raises `OSError`."""
    suffix = path.suffix.lower()
    if suffix in _RAW_SUFFIXES:
        found.skipped.append(SkippedPath(path, _RAW))
    elif suffix in IMAGE_SUFFIXES:  # what its bytes say, its decoder tells
        found.images.append(path)
    else:
        with path.open("rb") as file:
            first = file.read(FIRST_BYTES)
        (found.images if looks_like_image(first) else found.others).append(path)


def _reason(error: OSError, path: Path) -> str:
    if error.errno == errno.ELOOP:
        return "a link that leads to itself"
    if error.errno in _OF_THE_ENTRY:
        return f"cannot be read: {error.strerror}"
    raise BadInput(
        f"cannot read {printable(str(path))}: {error.strerror or error}. Repair that, then run again."
    ) from None


def _kind(path: Path) -> str:
    if path.name.lower() in _SYSTEMS_OWN:
        return path.name
    if path.name.startswith("."):
        return "hidden"
    return encodable(path.suffix.lower()) or "no suffix"


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads to itself
        return False


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino
