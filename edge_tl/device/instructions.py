"""Whether this CPU has the instructions without which an INT8 artifact gives other answers. Runs no model."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from edge_tl.device.bundle import Artifact
from edge_tl.device.machine import CAP_VARIABLE, ROOT, has_vnni, int8_isa, isa_flags
from edge_tl.device.text import printable

_X86 = ("amx_int8", "avx512_vnni", "avx_vnni")
_ARM = ("dotprod", "i8mm")
_CAPPED = ("SSE41", "AVX", "AVX2", "AVX512_CORE")  # oneDNN's names of instruction sets without VNNI
# Devices that leave the arithmetic to the CPU, or may; every other one has its own.
_OF_THE_CPU = ("CPU", "XNNPACK", "OPENVINO", "DNNL", "AUTO", "MULTI", "HETERO", "BATCH")


def dot_products(runtime: str, root: Path = ROOT) -> tuple[str, ...]:
    """What `runtime` ("onnxruntime", "openvino") adds products of 8 bits with in 32 bits on this CPU: "vnni" on x86,
    "dotprod" on Arm. Empty where there is neither, or where the CPU does not tell; for OpenVINO also where
    ONEDNN_MAX_CPU_ISA caps it below."""
    flags = isa_flags(root)
    if not set(_ARM).isdisjoint(flags):
        return ("dotprod",)
    capped = runtime == "openvino" and os.environ.get(CAP_VARIABLE, "").upper() in _CAPPED
    return ("vnni",) if has_vnni(flags, arch="") and not capped else ()


def lacks_instructions(artifact: Artifact, device: str = "CPU", root: Path = ROOT) -> str | None:
    """Why `artifact` gives other answers on this machine's `device` than at export; None where it does not.

    Of what an artifact requires any one suffices. Without it the CPU adds pairs of products in 16 bits, which saturate.
    """
    needed = artifact.record.requires
    if not needed or device.upper().partition(":")[0].partition(".")[0] not in _OF_THE_CPU:
        return None
    if not set(needed).isdisjoint(dot_products(artifact.runtime, root)):
        return None
    here = int8_isa(isa_flags(root)) or "instructions that it does not tell"
    if artifact.runtime == "openvino" and (cap := os.environ.get(CAP_VARIABLE)):
        here = f"{cap} at most ({CAP_VARIABLE})"
    names = " or ".join(printable(name) for name in needed)
    return f"its INT8 requires a CPU with {names}, and this one computes it with {here}, which may saturate"


def able(artifacts: Iterable[Artifact], device: str = "CPU") -> tuple[list[Artifact], list[dict[str, str]]]:
    """The artifacts whose instructions are here, and `{artifact, reason}` for the others."""
    kept, refused = [], []
    for artifact in artifacts:
        if why := lacks_instructions(artifact, device):
            refused.append({"artifact": artifact.id, "reason": why})
        else:
            kept.append(artifact)
    return kept, refused
