"""The device that PyTorch computes on: an NVIDIA, AMD, Intel or Apple GPU, else the CPU. Knows no model.

One place picks it and answers what differs between makers: bfloat16, free memory, fused optimizers, exact arithmetic.
"""

from __future__ import annotations

import os
from typing import Any

import torch

CPU = torch.device("cpu")
_FUSED = ("cuda", "xpu")
"""Where PyTorch has an optimizer step in one kernel that this project relies on."""


def device() -> torch.device:
    """The accelerator that PyTorch sees and can use, made `exact`, else the CPU.

    NVIDIA's TF32 keeps 10 of 23 bits of the mantissa and is on for convolutions unless one switches it off, and metrics
    would depend on it. What may be computed with fewer bits says bf16.
    """
    found = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    if found is None or not _module(found).is_available():
        return CPU
    exact(found)
    return torch.device(found.type)


def exact(where: torch.device) -> None:
    """Float32 is computed in float32 from here on."""
    if where.type == "cuda":
        torch.backends.cudnn.allow_tf32 = False
        torch.set_float32_matmul_precision("highest")


def name(where: torch.device) -> str:
    """As its maker calls it; "CPU"."""
    if where.type == "cpu":
        return "CPU"
    called = getattr(_module(where), "get_device_name", None)
    return str(called()) if called else where.type.upper()


def has_bf16(where: torch.device) -> bool:
    """Whether it multiplies bfloat16 itself. Older NVIDIA GPUs emulate it, slower than float32."""
    if where.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    supported = getattr(_module(where), "is_bf16_supported", None) if where.type != "cpu" else None
    return bool(supported()) if supported else False


def has_fused_optimizers(where: torch.device) -> bool:
    """Whether AdamW and SGD take one kernel a step there."""
    return where.type in _FUSED


def free_bytes(where: torch.device) -> int | None:
    """Free memory of the device; None where that is unknown or where its memory is the computer's own."""
    measure = getattr(_module(where), "mem_get_info", None) if where.type != "cpu" else None
    return int(measure()[0]) if measure else None


def free_cached(where: torch.device) -> None:
    """Give back what PyTorch's allocator keeps for later, before something smaller is tried."""
    empty = getattr(_module(where), "empty_cache", None) if where.type != "cpu" else None
    if empty:
        empty()


def reproduce(where: torch.device, wanted: bool) -> None:
    """The same bits from the same input, or the fastest kernels. Where an operator cannot promise the former PyTorch
    raises `RuntimeError`. Call it before the first product: cuBLAS reads its setting once."""
    if where.type == "cpu":  # in a fixed order in any case
        return
    if wanted:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    if where.type == "cuda":
        torch.backends.cudnn.benchmark = not wanted
    torch.use_deterministic_algorithms(wanted)


def _module(where: torch.device) -> Any:
    return torch.get_device_module(where)
