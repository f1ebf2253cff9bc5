"""Which images are classified: files, folders with all below them, patterns, a list of paths, one on stdin.

Decodes nothing.
"""

from __future__ import annotations

import glob
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from edge_tl.device.errors import BadInput
from edge_tl.device.images.folders import images_in
from edge_tl.device.records.prediction import Prediction
from edge_tl.device.text import printable

STDIN = "-"
_MOST_BYTES = 1 << 30  # of an image on stdin; how many pixels it may have, its decoder says
_PATTERN = set("*?[")


@dataclass
class ImageSources:
    """`images` in the order in which they were given: paths, and the bytes of the one on stdin; `failed` is what
    folders hold that might have been an image, each with its reason."""

    images: list[Path | bytes] = field(default_factory=list)
    failed: list[Prediction] = field(default_factory=list)

    @property
    def files(self) -> list[Path]:
        """Without the one on stdin."""
        return [image for image in self.images if isinstance(image, Path)]


def find_images(given: Sequence[Path], listed: Path | None = None) -> ImageSources:
    """The images of `given`, then those whose paths stand in the file `listed`, one a line; "-" is stdin for either.

    Raises `BadInput` for a folder without an image, a pattern that nothing matches, an empty list, and where both would
    read stdin.
    """
    found = ImageSources()
    if [*map(str, given), str(listed)].count(STDIN) > 1:
        raise BadInput("- is given twice, and stdin is read once. Give it once.")
    for path in given:
        if str(path) == STDIN:
            found.images.append(_stdin_image())
        elif not _PATTERN & set(str(path)) or os.path.lexists(path):  # such a name may be a file's own
            _add(path, found)
        else:
            _add_matching(path, found)
    if listed is not None:
        for path in _read_list(listed):
            _add(path, found)
    return found


def _add(path: Path, found: ImageSources) -> None:
    if not path.is_dir():
        found.images.append(path)
        return
    inside = images_in(path)
    found.failed += [Prediction(str(one.path), (), failure=one.reason) for one in inside.skipped]
    if not inside.images:
        raise BadInput(f"no image below the folder {printable(str(path))}. Give images, or a folder of them.")
    found.images += inside.images


def _add_matching(pattern: Path, found: ImageSources) -> None:
    """The files that match: Windows' shells do not say which, and no command line holds 100,000 paths. Folders count
    only where no file matches: `folder/**` has them and all that is in them. Raises `BadInput` where nothing does."""
    paths = [Path(name) for name in sorted(glob.glob(str(pattern), recursive=True))]
    files = [path for path in paths if not path.is_dir()]
    if files:
        found.images += dict.fromkeys(files)
        return
    inside = [images_in(path) for path in paths]
    images = dict.fromkeys(image for each in inside for image in each.images)
    if not images:
        raise BadInput(
            f"nothing matches {printable(str(pattern))}. Give an image, a folder or another pattern."
        )
    skipped = dict.fromkeys(one for each in inside for one in each.skipped)
    found.failed += [Prediction(str(one.path), (), failure=one.reason) for one in skipped]
    found.images += images


def _stdin_image() -> bytes:
    content = sys.stdin.buffer.read(_MOST_BYTES + 1)
    if not content:
        raise BadInput(
            "-: nothing came on stdin. Send one encoded image: edge-tl predict BUNDLE - < image.jpg"
        )
    if len(content) > _MOST_BYTES:
        raise BadInput(f"-: more than {_MOST_BYTES >> 20} MiB came on stdin. Send one encoded image.")
    return content


def _read_list(listed: Path) -> list[Path]:
    try:
        if str(listed) == STDIN:
            content = sys.stdin.buffer.read()
        else:
            if not listed.is_file():  # a pipe of a shell's <(…) is fine on stdin
                raise BadInput(
                    f"--list {printable(str(listed))}: no such file. Give a file with one path a line."
                )
            content = listed.read_bytes()
    except OSError as error:
        raise BadInput(f"--list {printable(str(listed))}: {error.strerror}. Give another file.") from None
    if b"\0" in content:
        raise BadInput(
            f"--list {printable(str(listed))}: it holds a NUL, so it is no text. Give one path a line; of find, -print."
        )
    lines = [line.rstrip(b"\r") for line in content.split(b"\n")]
    paths = [Path(os.fsdecode(line)) for line in lines if line.strip()]
    if not paths:
        raise BadInput(f"--list {printable(str(listed))}: no path in it. Give one path a line.")
    return paths
