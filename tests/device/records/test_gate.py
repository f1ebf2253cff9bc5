"""The record of a gate's result: a name of a newer version is read as text, and every gate says what it isolates."""

from __future__ import annotations

from typing import Any

import pytest

from edge_tl.device.errors import BundleError
from edge_tl.device.records.gate import GATES, GateResult


def stored(name: object) -> dict[str, Any]:
    return GateResult("loss", "onnx-int8", 0.5, 1.0, "pp", False, "it lost").to_json() | {"gate": name}


def test_a_gate_of_a_newer_version_is_read_and_written_as_it_is() -> None:
    found = GateResult.from_json(stored("power"))
    assert found.gate == "power"
    assert found.to_json() == stored("power")
    assert "does not know" in found.meaning


@pytest.mark.parametrize("name", ["", "a" * 33, "a\nb", "a\x1b[31m", "<b>", None, 3])
def test_what_is_no_short_word_is_refused(name: object) -> None:
    with pytest.raises(BundleError, match="gate: "):
        GateResult.from_json(stored(name))


def test_every_gate_has_its_own_meaning() -> None:
    assert list(GATES) == ["pixels", "device", "loss", "speed", "size"]
    assert [GateResult.from_json(stored(name)).meaning for name in GATES] == list(GATES.values())
    assert len(set(GATES.values())) == len(GATES)
