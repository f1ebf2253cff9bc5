"""Seeds and orders: the same today as in the runs that were made with them, whatever order names come in."""

from __future__ import annotations

import hashlib

from hypothesis import given
from hypothesis import strategies as st

from edge_tl.host.seeded import derive_seed, seeded_order


def test_a_drawn_seed_is_stable_and_depends_on_every_part():
    assert derive_seed(0, "order", 1) == 4672741961019256271
    seen = {derive_seed(*parts) for parts in [(0, 1), (1, 0), (0, 1, 0), ("0", 2), (10,), (1, "0", "x")]}
    assert len(seen) == 6
    assert derive_seed(0, 1) == derive_seed("0", "1")
    assert all(0 <= derive_seed(i) < 2**63 for i in range(200))


def test_an_order_of_names_is_that_of_their_hashes():
    assert seeded_order("abcdef", 5, name=str) == sorted(
        "abcdef", key=lambda name: hashlib.sha256(f"5:{name}".encode()).hexdigest()
    )
    assert "".join(seeded_order("abcdef", 5, name=str)) == "bfcead"


@given(names=st.sets(st.text(min_size=1), max_size=20), seed=st.integers(0, 9), left_out=st.integers(0, 19))
def test_an_order_depends_on_no_other_name_and_on_no_place(names: set[str], seed: int, left_out: int):
    order = seeded_order(names, seed, name=str)
    assert seeded_order(reversed(order), seed, name=str) == order
    gone = set(order[left_out : left_out + 1])
    assert seeded_order(names - gone, seed, name=str) == [name for name in order if name not in gone]
