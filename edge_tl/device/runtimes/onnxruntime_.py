"""ONNX Runtime and its execution providers: the one that was asked for must have run the matrix layers.

ONNX Runtime leaves to the CPU what a provider does not take, from a single node to all of them, and says so in a
log at most. So an executed node's provider is read from a profiled run of the very file.
"""

from __future__ import annotations

import json
import tempfile
from collections import Counter
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from edge_tl.device.errors import BadInput, BundleError, EdgeTLError
from edge_tl.device.machine import has_vnni
from edge_tl.device.model_metadata import PRECISE, session_option
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
    zero_input,
)
from edge_tl.device.runtimes.matrix_layers import is_matrix_operator, is_of_preprocessing
from edge_tl.device.runtimes.onnxruntime_import import import_onnxruntime
from edge_tl.device.runtimes.plugins import SUFFIX, list_plugins
from edge_tl.device.runtimes.providers import (
    choose_provider,
    compiled_precision,
    fix_shape,
    offered_providers,
    provider_options,
    unfit_file,
)
from edge_tl.device.spawn import libraries_on_stderr

_ERROR, _FATAL = 3, 4  # of its levels, which begin at verbose (0)
_FENCES = ("_fence_before", "_fence_after")
_INT8 = ("QLinear", "QGemm", "MatMulInteger", "ConvInteger")
_KINDS = {"float": "fp32", "float16": "fp16", "bfloat16": "bf16"}


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
        self._provider = choose_provider(device)
        self._asked = self._provider.registered
        self.device = self._provider.label
        if fault := unfit_file(self._provider, path):
            raise BadInput(f"--device {device}: {fault}")
        self.threads, self._path, self._allow_fallback = threads, path, allow_fallback
        self._level = _FATAL if quiet else _ERROR
        self._fallback: FallbackRecord | None = None
        self._session = self._open()
        self._input = self._session.get_inputs()[0]
        registered = self._session.get_providers()[0].removesuffix(SUFFIX)
        if registered != self._asked:
            self._fall_back("it did not start here, and ONNX Runtime took the CPU", {registered: 1})

    @property
    def shape(self) -> list[int | None]:
        """Of the input; None where the model leaves it open."""
        found = [d if isinstance(d, int) else None for d in self._input.shape]
        return [None, *found[1:]] if self._provider.one_image and not self.takes_pixels else found

    @property
    def takes_pixels(self) -> bool:
        """See `FileRuntime`."""
        return str(self._input.type) == "tensor(uint8)"

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
        found = replace(
            ran_record(self),
            providers=dict(Counter(node.provider for node in self._nodes)),
            options=self._provider.options or None,
        )
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
        file in float32. Where a provider compiled them, "fp16" or "unknown", see `compiled_precision`."""
        found = [_precision(node) for node in self._nodes if is_matrix_operator(node.operator)]
        return dominant_precision(found) if found else compiled_precision(self._provider, self._path)

    @cached_property
    def _nodes(self) -> list[ExecutedNode]:
        """One run's executed nodes."""
        given = zero_input(self.shape, takes_pixels=self.takes_pixels)
        with tempfile.TemporaryDirectory() as folder:
            session = self._open(str(Path(folder) / "profile"))
            session.run(None, {self._input.name: given})
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
                provider=str(event["args"].get("provider")).removesuffix(SUFFIX),
                nanoseconds=event["dur"] * 1000,
                input_type=next(
                    (kind for tensor in event["args"].get("input_type_shape", []) for kind in tensor), "float"
                ),
            )
            for event in events
            # Older versions, as 1.17, have three events for a node, and only that of its kernel names a provider.
            if event.get("args", {}).get("op_name")
            and not event["name"].endswith(_FENCES)
            # Preprocessing has products of integers on the CPU, whatever the model behind it is.
            and not is_of_preprocessing(
                event["name"], event["args"]["op_name"], takes_pixels=self.takes_pixels
            )
        ]

    def _fall_back(self, why: str, ran: dict[str, int]) -> None:
        self._fallback = record_fallback(self._asked, why, ran, allowed=self._allow_fallback)
        self.device = ",".join(sorted(ran, key=lambda name: -ran[name])) or "unknown"

    def _open(self, profile: str | None = None) -> Any:
        installed = import_onnxruntime()
        options = cpu_options(self._path, self.threads, level=self._level)
        if self._asked == "Dml":  # its documentation asks for that
            options.enable_mem_pattern = False
        if profile:
            options.enable_profiling, options.profile_file_prefix = True, profile
        provider = self._provider
        chosen = provider_options(provider, self._path, self.threads)
        fix_shape(options, provider)
        try:
            if provider.devices:
                options.add_provider_for_devices(provider.devices, chosen)
                with libraries_on_stderr():
                    session = installed.InferenceSession(str(self._path), options)
            else:
                named = (f"{provider.name}{SUFFIX}", chosen)
                session = installed.InferenceSession(str(self._path), options, providers=[named])
            if not self._allow_fallback:
                session.disable_fallback()  # it would go on with the CPU after a run that failed
            return session
        except Exception as error:  # the binding raises a dozen unrelated types, all meaning "cannot load"
            on = "" if self._asked == "CPU" else f" on {self._asked}"
            raise BundleError(
                f"ONNX Runtime cannot load {self._path.name}{on}: {load_error_text(error, self._path)}. "
                "Copy or export it again."
            ) from None

    def __call__(self, inputs: NDArray[np.float32]) -> Logits:
        check_input(inputs, self.shape, takes_pixels=self.takes_pixels)
        if self._provider.one_image and len(inputs) > 1:
            return np.concatenate([self(inputs[i : i + 1]) for i in range(len(inputs))])
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
        return choose_provider(device).label

    @staticmethod
    def unfit(path: Path, device: str) -> str | None:
        return unfit_file(choose_provider(device), path)

    @staticmethod
    def listing(library: Any) -> RuntimeOffer:
        if not library:
            return RuntimeOffer(None, providers=())
        return RuntimeOffer(None, providers=tuple(library.get_available_providers()), plugins=list_plugins())


def cpu_options(path: Path, threads: int, *, level: int = _ERROR) -> Any:
    """The session options with which the file at `path` gives its own answers on this CPU."""
    options = import_onnxruntime().SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = level
    # Without VNNI, x86 kernels of UINT8 x INT8 add in 16 bits and saturate; this takes those of UINT8 x UINT8,
    # which do not (onnxruntime_session_options_config_keys.h), and a call takes up to twice as long. With VNNI
    # nothing saturates, nor with weights of which a file says so.
    if not has_vnni() and session_option(path, PRECISE) != "0":
        options.add_session_config_entry(PRECISE, "1")
    return options


def _precision(node: ExecutedNode) -> str:
    return "int8" if node.operator.startswith(_INT8) else _KINDS.get(node.input_type, node.input_type)


def _listed(counts: dict[str, int]) -> str:
    return ", ".join(sorted(counts))
