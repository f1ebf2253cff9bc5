"""Workers and a scarce /dev/shm: what is measured, what is done about it, and that no batch then needs it."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from edge_tl.host.images import shared_memory
from edge_tl.host.images.batches import AugmentedImages, BatchPlan, augmented_batches
from edge_tl.host.images.pixel_cache import UncachedImages
from edge_tl.host.images.shared_memory import AHEAD, Handover, plan_handover

MB = 1_000_000
BATCH = 32 * 3 * 224 * 224


def test_dockers_64_mb_and_8_workers(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(shared_memory, "free", lambda: 64 * 1024**2)
    found = plan_handover(8, BATCH)
    assert (found.workers, found.pipes) == (8, True)
    assert "67 MB free" in found.note
    assert "8 workers take up to 125 MB" in found.note
    assert "--shm-size" in found.note
    assert "\n" not in found.note
    assert plan_handover(1, BATCH) == Handover(1)  # five batches fit
    assert plan_handover(1, BATCH, processes=4).pipes  # of four trainings they do not
    assert plan_handover(0, BATCH) == Handover(0)


def test_none_at_all_is_no_workers(monkeypatch: pytest.MonkeyPatch):
    """Not even the semaphores of a queue fit: Python could not start the workers."""
    monkeypatch.setattr(shared_memory, "free", lambda: 4096)
    assert plan_handover(8, 1).workers == 0
    assert "no workers" in plan_handover(8, 1).note


def test_elsewhere_nothing_changes(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(shared_memory, "free", lambda: None)
    assert plan_handover(8, 10**12) == Handover(8)


@given(st.integers(0, 128), st.integers(1, 10**10), st.integers(1, 8), st.integers(0, 10**12))
def test_what_is_shared_fits(workers: int, batch: int, count: int, have: int):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shared_memory, "free", lambda: have)
        found = plan_handover(workers, batch, processes=count)
    assert found.workers in (0, workers)
    if found.workers and not found.pipes:
        assert count * (workers * AHEAD) * batch <= have
    assert bool(found.note) == (found != Handover(workers))


@pytest.mark.skipif(sys.platform != "linux", reason="measures /dev/shm")
def test_free_is_what_the_system_says():
    assert shared_memory.free() == pytest.approx(shared_memory.shutil.disk_usage("/dev/shm").free, rel=0.2)


@pytest.mark.filterwarnings("ignore:This DataLoader will create")
def test_batches_through_pipes_are_the_same_and_share_no_memory(monkeypatch: pytest.MonkeyPatch):
    rng = np.random.default_rng(0)
    pictures = [rng.integers(0, 256, (20, 24, 3), np.uint8) for _ in range(12)]
    dataset = AugmentedImages(
        UncachedImages(pictures, lambda picture: picture), [lambda image: image], seed=7
    )
    keys = BatchPlan(np.arange(12, dtype=np.int64) % 3, 7, range(2), 5, "none")
    shared = list(augmented_batches(dataset, keys, 1))

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a tensor went into shared memory")

    monkeypatch.setattr(torch.UntypedStorage, "_share_fd_cpu_", refuse)  # in the forked worker too
    monkeypatch.setattr(torch.UntypedStorage, "_share_filename_cpu_", refuse)
    piped = list(augmented_batches(dataset, keys, 1, pipes=True))
    assert len(piped) == len(shared) == 4
    assert all(torch.equal(a, b) for a, b in zip(piped, shared, strict=True))
    piped[0].fill_(0)  # it can be written to
