"""MLflow as a tracker, by the client of mlflow or of mlflow-skinny. Its own messages to its makers are switched off."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from shlex import quote
from typing import Any

from edge_tl.device.errors import BadInput, MissingExtra
from edge_tl.host.tracking.facts import Figures

FOLDER = "mlruns"
DATABASE = "mlflow.db"
EXPERIMENT = "edge-tl"
_MOST = 100  # parameters and metrics of one call
_LONGEST = 500  # characters of a value that every version of MLflow takes


class MlflowTracker:
    """One run of the experiment `EXPERIMENT` (MLFLOW_EXPERIMENT_NAME names another). `where`: a folder, which gets a
    database and the files, or a server's address; None: MLFLOW_TRACKING_URI, else the folder `mlruns`."""

    def __init__(self, name: str, where: str | None) -> None:
        # MLflow 3 tells its makers what is called, and these are to hear nothing unasked.
        os.environ["MLFLOW_DISABLE_TELEMETRY"] = os.environ["DO_NOT_TRACK"] = "true"
        os.environ["MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT"] = "true"  # stdout is the result's
        # A server that is gone must not hold the work up: as it is, for four minutes at each call.
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
        try:
            import sqlalchemy  # noqa: F401 - what keeps its runs in a file
            from mlflow.tracking import MlflowClient
        except ModuleNotFoundError as error:
            raise MissingExtra(f"{error.name}, which --track mlflow needs,", "mlflow") from None
        for logger in ("mlflow", "alembic"):  # their lines are no result of ours
            logging.getLogger(logger).setLevel(logging.WARNING)
        self.where, files = _address(where or os.environ.get("MLFLOW_TRACKING_URI") or FOLDER)
        self.look = how_to_look(self.where)
        self._client: Any = MlflowClient(tracking_uri=self.where)
        experiment = os.environ.get("MLFLOW_EXPERIMENT_NAME") or EXPERIMENT
        found = self._client.get_experiment_by_name(experiment)
        number = (
            found.experiment_id
            if found
            else self._client.create_experiment(experiment, artifact_location=files)
        )
        self._run = self._client.create_run(number, run_name=name).info.run_id

    def settings(self, values: Mapping[str, str]) -> None:
        from mlflow.entities import Param

        params = [Param(key, value[:_LONGEST]) for key, value in values.items()]
        for begin in range(0, len(params), _MOST):
            self._client.log_batch(self._run, params=params[begin : begin + _MOST])

    def figures(self, values: Figures, step: int | None) -> None:
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        metrics = [Metric(key, value, now, step or 0) for key, value in values.items()]
        for begin in range(0, len(metrics), _MOST):
            self._client.log_batch(self._run, metrics=metrics[begin : begin + _MOST])

    def files(self, folder: str, paths: Sequence[Path]) -> None:
        for path in paths:
            self._client.log_artifact(self._run, str(path), artifact_path=folder)

    def end(self, *, failed: bool) -> None:
        self._client.set_terminated(self._run, status="FAILED" if failed else "FINISHED")


def how_to_look(where: str) -> str:
    """What shows the runs there to a person: a server does itself."""
    if where.startswith(("http://", "https://")):
        return f"open {where}"
    return f"mlflow ui --backend-store-uri {quote(where)} (of the package mlflow)"


def _address(where: str) -> tuple[str, str | None]:
    """The address of the store, and where the files of its runs go; None: where the server puts them."""
    if "://" in where or where in ("databricks", "uc"):
        return where, None
    place = Path(where).absolute()
    try:
        place.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadInput(
            f"--track mlflow={where}: no folder can be made there ({error.strerror}). Give another, or a server's "
            "address."
        ) from None
    return f"sqlite:///{place / DATABASE}", (place / "files").as_uri()
