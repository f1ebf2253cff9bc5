"""targets.yaml and --on: what they name, and what they refuse with the nearest match."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from edge_tl.device.errors import BadInput
from edge_tl.host.remote.inventory import DEFAULT_FOLDER, RemoteDevice, choose, file_name


def write(path: Path, entries: Any) -> Path:
    path.write_text(
        entries if isinstance(entries, str) else yaml.safe_dump(entries, sort_keys=False), encoding="utf-8"
    )
    return path


def test_hosts_and_names(tmp_path: Path):
    assert choose(["pi@shed.local", "nuc2"], None) == {
        "pi@shed.local": RemoteDevice(host="pi@shed.local"),
        "nuc2": RemoteDevice(host="nuc2"),
    }
    file = write(
        tmp_path / "t.yaml",
        {"shed": {"host": "pi@shed.local", "extra": "ort"}, "jetson": {"host": "j", "site_packages": True}},
    )
    assert choose(["jetson"], file) == {"jetson": RemoteDevice(host="j", site_packages=True)}
    assert sorted(choose([], file)) == ["jetson", "shed"]
    assert choose(["shed"], file)["shed"].folder == DEFAULT_FOLDER


@pytest.mark.parametrize(
    ("entries", "words"),
    [
        ({"shed": {"host": "x", "folders": "y"}}, ["unknown key 'shed.folders'", "Nearest: 'shed.folder'"]),
        ({"shed": {"extra": "ort"}}, ["shed.host is missing", "pi@shed.local"]),
        ({"shed": {"host": "x", "extra": "tensorrt"}}, ["shed.extra = 'tensorrt'", "'ort', 'openvino' or 'both'"]),
        ({"shed": {"host": "-oProxyCommand=x"}}, ["shed.host = '-oProxyCommand=x'", "dash"]),
        ({"shed": {"host": "x", "python": "a\nb"}}, ["shed.python", "one line"]),
        ({"shed": "pi@shed.local"}, ["shed = 'pi@shed.local'", "mapping"]),
        ({"a/b": {"host": "x"}, "A_b": {"host": "y"}}, ["'a/b' and 'A_b'", "one file name"]),
        ("", ["names no device"]),
        ("shed: {host: x", ["is not YAML", "indentation"]),
    ],
)  # fmt: skip
def test_what_a_file_may_not_say(tmp_path: Path, entries: Any, words: list[str]):
    with pytest.raises(BadInput) as refusal:
        choose([], write(tmp_path / "t.yaml", entries))
    for word in words:
        assert word in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_what_may_not_be_named(tmp_path: Path):
    file = write(tmp_path / "t.yaml", {"shed": {"host": "x"}, "nuc": {"host": "y"}})
    for on, source, words in (
        (["shde"], file, "Nearest: 'shed'"),
        (["shed", "shed"], file, "given twice"),
        (["-oProxyCommand=x"], None, "dash"),
        ([], tmp_path / "absent.yaml", "cannot read"),
    ):
        with pytest.raises(BadInput, match=words):
            choose(on, source)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("pi@shed.local", "pi@shed.local.json"),
        ("ssh://pi@shed:22", "ssh___pi@shed_22.json"),
        ("../x", "_x.json"),
    ],
)
def test_file_names(name: str, expected: str):
    assert file_name(name) == expected
