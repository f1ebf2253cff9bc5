"""Resize policies compared where one of them must win: what tells the classes apart lies outside the centre."""

from __future__ import annotations

import base64
import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from listening import Listening
from PIL import Image

from edge_tl.device.metrics import paired_drop
from edge_tl.host.recipe import load as recipes
from edge_tl.host.reports import resize_tables
from edge_tl.host.reports.contact_sheet import MOST_BYTES, contact_sheet
from edge_tl.host.reports.markdown import run_markdown
from edge_tl.host.reports.page import write_run_page
from edge_tl.host.runs.resize_records import ResizeComparison, TriedPolicy
from edge_tl.host.runs.result import RunResult
from edge_tl.host.training.finetune import finetune


@pytest.fixture(scope="module")
def banners(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Wide images, three times as wide as high: noise, and at both ends a light or a dark square."""
    folder = tmp_path_factory.mktemp("banners")
    random = np.random.default_rng(0)
    for name, level in (("dark", 20), ("light", 235)):
        (folder / name).mkdir()
        for i in range(24):
            pixels = random.integers(90, 160, (64, 192, 3), dtype=np.uint8)
            pixels[12:52, 4:44] = pixels[12:52, -44:-4] = level
            Image.fromarray(pixels).save(folder / name / f"{i}.png")
    return folder


@pytest.fixture(scope="module")
def compared(banners: Path, tmp_path_factory: pytest.TempPathFactory) -> RunResult:
    recipe = recipes.parse(
        {
            "data": {"path": str(banners), "val": 0.5, "test": 0.1},
            "model": {"name": "mobilenet_v3_small", "weights": "embedded", "image_size": 48},
            "train": {"strategy": "head", "compare_resize": True},
        }
    )
    return finetune(recipe, tmp_path_factory.mktemp("compared") / "run")


def test_the_policy_that_sees_it_wins_and_nothing_is_switched(compared: RunResult) -> None:
    record = compared.record
    found = record.resize_comparison
    assert found is not None
    assert [tried.policy for tried in found.policies] == ["shorter", "exact", "letterbox", "five-crop"]
    own, exact, letterbox, five = found.policies
    assert exact.accuracy == letterbox.accuracy == 1
    assert own.accuracy < 0.8
    assert exact.gain_ci_pp is not None
    assert exact.gain_ci_pp[0] > 0
    assert (own.gain_pp, own.work, five.work) == (None, 1, 5)
    assert record.preprocess.resize == "shorter"
    assert "--set model.resize=" in resize_tables.conclusion(found)


def test_what_is_compared_is_what_a_run_with_that_policy_has(compared: RunResult, banners: Path) -> None:
    """Its features are found again, and its head is as good on the validation images."""
    run, found = compared.run, compared.record.resize_comparison
    assert found is not None
    settings = compared.record.provenance.recipe
    settings = {
        **settings,
        "train": {"strategy": "head"},
        "model": {**settings["model"], "resize": "letterbox"},
    }
    other = finetune(recipes.parse(settings), run.parent / "letterbox").record
    assert other.provenance.features_computed <= len(other.dataset().split("test"))
    assert other.val_accuracy == found.policies[2].accuracy
    assert other.crop_loss is None


def test_the_report_shows_what_the_crop_takes_away(compared: RunResult, tmp_path: Path) -> None:
    record = compared.record
    assert record.crop_loss is not None
    assert record.crop_loss.median == pytest.approx(2 / 3, abs=0.01)
    sheet = contact_sheet(record)
    assert len(sheet) == len(record.crop_loss.worst) == 12
    assert sum(len(image.address) for image in sheet) < MOST_BYTES * 4 / 3 + 1000
    write_run_page(record, tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text("utf-8")
    assert page.count("data:image/jpeg;base64,") == 12
    assert "67 % not seen" in page
    for text in (page, run_markdown(record)):
        assert "letterbox" in text
        assert "Half of 48 images lose 67 % or more" in text


def test_the_frame_is_where_the_model_looks(compared: RunResult) -> None:
    """Outside, the thumbnail is darker."""
    first = contact_sheet(compared.record)[0]
    pixels = np.asarray(
        Image.open(io.BytesIO(base64.b64decode(first.address.partition(",")[2]))).convert("L")
    )
    width = pixels.shape[1]
    middle = pixels[:, int(width * 0.37) : int(width * 0.63)].mean()
    assert pixels[:, int(width * 0.26) : int(width * 0.31)].mean() < 0.6 * middle


def test_images_that_are_gone_leave_the_figures(compared: RunResult, tmp_path: Path) -> None:
    record = compared.record
    moved = replace(record, data=replace(record.data, path=str(tmp_path / "gone")))
    assert contact_sheet(moved) == []
    write_run_page(moved, tmp_path / "report.html")
    assert "Half of 48 images" in (tmp_path / "report.html").read_text("utf-8")


def test_a_difference_within_chance_names_no_policy() -> None:
    labels = np.zeros(100, np.int64)
    better = labels.copy()
    worse = labels.copy()
    worse[:2] = 1
    gain = paired_drop(labels, worse, better)
    tried = (
        TriedPolicy("shorter", 0.98, (0.9, 1.0), None, None, 1, 1.0),
        TriedPolicy(
            "letterbox", 1.0, (0.9, 1.0), -gain.drop_pp, (-gain.drop_ci_pp[1], -gain.drop_ci_pp[0]), 1, 1.0
        ),
    )
    assert "--set" not in resize_tables.conclusion(ResizeComparison(100, tried))


def test_a_policy_that_is_worse_by_more_than_chance_is_named() -> None:
    tried = (
        TriedPolicy("shorter", 0.9, (0.8, 1.0), None, None, 1, 1.0),
        TriedPolicy("exact", 0.88, (0.8, 1.0), -2.0, (-5.0, 1.0), 1, 1.0),
        TriedPolicy("letterbox", 0.8, (0.7, 0.9), -10.0, (-14.0, -6.0), 1, 1.0),
    )
    compared = ResizeComparison(100, tried)
    assert resize_tables.conclusion(compared).startswith(
        "No other resize is better by more than chance; letterbox is worse, on 100 validation images"
    )
    names = [row["policy"] for row in resize_tables.policy_table(compared).rows]
    assert names == ["shorter (centre crop), this run", "exact (squashed)", "letterbox (whole, with bars)"]


def test_weights_that_know_nothing_are_not_compared(banners: Path, tmp_path: Path) -> None:
    notes: list[str] = []
    heard = Listening(note=notes.append)
    recipe = recipes.parse(
        {
            "data": {"path": str(banners)},
            "model": {"name": "mobilenet_v3_small", "weights": "none", "image_size": 32},
            "train": {"strategy": "head", "compare_resize": True},
        }
    )
    assert finetune(recipe, tmp_path / "run", listener=heard).record.resize_comparison is None
    assert any("--compare-resize needs weights" in note for note in notes)
