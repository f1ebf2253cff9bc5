"""The service asked by a real HTTP client: answers, refusals, keys, limits, metrics, its end."""

from __future__ import annotations

import signal
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from edge_tl.device.bundle import Bundle, read_bundle

httpx = pytest.importorskip("httpx")
KEY = "a-key-of-some-length"


@pytest.fixture(scope="module")
def bundle(_built: Path) -> Bundle:
    return read_bundle(_built)


@pytest.fixture(scope="module")
def service(start: Callable[..., Any], bundle: Bundle) -> Iterator[Any]:
    options = ("--artifact", "onnx-fp32", "--max-mb", 1, "--max-images", 40, "--max-pixels", 1_000_000)
    with start(bundle.root, *options) as running:
        yield running


@pytest.fixture
def client(service: Any) -> Iterator[Any]:
    with httpx.Client(base_url=service.url, timeout=30, trust_env=False) as made:
        yield made


def files(*contents: bytes) -> list[tuple[str, tuple[str, bytes]]]:
    return [("file", (f"{i}.png", content)) for i, content in enumerate(contents)]


def test_it_answers_what_predict_answers(client: Any, bundle: Bundle) -> None:
    images = [path.read_bytes() for path in bundle.golden_images()]
    got = client.post("/predict?top=2", files=files(*images, b"no image"))
    assert got.status_code == 200
    said = got.json()
    assert (said["artifact"], said["device"]) == ("onnx-fp32", "CPU")
    assert [one["image"] for one in said["results"]] == [f"{i}.png" for i in range(len(images))]
    assert said["failed"] == [{"image": f"{len(images)}.png", "reason": "not an image that Pillow can read"}]
    expected = bundle.open("onnx-fp32").predict_many(images, top=2)
    for one, answer in zip(said["results"], expected, strict=True):
        assert [score["label"] for score in one["top"]] == [score.label for score in answer.top]
        assert one["top"][0]["probability"] == pytest.approx(answer.probability, abs=1e-5)


def test_bad_input_gets_the_status_that_names_it(client: Any, bundle: Bundle) -> None:
    whole = bundle.golden_images()[0].read_bytes()
    from io import BytesIO

    from PIL import Image

    large = BytesIO()
    Image.new("L", (1200, 900)).save(large, "PNG")
    for content, reason in (
        (whole[: len(whole) // 2], ""),
        (b"text", "Pillow"),
        (large.getvalue(), "too many pixels"),
    ):
        got = client.post("/predict", files=files(content))
        assert got.status_code == 422
        assert reason in got.json()["failed"][0]["reason"]
        assert got.json()["results"] == []
    statuses: dict[int, Any] = {
        413: {"files": files(bytes(3_000_000))},
        415: {"content": whole, "headers": {"Content-Type": "image/png"}},
        422: {"files": [("picture", ("a.png", whole))]},
        400: {"content": b"--x\r\nbroken", "headers": {"Content-Type": "multipart/form-data; boundary=y"}},
    }
    for status, request in statuses.items():
        got = client.post("/predict", **request)
        assert got.status_code == status, got.text
        assert got.json()["detail"]
    assert client.post("/predict", files=files(*[whole] * 41)).status_code == 413
    assert client.post("/predict?top=0", files=files(whole)).status_code == 422
    assert client.get("/predict").status_code == 405


def test_a_body_of_unknown_length_is_counted_while_it_comes(client: Any) -> None:
    def parts() -> Iterator[bytes]:
        yield b'--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
        for _ in range(30):
            yield bytes(100_000)
        yield b"\r\n--x--\r\n"

    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    got = client.post("/predict", content=parts(), headers=headers)
    assert got.status_code == 413
    assert "1 MB" in got.json()["detail"]


def test_health_page_metrics_and_interface(client: Any, bundle: Bundle) -> None:
    assert client.get("/healthz").json() == {"status": "ok", "artifact": "onnx-fp32", "device": "CPU"}
    page = client.get("/")
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert "http://" not in page.text
    assert "https://" not in page.text
    described = client.get("/openapi.json").json()
    assert {"/predict", "/healthz", "/metrics", "/v2/models/{name}/infer"} <= set(described["paths"])
    before = client.get("/metrics").text
    client.post("/predict", files=files(bundle.golden_images()[0].read_bytes(), b"text"))
    after = client.get("/metrics").text
    for line, more in (
        ('edge_tl_images_total{result="answered"}', 1),
        ('edge_tl_images_total{result="failed"}', 1),
        ('edge_tl_requests_total{route="/predict",status="200"}', 1),
    ):
        assert value(after, line) - value(before, line) == more
    assert "process_resident_memory_bytes" in after
    assert client.get("/made-up/123").status_code == 404
    assert "made-up" not in client.get("/metrics").text


def value(text: str, name: str) -> float:
    return next((float(line.split()[-1]) for line in text.splitlines() if line.startswith(name)), 0.0)


def test_a_key_is_asked_for(start: Callable[..., Any], bundle: Bundle, tmp_path: Path) -> None:
    (tmp_path / "key").write_text(f"{KEY}\n")
    whole = bundle.golden_images()[0].read_bytes()
    with start(bundle.root, "--api-key-file", tmp_path / "key", "--queue", 1) as service:
        url = f"{service.url}predict"
        for headers, status in (
            ({}, 401),
            ({"Authorization": "Bearer wrong"}, 401),
            ({"X-API-Key": KEY[:-1]}, 401),
            ({"Authorization": f"Bearer {KEY}"}, 200),
            ({"X-API-Key": KEY}, 200),
        ):
            assert httpx.post(url, files=files(whole), headers=headers, trust_env=False).status_code == status
        assert httpx.get(f"{service.url}metrics", trust_env=False).status_code == 401
        assert httpx.get(f"{service.url}healthz", trust_env=False).status_code == 200
        assert KEY not in service.said
        # A queue of one: beside a request that is not whole yet, others are sent away with a time.
        with slow_request(service.url, KEY), httpx.Client(trust_env=False) as client:
            time.sleep(0.2)
            got = client.post(url, files=files(whole), headers={"X-API-Key": KEY})
            assert got.status_code == 503
            assert got.headers["retry-after"] == "1"


class slow_request:
    """A request whose body never comes to its end."""

    def __init__(self, url: str, key: str = "none") -> None:
        host, port = url.removeprefix("http://").rstrip("/").split(":")
        self.socket = socket.create_connection((host, int(port)), timeout=30)
        head = f"POST /predict HTTP/1.1\r\nHost: {host}\r\nX-API-Key: {key}\r\nContent-Length: 1000\r\n"
        self.socket.sendall(f"{head}Content-Type: multipart/form-data; boundary=x\r\n\r\n--x".encode())

    def __enter__(self) -> socket.socket:
        return self.socket

    def __exit__(self, *failure: object) -> None:
        self.socket.close()


def test_a_request_that_does_not_arrive_is_given_up(start: Callable[..., Any], bundle: Bundle) -> None:
    with start(bundle.root, "--timeout", 0.5) as service, slow_request(service.url) as opened:
        assert opened.recv(4096).startswith(b"HTTP/1.1 408")


def test_what_is_in_work_is_answered_when_it_is_told_to_end(
    start: Callable[..., Any], bundle: Bundle
) -> None:
    images = [path.read_bytes() for path in bundle.golden_images()] * 4
    with start(bundle.root, "--max-images", 1000) as service:
        with ThreadPoolExecutor(4) as pool:
            url = f"{service.url}predict"
            asked = [
                pool.submit(httpx.post, url, files=files(*images), timeout=60, trust_env=False)
                for _ in range(4)
            ]
            while (
                value(httpx.get(f"{service.url}metrics", trust_env=False).text, "edge_tl_active_requests") < 1
            ):
                if all(each.done() for each in asked):
                    break
            service.process.send_signal(signal.SIGTERM)
            answers = [each.result() for each in asked if not each.exception()]
        _, said = service.process.communicate(timeout=60)
        assert service.process.returncode == 0, said
        assert "stopped" in said
        assert "Traceback" not in said
        assert answers
        assert {each.status_code for each in answers} == {200}
