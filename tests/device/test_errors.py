"""Errors that a process of ours hands to another arrive as they are."""

from __future__ import annotations

import pickle

import pytest

from edge_tl.device.errors import BadImage, BundleError, EdgeTLError, FellBack, MissingExtra, ReadError


@pytest.mark.parametrize(
    "error",
    [
        BadImage("a.jpg", "truncated"),
        BundleError("damaged"),
        FellBack("NPU", "OpenVINO ran it on CPU"),
        MissingExtra("torch", "host"),
        ReadError("a.jpg", "no permission", "Allow it."),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_error_survives_the_way_between_processes(error: EdgeTLError) -> None:
    there = pickle.loads(pickle.dumps(error))
    assert (type(there), str(there), vars(there)) == (type(error), str(error), vars(error))
