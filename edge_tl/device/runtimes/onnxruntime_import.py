"""ONNX Runtime, imported without its warnings. Opens nothing."""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator
from typing import Any

from edge_tl.device.errors import MissingExtra

_ERROR = 3  # of its levels, which begin at verbose (0)


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
