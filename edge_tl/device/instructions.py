"""Whether this CPU has the instructions without which an INT8 artifact gives other answers. Runs no model."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from edge_tl.device.bundle import Artifact
from edge_tl.device.machine import ROOT, has_vnni, int8_isa, isa_flags, onednn_cap
from edge_tl.device.text import printable

_X86 = ("amx_int8", "avx512_vnni", "avx_vnni")
_ARM = ("dotprod", "i8mm")
_CAPPED = ("SSE41", "AVX", "AVX2", "AVX512_CORE")  # oneDNN's names of instruction sets without VNNI
# Of a set with VNNI oneDNN uses that set's own: under AVX2_VNNI a CPU that has AVX-512's alone is left without.
_OWN = {
    "AVX512_CORE_VNNI": "avx512_vnni", "AVX512_CORE_BF16": "avx512_vnni",
    "AVX2_VNNI": "avx_vnni", "AVX2_VNNI_2": "avx_vnni",
}  # fmt: skip
# Devices that leave the arithmetic to the CPU; every other one has its own.
_OF_THE_CPU = ("CPU", "XNNPACK", "DNNL")
_OF_OTHERS = ("OPENVINO", "AUTO", "MULTI", "HETERO", "BATCH")  # as AUTO:GPU,CPU: the CPU may be among them


def dot_products(runtime: str, root: Path = ROOT) -> tuple[str, ...]:
    """What `runtime` ("onnxruntime", "openvino") adds products of 8 bits with in 32 bits on this CPU: "vnni" on x86,
    "dotprod" on Arm. Empty where there is neither, or where the CPU does not tell; for OpenVINO also where
    ONEDNN_MAX_CPU_ISA, or DNNL_MAX_CPU_ISA, caps it below."""
    flags = isa_flags(root)
    if not set(_ARM).isdisjoint(flags):
        return ("dotprod",)
    cap = (onednn_cap()[1] or "").upper() if runtime == "openvino" else ""
    left = [flag for flag in flags if cap not in _CAPPED and flag == _OWN.get(cap, flag)]
    return ("vnni",) if has_vnni(left, arch="") else ()


def _may_use_the_cpu(device: str) -> bool:
    """Of OpenVINO:GPU,precision=FP16 the hardware counts, of AUTO:GPU,CPU every part; none named may be the CPU."""
    kind, _, rest = device.upper().partition(":")
    if kind not in _OF_OTHERS:
        return kind.partition(".")[0] in _OF_THE_CPU
    parts = [part.strip() for part in rest.replace("DEVICE_TYPE=", "").split(",")]
    named = {re.split(r"[:.(]", part)[0] for part in parts if part and "=" not in part}
    return not named or bool(named & {"CPU", *_OF_OTHERS})


def lacks_instructions(artifact: Artifact, device: str = "CPU", root: Path = ROOT) -> str | None:
    """Why `artifact` gives other answers on this machine's `device` than at export; None where it does not.

    Of what an artifact requires any one suffices. Without it the CPU adds pairs of products in 16 bits, which saturate.
    """
    needed = artifact.record.requires
    if not needed or not _may_use_the_cpu(device):
        return None
    if not set(needed).isdisjoint(dot_products(artifact.runtime, root)):
        return None
    here = int8_isa(isa_flags(root)) or "instructions that it does not tell"
    variable, cap = onednn_cap()
    if artifact.runtime == "openvino" and cap:
        here = f"{cap} at most ({variable})"
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
