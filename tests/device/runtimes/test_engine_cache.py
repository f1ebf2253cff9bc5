"""Where engines are kept, and who is told. Without an accelerator AUTO, OpenVINO's CPU then, keeps its own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edge_tl.device.runtimes import engine_cache
from edge_tl.device.runtimes.engine_cache import engine_folder
from edge_tl.device.runtimes.open import open_runtime
from edge_tl.device.runtimes.providers import Provider, provider_options


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EDGE_TL_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_a_folder_for_each_content_and_choice(cache: Path, assets: Path, tmp_path: Path) -> None:
    """TensorRT takes an engine by the names of layers: another training of the same network would get the old one."""
    model = tmp_path / "m.onnx"
    model.write_bytes((assets / "tiny.onnx").read_bytes())
    first = engine_folder(model, "1.32", "Tensorrt")
    assert first == engine_folder(model, "1.32", "Tensorrt")
    others = {engine_folder(model, "1.33", "Tensorrt"), engine_folder(model, "1.32", "OpenVINO")}
    model.write_bytes((assets / "tiny.int8.onnx").read_bytes())
    others.add(engine_folder(model, "1.32", "Tensorrt"))
    assert len({first, *others}) == 4
    assert all(each and each.parent == cache / "engines" and each.is_dir() for each in others)


def test_the_oldest_go(cache: Path, assets: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_cache, "_MOST_KEPT", 2)
    made = [engine_folder(assets / "tiny.onnx", str(number)) for number in range(4)]
    (cache / "engines" / "not ours").mkdir()
    engine_folder(assets / "tiny.onnx", "3")
    left = {each.name for each in (cache / "engines").iterdir()}
    assert left == {"not ours", *(each.name for each in made[2:] if each)}


def test_none_where_there_is_no_cache(assets: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("EDGE_TL_CACHE", "off")
    assert engine_folder(assets / "tiny.onnx") is None
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared").chmod(0o777)  # anybody could put an engine there
    monkeypatch.setenv("EDGE_TL_CACHE", str(tmp_path / "shared"))
    assert engine_folder(assets / "tiny.onnx") is None


def test_compilers_are_told(cache: Path, assets: Path) -> None:
    pytest.importorskip("onnxruntime")
    model = assets / "tiny.onnx"
    tensorrt = provider_options(Provider("Tensorrt"), model, 2)
    assert tensorrt["trt_engine_cache_enable"] == tensorrt["trt_timing_cache_enable"] == "1"
    assert Path(tensorrt["trt_engine_cache_path"]).parent == cache / "engines"
    half = provider_options(Provider("Tensorrt", {"trt_fp16_enable": "1"}), model, 2)
    assert half["trt_engine_cache_path"] != tensorrt["trt_engine_cache_path"]
    assert "cache_dir" in provider_options(Provider("OpenVINO", hardware="GPU"), model, 2)
    assert "nv_runtime_cache_path" in provider_options(Provider("NvTensorRTRTX"), model, 2)
    for name in ("CPU", "CUDA", "OpenVINO", "QNN"):
        assert not any("cache" in key for key in provider_options(Provider(name), model, 2))


def test_openvino_finds_what_it_compiled(cache: Path, assets: Path) -> None:
    pytest.importorskip("openvino")
    image = np.zeros((1, 3, 16, 16), np.float32)
    first = open_runtime(assets / "tiny.xml", device="AUTO", check=False)
    answer = first(image)
    blobs = sorted((cache / "engines").rglob("*.blob"))
    assert blobs
    stamps = [blob.stat().st_mtime_ns for blob in blobs]
    again = open_runtime(assets / "tiny.xml", device="AUTO", check=False)
    np.testing.assert_array_equal(again(image), answer)
    assert [blob.stat().st_mtime_ns for blob in sorted((cache / "engines").rglob("*.blob"))] == stamps
    open_runtime(assets / "tiny.xml", device="CPU")
    assert len(list((cache / "engines").iterdir())) == 1, "a CPU needs none"
