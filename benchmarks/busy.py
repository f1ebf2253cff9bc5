"""Export and bench of one run with four busy processes beside them: neither names a speed-up as proven.

`python benchmarks/busy.py RUN OUT.json [--busy 4]`: RUN is a folder that `edge-tl finetune` wrote, e.g. `demo/run` of
the demo. Every place where a speed could stand is read: the JSON, the sentence, the tables on the terminal, report.md
and the page. What names one is listed under `named`; the exit code is 1 where that is not empty. With `--busy 0` it
is the counterexample, on a quiet machine.
"""

from __future__ import annotations

import argparse
import html
import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from edge_tl.device.bench.cpu_load import CpuLoad
from edge_tl.device.files import write_json
from edge_tl.device.machine import current_load, identity

# "354.1x [9, 2275]", "2.4 times PyTorch's speed", "is faster": what a proven speed-up looks like in words.
WORDS = re.compile(
    r"\d(?:\.\d+)?x(?![\w.-])|times (?:PyTorch|the fastest|as fast|faster)|\bis faster\b|provably faster than \S+\.",
    re.IGNORECASE,
)
# Lines that explain the columns and the gates, whatever was measured.
EXPLAINS = re.compile(r"Speed-up: times as fast as PyTorch on the same machine")


def main() -> int:
    """Run both verbs, read what they say, write the JSON; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--busy", type=int, default=4)
    parser.add_argument("--no-int8", action="store_true", help="FP32 alone, which takes a third of the time")
    options = parser.parse_args()
    before, found = current_load(), {}
    with tempfile.TemporaryDirectory() as scratch, CpuLoad(options.busy):
        bundle = Path(scratch) / "bundle"
        int8 = [] if options.no_int8 else ["--int8", "--ladder", "up-to=1"]
        done = verb("export", options.run, *int8, "--out", bundle)
        found["export"] = of_export(done, bundle)
        found["bench"] = of_bench(verb("bench", bundle, "--quick", "--run", options.run))
    named = {name: one["named"] for name, one in found.items()}
    write_json(
        options.out,
        {
            "busy_processes": options.busy,
            "int8": not options.no_int8,
            "machine": identity().to_json(),
            "conditions": {"before": before.to_json(), "after": current_load().to_json()},
            "verbs": found,
            "passed": not any(named.values()),
        },
    )
    print(json.dumps(named, indent=1))
    return 1 if any(named.values()) else 0


def verb(*words: object) -> tuple[int, dict[str, Any]]:
    """The exit code of a verb and the object it printed."""
    command = [sys.executable, "-m", "edge_tl", *map(str, words), "--json"]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode not in (0, 1):
        raise SystemExit(f"{' '.join(command)}: exit code {done.returncode}")
    return done.returncode, json.loads(done.stdout)


def of_export(done: tuple[int, dict[str, Any]], bundle: Path) -> dict[str, Any]:
    """What an export says of speeds, anywhere in its bundle."""
    code, record = done
    named = figures(record["artifacts"]) + said("recommendation", record["recommendation"])
    named += [
        f"gate {one['artifact']}: judged"
        for one in record["gates"]
        if one["gate"] == "speed" and one["judged"]
    ]
    named += said("report.md", (bundle / "report.md").read_text("utf-8"))
    page = re.sub(
        r"<(style|script|svg).*?</\1>", " ", (bundle / "report.html").read_text("utf-8"), flags=re.DOTALL
    )
    named += said("report.html", html.unescape(re.sub(r"<[^>]*>", " ", page)))
    named += said("edge-tl report", text("report", bundle))
    named += figures(json.loads((bundle / "report.json").read_text("utf-8"))["bench"]["artifacts"])
    return {
        "exit_code": code,
        "passed": record["passed"],
        "recommended": record["recommended"],
        "recommendation": record["recommendation"],
        "conditions": record["conditions"],
        "not_judged": {one["id"]: one.get("not_judged") for one in record["artifacts"]},
        "named": named,
    }


def of_bench(done: tuple[int, dict[str, Any]]) -> dict[str, Any]:
    """What a bench says of speeds, in its object and in the table made of it."""
    from edge_tl.cli._bench_text import result_text
    from edge_tl.device.records.bench import BenchResult

    code, result = done
    table = result_text(BenchResult.from_json(result))
    rows = [row for row in result["artifacts"] if row["id"] != result["baseline"]]
    return {
        "exit_code": code,
        "baseline": result["baseline"],
        "conditions": result["conditions"],
        "not_judged": {row["id"]: row.get("not_judged") for row in rows},
        "table": table.splitlines(),
        "named": figures(rows) + said("table", table),
    }


def figures(rows: list[dict[str, Any]]) -> list[str]:
    """Speeds in a JSON list of artifacts."""
    keys = ("speedup", "speedup_ci", "distinguishable", "faster_than_fp32", "faster_than_fp32_ci")
    return [
        f"{row['id']}: {key} {row[key]}"
        for row in rows
        for key in keys
        if row.get(key) is not None and row["id"] != "pytorch"
    ]


def said(where: str, words: str) -> list[str]:
    """Lines of a text that name one."""
    return [
        f"{where}: {line.strip()[:200]}"
        for line in words.splitlines()
        if WORDS.search(line) and not EXPLAINS.search(line)
    ]


def text(*words: object) -> str:
    """What a verb prints for people, on both streams."""
    command = [sys.executable, "-m", "edge_tl", *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout + done.stderr


if __name__ == "__main__":
    sys.exit(main())
