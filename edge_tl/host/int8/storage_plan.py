"""In which order weights are stored, by the CPU that INT8 is made for. Quantizes nothing."""

from __future__ import annotations

from dataclasses import dataclass

from edge_tl.host.int8.qdq import PAIR_SAFE, SIGNED, weight_storage

REQUIRED = ("vnni", "dotprod")
"""What an artifact requires whose sums are right only where products are added in 32 bits."""


@dataclass(frozen=True)
class StoragePlan:
    """`first` is tried on every rung, `also` on the first one beside it. Where no rung keeps the budget, `last` is
    tried: an artifact with such weights may require instructions. `portable`: a candidate must keep the budget
    under lesser instruction sets too."""

    first: str
    also: tuple[str, ...] = ()
    last: str | None = None
    portable: bool = False


def storage_plan(runtime: str, target_cpu: str, *, vnni: bool) -> StoragePlan:
    """For `runtime` ("onnx" or "openvino") and a `target_cpu` of the recipe; `vnni`: this CPU has it.

    Seven bits are never tried beside `PAIR_SAFE`, whose scales are nowhere larger.
    """
    if target_cpu == "any":
        return StoragePlan(PAIR_SAFE, last=SIGNED, portable=True)
    has = vnni if target_cpu == "native" else target_cpu != "avx2"
    first = weight_storage(runtime, has)
    # A larger scale costs resolution, a smaller one sums that are cut; which is worse depends on the model.
    return StoragePlan(first, also=(SIGNED,) if first == PAIR_SAFE else ())
