"""A training that the disk has no room for says so, and where."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from edge_tl.device.errors import EdgeTLError
from edge_tl.host.recipe import load
from edge_tl.host.training.run_folder import sole_writer


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EFBIG])
def test_a_full_disk_is_called_so_and_where(number: int, tmp_path: Path) -> None:
    full = OSError(number, "there is no room")  # as a write raises it, without a name
    settings = load.parse({"data": {"path": "photos"}})
    with (
        pytest.raises(EdgeTLError, match=r"cannot write into .*/run: there is no room\. Mend that"),
        sole_writer(tmp_path / "run", settings, resumed=False, overwrite=False),
    ):
        raise full


def test_what_is_not_about_writing_is_not_called_so(tmp_path: Path) -> None:
    settings = load.parse({"data": {"path": "photos"}})
    gone = FileNotFoundError(errno.ENOENT, "no such file", "photos/1.jpg")
    with (
        pytest.raises(FileNotFoundError, match="no such file"),
        sole_writer(tmp_path / "run", settings, resumed=False, overwrite=False),
    ):
        raise gone
