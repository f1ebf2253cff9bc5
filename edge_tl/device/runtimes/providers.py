"""The execution provider that `--device` names, built in or a plugin, and the options that it is opened with.

`--device` is NAME, or NAME:PART,PART: a part is the kind of hardware of a plugin (CPU, GPU, NPU, GPU.1) or an option of
the provider, KEY=VALUE. None of them is a file: what a device string names can be no code. Opens no session.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edge_tl.device.errors import BadInput
from edge_tl.device.runtimes.base import OfferedDevices, did_you_mean, usual_name
from edge_tl.device.runtimes.engine_cache import engine_folder
from edge_tl.device.runtimes.onnx_tensors import read_onnx_tensors
from edge_tl.device.runtimes.onnxruntime_import import import_onnxruntime
from edge_tl.device.runtimes.plugins import (
    SUFFIX,
    EpDevice,
    devices_of,
    load_plugins,
    plugin_devices,
    plugin_label,
)

_HARDWARE = re.compile(r"(CPU|GPU|NPU)(\.\d+)?")
_OPTION = re.compile(r"[A-Za-z][\w.]*=[\w.+-]*")
_FILES = re.compile("path|dir|file|library|config", re.IGNORECASE)  # in the name of an option that is one
# Compilers for one shape: the open count of images is 1 for them, and a batch goes through one image at a time.
_ONE_IMAGE = ("QNN", "VitisAI", "CoreML")
_TENSORRT = ("Tensorrt", "NvTensorRTRTX")
# Options with which a compiler computes in half precision.
_HALF = {
    "trt_fp16_enable": ("1", "true"),
    "enable_htp_fp16_precision": ("1",),
    "precision": ("fp16",),
}
_BATCH = ("batch", "n")  # what files call their open count of images; ours "batch"


@dataclass(frozen=True)
class Provider:
    """`name` is without the suffix, `options` what was asked for; of a plugin, `label` says which of its devices and
    `devices` holds ONNX Runtime's `OrtEpDevice`."""

    name: str
    options: dict[str, str] = field(default_factory=dict)
    hardware: str | None = None
    label: str = ""
    devices: tuple[Any, ...] = ()

    @property
    def one_image(self) -> bool:
        """Whether it is given one image at a time."""
        return bool(self.devices) or self.name in _ONE_IMAGE

    @property
    def registered(self) -> str:
        """What a session calls it, without the suffix."""
        return self.devices[0].ep_name.removesuffix(SUFFIX) if self.devices else self.name


def offered_providers(*, plugins: bool = False) -> OfferedDevices:
    """The providers this build has, by their names without the suffix: "CPU", "CUDA", "Tensorrt", "OpenVINO", ...; with
    `plugins` theirs as well, which are then loaded.

    Raises `MissingExtra`. That one is offered does not mean that it works: only a session shows that.
    """
    installed = import_onnxruntime()
    names = [name.removesuffix(SUFFIX) for name in installed.get_available_providers()]
    if plugins:
        known = plugin_devices()
        names += [label for device in known if (label := plugin_label(device, known)) not in names]
    return OfferedDevices(f"ONNX Runtime {installed.__version__}", names)


def choose_provider(device: str) -> Provider:
    """What `device` names. Raises `BadInput` that lists what there is, and `MissingExtra`."""
    name, _, rest = device.partition(":")
    if name.upper() == "CPU" and not rest:
        return Provider("CPU", label="CPU")
    found = offered_providers().find(name)
    # A plugin that was loaded before is listed among the build's own.
    plugin = devices_of(found or usual_name(name)) if found is None or _is_loaded(found) else ()
    if not plugin and found is None:
        raise BadInput(_refusal(device, name))
    hardware, options = _parts(device, rest)
    if plugin:
        return _of_plugin(device, plugin, hardware, options)
    if found == "CPU":
        raise BadInput(f"--device {device}: CPU takes no options. Leave {rest!r} out.")
    if hardware and found != "OpenVINO":
        raise BadInput(f"--device {device}: {found} takes no {hardware}. Leave it out.")
    return Provider(str(found), options, hardware, str(found))


def provider_options(provider: Provider, path: Path, threads: int) -> dict[str, str]:
    """FP32 means FP32: what computes with fewer bits unasked is switched off where the provider lets one. What was
    asked for overrules it."""
    usual = _usual_options(provider, path, threads)
    return usual | _engine_options(provider, path, usual | provider.options) | provider.options


def unfit_file(provider: Provider, path: Path) -> str | None:
    """Why TensorRT's parser refuses the file at `path`, which it says after minutes only: it takes INT8 with zero
    points of 0 (docs.nvidia.com, "Working with Quantized Types"). None for any other provider or file."""
    if provider.name not in _TENSORRT:
        return None
    try:
        moved = read_onnx_tensors(path).zero_points
    except (OSError, ValueError):
        return None  # opening it gives the reason
    if not moved:
        return None
    return (
        f"{path.name}: TensorRT takes INT8 with zero points of 0 alone, and {moved[0]!r} is another. Export again with "
        "--device-profile tensorrt, or choose another artifact."
    )


def compiled_precision(provider: Provider, path: Path) -> str:
    """What matrix layers run in that `provider` compiled into something that no profile looks into: "fp16" where it was
    asked to compute so, or where the file's weights are and nothing says that it computes otherwise; else
    "unknown"."""
    if any(provider.options.get(key, "").lower() in values for key, values in _HALF.items()):
        return "fp16"
    if provider.name == "OpenVINO" and provider.hardware in (None, "CPU"):
        return "unknown"  # there it computes FP16 files in float32
    try:
        return "fp16" if read_onnx_tensors(path).half else "unknown"
    except (OSError, ValueError):
        return "unknown"


def fix_shape(options: Any, provider: Provider) -> None:
    """Have the session of `options` (`SessionOptions`) compiled for one image where the provider needs that."""
    if provider.one_image:
        for name in _BATCH:
            options.add_free_dimension_override_by_name(name, 1)


def _is_loaded(name: str) -> bool:
    """Whether a plugin of that name is in this process: ONNX Runtime lists it among its own providers then."""
    installed = import_onnxruntime()
    devices = installed.get_ep_devices() if hasattr(installed, "get_ep_devices") else ()
    return any(device.ep_name.removesuffix(SUFFIX) == name for device in devices)


def _of_plugin(
    device: str, known: tuple[EpDevice, ...], hardware: str | None, options: dict[str, str]
) -> Provider:
    chosen = [each for each in known if hardware in (None, each.hardware)]
    if not chosen:
        there = ", ".join(each.hardware for each in known)
        raise BadInput(f"--device {device}: {known[0].provider} has {there} here. Choose one of these.")
    first = chosen[0]
    label = plugin_label(first, known)
    return Provider(first.provider, options, first.hardware, label, (first.handle,))


def _parts(device: str, rest: str) -> tuple[str | None, dict[str, str]]:
    """The hardware and the options of `NAME:rest`."""
    hardware, options = None, {}
    for part in filter(None, (each.strip() for each in rest.split(","))):
        if _HARDWARE.fullmatch(part.upper()) and hardware is None:
            hardware = part.upper()
        elif not _OPTION.fullmatch(part):
            raise BadInput(
                f"--device {device}: {part!r} is neither CPU, GPU or NPU nor KEY=VALUE. Give e.g. "
                "QNN:NPU,htp_performance_mode=burst."
            )
        elif _FILES.search(part.partition("=")[0]):
            raise BadInput(
                f"--device {device}: {part!r} names a file, and --device takes none. Leave it out."
            )
        else:
            key, _, value = part.partition("=")
            options[key] = value
    return hardware, options


def _refusal(device: str, name: str) -> str:
    offer = offered_providers(plugins=True)
    faults = [
        f"{each.package}: {each.fault or 'it found no device here'}"
        for each in load_plugins()
        if not each.devices
    ]
    also = f" ({'; '.join(faults)})" if faults else ""
    return f"--device {device}: {offer}{also}. {did_you_mean(name, offer.names)}Choose one of these."


def _engine_options(provider: Provider, path: Path, others: dict[str, str]) -> dict[str, str]:
    """Where a compiler keeps its engines, so that the next start takes seconds."""
    cached = provider.name in _TENSORRT or (
        provider.name == "OpenVINO" and provider.hardware not in (None, "CPU")
    )
    if not cached:
        return {}
    made_with = [
        import_onnxruntime().__version__,
        provider.name,
        provider.hardware or "",
        json.dumps(others, sort_keys=True),
    ]
    folder = engine_folder(path, *made_with)
    if folder is None:
        return {}
    if provider.name == "OpenVINO":
        return {"cache_dir": str(folder)}
    if provider.name == "NvTensorRTRTX":
        return {"nv_runtime_cache_path": str(folder)}
    return {
        "trt_engine_cache_enable": "1",
        "trt_engine_cache_path": str(folder),
        "trt_timing_cache_enable": "1",
        "trt_timing_cache_path": str(folder),
    }


def _usual_options(provider: Provider, path: Path, threads: int) -> dict[str, str]:
    name = provider.name
    if name in ("CUDA", *_TENSORRT):
        os.environ.setdefault("NVIDIA_TF32_OVERRIDE", "0")  # TensorRT has no option of its own for it
        if preload := getattr(
            import_onnxruntime(), "preload_dlls", None
        ):  # NVIDIA's libraries, where pip put them
            with contextlib.redirect_stdout(sys.stderr):
                preload()
    if name == "CUDA":
        return {"use_tf32": "0"}
    if name == "Tensorrt":
        quantized = (
            b"QuantizeLinear" in path.read_bytes()
        )  # TensorRT refuses such a file unless asked to take it
        return {"trt_fp16_enable": "0", "trt_int8_enable": str(int(quantized))}
    if name == "OpenVINO" and not provider.devices:
        on = provider.hardware or "CPU"
        only = {"num_of_threads": str(threads)} if on == "CPU" else {}
        return {"device_type": on, "precision": "FP32"} | only
    if name == "Xnnpack":
        return {"intra_op_num_threads": str(threads)}
    return {}
