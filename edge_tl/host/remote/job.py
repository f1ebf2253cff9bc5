"""One job on one device: connect, copy, make the environment, run the verb. It prints nothing."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import IO, Any, Literal

from edge_tl.device.errors import EXIT_GATE_FAILED, EXIT_OK, EdgeTLError
from edge_tl.device.format import megabytes, number
from edge_tl.host.remote import errors
from edge_tl.host.remote.agent.messages import (
    Layout,
    PrepareAnswer,
    PrepareRequest,
    ProbeAnswer,
    ProbeRequest,
    ReceiveAnswer,
    ReceiveRequest,
    RunAnswer,
    RunRequest,
)
from edge_tl.host.remote.inventory import RemoteDevice
from edge_tl.host.remote.ssh import Connection
from edge_tl.host.remote.upload import Content, Tree, of_bytes, write_tar
from edge_tl.host.remote.wheel import Wheel

OnStep = Callable[[str, str], None]
"""Called with (step, note) when a step begins or has something to say."""
NEWER = ("python3.14", "python3.13", "python3.12", "python3.11", "python3.10")
WITH_OPENVINO = {"x86_64", "AMD64", "aarch64", "arm64"}


@dataclass(frozen=True)
class Job:
    """What every device does: a verb with its words (a `Tree` stands for its path there), and the code to run;
    `receive` is called with what came of it on a device, as it arrives and before it is saved."""

    verb: str
    words: tuple[str | Tree, ...]
    wheel: Wheel
    wheels: Tree | None = None  # packages for devices without internet
    receive: Callable[[DeviceResult], DeviceResult] | None = None

    @property
    def trees(self) -> list[Tree]:
        """The trees among the words."""
        return [word for word in self.words if isinstance(word, Tree)]


@dataclass(frozen=True)
class DeviceResult:
    """What the job came to on one device.

    `failed` is a gate or budget: the result is there. `error` has the step and the reason. `result` is the JSON object
    that the verb printed, as it came.
    """

    name: str
    host: str
    status: Literal["passed", "failed", "error"]
    exit_code: int | None = None
    result: dict[str, Any] | None = None
    saved: tuple[str, ...] = ()
    step: str | None = None
    error: str | None = None

    def to_json(self) -> dict[str, Any]:
        """An entry of `devices[]`: keys without a value are left out."""
        entry: dict[str, Any] = {"name": self.name, "host": self.host, "status": self.status}
        if self.result is not None:
            entry |= {"exit_code": self.exit_code, "result": self.result, "saved": list(self.saved)}
        if self.error is not None:
            entry |= {"step": self.step, "error": self.error}
        return entry


@dataclass
class DeviceJob:
    """A job on one device. `connect` makes a connection; `step` is where it is."""

    name: str
    device: RemoteDevice
    job: Job
    connect: Callable[[], Connection]
    on_step: OnStep
    step: str = field(default="connect", init=False)
    stopped: bool = field(default=False, init=False)
    _python: str = field(default="", init=False)

    def __post_init__(self) -> None:
        self._connection = self.connect()

    def run(self) -> DeviceResult:
        """All steps; whatever goes wrong is in the result."""
        try:
            done = self._run_steps_again_if_lost()
            self.on_step("done", done.status)
            return done
        except Exception as error:
            known = isinstance(error, EdgeTLError | OSError)
            text = str(error) if known else f"unexpected {type(error).__name__}: {error}. Report it."
            if not self.stopped:
                self.on_step("failed", text)
            return replace(self._outcome("error"), step=self.step, error=text)
        finally:
            self._connection.close()

    def stop(self) -> None:
        """End it, here and on the device; may be called from another thread."""
        self.stopped = True
        self._connection.close()

    def _outcome(self, status: Literal["passed", "failed", "error"]) -> DeviceResult:
        return DeviceResult(self.name, self.device.host, status)

    def _run_steps_again_if_lost(self) -> DeviceResult:
        """All steps, and once more where the connection was lost on the way. Not where the verb was running: the device
        may notice the loss a minute later, and two runs at once would distort each other's timings."""
        try:
            return self._run_steps()
        except errors.ConnectionLost as lost:
            if self.step not in ("copy", "environment"):
                raise
            self.on_step(self.step, f"again: {lost}")
        self._connection.close()
        self._connection = self.connect()
        if self.stopped:  # since `stop` closed the one before
            raise errors.ConnectionLost(["stopped"])
        return self._run_steps()

    def _run_steps(self) -> DeviceResult:
        self._begin("connect", self.device.host)
        self._connection.open()
        wheel = of_bytes(self.job.wheel.name, self.job.wheel.content)
        packages = [self.job.wheels] if self.job.wheels else []
        trees = (wheel, *self.job.trees, *packages)
        contents = {content.sha256: content for tree in trees for content in tree.contents.values()}
        found = self._probe(sorted(contents))
        self._copy([contents[sha256] for sha256 in found.missing])
        python = self._prepare(found.machine)
        [code] = wheel.files.values()
        return self._run_verb(python, code)

    def _probe(self, objects: list[str]) -> ProbeAnswer:
        own = self.device.python
        found = ""
        for python in (own,) if own else ("python3", *NEWER):
            self._python = python
            try:
                request = ProbeRequest(self.device.folder, objects)
                return self._connection.ask(python, request, ProbeAnswer, on_line=self._note)[0]
            except errors.NoAnswer as error:
                if error.code != 127 and not any(line.startswith("edge-tl: Python") for line in error.said):
                    raise
                found = found or (error.said[-1].removeprefix("edge-tl: ") if error.said else f"no {python}")
        raise errors.no_python(own, found)

    def _copy(self, missing: list[Content]) -> None:
        if not missing:
            self._begin("copy", "nothing new")
            return
        size = sum(content.size for content in missing)
        what = f"{len(missing)} file{'s' if len(missing) > 1 else ''}"

        def sent(done: int) -> None:
            self.on_step("copy", f"{what}, {number(done, 1, 1e-6)} of {megabytes(size)}")

        def feed(stream: IO[bytes]) -> None:
            write_tar(missing, stream, sent)

        self._begin("copy", f"{what}, {megabytes(size)}")
        request = ReceiveRequest(self.device.folder)
        self._connection.ask(self._python, request, ReceiveAnswer, on_line=self._note, feed=feed)

    def _prepare(self, machine: str) -> str:
        self._begin("environment", "")
        extras = self.job.wheel.extras
        asked = self.device.extra or ("both" if machine in WITH_OPENVINO else "ort")
        request = PrepareRequest(
            self.device.folder,
            base=list(self.job.wheel.requirements),
            runtimes=[r for e in (extras if asked == "both" else [asked]) for r in extras[e]],
            # What the interpreter brings is enough where nobody asked for a certain runtime.
            any_runtime=self.device.extra is None,
            site_packages=self.device.site_packages,
            wheels=self.job.wheels.files if self.job.wheels else None,
        )
        made, _ = self._connection.ask(self._python, request, PrepareAnswer, on_line=self._note)
        self.on_step("environment", "made" if made.made else "was there")
        return made.python

    def _run_verb(self, python: str, code: str) -> DeviceResult:
        verb, trees = self.job.verb, self.job.trees
        self._begin("run", verb)
        words = [trees.index(word) if isinstance(word, Tree) else word for word in self.job.words]
        request = RunRequest(
            self.device.folder,
            python=python,
            wheel=code,
            words=[verb, *words, "--json"],
            layouts=[Layout(tree.name, tree.files) for tree in trees],
        )
        answer, said = self._connection.ask(self._python, request, RunAnswer, on_line=self._note)
        try:
            result = json.loads(answer.out)
        except ValueError:
            result = None
        if answer.code not in (EXIT_OK, EXIT_GATE_FAILED) or not isinstance(result, dict):
            raise errors.verb_failed(verb, answer.code, said)
        status: Literal["passed", "failed"] = "passed" if answer.code == EXIT_OK else "failed"
        return replace(self._outcome(status), exit_code=answer.code, result=result)

    def _begin(self, step: str, note: str) -> None:
        self.step = step
        self.on_step(step, note)

    def _note(self, line: str) -> None:
        self.on_step(self.step, line)
