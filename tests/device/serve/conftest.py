"""A real service in a process of its own, on a free port."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

REPOSITORY = Path(__file__).parents[3]


@dataclass
class Service:
    """Where it answers, its process, and what it said until it listened."""

    url: str
    process: subprocess.Popen[str]
    said: str


@contextmanager
def running(bundle: Path, *options: object, env: dict[str, str] | None = None) -> Iterator[Service]:
    """`edge-tl serve BUNDLE`, ended by SIGTERM."""
    command = [sys.executable, "-m", "edge_tl", "serve", str(bundle), "--port", "0", *map(str, options)]
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)} | (env or {})
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment)
    assert process.stderr is not None
    said = ""
    try:
        while not (found := re.search(r"answers at (\S+)", said)):
            line = process.stderr.readline()
            assert line, f"it ended: {said}"
            said += line
        yield Service(found[1], process, said)
    finally:
        process.terminate()
        try:
            process.communicate(timeout=30)
        except subprocess.TimeoutExpired:
            process.kill()
            raise


@pytest.fixture(scope="session")
def start() -> Callable[..., Any]:
    """`with start(bundle, "--queue", 2) as service: ...`"""
    for module in ("fastapi", "uvicorn", "prometheus_client", "python_multipart", "httpx", "onnxruntime"):
        pytest.importorskip(module)
    return running
