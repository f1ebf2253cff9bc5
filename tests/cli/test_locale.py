"""A system without a UTF-8 locale, as containers and cron have it: names beyond ASCII work all the same."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edge_tl.device.errors import BadInput
from edge_tl.host.images import listing

ASCII = {"LC_ALL": "C", "LANG": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
OPTIONS = "--model mobilenet_v3_small --weights embedded --image-size 32 --strategy head".split()


@pytest.mark.skipif(os.name != "posix", reason="locales of POSIX")
def test_names_beyond_ascii_work_in_the_c_locale(
    images: Path, tmp_path: Path, shell: Callable[..., Any]
) -> None:
    few = tmp_path / "dätä"
    for folder in images.iterdir():
        (few / folder.name).mkdir(parents=True)
        for path in sorted(folder.glob("*.png"))[:6]:
            shutil.copy(path, few / folder.name)
    done = shell("finetune", few, *OPTIONS, "--out", tmp_path / "rün", "--json", env=ASCII)
    assert done.code == 0, done.err
    assert done.json["labels"] == sorted(folder.name for folder in images.iterdir())
    assert (tmp_path / "rün" / "run.json").is_file()


def test_the_api_says_what_the_locale_cannot_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listing.sys, "getfilesystemencoding", lambda: "ascii")
    path = tmp_path / "d\udcc3\udca4t"  # the bytes of "dät", as Python reads them then
    with pytest.raises(BadInput, match=r"as ascii.*PYTHONUTF8=1"):
        listing._check_utf8(str(path))
