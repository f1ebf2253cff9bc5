"""OpenVINO and its devices: compiled for f32, because by default it computes in bf16 where the chip has it, and answers
change."""

from __future__ import annotations

import os
import threading
from collections import Counter
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_tl.device.errors import BadInput, BundleError, MissingExtra
from edge_tl.device.machine import openvino_core
from edge_tl.device.records.devices import OpenVinoDevice, RuntimeOffer
from edge_tl.device.records.timing import FallbackRecord, RanRecord
from edge_tl.device.runtimes.base import (
    Logits,
    OfferedDevices,
    check_input,
    dominant_precision,
    error_line,
    fallback_note,
    load_error_text,
    ran_record,
    record_fallback,
    zero_input,
)
from edge_tl.device.runtimes.engine_cache import engine_folder
from edge_tl.device.runtimes.matrix_layers import executed_matrix_layers
from edge_tl.device.runtimes.openvino_config import COMPOSITE, compile_config

_KINDS = {"f32": "fp32", "f16": "fp16", "bf16": "bf16", "i8": "int8", "u8": "int8"}
_ISA_CAPS = ("ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA")


def offered_devices() -> OfferedDevices:
    """The devices whose drivers work here: "CPU", "GPU", "GPU.1", "NPU", ..., and "AUTO". Raises `MissingExtra`."""
    found = list(_core().available_devices)
    # With two GPUs there is no "GPU" in the list, but it is the first one's name all the same.
    found += sorted({name.partition(".")[0] for name in found} - set(found))
    return OfferedDevices(f"OpenVINO {_version()}", [*found, "AUTO"])


def resolve_device(device: str) -> str:
    """OpenVINO's spelling of `device`, which may also be "AUTO:GPU,CPU" or "HETERO:GPU,CPU".

    Raises `BadInput` that lists what there is, and `MissingExtra`.
    """
    if device.upper() == "CPU":
        return "CPU"  # always there, and asking for the others starts their drivers
    offer = offered_devices()
    kind, colon, parts = device.partition(":")
    if colon and kind.upper() in COMPOSITE:
        return f"{kind.upper()}:{','.join(offer.choose(part.strip()) for part in parts.split(','))}"
    if device.upper() in ("GPU", "NPU") and not offer.find(device) and (why := _broken(device.upper())):
        raise BadInput(f"--device {device}: {offer}; {why}. Install its driver, or choose one of these.")
    return offer.choose(device)


class OpenVinoRuntime:
    """A compiled model on one device, or on those that AUTO and HETERO choose. `hint` is OpenVINO's: "LATENCY" for one
    call at a time, "THROUGHPUT" for `streams`."""

    name = "openvino"
    takes_pixels: bool = False

    def __init__(
        self,
        path: Path,
        *,
        device: str = "CPU",
        threads: int,
        allow_fallback: bool = False,
        hint: str = "LATENCY",
    ) -> None:
        core = _core()
        self._asked, self._allow_fallback = resolve_device(device), allow_fallback
        self._fallback: FallbackRecord | None = None
        try:
            model = core.read_model(path)
            constants = (op for op in model.get_ops() if op.get_type_name() == "Constant")
            half = any(op.get_element_type().to_string() == "f16" for op in constants)
            self._whole, self._how = model, compile_config(core, self._asked, threads, half=half, hint=hint)
            if self._asked != "CPU" and (folder := engine_folder(path, _version(), self._asked, hint)):
                self._how["CACHE_DIR"] = str(folder)
            self._compiled = core.compile_model(_of(1, model), self._asked, self._how)
        except RuntimeError as error:
            why = load_error_text(error, path)[-300:]
            on = "" if self._asked == "CPU" else f" on {self._asked}"
            raise BundleError(
                f"OpenVINO cannot load {path.name}{on}: {why}. Copy or export it again."
            ) from None
        self.version = _version()
        self._request = self._compiled.create_infer_request()
        self._answer = self._memory_of_one()
        self._shared: NDArray[np.float32] | None = None
        self._one_call = threading.Lock()  # there is one request, and threads may share the runtime
        self._many: Any = None
        shape = model.input(0).partial_shape
        self._shape = [d.get_length() if d.is_static else None for d in shape]
        self.takes_pixels = model.input(0).element_type.to_string() == "u8"
        self._wanted_threads = threads

    @property
    def shape(self) -> list[int | None]:
        """Of the input; None where the model leaves it open."""
        return list(self._shape)

    @property
    def device(self) -> str:
        """What executes, asked anew: AUTO settles when it has inferred."""
        return ",".join(name.strip("()") for name in self._compiled.get_property("EXECUTION_DEVICES"))

    @property
    def threads(self) -> int:
        """The CPU's threads as compiled; 0 where the CPU takes no part."""
        if "CPU" not in self.device.split(","):
            return 0
        with suppress(RuntimeError):  # AUTO and HETERO do not tell what they passed on
            return int(self._compiled.get_property("INFERENCE_NUM_THREADS"))
        return self._wanted_threads

    def check(self) -> None:
        """Infer once, then compare the devices that executed with the one asked for. Raises `FellBack`."""
        if self._fallback:
            return
        self(zero_input(self._shape, takes_pixels=self.takes_pixels))
        if self._asked.partition(":")[0] in COMPOSITE:
            return  # they choose, and `device` says what
        ran = self.device.split(",")
        if any(name != self._asked and name.partition(".")[0] != self._asked for name in ran):
            counts = dict(Counter(ran))
            why = f"OpenVINO ran it on {self.device}"
            self._fallback = record_fallback(self._asked, why, counts, allowed=self._allow_fallback)

    def details(self) -> RanRecord:
        """Matrix layers by precision and by kernel, the precision hint in force, a cap on the ISA. Runs `check`."""
        self.check()
        layers = self._layers()
        hint = None
        with suppress(RuntimeError):
            hint = self._compiled.get_property("INFERENCE_PRECISION_HINT").to_string()
        return replace(
            ran_record(self),
            layers=dict(Counter(precision for precision, _ in layers)),
            kernels=dict(Counter(kernel for _, kernel in layers if kernel)),
            precision_hint=hint,
            isa_cap=next((os.environ[name] for name in _ISA_CAPS if name in os.environ), None),
            fallback=self._fallback,
            notes=(fallback_note(self._fallback),) if self._fallback else (),
        )

    @property
    def precision(self) -> str:
        """From the compiled graph: the precision of every convolution and matrix product."""
        return dominant_precision([precision for precision, _ in self._layers()])

    def _layers(self) -> list[tuple[str, str]]:
        """Precision and kernel of every matrix layer; [] where the device does not show what it compiled."""
        found: list[tuple[str, str]] = []
        for layer in executed_matrix_layers(self._compiled):
            # "brgconv_avx2_f32": the instruction set that really runs, and what it computes in.
            name, _, precision = layer.kernel.rpartition("_")
            if precision.lower() not in _KINDS:
                precision = layer.precision
            found.append((_KINDS.get(precision.lower(), precision), name))
        return found

    def __call__(self, inputs: NDArray[np.float32]) -> Logits:
        with self._one_call:
            return self._infer(inputs)

    def _infer(self, inputs: NDArray[np.float32]) -> Logits:
        if inputs is not self._shared:
            check_input(inputs, self._shape, takes_pixels=self.takes_pixels)
            if len(inputs) != 1 or self._answer is None:
                request = self._request if len(inputs) == 1 else self._of_many()
                return np.array(request.infer([inputs], share_inputs=True)[0])
            self._bind(inputs)
        # What `infer([inputs])` does, and 0.3 ms sooner, which is a tenth of what a small model takes.
        self._request.start_async()
        self._request.wait()
        return np.array(self._answer)

    def _bind(self, inputs: NDArray[np.float32]) -> None:
        """Have the request read from `inputs` itself, so the same array again, with other values or not, is neither
        copied nor checked; one that OpenVINO cannot share (read-only, or in pieces) is copied at every call."""
        # Kept, because the request holds its address, not a reference to it.
        self._shared = np.require(inputs, requirements=["C", "W"])
        self._request.set_input_tensor(import_openvino().Tensor(self._shared, shared_memory=True))

    def _memory_of_one(self) -> NDArray[np.float32] | None:
        """Where the answer for one image is written; None where its size is known only afterwards."""
        if any(port.partial_shape.is_dynamic for port in (self._compiled.input(0), self._compiled.output(0))):
            return None
        memory: NDArray[np.float32] = np.empty(tuple(self._compiled.output(0).shape), np.float32)
        self._request.set_output_tensor(import_openvino().Tensor(memory, shared_memory=True))
        return memory

    def new_request(self) -> Any:
        """One more, for a thread of its own."""
        return self._compiled.create_infer_request()

    def streams(self, batch: int) -> tuple[Any, dict[str, int]]:
        """An `AsyncInferQueue` as long as the device asks for, `batch` images a request, and `{streams, requests}` as
        compiled; `streams` is left out where the device does not tell."""
        compiled = self._compiled
        if batch != 1:
            compiled = _core().compile_model(_of(batch, self._whole), self._asked, self._how)
        queue = import_openvino().AsyncInferQueue(compiled)
        counts = {"requests": len(queue)}
        with suppress(RuntimeError):
            counts["streams"] = int(compiled.get_property("NUM_STREAMS"))
        return queue, counts

    def _of_many(self) -> Any:
        """For any batch size; compiled when it is first asked for."""
        if self._many is None:
            compiled = _core().compile_model(self._whole, self._asked, self._how)
            self._many = compiled.create_infer_request()
        return self._many

    @staticmethod
    def library() -> Any:
        """See `FileRuntime`, as the next three."""
        return import_openvino()

    @staticmethod
    def offered() -> OfferedDevices:
        return offered_devices()

    @staticmethod
    def resolve(device: str) -> str:
        return resolve_device(device)

    @staticmethod
    def unfit(path: Path, device: str) -> str | None:
        return None

    @staticmethod
    def listing(library: Any) -> RuntimeOffer:
        return RuntimeOffer(None, devices=_listed_devices() if library else ())


def _of(count: int, model: Any) -> Any:
    """For `count` images a call: with its sizes known, OpenVINO computes the same numbers 10 to 25 % faster."""
    sized = model.clone()
    if sized.input(0).partial_shape[0].is_dynamic:
        try:
            sized.reshape([count, *(d.get_length() for d in sized.input(0).partial_shape[1:])])
        except RuntimeError:  # a size inside contradicts it
            return model
    return sized


def _core() -> Any:
    import_openvino()
    return openvino_core()


def _version() -> str:
    return str(import_openvino().get_version().split("-")[0])  # the rest names its build


def import_openvino() -> Any:
    """The imported package. Raises `MissingExtra`."""
    try:
        import openvino
    except ImportError:
        raise MissingExtra("OpenVINO", "openvino") from None
    return openvino


def _broken(device: str) -> str | None:
    """Why a device that OpenVINO could drive is not there: the library that its plugin misses."""
    try:
        _core().get_property(device, "FULL_DEVICE_NAME")
    except RuntimeError as error:
        message = error_line(error)
        if "cannot open shared object file" in message:
            return f"its {device} plugin misses {message.partition(': cannot open')[0].rpartition(' ')[2]}"
    return None


def _listed_devices() -> tuple[OpenVinoDevice, ...]:
    core = _core()
    devices: list[OpenVinoDevice] = []
    for name in core.available_devices:
        full_name: str | None = None
        capabilities: tuple[str, ...] = ()
        with suppress(Exception):  # a device whose driver fails must not hide the others
            full_name = str(core.get_property(name, "FULL_DEVICE_NAME"))
            capabilities = tuple(map(str, core.get_property(name, "OPTIMIZATION_CAPABILITIES")))
        devices.append(OpenVinoDevice(str(name), full_name, capabilities))
    return tuple(devices)
