"""Where a service listens, its key, its limits."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from edge_tl.device.errors import BadInput
from edge_tl.device.serve.options import ServeLimits, ServeOptions, is_loopback, read_key


@pytest.mark.parametrize(
    ("host", "own"),
    [
        ("127.0.0.1", True),
        ("127.8.8.8", True),
        ("::1", True),
        ("localhost", True),
        ("0.0.0.0", False),
        ("pi", False),
    ],
)
def test_who_may_reach_it(host: str, own: bool) -> None:
    assert is_loopback(host) is own
    assert ServeOptions(host).is_open is not own
    assert not ServeOptions(host, key=b"a-key-of-some-length").is_open


def test_the_key_is_that_of_the_file_else_of_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("EDGE_TL_API_KEY", raising=False)
    assert read_key(None) is None
    monkeypatch.setenv("EDGE_TL_API_KEY", "from-the-environment")
    assert read_key(None) == b"from-the-environment"
    (tmp_path / "key").write_text("from-the-file\n")
    assert read_key(tmp_path / "key") == b"from-the-file"
    assert "file" not in repr(ServeOptions(key=b"from-the-file"))


@pytest.mark.parametrize("content", ["", "short", "with a space in it", "umlaut-ü-in-a-key"])
def test_what_is_no_key_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "key").write_text(content, encoding="utf-8")
    with pytest.raises(BadInput, match="no usable key"):
        read_key(tmp_path / "key")
    with pytest.raises(BadInput, match="no such file"):
        read_key(tmp_path / "absent")


@pytest.mark.parametrize("limit", [{"body_mb": 0}, {"images": 0}, {"queue": -1}, {"timeout_s": 1e9}])
def test_a_limit_that_cannot_be_is_refused(limit: dict[str, float]) -> None:
    with pytest.raises(BadInput, match="at most"):
        ServeLimits(**limit)  # type: ignore[arg-type]


def test_a_port_that_is_taken_is_told() -> None:
    from edge_tl.device.serve.server import open_socket

    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(BadInput, match=f"--port {port}: Address already in use"):
            open_socket(ServeOptions(port=port))
    with pytest.raises(BadInput, match="--host"):
        open_socket(ServeOptions("192.0.2.1"))
