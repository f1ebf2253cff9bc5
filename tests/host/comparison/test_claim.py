"""Which folders a comparison takes for its own."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edge_tl.device.errors import BadInput
from edge_tl.host.comparison import pipeline, study
from edge_tl.host.comparison.combinations import Grid
from edge_tl.host.comparison.pareto import Budget


@pytest.mark.parametrize(
    "name", ["compare.svg", "compare.html", "compare.json", "timed/mine.csv", "trials/1/x"]
)
def test_a_persons_own_file_under_our_names_stays(name: str, tmp_path: Path) -> None:
    own = tmp_path / name
    own.parent.mkdir(parents=True, exist_ok=True)
    own.write_text("{}")
    plan = pipeline.Plan({"data": {"path": "photos"}}, Grid(("resnet18",), ("head",)), {}, Budget())
    with pytest.raises(BadInput, match="nothing there says that edge-tl made it"):
        pipeline.compare(plan, tmp_path)
    assert own.read_text() == "{}"


def test_what_a_comparison_made_is_its_own(tmp_path: Path) -> None:
    (tmp_path / study.TRIALS).mkdir()
    assert pipeline._is_ours(tmp_path), "another process is about to make its first trial"
    trial = tmp_path / study.TRIALS / "resnet18-head"
    trial.mkdir()
    assert not pipeline._is_ours(tmp_path)
    (trial / "run.json").write_text("{}")
    assert pipeline._is_ours(tmp_path)
    (trial / "run.json").unlink()
    (tmp_path / study.JOURNAL).touch()
    assert pipeline._is_ours(tmp_path)
    (tmp_path / study.JOURNAL).unlink()
    (tmp_path / pipeline.RECORD).write_text(json.dumps({"kind": "comparison"}))
    assert pipeline._is_ours(tmp_path)
