"""Records in the real MLflow (a database on this machine) and the real W&B (offline); nothing leaves the machine."""

from __future__ import annotations

import json
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from edge_tl.device.bundle import read_report
from edge_tl.device.errors import BadInput, MissingExtra
from edge_tl.device.listener import SILENT
from edge_tl.host.listeners import EpochEvent
from edge_tl.host.recipe.schema import Recipe
from edge_tl.host.runs.record import EpochRecord
from edge_tl.host.tracking import facts
from edge_tl.host.tracking.tracker import Tracking, tracked, without_password

TINY = Path(__file__).parents[2] / "records" / "bundle-of-version-2"


@pytest.fixture(autouse=True)
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Any]]:
    """No variables and no login of whoever runs the tests; every connection beyond this machine is refused and seen."""
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME", "WANDB_API_KEY", "WANDB_MODE", "WANDB_DIR"):
        monkeypatch.delenv(name, raising=False)
    for name in ("MLFLOW_DISABLE_TELEMETRY", "DO_NOT_TRACK", "WANDB_ERROR_REPORTING", "WANDB_SILENT"):
        monkeypatch.setenv(name, "true")  # so that what the trackers set is undone
    monkeypatch.setenv("NETRC", str(tmp_path / "no-netrc"))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    real, seen = socket.socket.connect, []

    def connect(self: socket.socket, address: Any) -> None:
        if isinstance(address, tuple) and address[0] not in ("127.0.0.1", "::1", "localhost"):
            seen.append(address)
            raise ConnectionRefusedError(address)
        real(self, address)

    monkeypatch.setattr(socket.socket, "connect", connect)
    yield seen
    assert seen == []


def epoch(number: int) -> EpochEvent:
    return EpochEvent(
        EpochRecord(
            stage="full", epoch=number, epochs=3,
            train_loss=1.0 / number, val_loss=None, val_accuracy=0.5 + number / 10,
            lr=0.01, image_size=64, images_per_s=120.0, seconds=9.0 * number, best=True,
        )
    )  # fmt: skip


def told(tracking: Tracking) -> None:
    listener = tracking.beside(SILENT)
    for number in (1, 2, 3):
        listener.event(epoch(number))
    with listener.section("fold 1") as fold:
        fold.event(epoch(9))
    tracking.bundle(TINY, read_report(TINY))


def test_mlflow_holds_settings_epochs_figures_and_files(tmp_path: Path) -> None:
    mlflow = pytest.importorskip("mlflow.tracking")
    said: list[str] = []
    with tracked([f"mlflow={tmp_path / 'kept'}"], "photos", said.append) as tracking:
        told(tracking)
    assert [line.partition(" in ")[0] for line in said] == ["tracked by mlflow"]
    client = mlflow.MlflowClient(f"sqlite:///{tmp_path / 'kept' / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("edge-tl")
    (run,) = client.search_runs([experiment.experiment_id])
    record = read_report(TINY)
    assert (run.info.status, run.info.run_name) == ("FINISHED", "photos")
    assert run.data.params["recommended"] == str(record.recommended)
    history = client.get_metric_history(run.info.run_id, "val_accuracy")
    assert [(one.step, one.value) for one in history] == [(1, 0.6), (2, 0.7), (3, 0.8)]
    assert "val_loss" not in run.data.metrics
    figures = facts.figures_of_bundle(record)
    assert figures
    assert figures.items() <= run.data.metrics.items()
    kept = {file.path for file in client.list_artifacts(run.info.run_id, "bundle")}
    assert "bundle/bundle.json" in kept


def test_wandb_is_offline_unless_somebody_logged_in(tmp_path: Path) -> None:
    wandb = pytest.importorskip("wandb")
    said: list[str] = []
    with tracked([f"wandb={tmp_path / 'kept'}"], "photos", said.append) as tracking:
        told(tracking)
    wandb.teardown()  # as when Python ends: its process has written all
    (folder,) = (tmp_path / "kept" / "wandb").glob("offline-run-*")
    assert str(folder) in said[0]
    assert "wandb sync" in said[0]
    (log,) = folder.glob("*.wandb")
    content = log.read_bytes()
    for word in (b"val_accuracy", b"recommended", b"/size_mb", b"bundle.json"):
        assert word in content
    # W&B would note the machine's name, its paths and its packages.
    assert not any((folder / "files").glob("wandb-metadata.json"))
    assert not any((folder / "files").glob("requirements.txt"))


def test_work_that_fails_ends_its_run_as_failed(tmp_path: Path) -> None:
    mlflow = pytest.importorskip("mlflow.tracking")
    recipe = Recipe.model_validate({"data": {"path": "/home/me/photos"}, "train": {"lr": 0.25}})

    def interrupted(tracking: Tracking) -> None:
        tracking.recipe(recipe)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), tracked(["mlflow=kept"], "photos", lambda _: None) as tracking:
        interrupted(tracking)
    client = mlflow.MlflowClient(f"sqlite:///{tmp_path / 'kept' / 'mlflow.db'}")
    (run,) = client.search_runs([client.get_experiment_by_name("edge-tl").experiment_id])
    assert run.info.status == "FAILED"
    assert (run.data.params["train.lr"], run.data.params["data.path"]) == ("0.25", "photos")


class Broken:
    where = look = "nowhere"

    def settings(self, values: Any) -> None:
        raise OSError("the server is gone")

    figures: Callable[..., None] = settings
    files: Callable[..., None] = settings

    def end(self, *, failed: bool) -> None:
        raise AssertionError("it was left behind")


def test_a_tracker_that_fails_ends_no_work() -> None:
    said: list[str] = []
    tracking = Tracking({"mlflow": Broken()}, said.append)
    tracking.bundle(TINY, read_report(TINY))
    tracking.end(failed=False)
    assert said == ["warning: mlflow is told no more: the server is gone"]


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        (["tensorboard"], "no such tracker. Give mlflow or wandb"),
        (["mlflow="], "nothing stands after the ="),
        (["mlflow=file.txt"], "no folder can be made there"),
        (["wandb=file.txt"], "no folder can be made there"),
    ],
)
def test_what_cannot_be_opened_is_refused_before_the_work(
    asked: list[str], words: str, tmp_path: Path
) -> None:
    if asked[0].partition("=")[2]:
        pytest.importorskip(asked[0].partition("=")[0])
    (tmp_path / "file.txt").write_text("mine")
    with pytest.raises(BadInput, match=words), tracked(asked, "photos", print):
        pytest.fail("the work began")


@pytest.mark.parametrize("name", ["mlflow", "wandb"])
def test_a_missing_package_is_named_with_its_extra(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in [module for module in sys.modules if module.partition(".")[0] == name]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setitem(sys.modules, f"{name}.tracking", None)
    with (
        pytest.raises(MissingExtra, match=rf"pip install \"edge-tl\[{name}\]\""),
        tracked([name], "photos", print),
    ):
        pytest.fail("the work began")


def test_intervals_have_both_ends_and_what_is_not_measured_is_absent() -> None:
    record = read_report(TINY)
    figures = facts.figures_of_bundle(record)
    for artifact in record.artifacts:
        ends = artifact.drop_ci_pp
        assert figures.get(f"{artifact.id}/drop_pp") == artifact.drop_pp
        assert (f"{artifact.id}/drop_pp_low" in figures) == (ends is not None)
    assert all(isinstance(value, float) for value in figures.values())
    json.dumps(figures, allow_nan=False)


def test_a_default_entry_of_netrc_is_no_login(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its password would have been sent as a key."""
    pytest.importorskip("wandb")
    from edge_tl.host.tracking.wandb_ import _logged_in

    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    (tmp_path / "netrc").write_text("default login anonymous password 0123456789\n")
    assert not _logged_in()
    (tmp_path / "netrc").write_text("machine api.wandb.ai login user password 0123456789\n")
    assert _logged_in()


def test_passwords_in_addresses_are_not_shown() -> None:
    assert (
        without_password("at postgresql://u:p%40w@db/x and http://h/a@b")
        == "at postgresql://***@db/x and http://h/a@b"
    )


def test_a_server_is_opened_and_a_database_needs_a_program() -> None:
    from edge_tl.host.tracking.mlflow_ import how_to_look

    assert how_to_look("http://tracker.local:5000") == "open http://tracker.local:5000"
    assert how_to_look("sqlite:////a b/mlflow.db").startswith(
        "mlflow ui --backend-store-uri 'sqlite:////a b/"
    )
