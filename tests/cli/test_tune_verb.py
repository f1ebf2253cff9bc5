"""`tune` on the command line: one JSON object with the promised keys, a table, exit codes, the next command."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edge_tl.cli import _tune_text
from edge_tl.device.machine import identity
from edge_tl.device.records.timing import LatencyRecord, SkippedRecord
from edge_tl.device.records.tuned import AlternativeRecord, TunedRecord

RunCli = Callable[..., Any]
TINY = Path(__file__).parents[1] / "records" / "bundle-of-version-2"
BRIEF = ["--artifact", "onnx-fp32", "--artifact", "onnx-int8", "--budget", "0.05"]


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    return Path(shutil.copytree(TINY, tmp_path / "mine"))


def test_a_pick_is_found_written_and_used(run_cli: RunCli, mine: Path) -> None:
    done = run_cli("tune", mine, *BRIEF, "--json", "--out", "tuned.json")
    assert done.code == 0, done.err
    found = done.json
    assert {"artifact", "device", "threads", "latency_ms", "over", "objective", "machine", "path"} <= set(
        found
    )
    assert {"p50", "p50_ci"} <= set(found["latency_ms"])
    assert json.loads(Path("tuned.json").read_text("utf-8")) == found
    assert Path(found["path"]).parent == mine / "tuned"
    assert f"next: edge-tl predict {mine} IMAGE" in done.err
    image = mine / "golden" / "images" / "00.jpg"
    used = run_cli("predict", mine, image, "--json")
    threads = found["threads"]
    assert [used.json[key] for key in ("artifact", "tuned", "threads")] == [found["artifact"], True, threads]
    assert f": {found['artifact']}, {threads} thread{'' if threads == 1 else 's'}\n" in used.err
    assert "tuned for this machine" in used.err
    named = run_cli("predict", mine, image, "--artifact", "openvino-fp32", "--json")
    assert (named.json["artifact"], "tuned" in named.err) == ("openvino-fp32", False)
    assert [named.json[key] for key in ("tuned", "threads")] == [False, None]
    assert run_cli("bench", mine, "--quick", "--rounds", "1", "--out", "tuned.json").code == 0, (
        "its own may be replaced"
    )


def test_nothing_within_the_limit_is_exit_code_1(run_cli: RunCli, mine: Path) -> None:
    done = run_cli("tune", mine, *BRIEF, "--max-p95", "0.000001")
    assert done.code == 1
    assert "no pick within 1e-06 ms; nearest is onnx-" in done.out
    assert "A pick from before is left as it is." in done.out
    assert not (mine / "tuned").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--objective", "beauty"], "--objective beauty: give one of latency, throughput, memory."),
        (["--max-p95", "-3"], "--max-p95 -3: give milliseconds above 0."),
        (["--artifact", "onnx-fp64"], "no artifact 'onnx-fp64'"),
        (["--device", "TPU9000"], "--device TPU9000"),
        (["--wheels", "."], "--wheels is for devices"),
    ],
)
def test_bad_input_is_one_line_and_nothing_is_written(
    run_cli: RunCli, mine: Path, words: list[str], said: str
) -> None:
    done = run_cli("tune", mine, *words)
    assert (done.code, done.out) == (2, "")
    (line,) = (line for line in done.err.splitlines() if line.startswith("error: "))
    assert said in line
    assert not (mine / "tuned").exists()


def record(**changes: Any) -> TunedRecord:
    ms = LatencyRecord(p50=2.4, p95=2.9, n=300, p50_ci=(2.38, 2.43))
    slower = replace(ms, p50=2.9, p50_ci=(2.8, 3.0))
    over = AlternativeRecord(
        artifact="openvino-int8",
        device="CPU",
        threads=2,
        latency_ms=slower,
        ratio=1.21,
        ratio_ci=(1.18, 1.25),
        reason="r",
    )
    made = TunedRecord(
        objective="latency", artifact="onnx-int8", device="CPU", threads=2, latency_ms=ms, over=(over,),
        skipped=(SkippedRecord(artifact="onnx-w8", reason="failed the loss gate here"),), machine_id="m",
        machine=identity(), when="2026-01-01T00:00:00+00:00", seconds=21.4, bundle_seal="0" * 64, files={},
        path="b/tuned/m.json",
    )  # fmt: skip
    return replace(made, **changes)


def test_it_waits_for_a_day_at_most(run_cli: RunCli, mine: Path) -> None:
    refused = run_cli("tune", mine, "--wait-quiet", "25h")
    assert refused.code == 2
    assert "--wait-quiet 25h: wait for a day at most, 24h." in refused.err


def test_a_person_reads_the_pick_its_interval_and_what_it_was_chosen_over() -> None:
    text = _tune_text.result_text(record())
    assert "onnx-int8      CPU     2        2.40 [2.38, 2.43]  2.90    1                  the pick" in text
    assert "openvino-int8  CPU     2        2.90 [2.80, 3.00]  2.90    1.21 [1.18, 1.25]  r" in text
    assert "pick: onnx-int8 on CPU, 2 threads: 2.40 [2.38, 2.43] ms an image, measured in 21 s" in text
    assert "written to b/tuned/m.json" in text
    assert list(_tune_text.remarks(record())) == ["skipped onnx-w8: failed the loss gate here"]
    busy = _tune_text.result_text(record(not_judged="this machine was busy: load"))
    assert "not judged: this machine was busy: load; tune again when it is quiet" in busy
    assert _tune_text.row(record(not_judged="busy")) == [
        "onnx-int8 on CPU, 2 threads", "2.40 [2.38, 2.43]", "2.90", "openvino-int8, 2 threads: 1.21 [1.18, 1.25]",
        "not judged: busy",
    ]  # fmt: skip


def test_where_nothing_passes_it_says_so() -> None:
    nothing = record(artifact=None, device=None, threads=None, latency_ms=None, over=(), path=None)
    assert _tune_text.result_text(nothing).startswith("no pick: nothing passes the gates")
    assert _tune_text.next_command(nothing, Path("b")).startswith("next: edge-tl verify b")
    assert _tune_text.row(nothing)[0] == "—"
