"""edge-tl: fine-tune an image classifier, export it, and prove that the device gives PyTorch's answers.

The functions of docs/api.md, six of them verbs of the command line, are imported when they are first used.
"""

import importlib
import importlib.util
import os
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edge_tl.api import bench, load_bundle, predict, tune, verify
    from edge_tl.device.bench.options import BenchOptions
    from edge_tl.device.bundle import Artifact, Bundle
    from edge_tl.device.errors import BadImage, BadInput, BundleError, EdgeTLError, FellBack, MissingExtra
    from edge_tl.device.listener import Event, Listener, Silent
    from edge_tl.device.model import Model
    from edge_tl.device.records.bench import BenchResult
    from edge_tl.device.records.gate import GateResult
    from edge_tl.device.records.prediction import Prediction, Score
    from edge_tl.device.records.tuned import TunedRecord
    from edge_tl.device.records.verification import VerifyResult
    from edge_tl.host.api import export, finetune
    from edge_tl.host.runs.result import RunResult

__version__ = "0.1.0"

_MODULES = {
    "edge_tl.api": "bench load_bundle predict tune verify",
    "edge_tl.device.bench.options": "BenchOptions",
    "edge_tl.device.bundle": "Artifact Bundle",
    "edge_tl.device.errors": "BadImage BadInput BundleError EdgeTLError FellBack MissingExtra",
    "edge_tl.device.listener": "Event Listener Silent",
    "edge_tl.device.model": "Model",
    "edge_tl.device.records.bench": "BenchResult",
    "edge_tl.device.records.gate": "GateResult",
    "edge_tl.device.records.prediction": "Prediction Score",
    "edge_tl.device.records.tuned": "TunedRecord",
    "edge_tl.device.records.verification": "VerifyResult",
    "edge_tl.host.api": "export finetune",
    "edge_tl.host.runs.result": "RunResult",
}
_WHERE = {name: module for module, names in _MODULES.items() for name in names.split()}

__all__ = [
    "Artifact", "BadImage", "BadInput", "BenchOptions", "BenchResult", "Bundle", "BundleError", "EdgeTLError", "Event",
    "FellBack", "GateResult", "Listener", "MissingExtra", "Model", "Prediction", "RunResult", "Score", "Silent",
    "TunedRecord", "VerifyResult", "__version__", "bench", "export", "finetune", "load_bundle", "predict", "tune",
    "verify",
]  # fmt: skip
_OF_HOST = {name for name, module in _WHERE.items() if module.startswith("edge_tl.host.")}
if importlib.util.find_spec("edge_tl.host") is None:  # only the device's part is installed
    __all__[:] = [name for name in __all__ if name not in _OF_HOST]

# OpenVINO reports its import, and NNCF every call, to their makers, unasked, through this package. It is set as one
# that cannot be imported, for which both have a stub: nothing leaves the machine.
sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]
# ONNX Runtime, from 1.29 on Linux too, reports imports and sessions with the model's file name and hashes. It looks at
# this variable when it is first imported, and nothing later undoes what it sent by then.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"


def __getattr__(name: str) -> object:
    """A public name, imported when it is first asked for: `import edge_tl` alone costs nothing. Raises `MissingExtra`,
    which is an `AttributeError` too, for a name of the host where that is not installed."""
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        value = getattr(importlib.import_module(_WHERE[name]), name)
    except ModuleNotFoundError as error:
        if name not in _OF_HOST:
            raise
        from edge_tl.device.errors import MissingExtra, MissingName

        # `from edge_tl import finetune` would put "cannot import name" in an AttributeError's place.
        from_import = sys._getframe(1).f_code.co_name == "_handle_fromlist"
        missing = MissingExtra if from_import else MissingName
        raise missing(f"{error.name}, which edge_tl.{name} needs,", "host") from None
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
