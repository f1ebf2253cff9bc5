"""One device's journey: connect, copy, environment, run. It must not print, and knows no other device."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from edge_tl.device.errors import EXIT_GATE_FAILED, EXIT_OK, EdgeTLError
from edge_tl.host.remote import errors
from edge_tl.host.remote.inventory import Target
from edge_tl.host.remote.ssh import Connection
from edge_tl.host.remote.upload import Item, Tree, of_bytes, write_tar
from edge_tl.host.remote.wheel import Wheel

Tell = Callable[[str, str], None]
NEWER = ("python3.14", "python3.13", "python3.12", "python3.11", "python3.10")
WITH_OPENVINO = {"x86_64", "AMD64", "aarch64", "arm64"}


@dataclass(frozen=True)
class Errand:
    """What every device is to do: a verb, its words (a `Tree` stands for its path there), the code to do it with."""

    verb: str
    words: tuple[str | Tree, ...]
    wheel: Wheel
    wheels: Tree | None = None  # packages for devices without internet

    @property
    def trees(self) -> list[Tree]:
        """The trees among the words."""
        return [word for word in self.words if isinstance(word, Tree)]


@dataclass
class Journey:
    """An errand on one device. `connect` makes a connection; `tell` hears (step, note); `step` is where it is."""

    target: Target
    errand: Errand
    connect: Callable[[], Connection]
    tell: Tell
    step: str = field(default="connect", init=False)
    stopped: bool = field(default=False, init=False)
    _python: str = field(default="", init=False)

    def __post_init__(self) -> None:
        self._connection = self.connect()

    def travel(self) -> dict[str, Any]:
        """The device's entry: status passed, failed (a gate; the result is there) or error (with the step)."""
        try:
            there = self._go_again()
            status = "passed" if there["exit_code"] == EXIT_OK else "failed"
            self.tell("done", status)
            return {"status": status} | there
        except Exception as error:
            known = isinstance(error, EdgeTLError | OSError)
            text = str(error) if known else f"unexpected {type(error).__name__}: {error}. Report it."
            if not self.stopped:
                self.tell("failed", text)
            return {"status": "error", "step": self.step, "error": text}
        finally:
            self._connection.close()

    def stop(self) -> None:
        """End it, here and there; from another thread."""
        self.stopped = True
        self._connection.close()

    def _go_again(self) -> dict[str, Any]:
        """Go, and once more where the connection was lost on the way. Not where the verb was running: the device may
        notice the loss a minute later, and two runs at once would be in each other's figures."""
        try:
            return self._go()
        except errors.Lost as lost:
            if self.step not in ("copy", "environment"):
                raise
            self.tell(self.step, f"again: {lost}")
        self._connection.close()
        self._connection = self.connect()
        if self.stopped:  # since `stop` closed the one before
            raise errors.Lost(["stopped"])
        return self._go()

    def _go(self) -> dict[str, Any]:
        self._at("connect", self.target.host)
        self._connection.open()
        wheel = of_bytes(self.errand.wheel.name, self.errand.wheel.content)
        packages = [self.errand.wheels] if self.errand.wheels else []
        items = {i.sha256: i for t in (wheel, *self.errand.trees, *packages) for i in t.items.values()}
        found = self._look(sorted(items))
        self._copy([items[sha256] for sha256 in found["missing"]])
        python = self._prepare(found["machine"])
        [code] = wheel.layout.values()
        return self._run(python, code)

    def _look(self, objects: list[str]) -> dict[str, Any]:
        own = self.target.python
        found = ""
        for python in (own,) if own else ("python3", *NEWER):
            self._python = python
            try:
                return self._ask("look", objects=objects)
            except errors.NoAnswer as error:
                if error.code != 127 and not any(line.startswith("edge-tl: Python") for line in error.said):
                    raise
                found = found or (error.said[-1].removeprefix("edge-tl: ") if error.said else f"no {python}")
        raise errors.no_python(own, found)

    def _copy(self, missing: list[Item]) -> None:
        if not missing:
            self._at("copy", "nothing new")
            return
        size = sum(item.size for item in missing)
        what = f"{len(missing)} file{'s' if len(missing) > 1 else ''}"

        def sent(done: int) -> None:
            self.tell("copy", f"{what}, {done / 1e6:.1f} of {size / 1e6:.1f} MB")

        self._at("copy", f"{what}, {size / 1e6:.1f} MB")
        self._ask("receive", feed=lambda stream: write_tar(missing, stream, sent))

    def _prepare(self, machine: str) -> str:
        self._at("environment", "")
        extras = self.errand.wheel.extras
        asked = self.target.extra or ("both" if machine in WITH_OPENVINO else "ort")
        runtimes = [r for e in (extras if asked == "both" else [asked]) for r in extras[e]]
        made: dict[str, Any] = self._ask(
            "prepare",
            base=list(self.errand.wheel.requirements),
            runtimes=runtimes,
            # What the interpreter brings is enough where nobody asked for a certain runtime.
            any_runtime=self.target.extra is None,
            site_packages=self.target.site_packages,
            wheels=self.errand.wheels.layout if self.errand.wheels else None,
        )
        self.tell("environment", "made" if made["made"] else "was there")
        return str(made["python"])

    def _run(self, python: str, code: str) -> dict[str, Any]:
        verb = self.errand.verb
        self._at("run", verb)
        words = [
            {"tree": self.errand.trees.index(w)} if isinstance(w, Tree) else w for w in self.errand.words
        ]
        trees = [{"name": tree.name, "layout": tree.layout} for tree in self.errand.trees]
        said: list[str] = []
        answer = self._ask(
            "run", said, python=python, wheel=code, words=[verb, *words, "--json"], trees=trees
        )
        try:
            result = json.loads(answer["out"])
        except ValueError:
            result = None
        if answer["code"] not in (EXIT_OK, EXIT_GATE_FAILED) or not isinstance(result, dict):
            raise errors.verb(verb, answer["code"], said)
        return {"exit_code": answer["code"], "result": result}

    def _ask(
        self,
        do: str,
        said: list[str] | None = None,
        feed: Callable[[Any], None] | None = None,
        **request: Any,
    ) -> dict[str, Any]:
        answer, lines = self._connection.ask(
            self._python,
            {"do": do, "folder": self.target.folder} | request,
            note=lambda line: self.tell(self.step, line),
            feed=feed,
        )
        if said is not None:
            said += lines
        return answer

    def _at(self, step: str, note: str) -> None:
        self.step = step
        self.tell(step, note)


def all_passed(entries: Iterable[dict[str, Any]]) -> bool:
    """Whether every device did its errand and passed its gates."""
    return all(entry["status"] == "passed" for entry in entries)
