"""A headless Chromium for tests, driven over the pipes of its DevTools protocol; no package is needed for it."""

from __future__ import annotations

import base64
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

PROGRAM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
# What leaves this machine finds no address; WebGL is drawn in software.
_OPTIONS = (
    "--headless=new --remote-debugging-pipe --no-sandbox --no-first-run --disable-background-networking "
    "--disable-dev-shm-usage --hide-scrollbars --use-angle=swiftshader --enable-unsafe-swiftshader "
    "--use-fake-ui-for-media-stream --use-fake-device-for-media-stream "
).split()
_NOWHERE = "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost"
# Chromium reads commands from descriptor 3 and writes answers to 4.
_AS_3_AND_4 = """
import fcntl, os, sys
ends = [fcntl.fcntl(int(each), fcntl.F_DUPFD, 10) for each in sys.argv[1:3]]
for end, number in zip(ends, (3, 4)):
    os.dup2(end, number)
os.execvp(sys.argv[3], sys.argv[3:])
"""


class Page:
    """One tab: what it asked for (`requests`), what its console complained of (`complaints`)."""

    def __init__(self, program: str, profile: Path) -> None:
        commands, self._to = os.pipe()
        self._from, answers = os.pipe()
        arguments = [program, *_OPTIONS, _NOWHERE, f"--user-data-dir={profile}", "about:blank"]
        self._process = subprocess.Popen(
            [sys.executable, "-c", _AS_3_AND_4, str(commands), str(answers), *arguments],
            pass_fds=(commands, answers), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        os.close(commands)
        os.close(answers)
        self._buffer, self._last, self._session = b"", 0, ""
        self.requests: list[str] = []
        self.complaints: list[str] = []
        target = self.send("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.send("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log", "DOM"):
            self.send(f"{domain}.enable")
        # Workers ask for files too.
        self.send("Target.setAutoAttach", autoAttach=True, waitForDebuggerOnStart=False, flatten=True)

    def send(self, method: str, *, within: float = 120.0, **parameters: Any) -> Any:
        """The result of a command of the protocol. Raises `AssertionError` for an error, `TimeoutError`."""
        self._last += 1
        wanted = self._last
        message = {"id": wanted, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._to, json.dumps(message).encode() + b"\0")
        until = time.monotonic() + within
        while time.monotonic() < until:
            for answer in self._read(until - time.monotonic()):
                if answer.get("id") == wanted:
                    assert "error" not in answer, answer
                    return answer["result"]
        raise TimeoutError(f"{method}: no answer in {within:g} s")

    def _read(self, within: float) -> list[dict[str, Any]]:
        if not select.select([self._from], [], [], max(within, 0))[0]:
            return []
        self._buffer += os.read(self._from, 1 << 20)
        *whole, self._buffer = self._buffer.split(b"\0")
        found = [json.loads(each) for each in whole]
        for message in found:
            self._note(message)
        return found

    def _note(self, message: dict[str, Any]) -> None:
        method, said = message.get("method"), message.get("params", {})
        if method == "Network.requestWillBeSent":
            self.requests.append(said["request"]["url"])
        elif method == "Runtime.consoleAPICalled" and said["type"] in ("error", "warning", "assert"):
            self.complaints.append(str([each.get("value", each.get("description")) for each in said["args"]]))
        elif method == "Runtime.exceptionThrown":
            self.complaints.append(json.dumps(said["exceptionDetails"]))
        elif method == "Log.entryAdded" and said["entry"]["level"] in ("error", "warning"):
            self.complaints.append(said["entry"]["text"] + " " + said["entry"].get("url", ""))
        elif method == "Target.attachedToTarget" and self._session:
            self._last += 1
            enable = {"id": self._last, "method": "Network.enable", "sessionId": said["sessionId"]}
            os.write(self._to, json.dumps(enable).encode() + b"\0")

    def evaluate(self, expression: str, *, within: float = 120.0) -> Any:
        """The value of an expression in the page, awaited."""
        done = self.send(
            "Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True, within=within
        )
        assert "exceptionDetails" not in done, done
        return done["result"].get("value")

    def text(self, selector: str) -> str:
        """What an element says."""
        return str(self.evaluate(f"document.querySelector({json.dumps(selector)}).textContent"))

    def wait(self, condition: str, *, within: float = 120.0) -> None:
        """Until an expression is true. Raises `TimeoutError`."""
        until = time.monotonic() + within
        while not self.evaluate(f"Boolean({condition})"):
            if time.monotonic() > until:
                raise TimeoutError(f"{condition}: not in {within:g} s; {self.complaints}")
            time.sleep(0.05)

    def open(self, address: str) -> str:
        """Load the page, wait until it has verified, and return its state."""
        self.requests.clear()
        self.complaints.clear()
        self.send("Page.navigate", url=address)
        self.wait("document.body?.dataset.state && document.body.dataset.state !== 'loading'")
        return str(self.evaluate("document.body.dataset.state"))

    def show(self, file: Path, width: int, *, dark: bool = False) -> None:
        """Load a file, so many pixels wide, and wait until it is there."""
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.send("Emulation.setEmulatedMedia", features=[scheme])
        self.send(
            "Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=False
        )
        self.requests.clear()
        self.complaints.clear()
        address = file.resolve().as_uri()
        self.send("Page.navigate", url=address)
        self.wait(f"document.readyState === 'complete' && location.href === {json.dumps(address)}")

    def picture(self, *, height: int | None = None) -> bytes:
        """PNG of the whole page, or of its first `height` pixels."""
        width, whole = self.evaluate("[innerWidth, document.documentElement.scrollHeight]")
        clip = {"x": 0, "y": 0, "width": width, "height": min(height or whole, whole), "scale": 1}
        taken = self.send("Page.captureScreenshot", format="png", captureBeyondViewport=True, clip=clip)
        return base64.b64decode(taken["data"])

    def drop(self, file: Path) -> None:
        """Drop a file on the page, as a person does from a file manager."""
        data = {"items": [], "files": [str(file)], "dragOperationsMask": 1}
        for kind in ("dragEnter", "dragOver", "drop"):
            self.send("Input.dispatchDragEvent", type=kind, x=100, y=100, data=data)

    def close(self) -> None:
        """End the browser and what it started."""
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        os.close(self._to)
        os.close(self._from)


@contextmanager
def serving(root: Path, *, isolated: bool = False) -> Iterator[tuple[str, list[str]]]:
    """`root` on a port of this machine: its address, and the paths that are asked for. `isolated` sends the headers
    that threads need."""
    asked: list[str] = []

    class Handler(SimpleHTTPRequestHandler):
        def end_headers(self) -> None:
            if isolated:
                self.send_header("Cross-Origin-Opener-Policy", "same-origin")
                self.send_header("Cross-Origin-Embedder-Policy", "require-corp")
            super().end_headers()

        def log_message(self, format: str, *args: object) -> None:
            asked.append(self.path)

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(root)))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        server.server_close()
