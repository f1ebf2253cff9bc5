"""What a run knows of its resize policy as tables and sentences: what the crop takes away, what others were worth.
Measures nothing."""

from __future__ import annotations

from edge_tl.device.format import DASH, number, one_line, percentage
from edge_tl.host.reports.run_tables import bounds
from edge_tl.host.reports.table import Column, Table
from edge_tl.host.runs.resize_records import CropLossRecord, ResizeComparison

POLICIES = (
    Column("policy", "resize", False),
    Column("accuracy", "accuracy %"),
    Column("interval", "95 % interval"),
    Column("gain", "difference pp"),
    Column("gain_interval", "95 % interval"),
    Column("work", "work on the device"),
    Column("seconds", "measured in s"),
)
_WORDS = {
    "shorter": "shorter (centre crop)",
    "exact": "exact (squashed)",
    "letterbox": "letterbox (whole, with bars)",
    "five-crop": "five-crop (mean of five)",
}
LOST = (Column("path", "image", False), Column("lost", "not seen %"))


def policy_table(compared: ResizeComparison) -> Table:
    """A row for each resize policy, the run's own first; difference: positive is better than the run's own."""
    rows = [
        {
            "policy": _WORDS[tried.policy] + (", this run" if tried.gain_pp is None else ""),
            "accuracy": number(tried.accuracy, 2, 100),
            "interval": bounds(tried.accuracy_ci),
            "gain": DASH if tried.gain_pp is None else f"{tried.gain_pp:+.2f}",
            "gain_interval": _signed(tried.gain_ci_pp),
            "work": f"{tried.work}x",
            "seconds": number(tried.seconds, 1),
            "mark": "",
        }
        for tried in compared.policies
    ]
    return Table(POLICIES, rows)


def conclusion(compared: ResizeComparison) -> str:
    """Whether another policy is better than the run's own by more than chance, and what to type then."""
    on = f"on {compared.n:,} validation images, by a head on frozen features"
    better = [
        tried
        for tried in compared.policies
        if tried.gain_pp is not None and tried.gain_ci_pp and tried.gain_ci_pp[0] > 0
    ]
    if not better:
        worse = [tried.policy for tried in compared.policies if tried.gain_ci_pp and tried.gain_ci_pp[1] < 0]
        but = f"; {' and '.join(worse)} {'is' if len(worse) == 1 else 'are'} worse" if worse else ""
        return f"No other resize is better by more than chance{but}, {on}."
    best = max(better, key=lambda tried: tried.gain_pp or 0.0)
    cost = f", at {best.work} times the work on the device" if best.work > 1 else ""
    return (
        f"{best.policy} is better by {best.gain_pp:.2f} percentage points {on}{cost}. To train with it: "
        f"--set model.resize={best.policy}"
    )


def loss_line(loss: CropLossRecord) -> str:
    """How much the crop takes away, in a sentence."""
    return (
        f"Half of {loss.n:,} images lose {percentage(loss.median, 0)} or more of their area to the centre crop, the "
        f"worst {percentage(loss.worst[0].lost, 0)}."
    )


def loss_table(loss: CropLossRecord) -> Table:
    """The images that lose most."""
    rows = [{"path": one_line(image.path), "lost": number(image.lost, 0, 100)} for image in loss.worst]
    return Table(LOST, rows)


def _signed(ends: tuple[float, float] | None) -> str:
    return DASH if ends is None else f"[{ends[0]:+.2f}, {ends[1]:+.2f}]"
