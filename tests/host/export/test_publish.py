"""A publication stopped at every step, and its repair stopped at every step: the old files, all of them, or the new."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edge_tl.host.export import publish
from edge_tl.host.export.pipeline import BUNDLE_FILES

NAMES = ("record.json", "golden", "a.bin", "b.bin", "c.bin")
OLD = {"record.json": "old", "golden/1": "old", "a.bin": "old", "b.bin": "old"}
NEW = {"record.json": "new", "golden/1": "new", "golden/2": "new", "a.bin": "new", "c.bin": "new"}
STEPS = 9  # four old ones leave, one rename, four new ones arrive


class Killed(BaseException):
    pass


def folder(path: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_text(text)
    return path


def files(path: Path) -> dict[str, str]:
    return {str(p.relative_to(path)): p.read_text() for p in sorted(path.rglob("*")) if p.is_file()}


@pytest.fixture
def places(tmp_path: Path) -> tuple[Path, Path]:
    """What is to be published, and where."""
    return folder(tmp_path / "out" / ".partial-x", NEW), folder(tmp_path / "out", OLD)


def stopping(step: int, error: type[BaseException]) -> Callable[..., None]:
    """`os.replace` that raises before its `step`-th move, once."""
    replace, moves = os.replace, [0]

    def stopped(source: Any, target: Any) -> None:
        moves[0] += 1
        if moves[0] == step + 1:
            raise error
        replace(source, target)

    return stopped


def left(staging: Path, out: Path) -> dict[str, str]:
    return {name: text for name, text in files(out).items() if not name.startswith(f"{staging.name}/")}


@pytest.mark.parametrize("step", range(STEPS))
@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError])
def test_what_is_interrupted_leaves_the_old_files_at_once(
    step: int, error: type[BaseException], places: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
):
    staging, out = places
    monkeypatch.setattr(publish.os, "replace", stopping(step, error))
    with pytest.raises(error):
        publish.publish(staging, out, NAMES)
    assert left(staging, out) == OLD
    assert not publish.is_interrupted(out)


@pytest.mark.parametrize("step", range(STEPS))
@pytest.mark.parametrize("again", range(7))
def test_what_is_killed_is_mended_even_when_the_repair_is_killed_too(
    step: int, again: int, places: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
):
    staging, out = places
    with monkeypatch.context() as patch:
        patch.setattr(publish.os, "replace", stopping(step, Killed))
        patch.setattr(publish, "recover", lambda *there: None)
        with pytest.raises(Killed):
            publish.publish(staging, out, NAMES)
    assert publish.is_interrupted(out)
    with monkeypatch.context() as patch:
        patch.setattr(publish.os, "replace", stopping(again, Killed))
        try:
            publish.recover(out, NAMES)
        except Killed:
            assert publish.is_interrupted(out)
    publish.recover(out, NAMES)
    assert left(staging, out) == OLD
    assert not publish.is_interrupted(out)


def test_published_files_are_the_new_ones_and_nothing_else_is_touched(places: tuple[Path, Path]):
    staging, out = places
    (out / ".notes").write_text("a person's")
    publish.publish(staging, out, NAMES)
    assert left(staging, out) == NEW | {".notes": "a person's"}


def test_killed_before_the_old_files_are_removed_the_new_ones_stay(
    places: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
):
    staging, out = places
    with monkeypatch.context() as patch:
        patch.setattr(publish, "discard", lambda path: None)
        publish.publish(staging, out, NAMES)
    assert publish.is_interrupted(out)
    publish.recover(out, NAMES)
    assert left(staging, out) == NEW


@pytest.mark.parametrize("name", [".old-photos", ".replaced-drafts"])
def test_a_persons_own_hidden_folders_stay(name: str, places: tuple[Path, Path]):
    staging, out = places
    own = folder(out / name, {"x.jpg": "mine", "record.json": "mine"})
    assert not publish.is_interrupted(out)
    publish.recover(out, NAMES)
    publish.publish(staging, out, NAMES)
    assert files(own) == {"x.jpg": "mine", "record.json": "mine"}
    assert left(staging, out) == NEW | {f"{name}/x.jpg": "mine", f"{name}/record.json": "mine"}


def test_a_removal_that_is_stopped_leaves_what_is_known_to_be_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    made = publish.make_marked(tmp_path, ".old-")
    folder(made, OLD)
    with monkeypatch.context() as patch:
        patch.setattr(publish.shutil, "rmtree", lambda path: (_ for _ in ()).throw(Killed))
        with pytest.raises(Killed):
            publish.discard(made)
    assert publish.marked(tmp_path, ".old-") == [made]
    publish.discard(made)
    assert list(tmp_path.iterdir()) == []


def test_the_first_publication_needs_no_old_one(tmp_path: Path):
    staging = folder(tmp_path / "out" / ".partial-x", NEW)
    publish.publish(staging, tmp_path / "out", NAMES)
    assert left(staging, tmp_path / "out") == NEW


@pytest.mark.parametrize("step", range(4))
def test_the_first_publication_that_is_stopped_leaves_nothing(
    step: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    staging, out = folder(tmp_path / "out" / ".partial-x", NEW), tmp_path / "out"
    monkeypatch.setattr(os, "replace", stopping(step, KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        publish.publish(staging, out, NAMES)
    assert left(staging, out) == {}


def test_a_bundle_that_takes_the_place_of_another_has_no_pick_of_its_artifacts(tmp_path: Path):
    old = {"bundle.json": "old", "tuned/board.json": "old"}
    out = folder(tmp_path / "out", old)
    staging = folder(out / ".partial-x", {"bundle.json": "new"})
    publish.publish(staging, out, BUNDLE_FILES)
    assert left(staging, out) == {"bundle.json": "new"}
