"""edge-tl: fine-tune an image classifier, export it, and prove that the device gives PyTorch's answers."""

import sys

__version__ = "0.1.0"

# OpenVINO reports its import, and NNCF every call, to their makers, unasked, through this package. It is set as one
# that cannot be imported, for which both have a stub: nothing leaves the machine.
sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]
