"""By which names a service is asked and by which pages, and its own page in a browser."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from chromium import PROGRAM, Page, serving

from edge_tl.device.bundle import Bundle, read_bundle
from edge_tl.device.errors import BadInput
from edge_tl.device.serve.names import unwelcome
from edge_tl.device.serve.options import ServeOptions

httpx = pytest.importorskip("httpx")
OWN = socket.gethostname().lower()


@pytest.fixture(scope="module")
def bundle(_built: Path) -> Bundle:
    return read_bundle(_built)


@pytest.fixture(scope="module")
def service(start: Callable[..., Any], bundle: Bundle) -> Iterator[Any]:
    with start(bundle.root, "--artifact", "onnx-fp32", "--allow-host", "Pi.example.org") as running:
        yield running


@pytest.mark.parametrize(
    ("host", "origin", "welcome"),
    [
        ("127.0.0.1:8000", None, True),
        ("[::1]:8000", None, True),
        ("LocalHost:8000", None, True),
        ("192.168.1.7", None, True),
        (OWN, None, True),
        (f"{OWN}.local:8000", None, True),
        ("pi.example.org", None, True),
        ("localhost:8000", "http://localhost:8000", True),
        ("pi.example.org", "https://pi.example.org", True),  # TLS ends at a proxy
        ("127.0.0.1:8000", "https://pi.example.org", True),  # the proxy keeps the name for itself
        ("evil.example", None, False),
        ("localhost.evil.example:8000", None, False),
        ("127.0.0.1.evil.example", None, False),
        ("127.0.0.1:8000", "http://evil.example", False),
        ("127.0.0.1:8000", "http://6.6.6.6", False),
        ("127.0.0.1:8000", "http://localhost:3000", False),
        ("127.0.0.1:8000", "null", False),
        ("[", None, False),
    ],
)
def test_who_is_answered_without_a_key(host: str, origin: str | None, welcome: bool) -> None:
    headers = {b"host": host.encode()} | ({b"origin": origin.encode()} if origin else {})
    assert (unwelcome(headers, ServeOptions(allowed=("pi.example.org",))) is None) is welcome
    assert unwelcome(headers, ServeOptions(key=b"a-key-of-some-length")) is None


@pytest.mark.parametrize("name", ["https://pi", "pi:80", "", "a b", "*", "ü"])
def test_what_is_no_name_is_refused(name: str) -> None:
    with pytest.raises(BadInput, match="--allow-host"):
        ServeOptions(allowed=(name,))


def test_the_remedy_that_is_named_can_be_taken() -> None:
    def refused(origin: str) -> str | None:
        return unwelcome({b"host": b"127.0.0.1:8000", b"origin": origin.encode()}, ServeOptions())

    assert "--allow-host ::1," in str(refused("http://[::1]:3000"))
    assert ServeOptions(allowed=("::1",)).allowed == ("::1",)
    assert str(refused("null")).endswith("Start the service with a key.")


def test_other_sites_are_refused_by_a_sentence(service: Any, bundle: Bundle) -> None:
    image = {"file": ("a.png", bundle.golden_images()[0].read_bytes())}
    with httpx.Client(base_url=service.url, timeout=30, trust_env=False) as client:
        for headers in ({}, {"Host": "pi.example.org"}, {"Origin": "https://pi.example.org"}):
            assert client.post("/predict", files=image, headers=headers).status_code == 200
        rebound = client.post("/predict", files=image, headers={"Host": "evil.example"})
        assert rebound.status_code == 403
        assert "--allow-host evil.example" in rebound.json()["detail"]
        assert client.get("/v2", headers={"Host": "evil.example"}).json().keys() == {"error"}
        crossed = client.post("/predict", files=image, headers={"Origin": "https://evil.example"})
        assert (crossed.status_code, "another site" in crossed.text) == (403, True)


@pytest.mark.slow
@pytest.mark.skipif(PROGRAM is None, reason="Chromium is not installed")
def test_a_picture_that_is_dropped_on_the_page_gets_the_answer_of_predict(
    service: Any, bundle: Bundle, tmp_path: Path
) -> None:
    image = bundle.golden_images()[0]
    wanted = bundle.open("onnx-fp32").predict(image, top=3)
    (tmp_path / "notes.jpg").write_text("no picture", "utf-8")
    page = Page(str(PROGRAM), tmp_path / "profile")
    try:
        page.send("Page.navigate", url=service.url)
        page.wait("document.getElementById('about')?.textContent")
        assert page.text("#about").startswith("Answered by onnx-fp32 on CPU.")
        page.drop(image)
        page.wait("document.querySelector('td')")
        cells = page.evaluate("[...document.querySelectorAll('td')].map((cell) => cell.textContent)")
        shown = [(score.label, f"{100 * score.probability:.1f} %") for score in wanted.top]
        assert list(zip(cells[::2], cells[1::2], strict=True)) == shown
        assert page.evaluate("document.querySelector('img').naturalWidth") > 0
        assert page.complaints == []
        page.drop(tmp_path / "notes.jpg")
        page.wait("document.querySelector('figcaption').textContent.endsWith('can read')")
        assert page.text("figcaption") == "notes.jpg: not an image that Pillow can read"
        page.wait("document.querySelectorAll('img').length === 1")  # the answer's; no sign of a broken one
        asked = {address for address in page.requests if not address.startswith("blob:")}
        assert asked <= {service.url + path for path in ("", "healthz", "predict", "favicon.ico")}
        # A page elsewhere, which the browser has open as well, cannot ask.
        with serving(tmp_path) as (elsewhere, _):
            page.send("Page.navigate", url=f"{elsewhere}/")
            page.wait("document.body")
            options = "{method: 'POST', mode: 'no-cors', body: new FormData()}"
            page.evaluate(f"fetch('{service.url}predict', {options}).then(() => 'sent')")
        assert 'status="403"' in httpx.get(f"{service.url}metrics", trust_env=False).text
    finally:
        page.close()
