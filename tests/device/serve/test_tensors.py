"""The Open Inference Protocol by its specification, and by Triton's own client where that is installed."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_tl.device.bundle import Bundle, read_bundle
from edge_tl.device.serve.tensors import read_request

httpx = pytest.importorskip("httpx")


@pytest.fixture(scope="module")
def bundle(_built: Path) -> Bundle:
    return read_bundle(_built)


@pytest.fixture(scope="module")
def service(start: Callable[..., Any], bundle: Bundle) -> Iterator[Any]:
    with start(bundle.root, "--artifact", "onnx-fp32") as running:
        yield running


@pytest.fixture
def client(service: Any, bundle: Bundle) -> Iterator[Any]:
    with httpx.Client(base_url=f"{service.url}v2", timeout=30, trust_env=False) as made:
        yield made


def logits(bundle: Bundle, pixels: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return bundle.open("onnx-fp32").runtime(pixels)


def test_server_and_model_say_what_they_are(client: Any, bundle: Bundle) -> None:
    name = bundle.record.name
    assert client.get("/health/live").status_code == client.get("/health/ready").status_code == 200
    assert client.get(f"/models/{name}/ready").json() == {"name": name, "ready": True}
    assert httpx.get(str(client.base_url).rstrip("/"), trust_env=False).json()["name"] == "edge-tl"
    said = client.get(f"/models/{name}").json()
    assert said["inputs"] == [{"name": "input", "datatype": "FP32", "shape": [-1, 3, 16, 16]}]
    assert said["outputs"][0] == {"name": "logits", "datatype": "FP32", "shape": [-1, 3]}
    assert said["parameters"]["labels"] == bundle.labels
    assert client.get("/models/other").status_code == 404
    assert "error" in client.get("/models/other").json()


def test_numbers_as_json(client: Any, bundle: Bundle) -> None:
    pixels = bundle.golden_pixels()[:2]
    tensor = {
        "name": "input",
        "shape": list(pixels.shape),
        "datatype": "FP32",
        "data": pixels.reshape(-1).tolist(),
    }
    url = f"/models/{bundle.record.name}/infer"
    got = client.post(url, json={"id": "7", "inputs": [tensor]})
    assert got.status_code == 200
    said = got.json()
    assert (said["id"], said["model_name"]) == ("7", bundle.record.name)
    assert [each["name"] for each in said["outputs"]] == ["logits", "probabilities"]
    first = np.array(said["outputs"][0]["data"]).reshape(said["outputs"][0]["shape"])
    np.testing.assert_allclose(first, logits(bundle, pixels), atol=1e-5)
    assert np.array(said["outputs"][1]["data"]).reshape(2, 3).sum(1) == pytest.approx([1, 1])
    nested = tensor | {"data": pixels.tolist()}
    again = client.post(url, json={"inputs": [nested], "outputs": [{"name": "logits"}]}).json()
    assert again["outputs"] == said["outputs"][:1]


def test_numbers_as_bytes(client: Any, bundle: Bundle) -> None:
    pixels = np.ascontiguousarray(bundle.golden_pixels()[:3], "<f4")
    tensor = {
        "name": "input", "shape": list(pixels.shape), "datatype": "FP32",
        "parameters": {"binary_data_size": pixels.nbytes},
    }  # fmt: skip
    document = json.dumps(
        {"inputs": [tensor], "outputs": [{"name": "logits", "parameters": {"binary_data": True}}]}
    )
    got = client.post(
        f"/models/{bundle.record.name}/infer",
        content=document.encode() + pixels.tobytes(),
        headers={"Inference-Header-Content-Length": str(len(document))},
    )
    length = int(got.headers["inference-header-content-length"])
    assert json.loads(got.content[:length])["outputs"][0]["parameters"] == {"binary_data_size": 36}
    found = np.frombuffer(got.content[length:], "<f4").reshape(3, 3)
    np.testing.assert_allclose(found, logits(bundle, pixels), atol=1e-5)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"shape": [1, 3, 15, 16]}, "shape"),
        ({"shape": [65, 3, 16, 16]}, "n from 1 to 64"),
        ({"shape": "all"}, "shape"),
        ({"datatype": "INT8"}, "FP32"),
        ({"name": "x"}, "input"),
        ({"data": [1.0]}, "1 numbers"),
        ({"data": ["a"] * 768}, "do not fit"),
        ({"data": [1e39] * 768}, "infinity"),
        ({"data": [10**400, *[0] * 767]}, "do not fit"),
        ({"data": [3e38, -3e38] * 384}, "no number"),
        ({"name": "x" * 10_000}, "input 'xxx"),
        ({"shape": ["y" * 10_000]}, "shape ['yyy"),
        ({"data": ["z" * 1_000] * 768}, "zzz"),
        ({"data": None}, "do not fit"),
        ({"parameters": {"binary_data_size": 4}}, "do not fit"),
        ({"parameters": 3}, "do not fit"),
    ],
)
def test_a_tensor_that_does_not_fit_is_refused(
    client: Any, bundle: Bundle, change: dict[str, Any], said: str
) -> None:
    tensor = {"name": "input", "shape": [1, 3, 16, 16], "datatype": "FP32", "data": [0.0] * 768}
    got = client.post(f"/models/{bundle.record.name}/infer", json={"inputs": [tensor | change]})
    assert got.status_code == 400
    assert said in got.json()["error"]
    assert len(got.text) < 500


@pytest.mark.parametrize(
    ("text", "header"),
    [
        (b'{"inputs":[],"a":[' + b"[]," * 300_000 + b"[]]}", False),
        (b'{"inputs":[],"a":["' + b'x","' * 2_000 + b'"]}', False),
        (b'{"inputs":[]' + b" " * (64 * 768 * 25 + (64 << 10)) + b"}", False),
        (b'{"inputs":[],"a":[' + b"1," * 64 * 768 + b'1],"b":[' + b"1," * 1_000 + b"1]}", False),
        (b'{"inputs":[]' + b" " * (64 << 10) + b"}", True),
    ],
    ids=["lists", "strings", "bytes", "numbers", "beside bytes"],
)
def test_json_that_no_request_needs_is_not_parsed(
    client: Any, bundle: Bundle, text: bytes, header: bool
) -> None:
    headers = {"Inference-Header-Content-Length": str(len(text))} if header else {}
    got = client.post(f"/models/{bundle.record.name}/infer", content=text, headers=headers)
    assert got.status_code == 400
    assert "more JSON than 64 images need" in got.json()["error"]


def test_the_largest_request_is_parsed(bundle: Bundle) -> None:
    """As nested lists and with all digits of float64."""
    values = np.random.default_rng(0).normal(size=(64, 3, 16, 16)) * 1e-300
    tensor = {"name": "input", "shape": list(values.shape), "datatype": "FP32", "data": values.tolist()}
    body = json.dumps({"inputs": [tensor]}, indent=None).encode()
    assert read_request(bundle.open("onnx-fp32"), body, None, 64).inputs.shape == (64, 3, 16, 16)


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"inputs": []}', b"[" * 100_000, b"\xff"])
def test_what_is_no_request_is_refused(client: Any, bundle: Bundle, body: bytes) -> None:
    got = client.post(f"/models/{bundle.record.name}/infer", content=body)
    assert got.status_code == 400
    assert "error" in got.json()


def test_triton_s_own_client(service: Any, bundle: Bundle) -> None:
    http = pytest.importorskip("tritonclient.http")
    triton = http.InferenceServerClient(service.url.removeprefix("http://").rstrip("/"))
    assert triton.is_server_ready()
    assert triton.is_model_ready(bundle.record.name)
    pixels = bundle.golden_pixels()[:2]
    tensor = http.InferInput("input", pixels.shape, "FP32")
    for binary in (True, False):
        tensor.set_data_from_numpy(pixels, binary_data=binary)
        outputs = [http.InferRequestedOutput("logits", binary_data=binary)]
        found = triton.infer(bundle.record.name, [tensor], outputs=outputs).as_numpy("logits")
        np.testing.assert_allclose(found, logits(bundle, pixels), atol=1e-5)
