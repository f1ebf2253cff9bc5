"""How OpenVINO compiles a model for a device. Compiles nothing."""

from __future__ import annotations

from typing import Any

COMPOSITE = ("AUTO", "HETERO", "MULTI")  # devices made of other devices

Config = dict[str, str | int | bool | dict[str, dict[str, int]]]
"""OpenVINO's properties by name."""


def compile_config(core: Any, device: str, threads: int, *, half: bool, hint: str) -> Config:
    """How a model is compiled for `device` (OpenVINO's spelling), the same for a call at a time and for streams.
    `half`: the file holds FP16 weights."""
    found: Config = {"PERFORMANCE_HINT": hint}
    composite = device.partition(":")[0] in COMPOSITE
    capabilities = () if composite else core.get_property(device, "OPTIMIZATION_CAPABILITIES")
    if half and "FP16" in capabilities and device != "CPU":
        found["INFERENCE_PRECISION_HINT"] = "f16"  # what an FP16 file is made for
    elif composite or "FP32" in capabilities:
        found["INFERENCE_PRECISION_HINT"] = "f32"  # an NPU has none and refuses to be asked
    if device == "CPU":
        found["INFERENCE_NUM_THREADS"] = threads
        if threads == 1:
            found["ENABLE_CPU_PINNING"] = False  # pinned, two such models may share a core: half as fast
    elif composite:
        found["DEVICE_PROPERTIES"] = {"CPU": {"INFERENCE_NUM_THREADS": threads}}
    if device.startswith("AUTO"):
        found["ENABLE_STARTUP_FALLBACK"] = False  # not on the CPU while the chosen device still compiles
    return found
