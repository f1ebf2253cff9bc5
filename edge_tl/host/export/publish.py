"""The finished files of an export take the place of the old bundle: all of them, or the old ones stay.

It must not know what the files mean. Until the new bundle is whole the old one lies in a hidden sub-folder; whoever was
killed in between is mended by the next export into the folder. Hidden folders that we make hold a mark, and only marked
ones are moved or removed: a person's own `.old-photos` is not ours.
"""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

from edge_tl.device.errors import EdgeTLError
from edge_tl.device.files import fsync_folder

MARK = ".made-by-edge-tl"
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_MOVING, _MOVED = ".replaced-", ".old-"


def publish(staging: Path, out: Path, names: Sequence[str]) -> None:
    """Move what there is of `names` from `staging` to `out`; the first of them, the record, leaves first and arrives
    last. Interrupted, or out of disk, `out` is as it was."""
    moved: list[str] = []
    try:
        _set_aside(out, names)
        for name in (*names[1:], names[0]):
            if (staging / name).exists():
                moved.append(name)
                os.replace(staging / name, out / name)
            fsync_folder(out)
    except BaseException:
        for name in moved:  # where there was no old bundle, nothing of the new one stays
            if not (staging / name).exists():
                os.replace(out / name, staging / name)
        recover(out, names)
        raise
    for old in marked(out, _MOVED):
        discard(old)


def is_interrupted(out: Path) -> bool:
    """Whether a publication was killed here."""
    return bool(marked(out, _MOVING) or marked(out, _MOVED))


def recover(out: Path, names: Sequence[str]) -> None:
    """Put the old bundle back where a publication was killed before the new one was whole; else remove the old one."""
    for folder in marked(out, _MOVED):  # all of the old files had left: what is in place is new
        if (out / names[0]).exists():
            discard(folder)
            continue
        for name in names:
            _remove(out / name)
        os.replace(folder, out / folder.name.replace(_MOVED, _MOVING, 1))
    for folder in marked(out, _MOVING):  # only some of them had: what is in place is old
        for name in (*names[1:], names[0]):
            if (folder / name).exists():
                os.replace(folder / name, out / name)
        fsync_folder(out)
        discard(folder)


def _set_aside(out: Path, names: Sequence[str]) -> None:
    there = [name for name in names if (out / name).exists()]
    if not there:
        return
    moving = make_marked(out, _MOVING)
    for name in there:
        os.replace(out / name, moving / name)
    fsync_folder(out)
    os.replace(moving, out / moving.name.replace(_MOVING, _MOVED, 1))
    fsync_folder(out)


def make_marked(out: Path, prefix: str) -> Path:
    """A new folder in `out` that a later export may remove. Raises `OSError`; then there is none."""
    folder = Path(tempfile.mkdtemp(prefix=prefix, dir=out))
    try:
        (folder / MARK).write_text("edge-tl made this folder and removes it.\n", encoding="ascii")
        fsync_folder(folder)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return folder


def marked(out: Path, prefix: str) -> list[Path]:
    """The folders in `out` that `make_marked` made."""
    return sorted(
        path for path in out.glob(f"{prefix}*") if not path.is_symlink() and (path / MARK).is_file()
    )


def discard(folder: Path) -> None:
    """Remove a marked folder, its mark last: killed in between, the rest is still known to be ours."""
    for path in folder.iterdir():
        if path.name != MARK:
            _remove(path)
    (folder / MARK).unlink()
    folder.rmdir()


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def named(folder: Path, error: OSError) -> EdgeTLError:
    """A full disk and the like, with the folder that was written into."""
    where = f" ({error.filename})" if error.filename else ""
    return EdgeTLError(
        f"cannot write into {folder}: {error.strerror or error}{where}. Mend that, e.g. free some space, and run "
        "again; nothing half-written is left as a result."
    )
