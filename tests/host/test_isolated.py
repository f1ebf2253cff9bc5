"""A process of its own: answers, errors and progress come back; what ends it is an error, and the next call works."""

from __future__ import annotations

import math
import operator
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from listening import Listening
from onnx import helper

from edge_tl.device.errors import BadImage, BadInput, EdgeTLError
from edge_tl.host.int8.ranges import histograms
from edge_tl.host.isolated import IsolatedProcess, ProcessDied, _portable


@pytest.fixture(scope="module")
def isolated() -> Iterator[IsolatedProcess]:
    with IsolatedProcess() as one:
        yield one


def test_answers_come_from_another_process_which_serves_many(isolated: IsolatedProcess):
    first = isolated.call(os.getpid)
    assert first != os.getpid()
    assert isolated.call(math.sqrt, 2) == math.sqrt(2)
    array = np.arange(12, dtype=np.float32).reshape(3, 4)
    np.testing.assert_array_equal(isolated.call(np.transpose, array), array.T)
    assert isolated.call(os.getpid) == first


def test_what_it_prints_is_no_answer(isolated: IsolatedProcess, capfd: pytest.CaptureFixture[str]):
    isolated.call(os.system, "echo chatter")
    isolated.call(os.write, 1, b"chatter\n")
    assert isolated.call(math.sqrt, 4) == 2
    assert capfd.readouterr() == ("", "")


def test_errors_are_those_of_the_function(isolated: IsolatedProcess):
    before = isolated.call(os.getpid)
    with pytest.raises(ZeroDivisionError, match="division by zero"):
        isolated.call(operator.truediv, 1, 0)
    with pytest.raises(FileNotFoundError) as caught:
        isolated.call(os.stat, "/no/such/file")
    assert caught.value.filename == "/no/such/file"
    assert isolated.call(os.getpid) == before  # and the process lives


@pytest.mark.parametrize(
    ("function", "argument", "words"),
    [(os.kill, signal.SIGSEGV, "segmentation fault, signal 11"), (os.kill, signal.SIGKILL, "signal 9: out of memory"),
     (os._exit, 3, "exit code 3")],
)  # fmt: skip
def test_a_death_is_an_error_that_says_of_what_and_the_next_call_has_another_process(
    function: Any, argument: Any, words: str, isolated: IsolatedProcess
):
    before = isolated.call(os.getpid)
    arguments = (before, int(argument)) if function is os.kill else (argument,)
    with pytest.raises(ProcessDied, match=words):
        isolated.call(function, *arguments)
    assert isolated.call(os.getpid) != before


def test_progress_is_told_while_it_works(isolated: IsolatedProcess, tmp_path: Path):
    seen: list[tuple[str, int, int]] = []
    graph = helper.make_graph(
        [helper.make_node("Gemm", ["images", "w"], ["x"]), helper.make_node("Gemm", ["x", "w"], ["y"])],
        "small",
        [helper.make_tensor_value_info("images", 1, ["n", 4])],
        [helper.make_tensor_value_info("y", 1, ["n", 4])],
        [helper.make_tensor("w", 1, (4, 4), np.eye(4).ravel().tolist())],
    )
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8),
        tmp_path / "m.onnx",
    )
    images = np.random.default_rng(0).normal(size=(4, 4)).astype(np.float32)
    isolated.call(
        histograms,
        str(tmp_path / "m.onnx"),
        images,
        listener=Listening(progress=lambda *step: seen.append(step)),
    )
    assert seen
    assert seen[-1][1] == seen[-1][2]


def test_an_interrupt_ends_the_process_and_leaves_no_late_answer(isolated: IsolatedProcess):
    def interrupt(number: int, frame: Any) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    busy = isolated.call(os.getpid)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.2)
        with pytest.raises(KeyboardInterrupt):
            isolated.call(time.sleep, 60)
    finally:
        signal.signal(signal.SIGALRM, before)
    with pytest.raises(ProcessLookupError):
        os.kill(busy, 0)
    assert isolated.call(math.sqrt, 9) == 3


def test_what_gives_no_answer_in_time_is_ended_and_the_next_call_has_another_process(
    isolated: IsolatedProcess,
):
    """A converter or a kernel that hangs must not hang the export."""
    hanging = isolated.call(os.getpid)
    with pytest.raises(ProcessDied, match=r"it gave no answer for 0\.5 seconds and was ended"):
        isolated.call(time.sleep, 600, seconds=0.5)
    with pytest.raises(ProcessLookupError):
        os.kill(hanging, 0)
    assert isolated.call(math.sqrt, 9) == 3


def test_errors_that_do_not_survive_the_journey_keep_their_words():
    assert _portable(BadInput("why")).args == ("why",)
    told = _portable(BadImage("a.png", "short"))
    assert isinstance(told, EdgeTLError)
    assert str(told) == "not a usable image: a.png: short. Replace or remove the file."
    foreign = type("OpenVinoError", (Exception,), {"__module__": "openvino"})
    assert str(_portable(foreign("no kernel"))) == "OpenVinoError: no kernel"


def test_the_process_that_makes_and_runs_files_starts_without_pytorch():
    """It is started for every export, and once for each lesser instruction set: three seconds each time."""
    code = (
        "import importlib, sys\n"
        "for name in sys.argv[1:]: importlib.import_module(name)\n"
        "print(*sorted({'torch', 'torchvision', 'nncf'} & set(sys.modules)))"
    )
    modules = [
        "edge_tl.host.isolated",
        "edge_tl.host.export.isa_caps",
        "edge_tl.host.export.isolated_runtime",
        "edge_tl.host.convert.compress",
        "edge_tl.host.convert.fp32",
        "edge_tl.host.int8.candidate_source",
    ]
    done = subprocess.run([sys.executable, "-c", code, *modules], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == []
