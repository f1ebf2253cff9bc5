"""Finds the labelled images of a folder, a .csv or .tsv list, or tar shards, and hashes them.

Decodes no image and draws no split: it passes on what the source says.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path

from edge_tl.device.errors import BadInput
from edge_tl.device.files import sha256_file
from edge_tl.device.images.folder_layout import split_of, split_words
from edge_tl.device.images.folders import class_folders, count_kinds
from edge_tl.device.images.reading import with_retries
from edge_tl.device.listener import SILENT, Listener
from edge_tl.device.machine import cores_allowed
from edge_tl.device.names import check_label, encodable
from edge_tl.device.records.image_files import SkippedFile
from edge_tl.device.text import printable
from edge_tl.host.images import list_file, shard_patterns, shards
from edge_tl.host.images.dataset import Listing, Sample, check_two_images_a_class, sources
from edge_tl.host.images.image_list import ImageList, ListedImage, check_spellings, list_class_folders

_CHUNK = 64
_NO_BYTES = "a link or a sparse file in a shard, which is read in place: write the shard with its content"


def list_images(
    path: Path | str,
    *,
    group_by: str | None = None,
    listener: Listener = SILENT,
) -> Listing:
    """List and hash every image of `path`: a folder with a sub-folder per class, or with train/ and val/ (and test/)
    that hold them; a .csv or .tsv list; a folder of .tar shards, one shard, or patterns of shards (`a-{000..041}.tar`,
    several separated by `::`).

    `group_by` is a regular expression searched in each sample's `path`, with forward slashes; what its first group
    matches, or all of it, is the sample's group, in place of a list's group column. The
    listener's step is "hashing". Raises `BadInput` for what is no classification data.
    """
    text = os.path.expanduser(path)
    found = _find(text)
    for path in (found.root, *(found.root / row.path for row in found.rows)):
        _check_utf8(str(path))
    for label in found.labels:
        check_label(label, text)
    check_spellings(found.labels, text)
    if len(found.labels) < 2:
        have = f"only {found.labels[0]!r}" if found.labels else "none"
        raise BadInput(f"a classifier needs two classes or more; {text} has {have}. {_advice(text)}")
    splits = {row.split for row in found.rows}
    if not splits & {None, "train"}:
        raise BadInput(
            f"only {' and '.join(sorted(filter(None, splits)))} images in {text}. Give training images too."
        )
    check_two_images_a_class(text, found.labels, (row.label for row in found.rows))
    number = {label: i for i, label in enumerate(found.labels)}
    rows = found.rows if group_by is None else _grouped(found.rows, group_by)
    blank = [Sample(row.path, number[row.label], "", row.split, row.group, row.member) for row in rows]
    samples, unread = [], []
    for sample, digest in zip(blank, _digests(sources(found.root, blank), listener), strict=True):
        if isinstance(digest, PermissionError | FileNotFoundError):
            unread.append(SkippedFile(encodable(sample.path), f"cannot be read: {digest.strerror}"))
        else:
            samples.append(replace(sample, digest=digest))
    return Listing(found.root, found.labels, samples, found.skipped + unread, found.beside, found.not_images)


def _find(text: str) -> ImageList:
    path = Path(text)
    if path.is_dir():
        if not class_folders(path) and (here := shard_patterns.shards_in_folder(path)):
            return _from_shards(here)
        return list_class_folders(path)
    if path.suffix.lower() in list_file.DIALECTS:
        return _from_list(path)
    shard_patterns.refuse_compressed(path)
    if path.suffix == shards.SUFFIX or "::" in text or "{" in text:
        return _from_shards(list(_expanded(text)))
    if path.exists():
        raise BadInput(
            f"not a data set: {path}. Give a folder with one sub-folder of images per class, a .csv or .tsv list, "
            "or .tar shards."
        )
    raise BadInput(f"no such folder: {path}. Give a folder with one sub-folder of images per class.")


def _advice(text: str) -> str:
    if Path(text).suffix.lower() in list_file.DIALECTS:
        return "Add rows of another class."
    return "Make one sub-folder per class." if Path(text).is_dir() else "Add shards with another class."


def _from_list(path: Path) -> ImageList:
    """A .csv (commas) or .tsv (tabs) with a header: a column for the path, relative to the list's folder, one for
    the label, and perhaps split and group."""
    if not path.is_file():
        raise BadInput(f"no such file: {path}. Give a folder of images, or a list of files and labels.")
    rows: list[ListedImage] = []
    for line, cells in list_file.read_rows(path):
        where = f"{path}, line {line}"
        if not (label := cells["label"].strip()):
            raise BadInput(
                f"{where}: the label of {cells['path']!r} is empty. Fill it in, or remove the line."
            )
        word = cells.get("split", "").strip()
        if word and split_of(word) is None:
            raise BadInput(f"{where}: unknown split {word!r}. Use train, val or test, or leave it empty.")
        if not cells["path"] or not os.path.isfile(path.parent / cells["path"]):
            raise BadInput(
                f"{where}: no such file: {cells['path']!r}. Paths are relative to the list's folder."
            )
        split, group = split_of(word), cells.get("group", "").strip() or None
        rows.append(ListedImage(cells["path"], label, split, group))
    return ImageList(path.parent, _in_order({row.label for row in rows}), rows)


def _expanded(text: str) -> Iterator[Path]:
    for part in map(os.path.expanduser, text.split("::")):
        if not part:
            raise BadInput(f"an empty pattern beside '::' in {text!r}. Remove the colons.")
        if Path(part).is_dir():
            yield from shard_patterns.shards_in_folder(Path(part))
            continue
        for name in [part] if Path(part).is_file() else shard_patterns.expand_braces(part):
            path = Path(name)
            shard_patterns.refuse_compressed(path)
            if path.suffix != shards.SUFFIX or f"{shards.SUFFIX}!" in name:
                raise BadInput(f"not a shard: {name!r}. Give .tar files.")
            if not path.is_file():
                raise BadInput(f"no such shard: {path}. Check the pattern {part!r}.")
            yield path


def _from_shards(paths: Iterable[Path]) -> ImageList:
    files = list(dict.fromkeys(paths))
    try:
        root = Path(os.path.commonpath([file.parent for file in files]))
    except ValueError:  # relative and absolute ones, or two drives
        root = Path.cwd()
    names = shards.class_names(list(dict.fromkeys(file.parent for file in files)))
    with ThreadPoolExecutor(cores_allowed()) as pool:
        indices = list(
            pool.map(lambda file: with_retries(str(file), partial(shards.index_shard, file)), files)
        )
    rows: list[ListedImage] = []
    skipped: list[SkippedFile] = []
    others: list[Path] = []
    for file, indexed in zip(files, indices, strict=True):
        path = file.relative_to(root) if file.is_relative_to(root) else file.absolute()
        split = _split_of_shard(path)
        skipped += [SkippedFile(encodable(f"{path}!{name}"), _NO_BYTES) for name in indexed.closed]
        others += [Path(f"{path}!", name.lstrip("/")) for name in indexed.others]
        for member, label in indexed.images:
            label = shards.class_name(label, names, member)
            rows.append(
                ListedImage(f"{path}!{member.name}", label, split, member=(member.offset, member.size))
            )
    present = {row.label for row in rows}
    order = [name for name in names or () if name in present]
    labels = order + _in_order(present.difference(order))
    return ImageList(root, labels, rows, skipped, not_images=count_kinds(others))


def _split_of_shard(path: Path) -> str | None:
    """By a word in the file's name, else by a folder of that name; `path` is relative to the folder of them all."""
    if words := split_words(path.stem):
        return words[0]
    return None if path.is_absolute() else split_of(path.parent.name)


def _in_order(labels: set[str]) -> list[str]:
    """By name, or by value where all are integers: 10 after 9."""
    if all(shards.is_integer(label) for label in labels):
        return sorted(labels, key=lambda label: (int(label), label))
    return sorted(labels)


def _grouped(rows: list[ListedImage], pattern: str) -> list[ListedImage]:
    try:
        search = re.compile(pattern).search
    except re.error as error:
        raise BadInput(
            f"data.group_by: {pattern!r} is no regular expression ({error}). Correct it."
        ) from None
    grouped = []
    for row in rows:
        found = search(row.path.replace(os.sep, "/"))
        grouped.append(
            row._replace(group=(found[1] if found.re.groups else found[0]) or None if found else None)
        )
    if not any(row.group for row in grouped):
        raise BadInput(f"data.group_by: {pattern!r} matches no path, for one {rows[0].path!r}. Correct it.")
    return grouped


def _check_utf8(path: str) -> None:
    try:
        path.encode()
    except UnicodeEncodeError:
        if (encoding := sys.getfilesystemencoding()).lower() not in ("utf-8", "utf8"):
            raise BadInput(
                f"{printable(path)}: this Python reads file names as {encoding}, and that is none. Set PYTHONUTF8=1, "
                "or a UTF-8 locale, e.g. LC_ALL=C.UTF-8."
            ) from None
        raise BadInput(f"file name is not UTF-8: {printable(path)!r}. Rename the file or folder.") from None


_Digest = str | PermissionError | FileNotFoundError


def _digests(images: Sequence[Path | shards.Member], listener: Listener) -> list[_Digest]:
    """SHA-256 of every encoded image, or why it cannot be read; in chunks, since a million futures would take a
    gigabyte."""
    chunks = [images[start : start + _CHUNK] for start in range(0, len(images), _CHUNK)]
    digests: list[_Digest] = []
    with ThreadPoolExecutor(cores_allowed()) as pool:
        try:
            for chunk in pool.map(lambda chunk: [_digest(image) for image in chunk], chunks):
                for digest in chunk:
                    digests.append(digest)
                    listener.progress("hashing", len(digests), len(images))
        except BaseException:  # Ctrl-C does not wait for what was queued
            pool.shutdown(cancel_futures=True)
            raise
    return digests


def _digest(image: Path | shards.Member) -> _Digest:
    def attempt() -> _Digest:
        try:
            return sha256_file(image) if isinstance(image, Path) else image.sha256()
        except (PermissionError, FileNotFoundError) as error:
            if isinstance(image, Path):
                return error  # it says something of this file; other errors say something of the machine
            raise

    try:
        return with_retries(printable(str(image)), attempt)
    except OSError as error:
        raise BadInput(
            f"cannot read {printable(str(image))}: {error.strerror or error}. Restore or remove it."
        ) from None
