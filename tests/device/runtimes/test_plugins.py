"""Which libraries may be loaded, and what a device string may say. Real plugins: tests/test_plugin_provider.py."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from edge_tl.device.errors import BadInput
from edge_tl.device.runtimes import plugins, providers
from edge_tl.device.runtimes.plugins import EpDevice
from edge_tl.device.runtimes.providers import choose_provider

pytest.importorskip("onnxruntime")
REPOSITORY = Path(__file__).parents[3]
EVIL = "raise SystemExit('the working folder ran')\n"


def no_plugin_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a machine that has none, whatever this one has."""
    monkeypatch.setattr(plugins, "_of_packages", lambda: iter(()))
    plugins._libraries.cache_clear()


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ("/lib/x.so", "is not NAME=PATH"),
        ("a b=/lib/x.so", "is not NAME=PATH"),
        ("Mine=/absent/x.so", "there is no file '/absent/x.so'"),
        ("Mine=x.so", "there is no file 'x.so'. Give the library's whole path"),
    ],
)
def test_a_variable_that_names_no_library_is_refused(
    given: str, why: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "x.so").write_bytes(b"")
    monkeypatch.chdir(tmp_path)  # where x.so is, but a relative path is any folder's
    monkeypatch.setenv(plugins.VARIABLE, given)
    with pytest.raises(BadInput, match=plugins.VARIABLE) as caught:
        choose_provider("Mine")
    assert why in str(caught.value)


def test_a_file_that_is_no_plugin_is_a_reason(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    no_plugin_packages(monkeypatch)
    (tmp_path / "x.so").write_bytes(b"no library")
    monkeypatch.setenv(plugins.VARIABLE, f"Mine={tmp_path / 'x.so'}")
    with pytest.raises(
        BadInput, match=rf"^--device Mine: ONNX Runtime .*\({plugins.VARIABLE}: .*x\.so"
    ) as caught:
        choose_provider("Mine")
    assert str(tmp_path) not in str(caught.value)
    [record] = plugins.list_plugins()
    assert (record.package, record.devices) == (plugins.VARIABLE, ())
    assert record.fault
    assert str(tmp_path) not in record.fault


def test_no_plugin_is_looked_for_where_the_build_has_the_provider(monkeypatch: pytest.MonkeyPatch) -> None:
    def never() -> Any:
        raise AssertionError("a library was loaded for the CPU")

    monkeypatch.setattr(plugins, "_libraries", never)
    monkeypatch.setattr(providers, "devices_of", never)
    assert choose_provider("cpu").name == "CPU"
    assert choose_provider(providers.offered_providers().names[0]).devices == ()


def test_a_package_in_the_working_folder_is_not_code_to_run(tmp_path: Path) -> None:
    """A bundle may be the working folder, and anybody's."""
    evil = tmp_path / "onnxruntime_ep_evil"
    evil.mkdir()
    (evil / "__init__.py").write_text(EVIL)
    code = "from edge_tl.device.runtimes import plugins; print([p.package for p in plugins.list_plugins()])"
    for place in ("", ".", str(tmp_path)):
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=tmp_path,
            env=os.environ | {"PYTHONPATH": os.pathsep.join([str(REPOSITORY), place])},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert "evil" not in done.stdout


def test_a_package_that_is_installed_is_found_and_its_fault_said(tmp_path: Path) -> None:
    package = tmp_path / "packages" / "onnxruntime_ep_mine"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("import a_missing_dependency\n")
    code = "from edge_tl.device.runtimes import plugins; print([p.to_json() for p in plugins.list_plugins()])"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(REPOSITORY), str(package.parent)])},
    )  # fmt: skip
    assert "'package': 'onnxruntime-ep-mine'" in done.stdout
    assert "No module named 'a_missing_dependency'" in done.stdout


def npu_and_gpus() -> tuple[EpDevice, ...]:
    return tuple(EpDevice("QNN", kind, SimpleNamespace(ep_name="QNN")) for kind in ("NPU", "GPU", "GPU.1"))


def test_a_device_string_names_hardware_and_options(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(providers, "devices_of", lambda name: npu_and_gpus() if name == "qnn" else ())
    plain, gpu = choose_provider("qnn"), choose_provider("QNN:gpu.1,htp_performance_mode=burst")
    assert (plain.label, plain.hardware, plain.options) == ("QNN:NPU", "NPU", {})
    assert (gpu.label, gpu.options) == ("QNN:GPU.1", {"htp_performance_mode": "burst"})
    assert providers.provider_options(gpu, Path("unread"), 2) == {"htp_performance_mode": "burst"}
    assert plain.one_image
    with pytest.raises(BadInput, match=r"--device QNN:CPU: QNN has NPU, GPU, GPU\.1 here"):
        choose_provider("QNN:CPU")


@pytest.mark.parametrize(
    "part",
    ["backend_path=libx.so", "config_file=x", "cache_dir=here", "device_type=/etc/x", "=1", "fast", "a=b=c"],
)
def test_a_device_string_names_no_file(part: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(providers, "devices_of", lambda name: npu_and_gpus())
    with pytest.raises(BadInput, match=f"--device QNN:{part}: ") as caught:
        choose_provider(f"QNN:{part}")
    assert "\n" not in str(caught.value)


def test_of_a_built_in_provider_too(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    offer = providers.offered_providers()
    monkeypatch.setattr(
        providers, "offered_providers", lambda **_: offer._replace(names=["CUDA", "OpenVINO", "CPU"])
    )
    cuda = choose_provider("cuda:device_id=1,use_tf32=1")
    assert providers.provider_options(cuda, tmp_path, 2) == {"use_tf32": "1", "device_id": "1"}
    monkeypatch.setenv("EDGE_TL_CACHE", "off")
    gpu = choose_provider("OpenVINO:GPU")
    assert providers.provider_options(gpu, tmp_path, 2) == {"device_type": "GPU", "precision": "FP32"}
    for device in ("CUDA:GPU", "CPU:threads=1"):
        with pytest.raises(BadInput, match=f"--device {device}: "):
            choose_provider(device)


@pytest.mark.parametrize("name", ["batch", "n"])
def test_a_compiler_is_given_whole_shapes(name: str, assets: Path, tmp_path: Path) -> None:
    """`export` calls the open count "batch"."""
    onnx, onnxruntime = pytest.importorskip("onnx"), pytest.importorskip("onnxruntime")
    model = onnx.load(str(assets / "tiny.onnx"))
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_param = name
    onnx.save_model(model, str(tmp_path / "m.onnx"))
    for provider, first in ((providers.Provider("QNN"), 1), (providers.Provider("CUDA"), name)):
        options = onnxruntime.SessionOptions()
        providers.fix_shape(options, provider)
        session = onnxruntime.InferenceSession(
            str(tmp_path / "m.onnx"), options, providers=["CPUExecutionProvider"]
        )
        assert session.get_inputs()[0].shape[0] == first
