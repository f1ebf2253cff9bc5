"""Records and JSON: what is written is read back, and whatever is not a record's own is refused by its key."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_tl.device.bench.breakdown_worker import StepsAnswer, ThroughputAnswer
from edge_tl.device.bench.workers import Ready
from edge_tl.device.errors import BadInput, BundleError, EdgeTLError
from edge_tl.device.preprocess import Preprocess
from edge_tl.device.records.codec import (
    Bounds,
    Count,
    Fault,
    Fraction,
    Json,
    NotEmpty,
    Pattern,
    Record,
    json_key,
    written,
)
from edge_tl.device.records.devices import DevicesResult
from edge_tl.device.records.paced import PacedRun
from edge_tl.device.records.prediction import Prediction
from edge_tl.device.records.verification import VerifyResult


@dataclass(frozen=True)
class Part(Record):
    name: NotEmpty
    sha256: Annotated[str, Pattern("[0-9a-f]{4}", "4 hexadecimal digits")]
    share: Fraction | None = None


@dataclass(frozen=True)
class Whole(Record):
    document = "whole.json"

    kind: Literal["whole"]
    n: Annotated[int, Bounds(0, 1 << 40)]
    ratio: float
    measured: float | None
    ends: tuple[float, float] | None
    parts: Annotated[tuple[Part, ...], Count(1, 3)]
    contract: Preprocess
    counts: dict[str, int] = field(default_factory=dict)
    extra: Json = None
    strength: float | None = json_key("C", None)
    judged: bool = written(True)

    def check(self) -> None:
        if self.ends and self.ends[0] > self.ends[1]:
            raise Fault("ends", f"{list(self.ends)}", "the lower end first")


def whole(**changes: Any) -> Whole:
    values: dict[str, Any] = {
        "kind": "whole", "n": 3, "ratio": 0.5, "measured": None, "ends": (1.0, 2.0),
        "parts": (Part("a", "0123"), Part("b", "cdef", 0.25)), "contract": Preprocess(crop=(8, 8)),
    }  # fmt: skip
    return Whole(**values | changes)


def test_what_is_written_is_read_back_and_a_default_is_left_out() -> None:
    record = whole(strength=0.1, counts={"x": 1})
    value = json.loads(json.dumps(record.to_json()))
    assert Whole.from_json(value) == record
    assert value["C"] == 0.1
    assert value["judged"] is True
    assert value["measured"] is None
    assert {"extra", "strength"}.isdisjoint(value)
    assert list(value["parts"][0]) == ["name", "sha256"]


def test_older_files_may_lack_what_has_a_default() -> None:
    value = whole(judged=True).to_json()
    del value["judged"]
    assert Whole.from_json(value).judged is True


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"n": -1}, "whole.json: n: -1. It should be a whole number from 0 to 1099511627776"),
        ({"n": True}, "whole.json: n: True. It should be a whole number"),
        ({"n": 2.0}, "whole.json: n: 2.0"),
        ({"n": 10**400}, "n: a whole number beyond 64 bits"),
        ({"ratio": float("nan")}, "ratio: nan. It should be a finite number"),
        ({"ratio": 10**400}, "ratio: a whole number beyond 64 bits"),
        ({"ratio": "1"}, "ratio: '1'"),
        ({"measured": False}, "measured: False. It should be a finite number"),
        ({"kind": "part"}, "kind: 'part'. It should be one of 'whole'"),
        ({"kind": []}, "kind: a list of 0"),
        ({"ends": [1]}, "ends: a list of 1. It should be a list of 2"),
        ({"ends": [2, 1]}, "ends: [2.0, 1.0]. It should be the lower end first"),
        ({"ends": [1, None]}, "ends[1]: None"),
        ({"parts": []}, "parts: a list of 0. It should be a list of 1 to 3 items"),
        ({"parts": {}}, "parts: an object of 0. It should be a list"),
        ({"parts": [{"name": "a", "sha256": "0123"}, 3]}, "parts[1]: 3. It should be an object"),
        ({"parts": [{"name": "", "sha256": "0123"}]}, "parts[0].name: ''. It should be text that is not empty"),
        ({"parts": [{"name": "\ud800", "sha256": "0123"}]}, "parts[0].name: '\\ud800'. It should be text that UTF-8"),
        ({"parts": [{"name": "a", "sha256": "0123x"}]}, "parts[0].sha256: '0123x'. It should be 4 hexadecimal"),
        ({"parts": [{"name": "a", "sha256": "0123", "share": 1.5}]}, "parts[0].share: 1.5"),
        ({"parts": [{"name": "a"}]}, "parts[0].sha256: it is missing"),
        ({"parts": [{"name": "a", "sha256": "0123", "size": 1}]}, "parts[0].size: an unknown key"),
        ({"counts": {"x": "1"}}, "counts.x: '1'"),
        ({"contract": 7}, "contract: 7"),
        ({"contract": {"crop": "x"}}, "contract: an object of 1"),
        ({"strength": 1}, "strength: an unknown key"),
    ],
)  # fmt: skip
def test_the_key_that_is_not_as_it_should_be_is_named(change: dict[str, Any], said: str) -> None:
    with pytest.raises(BundleError) as caught:
        Whole.from_json(whole().to_json() | change)
    assert said in str(caught.value)
    assert str(caught.value).count("\n") == 0


@pytest.mark.parametrize("key", ["kind", "n", "ratio", "measured", "ends", "parts", "contract"])
def test_a_missing_key_is_named(key: str) -> None:
    value = whole().to_json()
    del value[key]
    with pytest.raises(BundleError, match=rf"whole\.json: {key}: it is missing"):
        Whole.from_json(value)


def test_a_file_may_hold_keys_that_a_newer_version_added() -> None:
    value = whole().to_json() | {"newer": 1}
    value["parts"] = [value["parts"][0] | {"size": 3}]
    assert Whole.from_json(value, newer_keys=True) == whole(parts=(Part("a", "0123"),))
    with pytest.raises(BundleError, match=r"parts\[0\]\.size: an unknown key"):
        Whole.from_json(value)


def test_the_records_own_error_and_advice_are_used() -> None:
    @dataclass(frozen=True)
    class Run(Record):
        document, advice, error = "run.json", "fine-tune again", BadInput
        name: str

    with pytest.raises(
        BadInput, match=r"^photos/run\.json: name: 3\. It should be text; fine-tune again\.$"
    ) as caught:
        Run.from_json({"name": 3}, "photos/run.json")
    assert not isinstance(caught.value, BundleError)


@pytest.mark.parametrize(
    ("record", "error", "message"),
    [
        (Ready, EdgeTLError, "answer of a worker: load_ns: it is missing; run edge-tl bench again."),
        (StepsAnswer, EdgeTLError, "answer of a worker: import_ns: it is missing; run edge-tl bench again."),
        (
            ThroughputAnswer,
            EdgeTLError,
            "answer of a worker: images: it is missing; run edge-tl bench again.",
        ),
        (PacedRun, EdgeTLError, "answer of a worker: intended_ns: it is missing; run edge-tl bench again."),
        (
            VerifyResult,
            BadInput,
            "result of edge-tl verify: passed: it is missing; run edge-tl verify again.",
        ),
        (
            DevicesResult,
            BadInput,
            "result of edge-tl devices: machine: it is missing; run edge-tl devices again.",
        ),
        (Prediction, BadInput, "prediction: image: it is missing; run edge-tl predict again."),
    ],
)
def test_what_is_no_bundles_does_not_say_to_export_again(
    record: type[Record], error: type[EdgeTLError], message: str
) -> None:
    with pytest.raises(error) as caught:
        record.from_json({})
    assert (type(caught.value), str(caught.value)) == (error, message)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=8,
)


@given(st.sampled_from([*whole().to_json(), "new"]), JSON)
def test_any_value_at_any_key_is_read_or_refused_in_one_line(key: str, value: Any) -> None:
    changed = whole().to_json() | {key: value}
    said = record = None
    try:
        record = Whole.from_json(changed)
    except BundleError as error:
        said = str(error)
    if record is None:
        assert said is not None
        assert ascii(key).strip("'") in said
        assert "\n" not in said
    else:
        assert Whole.from_json(record.to_json()) == record
