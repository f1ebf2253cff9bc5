"""Weights & Biases as a tracker: offline, a folder on this machine, unless the user logged in or set WANDB_MODE."""

from __future__ import annotations

import netrc
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from edge_tl.device.errors import BadInput, MissingExtra
from edge_tl.host.tracking.facts import Figures

PROJECT = "edge-tl"
# It would draw over our lines, tell its makers of errors, and send the machine's name, paths and processes.
_SETTINGS = {
    "silent": True, "console": "off", "disable_git": True, "disable_code": True, "x_disable_meta": True,
    "x_disable_stats": True, "x_disable_machine_info": True, "x_save_requirements": False,
}  # fmt: skip


class WandbTracker:
    """One run of the project `PROJECT` (WANDB_PROJECT names another), kept below the folder `where` (WANDB_DIR, else
    the working folder)."""

    def __init__(self, name: str, where: str | None) -> None:
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
        os.environ.setdefault("WANDB_SILENT", "true")
        try:
            import wandb
        except ModuleNotFoundError as error:
            raise MissingExtra(f"{error.name}, which --track wandb needs,", "wandb") from None
        self._wandb: Any = wandb
        folder = Path(where or os.environ.get("WANDB_DIR") or ".")
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise BadInput(
                f"--track wandb={where}: no folder can be made there ({error.strerror}). Give another."
            ) from None
        known = wandb.Settings.model_fields
        mode: Any = os.environ.get("WANDB_MODE") or ("online" if _logged_in() else "offline")
        self._run: Any = wandb.init(
            project=os.environ.get("WANDB_PROJECT") or PROJECT,
            name=name,
            dir=str(folder.absolute()),
            mode=mode,
            settings=wandb.Settings(**{key: value for key, value in _SETTINGS.items() if key in known}),
        )
        self.where = str(Path(self._run.dir).parent)
        self.look = self._run.url or f"wandb sync {self.where} sends it to your server"

    def settings(self, values: Mapping[str, str]) -> None:
        self._run.config.update(dict(values))

    def figures(self, values: Figures, step: int | None) -> None:
        if step is None:
            self._run.summary.update(dict(values))
        else:
            self._run.log(dict(values), step=step)

    def files(self, folder: str, paths: Sequence[Path]) -> None:
        artifact = self._wandb.Artifact(f"{folder}-{self._run.id}", type=folder)
        for path in paths:
            artifact.add_file(str(path))
        self._run.log_artifact(artifact)

    def end(self, *, failed: bool) -> None:
        self._run.finish(exit_code=1 if failed else 0)


def _logged_in() -> bool:
    """Whether `wandb login` was typed here: a key in the environment, or one for the server in ~/.netrc."""
    if os.environ.get("WANDB_API_KEY"):
        return True
    server = urlsplit(os.environ.get("WANDB_BASE_URL") or "https://api.wandb.ai").hostname or ""
    try:
        found = netrc.netrc(os.environ.get("NETRC") or str(Path.home() / ".netrc"))
    except (OSError, netrc.NetrcParseError):
        return False
    return server in found.hosts  # `authenticators` would take a `default` entry's password for a key
