"""The result of one gate: what was measured, against which limit, and whether it passed; and the gates by name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from edge_tl.device.records.codec import Pattern, Record, written

# In the order in which they are listed, each with what its failure isolates: without that people retrain when a
# decoder changed.
GATES = {
    "pixels": "the file becomes other pixels here: look at the image decoder and the resize, not the model",
    "device": "the same file gives other answers here: look at the CPU, its instruction set and the runtime",
    "loss": "export or quantization changed the answers: try the fp32 artifact or other calibration images",
    "speed": "the answers are right but late: look at threads, other load and which device really ran",
    "size": "the files are too large: look at int8, or fp16 and w8 of export --precision",
}
# In the order in which an image passes them, each with what is wrong where it is the first to diverge.
STAGES = {
    "decode": "the decoder gives other pixels: look at CMYK, 16 bits, transparency, and the decoder's version",
    "orient": "the image is turned otherwise: look at the EXIF orientation",
    "resize": "the resized image is another: look at the size and its rounding, the filter and its antialiasing",
    "crop": "another part is cut out: look at the crop's size and offsets",
    "normalize": "the same pixels become other numbers: look at the division by 255, mean, std and channel order",
    "logits": "the same input gives other logits: look at the CPU, the runtime and the model file",
    "label": "the logits are the host's, the answers are not PyTorch's: look at export and quantization",
}
_UNKNOWN = "a gate that this edge-tl does not know: read its reason, or install the edge-tl that exported"


@dataclass(frozen=True)
class GateResult(Record):
    """`gate` is one of `GATES`, or one of a newer edge-tl. `measured` and `limit` are in `unit`; `artifact` is None for
    the pixels gate, which belongs to all of them; export's on an artifact of raw pixels names it. `measured` is None
    where nothing could be measured, `passed` where nothing was checked. A gate that is not `judged` had too few images
    or too busy a machine to tell, and does not fail.

    Of a failure on golden images, `stage` is the first that diverges (one of `STAGES`), `image` where it does so most,
    `difference` by how much (levels of 255, or of a logit), and `would_pass` the limit that would have let all images
    pass; None where no limit would, or nothing tells."""

    gate: Annotated[str, Pattern("[a-z0-9_-]{1,32}", "a gate's name: a short word such as pixels")]
    artifact: str | None
    measured: float | None
    limit: float
    unit: str
    passed: bool | None
    reason: str
    judged: bool = written(True)
    stage: str | None = None
    image: str | None = None
    difference: float | None = None
    would_pass: float | None = None

    @property
    def meaning(self) -> str:
        """What a failure of this gate isolates."""
        return GATES.get(self.gate, _UNKNOWN)
