"""What a person watches: lines off a terminal, a table that fits on it, everything on stderr."""

from __future__ import annotations

import io
import re
import sys
from collections.abc import Callable
from typing import Any

import pytest

from edge_tl.cli import _listeners
from edge_tl.cli._listeners import LiveListener
from edge_tl.cli._training_listeners import LIVE_EPOCHS, open_training_listener
from edge_tl.device.listener import Listener
from edge_tl.host.listeners import EpochEvent, StepEvent
from edge_tl.host.runs.record import EpochRecord


def step(epoch: int, number: int, **other: Any) -> StepEvent:
    place = {"stage": "full", "epoch": epoch, "epochs": 30, "step": number, "steps": 92}
    figures = {"loss": 0.25, "lr": 0.01, "images_per_s": 123.4, "remaining_s": 3723.4}
    return StepEvent(**{**place, **figures, **other})


def epoch(number: int, *, earlier: bool = False, **other: Any) -> EpochEvent:
    place = {"stage": "full", "epoch": number, "epochs": 30, "lr": 0.01, "image_size": 64}
    figures = {"train_loss": 1.5, "val_loss": 1.25, "val_accuracy": 0.5 + number / 100, "best": number < 5}
    speed = {"images_per_s": 123.4, "seconds": 75.2}
    return EpochEvent(EpochRecord(**{**place, **figures, **speed, **other}), earlier)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Callable[[int, int], Terminal]:
    """`terminal(width, height)` becomes stderr; what was drawn is its value."""

    def open_terminal(width: int, height: int) -> Terminal:
        for key, value in {"COLUMNS": width, "LINES": height, "TERM": "xterm"}.items():
            monkeypatch.setenv(key, str(value))
        for key in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
            monkeypatch.delenv(key, raising=False)
        monkeypatch.setattr(sys, "stderr", Terminal())
        return sys.stderr  # type: ignore[return-value]

    return open_terminal


def frame(listener: Listener) -> list[str]:
    """The lines that are alive now."""
    assert isinstance(listener, LiveListener)
    console = listener._bars.console
    segments = console.render_lines(listener._screen(), pad=False)
    return ["".join(segment.text for segment in line).rstrip() for line in segments]


def last_frame(terminal: Terminal) -> str:
    """What stands on the terminal at the end: the text after the last cursor movement upwards."""
    plain = re.split(r"\x1b\[\d*[AF]", terminal.getvalue())[-1]
    return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", plain)


def test_off_a_terminal_one_line_a_step_and_an_epoch(capsys: pytest.CaptureFixture[str]) -> None:
    with open_training_listener() as listener:
        listener.progress("head", 1, 8)
        listener.progress("head", 8, 8)
        listener.progress("nothing", 0, 0)
        listener.event(step(1, 1))
        listener.event(epoch(1))
        listener.note("a note [with] brackets")
        listener.event(epoch(9, val_loss=float("nan")))
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == [
        "solving the head …",
        "epoch 1/30 (full): loss 1.5000, val loss 1.2500, val accuracy 51.00 %, 123 images/s, "
        "0:01:15 elapsed, best so far",
        "a note [with] brackets",
        "epoch 9/30 (full): loss 1.5000, val loss —, val accuracy 59.00 %, 123 images/s, 0:01:15 elapsed",
    ]


@pytest.mark.parametrize(("width", "height"), [(80, 24), (120, 40), (60, 14), (40, 6)])
def test_a_long_run_never_overflows_the_screen(
    terminal: Callable[[int, int], Terminal], width: int, height: int
) -> None:
    terminal(width, height)
    with open_training_listener() as listener:
        for what in ("hashing", "features", "head"):
            listener.progress(what, 3, 3)
        for number in range(1, 30):
            listener.event(step(number, 92))
            listener.event(epoch(number, stage="a rather long name" if number < 20 else "full"))
            listener.event(step(number + 1, 7))
            lines = frame(listener)
            assert len(lines) < max(
                height, 9
            )  # six lines hold the bars, a row and the current line at the least
            assert all(len(line) <= width for line in lines)
            if height > 6:
                assert re.match(rf" *{number} ", lines[-2])
                assert lines[-1].startswith(" full ")
    shown = [line for line in lines if re.match(r" *\d+ ", line)]
    assert 1 <= len(shown) <= LIVE_EPOCHS
    if height >= 24:
        assert len(shown) == LIVE_EPOCHS
        assert " … 17 earlier epochs" in lines


def test_the_current_line_says_where_how_fast_and_how_long(terminal: Callable[[int, int], Terminal]) -> None:
    terminal(80, 24)
    with open_training_listener() as listener:
        listener.event(step(3, 20))
        (line,) = frame(listener)
        for piece in ("epoch 3/30", "20/92", "loss 0.2500", "123 images/s", "1:02:03 left"):
            assert piece in line
        listener.event(epoch(3))
        assert not any("left" in line for line in frame(listener))


def test_the_stage_is_named_only_where_there_are_several(terminal: Callable[[int, int], Terminal]) -> None:
    terminal(80, 24)
    with open_training_listener() as listener:
        listener.event(epoch(1, stage="head"))
        assert not any("stage" in line for line in frame(listener))
        listener.event(step(2, 1, stage="full"))
        assert frame(listener)[-1].startswith(" full 2/30")
        listener.event(epoch(2, stage="full"))
        assert "stage" in frame(listener)[0]


def test_the_end_leaves_every_epoch_and_one_mark(
    terminal: Callable[[int, int], Terminal], capsys: pytest.CaptureFixture[str]
) -> None:
    screen = terminal(80, 24)
    with open_training_listener() as listener:
        listener.progress("features", 5, 5)
        for number in range(1, 31):
            listener.event(step(number, 92))
            listener.event(epoch(number))
        listener.note("a note")
    left = last_frame(screen)
    rows = [line.split() for line in left.splitlines() if re.match(r" *\d+ ", line)]
    assert [int(row[0]) for row in rows] == list(range(1, 31))
    assert [row[0] for row in rows if row[-1] == "best"] == ["4"]  # the last that was better than all before
    assert "left" not in left
    assert "a note" in screen.getvalue()
    assert capsys.readouterr().out == ""


def test_bars_alone_draw_no_table(terminal: Callable[[int, int], Terminal]) -> None:
    terminal(80, 24)
    with open_training_listener() as listener:
        assert frame(listener) in ([], [""])
        listener.progress("images", 1, 4)
        (line,) = frame(listener)
        assert "1/4" in line


def test_what_is_done_again_has_one_bar_that_starts_anew(terminal: Callable[[int, int], Terminal]) -> None:
    terminal(80, 24)
    with open_training_listener() as listener:
        listener.progress("decoding", 126, 126)
        listener.progress("decoding", 1, 27)
        (line,) = frame(listener)
    assert "1/27" in line
    assert "decoding into the cache" in line


def test_something_moves_while_nothing_is_told(
    terminal: Callable[[int, int], Terminal], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [100.0]
    monkeypatch.setattr(_listeners, "perf_counter", lambda: now[0])
    terminal(80, 24)
    with open_training_listener() as listener:
        now[0] += 12
        assert "starting, 0:00:12" in frame(listener)[-1]
        listener.progress("features", 10, 10)
        assert len(frame(listener)) == 1
        now[0] += 40
        first = frame(listener)[-1]
        now[0] += 0.2
        assert "preparing the next step, 0:00:40" in first
        assert frame(listener)[-1] != first
        listener.event(step(1, 91))
        assert "91/92" in frame(listener)[-1]
        now[0] += 5
        assert "epoch 1/30: validating, 0:00:05" in frame(listener)[-1]
        assert "left" not in frame(listener)[-1]
        listener.event(epoch(1))
        now[0] += 3
        assert "preparing the next epoch" in frame(listener)[-1]
        listener.event(epoch(30))
        now[0] += 3
        assert "evaluating and saving" in frame(listener)[-1]
        listener.progress("export", 0, 4)  # of edge-tl run: the training is long over
        now[0] += 3
        assert "preparing the next step" in frame(listener)[-1]


def test_the_estimate_is_by_whole_epochs_where_one_was_seen(
    terminal: Callable[[int, int], Terminal], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [100.0]
    monkeypatch.setattr(_listeners, "perf_counter", lambda: now[0])
    terminal(100, 24)
    with open_training_listener() as listener:
        listener.event(epoch(1, seconds=50.0, earlier=True))
        listener.event(epoch(2, seconds=110.0))  # 60 s an epoch, of which validation is a part
        now[0] += 10
        listener.event(step(3, 2, remaining_s=1.0))
        assert "0:27:50 left" in frame(listener)[-1]


@pytest.mark.parametrize("width", [40, 60, 80, 120])
def test_no_line_is_wider_than_the_terminal_and_the_time_left_stays(
    terminal: Callable[[int, int], Terminal], width: int
) -> None:
    terminal(width, 24)
    with open_training_listener() as listener:
        listener.progress("features", 100, 8000)
        listener.progress("a step with a name that is far longer than any terminal is wide", 1, 2)
        listener.event(step(1, 5, stage="last blocks"))
        lines = frame(listener)
    assert all(len(line) <= width for line in lines)
    assert "100/8000" in lines[0]
    assert lines[-1].endswith("left")


def test_a_verb_of_the_device_has_bars_without_the_host(
    terminal: Callable[[int, int], Terminal], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [100.0]
    monkeypatch.setattr(_listeners, "perf_counter", lambda: now[0])
    terminal(80, 24)
    with _listeners.open_listener() as listener:
        assert not hasattr(listener, "_epochs")
        listener.progress("gates", 1, 4)
        listener.progress("latency", 1, 9)
        assert [re.split(" [━╸╺]", re.sub(" +", " ", line.strip()))[0] for line in frame(listener)] == [
            "gates",
            "timing, in fresh processes",
        ]
        now[0] += 5
        assert "preparing the next step, 0:00:05" in frame(listener)[-1]
