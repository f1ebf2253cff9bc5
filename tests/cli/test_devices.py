"""`--device` and `devices`, as a person meets them. A bundle of the exported kind; nothing here reads the clock."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnxruntime
import pytest

RunCli = Callable[..., Any]
azure = pytest.mark.skipif(
    "AzureExecutionProvider" not in onnxruntime.get_available_providers(),
    reason="this ONNX Runtime has no provider that takes no operator",
)


def test_devices_is_a_table_of_what_works(run_cli: RunCli) -> None:
    done = run_cli("devices")
    assert done.code == 0
    head, table = done.out.split("\n\n")
    assert "cores allowed" in head
    rows = {tuple(line.split()[:3]) for line in table.splitlines()[2:]}
    assert {("onnxruntime", "CPU", "yes"), ("openvino", "CPU", "yes"), ("openvino", "AUTO", "yes")} <= rows
    assert "FP32" in table


def test_a_device_of_one_runtime_skips_the_others_artifacts(run_cli: RunCli, bundle: Path) -> None:
    done = run_cli("verify", bundle, "--device", "auto", "--json")
    assert done.code in (0, 1)
    assert set(done.json["ran"]) == {"openvino-fp32", "openvino-int8"}
    assert "skipped onnx-fp32: --device auto: ONNX Runtime " in done.err
    assert f"{bundle} --device auto" in done.err  # the next command keeps it
    done = run_cli(
        "bench",
        bundle,
        "--device",
        "AUTO",
        "--artifact",
        "openvino-fp32",
        "--rounds",
        1,
        "--count",
        2,
        "--json",
    )
    assert done.code == 0
    assert [row["id"] for row in done.json["artifacts"]] == ["pytorch", "openvino-fp32"]
    chosen = run_cli("predict", bundle, next((bundle / "golden/images").iterdir()), "--device", "AUTO")
    assert "with openvino-fp32 on CPU" in chosen.err or "with openvino-int8 on CPU" in chosen.err


@pytest.mark.parametrize("verb", ["verify", "bench", "predict"])
def test_a_device_that_nothing_offers(run_cli: RunCli, bundle: Path, verb: str) -> None:
    images = [next((bundle / "golden/images").iterdir())] if verb == "predict" else []
    done = run_cli(verb, bundle, *images, "--device", "AUTOO")
    assert done.code == 2
    assert "--device AUTOO: ONNX Runtime " in done.err
    assert done.err.rstrip().endswith("Did you mean AUTO? Choose one of these.")
    assert done.out == ""


@azure
@pytest.mark.parametrize("verb", ["verify", "bench", "predict"])
def test_a_silent_fallback_is_an_error_unless_allowed(run_cli: RunCli, bundle: Path, verb: str) -> None:
    arguments: dict[str, list[Any]] = {
        "verify": [],
        "bench": ["--artifact", "onnx-fp32", "--rounds", 1, "--count", 2],
        "predict": [next((bundle / "golden/images").iterdir())],
    }
    more = arguments[verb]
    done = run_cli(verb, bundle, *more, "--device", "azure")
    assert done.code == 2
    assert re.search(r"--device Azure: (onnx-fp32: )?every node ran on CPU\. ", done.err), done.err
    assert "--allow-fallback" in done.err
    done = run_cli(verb, bundle, *more, "--device", "azure", "--allow-fallback", "--json")
    assert done.code in (0, 1)
    assert ": Azure was asked for, every node ran on CPU" in done.err
    if verb != "predict":
        rows = {r["id"]: r["ran"] for r in done.json["artifacts"]} if verb == "bench" else done.json["ran"]
        assert rows["onnx-fp32"]["device"] == "CPU"
        assert rows["onnx-fp32"]["fallback"]["asked"] == "Azure"
        assert any("every node ran on CPU" in warning for warning in done.json["warnings"])
