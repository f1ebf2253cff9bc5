"""What nobody sends by mistake: it gets a sentence, and no 500."""

from __future__ import annotations

import re
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from edge_tl.device.bundle import Bundle, read_bundle

httpx = pytest.importorskip("httpx")


@pytest.fixture(scope="module")
def bundle(_built: Path) -> Bundle:
    return read_bundle(_built)


@pytest.fixture(scope="module")
def service(start: Callable[..., Any], bundle: Bundle) -> Iterator[Any]:
    with start(bundle.root, "--artifact", "onnx-fp32", "--timeout", 1) as running:
        yield running


def connection(url: str) -> socket.socket:
    host, port = url.removeprefix("http://").rstrip("/").split(":")
    return socket.create_connection((host, int(port)), timeout=10)


def answer(opened: socket.socket) -> bytes:
    """The next one, of JSON."""
    found = b""
    while not found.endswith(b"}"):
        part = opened.recv(4096)
        assert part, "it was closed"
        found += part
    return found


def metrics(url: str) -> str:
    return str(httpx.get(f"{url}metrics", trust_env=False).text)


def test_text_that_is_no_utf8_is_not_repeated(service: Any) -> None:
    body = b'--x\r\nContent-Disposition: form-data; name="file"\r\n\r\n\\ud800\r\n--x--\r\n'
    kind = "multipart/form-data; charset=unicode_escape; boundary=x"
    got = httpx.post(f"{service.url}predict", content=body, headers={"Content-Type": kind}, trust_env=False)
    assert got.status_code == 422
    assert got.json()["detail"].startswith("body.file")
    assert "ud800" not in got.text


def test_a_client_that_goes_away_is_no_error(service: Any, bundle: Bundle) -> None:
    for path, kind in (
        (f"/v2/models/{bundle.record.name}/infer", "application/json"),
        ("/predict", "multipart/form-data; boundary=x"),
    ):
        with connection(service.url) as opened:
            head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\nContent-Type: {kind}\r\n\r\n--x"
            opened.sendall(head.encode())
    deadline = time.monotonic() + 10
    while (said := metrics(service.url)).count('status="0"') < 2 and time.monotonic() < deadline:
        time.sleep(0.05)
    assert len(re.findall(r'requests_total\{route="[^"]+",status="0"\} 1.0', said)) == 2
    assert 'status="5' not in said


@pytest.mark.parametrize(
    "first", [b"", b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"], ids=["new", "kept alive"]
)
def test_half_a_head_is_not_waited_for(service: Any, first: bytes) -> None:
    """However slowly it goes on coming."""
    with connection(service.url) as opened:
        if first:
            opened.sendall(first)
            assert answer(opened).startswith(b"HTTP/1.1 200")
        opened.sendall(b"GET / HT")
        opened.settimeout(0.2)
        deadline, left = time.monotonic() + 8, b"T" * 1000
        while time.monotonic() < deadline:
            try:
                if opened.recv(1) == b"":
                    break
            except TimeoutError:
                left = left[1:]
                opened.sendall(left[:1])
            except ConnectionError:
                break
        else:
            pytest.fail("still open")


def test_a_connection_is_kept_between_whole_requests(service: Any) -> None:
    with httpx.Client(base_url=service.url, trust_env=False) as client, connection(service.url) as opened:
        assert client.get("/healthz").status_code == 200
        for _ in range(2):  # longer than the time that a head has
            opened.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert answer(opened).startswith(b"HTTP/1.1 200")
            time.sleep(1.3)
