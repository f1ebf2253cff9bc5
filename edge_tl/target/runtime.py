"""The seam between a model file and everything else: float32 `(n, 3, H, W)` in, float32 logits `(n, classes)` out.

A runtime says what really ran (device, precision, threads), never what was asked for. It must not
preprocess, time or compare anything.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from edge_tl.target.errors import BadInput, BundleError, MissingExtra
from edge_tl.target.machine import cores_allowed, openvino_core

Logits = NDArray[np.float32]


class Runtime(Protocol):
    """A loaded model."""

    name: str
    version: str
    device: str
    threads: int

    @property
    def precision(self) -> str:
        """What the matrix layers really run in: "fp32", "bf16", "fp16", "int8" or "mixed"."""
        ...

    def __call__(self, inputs: NDArray[np.float32]) -> Logits: ...


def open_runtime(path: Path, *, device: str = "CPU", threads: int | None = None) -> Runtime:
    """Load `path` (`.onnx` or `.xml`) with the runtime its suffix names, on the cores this process may use.

    Raises `MissingExtra` when the runtime is not installed, `BadInput` for a device it does not offer and
    `BundleError` for a file it cannot load.
    """
    threads = threads or cores_allowed()
    if path.suffix == ".onnx":
        return OnnxRuntime(path, device=device, threads=threads)
    if path.suffix == ".xml":
        return OpenVinoRuntime(path, device=device, threads=threads)
    raise BadInput(f"no runtime for {path.name!r}. Give a .onnx or an OpenVINO .xml file.")


def ran(runtime: Runtime) -> dict[str, Any]:
    """What really ran, as plain data."""
    return {
        "runtime": f"{runtime.name} {runtime.version}",
        "device": runtime.device,
        "precision": runtime.precision,
        "threads": runtime.threads,
    }


class OnnxRuntime:
    """ONNX Runtime; `device` is "CPU" or an execution provider's name without its suffix, e.g. "CUDA"."""

    name = "onnxruntime"

    def __init__(self, path: Path, *, device: str = "CPU", threads: int) -> None:
        try:
            import onnxruntime
        except ImportError:
            raise MissingExtra("ONNX Runtime", "ort") from None
        provider = f"{device}ExecutionProvider"
        offered = onnxruntime.get_available_providers()
        if provider not in offered:
            names = ", ".join(p.removesuffix("ExecutionProvider") for p in offered)
            raise BadInput(f"--device {device}: this ONNX Runtime offers {names}. Choose one of these.")
        self.version, self.threads, self._path = onnxruntime.__version__, threads, path
        self._session = self._open(provider)
        self.device = self._session.get_providers()[0].removesuffix("ExecutionProvider")
        if self.device != device:
            raise BadInput(
                f"--device {device}: ONNX Runtime fell back to {self.device}. Check its installation."
            )
        self._input = self._session.get_inputs()[0]
        # A provider can be registered and yet run nothing; the profile says which ones did.
        providers = {event["args"].get("provider") for event in self._events()} if device != "CPU" else set()
        if providers and provider not in providers:
            names = ", ".join(str(p).removesuffix("ExecutionProvider") for p in providers)
            raise BadInput(f"--device {device}: ONNX Runtime ran every layer on {names}. Choose that device.")

    def _open(self, provider: str, profile: str | None = None) -> Any:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = self.threads, 1
        options.log_severity_level = 3
        if profile:
            options.enable_profiling, options.profile_file_prefix = True, profile
        try:
            return onnxruntime.InferenceSession(str(self._path), options, providers=[provider])
        except Exception as error:  # the binding raises a dozen unrelated types, all meaning "cannot load"
            raise BundleError(
                f"ONNX Runtime cannot load {self._path.name}: {error}. Copy or export it again."
            ) from None

    @property
    def precision(self) -> str:
        """From a profiled run of this very file: the operators that were executed, not those in the graph."""
        ops = [event["args"]["op_name"] for event in self._events()]
        return _precision(
            ["int8" if op.startswith(("QLinear", "QGemm", "MatMulInteger", "ConvInteger")) else "fp32"
             for op in ops if any(kind in op for kind in ("Conv", "Gemm", "MatMul"))]
        )  # fmt: skip

    def _events(self) -> list[dict[str, Any]]:
        """One run's executed nodes."""
        size = [d if isinstance(d, int) else 1 for d in self._input.shape]
        with tempfile.TemporaryDirectory() as folder:
            session = self._open(f"{self.device}ExecutionProvider", str(Path(folder) / "profile"))
            session.run(None, {self._input.name: np.zeros(size, np.float32)})
            events = json.loads(Path(session.end_profiling()).read_text())
        return [event for event in events if event.get("args", {}).get("op_name")]

    def __call__(self, inputs: NDArray[np.float32]) -> Logits:
        _check(inputs, self._input.shape)
        result: Logits = self._session.run(None, {self._input.name: inputs})[0]
        return result


class OpenVinoRuntime:
    """OpenVINO. It is asked for f32: left alone it computes in bf16 where the chip has it, and answers change."""

    name = "openvino"

    def __init__(self, path: Path, *, device: str = "CPU", threads: int) -> None:
        try:
            import openvino
        except ImportError:
            raise MissingExtra("OpenVINO", "openvino") from None
        core = openvino_core()
        if device not in core.available_devices and device != "AUTO":
            raise BadInput(
                f"--device {device}: OpenVINO sees {', '.join(core.available_devices)}. Choose one of these."
            )
        settings: dict[str, Any] = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}
        if device == "CPU":
            settings["INFERENCE_NUM_THREADS"] = threads
        try:
            self._compiled = core.compile_model(core.read_model(path), device, settings)
        except RuntimeError as error:
            why = " ".join(str(error).split())[-300:]
            raise BundleError(f"OpenVINO cannot load {path.name}: {why}. Copy or export it again.") from None
        self.version = openvino.get_version().split("-")[0]
        self.device = ",".join(self._compiled.get_property("EXECUTION_DEVICES"))
        self.threads = int(self._compiled.get_property("INFERENCE_NUM_THREADS")) if device == "CPU" else 0
        self._request = self._compiled.create_infer_request()
        shape = self._compiled.input(0).partial_shape
        self._shape = [d.get_length() if d.is_static else None for d in shape]

    @property
    def precision(self) -> str:
        """From the compiled graph: the precision of every convolution and matrix product."""
        kinds = {"f32": "fp32", "f16": "fp16", "bf16": "bf16", "i8": "int8", "u8": "int8"}
        found = []
        for node in self._compiled.get_runtime_model().get_ordered_ops():
            info = node.get_rt_info()
            if str(info["layerType"].astype(str)) in ("Convolution", "FullyConnected", "MatMul"):
                precision = str(info["runtimePrecision"].astype(str))
                found.append(kinds.get(precision, precision))
        return _precision(found)

    def __call__(self, inputs: NDArray[np.float32]) -> Logits:
        _check(inputs, self._shape)
        result: Logits = self._request.infer([inputs], share_inputs=True)[0].copy()
        return result


class NullRuntime:
    """Answers zeros at once: what the harness itself costs."""

    name, version, device, precision = "null", "0", "none", "none"

    def __init__(self, classes: int) -> None:
        self.threads, self._classes = 0, classes

    def __call__(self, inputs: NDArray[np.float32]) -> Logits:
        return np.zeros((len(inputs), self._classes), np.float32)


def _precision(found: list[str]) -> str:
    """One word for the matrix layers; the first and last are often left in float, hence nine tenths."""
    for kind in set(found):
        if found.count(kind) >= 0.9 * len(found):
            return kind
    return "mixed" if found else "unknown"


def _check(inputs: NDArray[np.float32], shape: list[Any]) -> None:
    """Every runtime refuses a wrong input with the same sentence, before its backend sees it."""
    want = [d if isinstance(d, int) else None for d in shape]
    fits = inputs.ndim == len(want) and all(w in (None, s) for w, s in zip(want, inputs.shape, strict=True))
    if inputs.dtype != np.float32 or not fits:
        wanted = "x".join("n" if d is None else str(d) for d in want)
        raise BadInput(f"model input: {inputs.dtype} {inputs.shape}. Give float32 {wanted}.")
