"""ONNX Runtime and its execution providers: the one that was asked for must have run the matrix layers.

ONNX Runtime leaves to the CPU what a provider does not take, from a single node to all of them, and says so in a
log at most. So an executed node's provider is read from a profiled run of the very file.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from edge_tl.device.errors import BundleError, EdgeTLError, MissingExtra
from edge_tl.device.machine import has_vnni
from edge_tl.device.records.devices import RuntimeOffer
from edge_tl.device.records.timing import ElsewhereRecord, FallbackRecord, RanRecord
from edge_tl.device.runtimes.base import (
    Logits,
    OfferedDevices,
    check_input,
    dominant_precision,
    fallback_note,
    load_error_text,
    ran_record,
    record_fallback,
)
from edge_tl.device.runtimes.matrix_layers import is_matrix_operator

_SUFFIX = "ExecutionProvider"
_ERROR, _FATAL = 3, 4  # of its levels, which begin at verbose (0)
_INT8 = ("QLinear", "QGemm", "MatMulInteger", "ConvInteger")
_KINDS = {"float": "fp32", "float16": "fp16", "bfloat16": "bf16"}


def offered_providers() -> OfferedDevices:
    """The providers this build has, by their names without the suffix: "CPU", "CUDA", "Tensorrt", "OpenVINO", ...

    Raises `MissingExtra`. That one is offered does not mean that it works: only a session shows that.
    """
    installed = import_onnxruntime()
    names = [name.removesuffix(_SUFFIX) for name in installed.get_available_providers()]
    return OfferedDevices(f"ONNX Runtime {installed.__version__}", names)


class ExecutedNode(NamedTuple):
    """`provider` without its suffix, the time in nanoseconds, and the type of the first input, ONNX Runtime's name."""

    operator: str
    provider: str
    nanoseconds: int
    input_type: str


class OnnxRuntime:
    """A session on one provider. `check` finds out what ran; without it nothing is known about other devices than
    the CPU. `quiet`: ONNX Runtime does not write on stderr what it raises as well."""

    name = "onnxruntime"

    def __init__(
        self,
        path: Path,
        *,
        device: str = "CPU",
        threads: int,
        allow_fallback: bool = False,
        quiet: bool = False,
    ) -> None:
        self.version = import_onnxruntime().__version__
        self.device = self._asked = offered_providers().choose(device)
        self.threads, self._path, self._allow_fallback = threads, path, allow_fallback
        self._level = _FATAL if quiet else _ERROR
        self._fallback: FallbackRecord | None = None
        self._session = self._open()
        self._input = self._session.get_inputs()[0]
        registered = self._session.get_providers()[0].removesuffix(_SUFFIX)
        if registered != self.device:
            self._fall_back("it did not start here, and ONNX Runtime took the CPU", {registered: 1})

    @property
    def shape(self) -> list[int | None]:
        """Of the input; None where the model leaves it open."""
        return [d if isinstance(d, int) else None for d in self._input.shape]

    def check(self) -> None:
        """Run once under the profiler. Raises `FellBack` when a matrix layer ran on another provider than asked, and
        when the profile is empty: what nothing shows is not proven."""
        if self._fallback:
            return
        if not self._nodes and self._asked != "CPU":
            self._fall_back(f"nothing shows that {self._asked} ran it", {})
            return
        if not (elsewhere := [node for node in self._nodes if node.provider != self._asked]):
            return
        ran = Counter(node.provider for node in self._nodes)
        layers = Counter(node.provider for node in elsewhere if is_matrix_operator(node.operator))
        if self._asked not in ran:
            self._fall_back(f"every node ran on {_listed(ran)}", ran)
        elif layers:
            of = sum(is_matrix_operator(node.operator) for node in self._nodes)
            self._fall_back(f"{sum(layers.values())} of {of} matrix layers ran on {_listed(layers)}", ran)

    def details(self) -> RanRecord:
        """Nodes by provider, and what ran on another one than asked. Runs `check`."""
        self.check()
        found = replace(ran_record(self), providers=dict(Counter(node.provider for node in self._nodes)))
        if self._fallback:
            return replace(found, fallback=self._fallback, notes=(fallback_note(self._fallback),))
        away = [node for node in self._nodes if node.provider != self._asked]
        if not away:
            return found
        share = sum(n.nanoseconds for n in away) / max(1, sum(n.nanoseconds for n in self._nodes))
        operators = ", ".join(sorted({node.operator for node in away}))
        note = (
            f"{len(away)} of {len(self._nodes)} nodes, {100 * share:.0f} % of the time, ran on "
            f"{_listed(Counter(node.provider for node in away))}, no matrix layer among them: {operators}"
        )
        elsewhere = ElsewhereRecord(len(away), len(self._nodes), round(share, 4))
        return replace(found, elsewhere=elsewhere, notes=(note,))

    @property
    def precision(self) -> str:
        """From the operators that were executed and what they were given, not from the graph: a CPU computes an FP16
        file in float32. "unknown" where a provider fused them."""
        return dominant_precision(
            [_precision(node) for node in self._nodes if is_matrix_operator(node.operator)]
        )

    @cached_property
    def _nodes(self) -> list[ExecutedNode]:
        """One run's executed nodes."""
        size = [d if isinstance(d, int) else 1 for d in self._input.shape]
        with tempfile.TemporaryDirectory() as folder:
            session = self._open(str(Path(folder) / "profile"))
            session.run(None, {self._input.name: np.zeros(size, np.float32)})
            try:
                events = json.loads(Path(session.end_profiling()).read_text())
            except (OSError, ValueError):  # a full disk cuts it off, and ONNX Runtime does not say so
                raise EdgeTLError(
                    f"ONNX Runtime's profile in {Path(folder).parent} is not whole, so what ran is not known. Free "
                    "some space there, or set TMPDIR to a folder that has some, and run again."
                ) from None
        return [
            ExecutedNode(
                operator=event["args"]["op_name"],
                provider=str(event["args"].get("provider")).removesuffix(_SUFFIX),
                nanoseconds=event["dur"] * 1000,
                input_type=next(
                    (kind for tensor in event["args"].get("input_type_shape", []) for kind in tensor), "float"
                ),
            )
            for event in events
            if event.get("args", {}).get("op_name")
        ]

    def _fall_back(self, why: str, ran: dict[str, int]) -> None:
        self._fallback = record_fallback(self._asked, why, ran, allowed=self._allow_fallback)
        self.device = ",".join(sorted(ran, key=lambda name: -ran[name])) or "unknown"

    def _open(self, profile: str | None = None) -> Any:
        installed = import_onnxruntime()
        options = installed.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = self.threads, 1
        options.log_severity_level = self._level
        # Without VNNI, x86 kernels of UINT8 x INT8 add in 16 bits and saturate; this takes those of UINT8 x UINT8,
        # which do not (onnxruntime_session_options_config_keys.h). With VNNI nothing saturates; ONNX Runtime obeys all
        # the same, and a call takes up to twice as long.
        if not has_vnni():
            options.add_session_config_entry("session.x64quantprecision", "1")
        if self._asked == "Dml":  # its documentation asks for that
            options.enable_mem_pattern = False
        if profile:
            options.enable_profiling, options.profile_file_prefix = True, profile
        provider = (f"{self._asked}{_SUFFIX}", _options(self._asked, self._path, self.threads))
        try:
            return installed.InferenceSession(str(self._path), options, providers=[provider])
        except Exception as error:  # the binding raises a dozen unrelated types, all meaning "cannot load"
            on = "" if self._asked == "CPU" else f" on {self._asked}"
            raise BundleError(
                f"ONNX Runtime cannot load {self._path.name}{on}: {load_error_text(error, self._path)}. "
                "Copy or export it again."
            ) from None

    def __call__(self, inputs: NDArray[np.float32]) -> Logits:
        check_input(inputs, self._input.shape)
        result: Logits = self._session.run(None, {self._input.name: inputs})[0]
        return result

    @staticmethod
    def library() -> Any:
        """See `FileRuntime`, as the next three."""
        return import_onnxruntime()

    @staticmethod
    def offered() -> OfferedDevices:
        return offered_providers()

    @staticmethod
    def resolve(device: str) -> str:
        return offered_providers().choose(device)

    @staticmethod
    def listing(library: Any) -> RuntimeOffer:
        return RuntimeOffer(None, providers=tuple(library.get_available_providers()) if library else ())


def import_onnxruntime() -> Any:
    """The imported package, which from now on says errors only. Raises `MissingExtra`."""
    try:
        if "onnxruntime" in sys.modules:
            import onnxruntime
        else:
            with _errors_only():
                import onnxruntime

                onnxruntime.set_default_logger_severity(_ERROR)
    except ImportError:
        raise MissingExtra("ONNX Runtime", "ort") from None
    return onnxruntime


@contextlib.contextmanager
def _errors_only() -> Iterator[None]:
    """Without ONNX Runtime's warnings on stderr: it looks for GPUs before anybody can set its level, and warns of each
    that it cannot read, although nothing is wrong. Everything else is passed on."""
    try:
        kept = os.dup(2)
    except OSError:  # there is no stderr
        yield
        return
    with tempfile.TemporaryFile() as said:
        os.dup2(said.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(kept, 2)
            os.close(kept)
            said.seek(0)
            others = [line for line in said if b"[W:onnxruntime" not in line]
            with contextlib.suppress(OSError):
                os.write(2, b"".join(others)) if others else None


def _options(provider: str, path: Path, threads: int) -> dict[str, str]:
    """FP32 means FP32: what computes with fewer bits unasked is switched off where the provider lets one."""
    if provider in ("CUDA", "Tensorrt"):
        os.environ.setdefault("NVIDIA_TF32_OVERRIDE", "0")  # TensorRT has no option of its own for it
        if preload := getattr(
            import_onnxruntime(), "preload_dlls", None
        ):  # NVIDIA's libraries, where pip put them
            with contextlib.redirect_stdout(sys.stderr):
                preload()
    if provider == "CUDA":
        return {"use_tf32": "0"}
    if provider == "Tensorrt":
        quantized = (
            b"QuantizeLinear" in path.read_bytes()
        )  # TensorRT refuses such a file unless asked to take it
        return {"trt_fp16_enable": "0", "trt_int8_enable": str(int(quantized))}
    if provider == "OpenVINO":
        return {"device_type": "CPU", "precision": "FP32", "num_of_threads": str(threads)}
    if provider == "Xnnpack":
        return {"intra_op_num_threads": str(threads)}
    return {}


def _precision(node: ExecutedNode) -> str:
    return "int8" if node.operator.startswith(_INT8) else _KINDS.get(node.input_type, node.input_type)


def _listed(counts: dict[str, int]) -> str:
    return ", ".join(sorted(counts))
