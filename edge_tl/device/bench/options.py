"""What a bench is asked to measure, as one object that refuses what does not go together. Measures nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from edge_tl.device.bench.breakdown import Breakdown
from edge_tl.device.bench.effort import NOISE, QUICK, THOROUGH, Effort
from edge_tl.device.bench.paced import Arrivals
from edge_tl.device.bench.workloads import Placement
from edge_tl.device.errors import BadInput
from edge_tl.device.runtimes.devices import check_device_name

MOST_TIME = 1e6


@dataclass(frozen=True)
class BenchOptions:
    """The options of `edge-tl bench`; None is the usual value.

    `artifacts` are ids (none: all of the bundle). `aa` times an artifact against itself; `fps`, `minutes` and `load` at
    the application's rate; `parts`, `batches`, `threads` and `throughput` in parts; without any of these, every
    artifact back to back. `wait_quiet_s` is how long a quiet machine is waited for, at most. Raises `BadInput` for a
    value that cannot be, and where an option would be ignored.
    """

    artifacts: tuple[str, ...] = ()
    device: str = "CPU"
    allow_fallback: bool = False
    aa: bool = False
    seed: int = 0
    quick: bool = False
    rounds: int | None = None
    blocks: int | None = None
    count: int | None = None
    fps: float | None = None
    seconds: float | None = None
    minutes: float | None = None
    load: int = 0
    deadline_ms: float | None = None
    parts: bool = False
    batches: tuple[int, ...] = ()
    threads: tuple[int, ...] = ()
    throughput: bool = False
    wait_quiet_s: float = 0.0

    def __post_init__(self) -> None:
        self._check_values()
        self._check_kinds()
        if self._paced:
            self._check_paced()
        if self.parts and not self._swept and self.blocks is not None:
            raise BadInput(
                "--blocks has no effect on --parts, whose processes are not timed in turns. Leave it out."
            )
        if (self.aa or self.minutes is not None) and len(self.artifacts) > 1:
            raise BadInput("--aa and --minutes measure one artifact. Give --artifact once.")

    @property
    def kind(self) -> Literal["latency", "aa", "paced", "sustained", "breakdown"]:
        """Which of the separate runs is asked for."""
        if self.aa:
            return "aa"
        if self.minutes is not None:
            return "sustained"
        if self._paced:
            return "paced"
        return "breakdown" if self._broken_down else "latency"

    @property
    def effort(self) -> Effort:
        """The effort that fits, with whatever is given in its place."""
        base = NOISE if self.aa and not self.quick else QUICK if self.quick else THOROUGH
        given = self.rounds or base.rounds, self.count or base.count, self.blocks or base.blocks
        return Effort(*given, wait_quiet_s=self.wait_quiet_s)

    @property
    def place(self) -> Placement:
        """Where it runs."""
        return Placement(self.device, self.allow_fallback)

    @property
    def arrivals(self) -> Arrivals:
        """How images arrive."""
        return Arrivals(self.fps, self.load, self.deadline_ms)

    @property
    def breakdown(self) -> Breakdown:
        """What is measured in parts."""
        return Breakdown(
            steps=self.parts,
            batches=self.batches,
            threads=self.threads,
            throughput=self.throughput,
            quick=self.quick,
            rounds=self.rounds,
            calls=self.count,
        )

    @property
    def _paced(self) -> bool:
        return self.fps is not None or self.minutes is not None or self.load > 0

    @property
    def _swept(self) -> bool:
        return bool(self.batches or self.threads)

    @property
    def _broken_down(self) -> bool:
        return self.parts or self.throughput or self._swept

    def _check_values(self) -> None:
        check_device_name(self.device)
        _ = self.arrivals  # checks the rate and the load
        times = {"minutes": self.minutes, "seconds": self.seconds, "deadline": self.deadline_ms}
        for name, value in times.items():
            if value is not None and not 0 < value < MOST_TIME:
                raise BadInput(f"--{name} {value:g}: give a time above 0.")
        for name, number in (("rounds", self.rounds), ("blocks", self.blocks), ("count", self.count)):
            if number is not None and number < 1:
                raise BadInput(f"--{name} {number}: give 1 or more.")
        if not 0 <= self.wait_quiet_s < MOST_TIME:
            raise BadInput(f"--wait-quiet {self.wait_quiet_s:g}: give seconds, from 0 to {MOST_TIME:.0f}.")
        check_numbers("--batch", self.batches)
        check_numbers("--threads", self.threads)

    def _check_kinds(self) -> None:
        if self._paced + self._broken_down + self.aa > 1:
            raise BadInput(
                "--aa, a rate (--fps, --minutes, --load) and parts are separate runs. Give one of them."
            )
        if self.minutes is not None and self.seconds is not None:
            raise BadInput("--seconds and --minutes both say how long. Give one.")
        if self.fps is None and (self.deadline_ms is not None or self.seconds is not None):
            raise BadInput("--seconds and --deadline belong to --fps: give a rate, e.g. --fps 10.")

    def _check_paced(self) -> None:
        if self.minutes is not None and self.rounds is not None:
            raise BadInput("--rounds does not go with --minutes, which is one process. Leave it out.")
        given = {"quick": self.quick, "blocks": self.blocks is not None, "count": self.count is not None}
        for name in (name for name, there in given.items() if there):
            raise BadInput(
                f"--{name} has no effect at a rate: --seconds or --minutes say how long. Leave it out."
            )


def check_numbers(option: str, numbers: Sequence[int], text: str | None = None) -> None:
    """Raises `BadInput` for a batch size or a number of threads that cannot be; `text` is how it was typed."""
    if any(not 0 < number <= 4096 for number in numbers):
        shown = text if text is not None else ",".join(map(str, numbers))
        raise BadInput(f"{option} {shown}: give whole numbers from 1, with commas between, e.g. 1,4,16.")
