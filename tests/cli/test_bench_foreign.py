"""A bundle names no code and no path: PyTorch's side of a bench is a model of the zoo, or the run given by hand."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edge_tl.device.errors import BundleError, ForeignModel
from edge_tl.device.records.bundle import BundleRecord
from edge_tl.host.export.pipeline import torch_workloads
from edge_tl.host.models import zoo

STORED = Path(__file__).parents[1] / "records" / "bundle-of-version-2"


def record(**provenance: Any) -> BundleRecord:
    content = json.loads((STORED / "bundle.json").read_text("utf-8"))
    return BundleRecord.from_json(content | {"provenance": provenance})


@pytest.mark.parametrize(
    "name",
    [
        "factory:evil:run", "factory:os.path:join", "timm:hf-hub:somebody/model", "timm:local-dir:/tmp/x",
        "timm:../x", "timm:resnet18/../x", "timm:", "resnet18\n", "../run", "",
    ],
)  # fmt: skip
def test_a_bundle_names_no_code(name: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "evil.py").write_text("raise SystemExit('it ran')")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ForeignModel, match="--run DIR"):
        torch_workloads(None, record(model=name))
    with pytest.raises(ForeignModel, match="--run DIR"):
        torch_workloads(tmp_path / "absent", record(model=name))


@pytest.mark.parametrize("name", [5, ["resnet18"], {"a": 1}, True])
def test_a_model_that_is_no_name_is_refused_as_the_record_is_read(name: object) -> None:
    with pytest.raises(BundleError, match=r"provenance\.model"):
        record(model=name)


def test_where_no_model_is_named_none_is_built() -> None:
    assert torch_workloads(None, record(model=None)) == torch_workloads(None, record()) == []


def test_a_bundle_names_no_head_of_any_depth() -> None:
    with pytest.raises(ForeignModel, match="head"):
        torch_workloads(None, record(model="resnet18", hidden=[8] * 9))


@pytest.mark.parametrize("hidden", [5, ["x"], [0], [10**9], [True], {"a": 1}])
def test_a_head_of_any_size_is_refused_as_the_record_is_read(hidden: object) -> None:
    with pytest.raises(BundleError, match=r"provenance\.hidden"):
        record(model="resnet18", hidden=hidden)


def test_models_that_are_known() -> None:
    assert zoo.is_known("mobilenet_v3_small")
    pytest.importorskip("timm")
    assert zoo.is_known("timm:resnet18")
    assert not zoo.is_known("timm:no_such_model_9")


def test_the_run_is_the_callers_never_the_records(run: Path, tmp_path: Path) -> None:
    mine = torch_workloads(run, record(model="factory:evil:run"))[0].spec
    assert mine["run"] == str(run)
    assert "evil" not in json.dumps(mine)
    theirs = torch_workloads(None, record(model="resnet18", run=str(run)))[0].spec
    assert theirs["run"] is None
    assert theirs["model"] == "resnet18"


def test_options(run_cli: Callable[..., Any], tmp_path: Path) -> None:
    for option in (("--fps", 5), ("--aa",), ("--parts",)):
        done = run_cli("bench", tmp_path, *option, "--run", tmp_path)
        assert done.code == 2
        assert "--run has no effect here" in done.err
