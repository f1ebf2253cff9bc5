"""edge-tl: fine-tune an image classifier, export it, and prove that the device gives PyTorch's answers."""

import os
import sys

__version__ = "0.1.0"

# OpenVINO reports its import, and NNCF every call, to their makers, unasked, through this package. It is set as one
# that cannot be imported, for which both have a stub: nothing leaves the machine.
sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]
# ONNX Runtime, from 1.29 on Linux too, reports imports and sessions with the model's file name and hashes. It looks at
# this variable when it is first imported, and nothing later undoes what it sent by then.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
