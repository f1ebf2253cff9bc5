"""Options that several verbs have, and records of those that travel together, which check themselves.

None of them needs the host part; those of a recipe are in `_recipe_options`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from edge_tl.cli._latest import latest_bundle
from edge_tl.device.errors import BadInput

BundlePath = Annotated[
    Path,
    typer.Argument(
        help="A bundle that `edge-tl export` wrote, or latest.", metavar="BUNDLE", callback=latest_bundle
    ),
]
OutFile = Annotated[Path | None, typer.Option("--out", "-o", help="Save the result as this JSON file.")]
Json = Annotated[
    bool, typer.Option("--json", help="Print one JSON object on stdout; the rest goes to stderr.")
]
Debug = Annotated[bool, typer.Option("--debug", help="Show a traceback when something fails.")]
Device = Annotated[str, typer.Option(help="What runs it; see `edge-tl devices`.")]
AnyDevice = Annotated[
    str | None,
    typer.Option(
        "--device", help="Only this device; see `edge-tl devices`.", show_default="every one that works"
    ),
]
AllowFallback = Annotated[
    bool,
    typer.Option("--allow-fallback", help="Go on, with a warning, when another device than --device ran."),
]
Artifacts = Annotated[
    list[str] | None, typer.Option("--artifact", help="Only this artifact, e.g. onnx-int8; repeatable.")
]
MaxPixels = Annotated[
    int | None,
    typer.Option(
        "--max-pixels",
        min=1,
        help="Read images of up to so many pixels, beyond 89 million; for files you trust.",
    ),
]
WaitQuiet = Annotated[
    str | None,
    typer.Option(
        "--wait-quiet",
        show_default="none",
        help="Before timing wait so long, e.g. 90s or 5m, for other programs to end: beside them no speed is judged.",
    ),
]
Factory = Annotated[
    str | None,
    typer.Option(
        help="The package.module:function that the run was imported with, where it was: it is code."
    ),
]
On = Annotated[
    list[str] | None,
    typer.Option(
        "--on", metavar="HOST", help="Run on this device, over ssh; repeatable. --out is then a folder."
    ),
]
Targets = Annotated[
    Path | None, typer.Option("--targets", help="A targets.yaml: all its devices, or those that --on names.")
]
Wheels = Annotated[
    Path | None, typer.Option("--wheels", help="With --on: a folder of wheels, for devices without internet.")
]
Ssh = Annotated[
    str, typer.Option("--ssh", envvar="EDGE_TL_SSH", help="With --on: the ssh command, e.g. 'ssh -F FILE'.")
]


def duration_s(option: str, text: str | None) -> float | None:
    """600.0 for "10m"; the units are s (also without one), m and h; None for None. Raises `BadInput`, which names the
    `option`."""
    if text is None:
        return None
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([smh]?)", text.strip())
    if not found or not float(found[1]):
        raise BadInput(f"{option} {text}: write it as 90s, 10m or 1h.")
    return float(found[1]) * {"": 1, "s": 1, "m": 60, "h": 3600}[found[2]]


def wait_quiet_s(text: str | None) -> float:
    """300.0 for "5m", 0.0 for None. Raises `BadInput`, also for more than a day."""
    seconds = duration_s("--wait-quiet", text) or 0.0
    if seconds > 86400:
        raise BadInput(f"--wait-quiet {text}: wait for a day at most, 24h.")
    return seconds


@dataclass(frozen=True)
class DeviceOptions:
    """Which artifacts run, on which device of this machine."""

    artifacts: tuple[str, ...] = ()
    device: str = "CPU"
    allow_fallback: bool = False

    @property
    def is_cpu(self) -> bool:
        """Whether the device is the default one."""
        return self.device.upper() == "CPU"

    @property
    def flags(self) -> str:
        """What a next command needs to use the same device: " --device GPU", or nothing."""
        return "" if self.is_cpu else f" --device {self.device}"


def fraction_note(max_drop: float) -> str:
    """That a budget so small was perhaps meant as a fraction; else nothing."""
    if not 0 < max_drop < 0.05:
        return ""
    return f"{max_drop:g} is not a fraction: for {100 * max_drop:g} percentage points give {100 * max_drop:g}"


@dataclass(frozen=True)
class RemoteOptions:
    """The devices that a verb is to run on, reached over ssh. Raises `BadInput` for --wheels without a device."""

    on: Sequence[str] | None
    targets: Path | None
    wheels: Path | None
    ssh: str

    def __post_init__(self) -> None:
        if self.wheels and not self.given:
            raise BadInput("--wheels is for devices: name one with --on HOST, or give --targets FILE.")

    @property
    def given(self) -> bool:
        """Whether the verb is to run elsewhere."""
        return bool(self.on or self.targets)
