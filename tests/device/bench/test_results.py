"""Saved results: where, which files are refused, and that none tells whose machine it was."""

from __future__ import annotations

import copy
import getpass
import json
import platform
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_tl.device.bench import results
from edge_tl.device.bench.effort import Effort
from edge_tl.device.bench.latency import time_interleaved
from edge_tl.device.bench.paced import Arrivals, time_paced
from edge_tl.device.bench.workloads import workloads
from edge_tl.device.bundle import read_bundle
from edge_tl.device.errors import BadInput
from edge_tl.device.records.bench import SCHEMA, BenchResult
from edge_tl.device.records.machine import MachineRecord


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> BenchResult:
    """A real result of the tiny bundle."""
    bundle = read_bundle(request.getfixturevalue("_built"))
    field = workloads(bundle, bundle.artifacts[:1])
    return results.with_bundle(time_interleaved(field, effort=Effort(rounds=3, count=5)), bundle)


def test_saved_below_the_machine_and_never_over_another(measured: BenchResult, tmp_path: Path) -> None:
    paths = [results.save_result(measured, tmp_path) for _ in range(3)]
    assert len(set(paths)) == 3
    folder = results.machine_slug(measured.machine)
    assert {path.parent for path in paths} == {tmp_path / folder}
    day = measured.date[:10].replace("-", "")
    assert all(
        path.name.startswith(f"{day}-") and "-tiny-latency" in path.name for path in paths
    )  # DATE-NAME-KIND
    assert results.read_result(paths[0]) == measured


def test_a_result_tells_the_machine_but_not_whose(
    measured: BenchResult, tmp_path: Path, bundle_root: Path
) -> None:
    bundle = read_bundle(bundle_root)
    paced = time_paced(workloads(bundle, bundle.artifacts[:1]), Arrivals(100), seconds=0.1, rounds=1)
    for result in (measured, results.with_bundle(paced, bundle)):
        text = json.dumps(result.to_json())
        assert str(Path.home()) not in text or str(Path.home()) == "/"
        assert str(bundle_root) not in text
        assert str(tmp_path.parent) not in text
        words = set(text.replace('"', " ").replace(",", " ").split())
        assert platform.node() not in words
        assert getpass.getuser() not in words
        assert result.bundle is not None
        assert list(result.bundle["onnx-fp32"]) == [bundle.artifacts[0].record.files[0].sha256]


def test_the_slug() -> None:
    machine = MachineRecord(
        cpu="AMD Ryzen 7 (TM) @ 2.4GHz", arch="x86_64", cores_allowed=2, os="Linux", isa=()
    )
    assert results.machine_slug(machine) == "amd-ryzen-7-tm-2-4ghz-2-cores-linux"
    assert results.machine_slug(replace(machine, cpu=None)) == "x86-64-2-cores-linux"


RATE = {
    "artifact": "x",
    "batch": 1,
    "images_per_s": 0,
    "ran": {"device": "CPU", "precision": "fp32", "threads": 1},
}
Change = Callable[[dict[str, Any]], Any]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda r: r.pop("schema"), "no result of edge-tl bench"),
        (lambda r: r.update(schema=1), "no result of edge-tl bench"),
        (lambda r: r.update(schema="edge-tl bench 99"), "schema 'edge-tl bench 99'"),
        (lambda r: r.pop("machine"), "machine: it is missing"),
        (lambda r: r.pop("date"), "date: it is missing"),
        (lambda r: r["machine"].pop("cpu"), r"machine\.cpu: it is missing"),
        (lambda r: r.update(artifacts=[3]), r"artifacts\[0\]: 3\. It should be an object"),
        (lambda r: r["artifacts"][0].pop("samples_ns"), r"artifacts\[0\]\.samples_ns: it is missing"),
        (lambda r: r["artifacts"][0]["block_round"].pop(), r"artifacts\[0\]\.samples_ns: a list of 3"),
        (
            lambda r: r["artifacts"][0].update(samples_ns=[["x"]], block_round=[0]),
            r"samples_ns\[0\]\[0\]: 'x'",
        ),
        (lambda r: r["artifacts"][0].update(samples_ns=[[-5]], block_round=[0]), r"samples_ns\[0\]\[0\]: -5"),
        (lambda r: r["artifacts"][0]["latency_ms"].update(p50="1"), r"latency_ms\.p50: '1'"),
        (lambda r: r["artifacts"][0]["latency_ms"].update(p50=float("nan")), "NaN is no number"),
        (lambda r: r["artifacts"][0]["latency_ms"].update(p95_ci=[1, float("inf")]), "Infinity is no number"),
        (lambda r: r.update(kind=3), "kind: 3"),
        (lambda r: r["artifacts"][0]["latency_ms"].update(p50_ci="x"), "p50_ci: 'x'"),
        (lambda r: r["artifacts"][0]["latency_ms"].update(p50_ci="xy"), "p50_ci: 'xy'"),
        (lambda r: r["artifacts"][0]["latency_ms"].update(p50_ci=[1.0]), "p50_ci: a list of 1"),
        (lambda r: r["artifacts"][0]["latency_ms"].update(p50_ci=7), "p50_ci: 7"),
        (lambda r: r["conditions"].update(before=None), r"conditions\.before: None"),
        (lambda r: r["conditions"].update(before={"load1": "x"}), r"conditions\.before\.load1: 'x'"),
        (lambda r: r.update(conditions=[]), "conditions: a list of 0"),
        (lambda r: r.update(bundle=["x"]), "bundle: a list of 1"),
        (lambda r: r.update(sweep=[{}]), r"sweep\[0\]\.artifact: it is missing"),
        (lambda r: r.update(throughput=[RATE | {"rounds": [0]}]), r"throughput\[0\]\.rounds\[0\]: 0\. "),
        (lambda r: r.update(throughput=[RATE | {"rounds": [1e-320]}]), r"throughput\[0\]\.rounds\[0\]: "),
        (lambda r: r["artifacts"][0].update(paced=3), r"artifacts\[0\]\.paced: 3"),
        (lambda r: r["artifacts"][0].update(loaded={"neighbours": "2"}), r"loaded\.neighbours: '2'"),
        (lambda r: r["artifacts"][0].update(sustained={}), r"sustained\.minutes: it is missing"),
    ],
)
def test_what_is_no_result_is_refused_in_one_line(
    measured: BenchResult, tmp_path: Path, change: Change, says: str
) -> None:
    record = copy.deepcopy(measured.to_json())
    change(record)
    path = tmp_path / "r.json"
    path.write_text(json.dumps(record))
    with pytest.raises(BadInput, match=says) as caught:
        results.read_result(path)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


def test_a_result_of_a_newer_version_with_more_keys_is_read(measured: BenchResult, tmp_path: Path) -> None:
    record = measured.to_json()
    record["artifacts"][0]["newer"] = 1
    path = tmp_path / "r.json"
    path.write_text(json.dumps(record))
    assert results.read_result(path) == measured


@pytest.mark.parametrize("content", ["", "[]", "not json", '{"schema": null}', "\x00\x01"])
def test_other_files_are_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "r.json").write_text(content)
    with pytest.raises(BadInput):
        results.read_result(tmp_path / "r.json")
    with pytest.raises(BadInput, match="cannot read"):
        results.read_result(tmp_path / "absent.json")
    with pytest.raises(BadInput, match="a folder"):
        results.read_result(tmp_path)


def test_a_run_with_more_answers_than_images_is_refused(tmp_path: Path, bundle_root: Path) -> None:
    bundle = read_bundle(bundle_root)
    paced = time_paced(workloads(bundle, bundle.artifacts[:1]), Arrivals(100, 1), seconds=0.3)
    path = results.save_result(results.with_bundle(paced, bundle), tmp_path)
    record = results.read_result(path)
    keys = ["latency", "paced", "loaded", "loaded paced"]
    assert [figure.key for figure in results.measurements(record)] == keys
    assert [len(figure.rounds) for figure in results.measurements(record)] == [3] * 4
    changed = record.to_json()
    changed["artifacts"][0]["paced"]["runs"][0]["intended_ns"].clear()
    path.write_text(json.dumps(changed))
    with pytest.raises(
        BadInput, match=r"paced\.runs\[0\]\.end_ns: a list of \d+\..* no more answers than images"
    ):
        results.read_result(path)


def test_rounds_come_back_as_they_were(measured: BenchResult) -> None:
    row = measured.artifacts[0]
    rounds = results.rounds_of(row.samples_ns, row.block_round)
    assert len(rounds) == 3
    assert [int(x) for blocks in rounds for block in blocks for x in block] == [
        x for block in row.samples_ns for x in block
    ]
    assert rounds[0][0].dtype == np.int64
    assert measured.schema == SCHEMA
