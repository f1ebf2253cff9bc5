"""The machine's record, read from planted `/proc` and `/sys` trees and from the machine that runs the tests.

Must not depend on which CPU, container or runtime this machine has.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import os
import platform
import socket
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from edge_tl.device import machine

# Shortened from real files: an AMD EPYC without VNNI, an Intel Xeon with all of it, a Raspberry Pi 5.
ZEN1 = "model name\t: AMD EPYC\nflags\t\t: fpu sse2 fma sse4_1 avx f16c avx2\nbugs\t\t: avx512_vnni\n\n"
XEON = (
    "flags\t: sse4_1 fma avx f16c avx2 avx512f avx_vnni avx512_bf16 avx512_vnni amx_bf16 amx_tile amx_int8\n"
)
PI5_CORE = "Features\t: fp asimd aes fphp asimdhp asimddp\nCPU implementer\t: 0x41\nCPU part\t: 0xd0b\n\n"
PI5 = PI5_CORE * 4 + "Serial\t\t: 5ec2e75e21a1\nModel\t\t: Raspberry Pi 5 Model B Rev 1.0\n"
GRAVITON = "Features\t: asimd asimddp sve i8mm bf16 asimdhp\n"
AVX2 = ("sse4_1", "avx", "avx2", "fma", "f16c")
ALL_X86 = (*AVX2, "avx512f", "avx_vnni", "avx512_vnni", "avx512_bf16", "amx_int8", "amx_bf16")
M2 = """machdep.cpu.brand_string: Apple M2\nhw.memsize: 8589934592\nhw.optional.AdvSIMD: 1
hw.optional.arm.FEAT_DotProd: 1\nhw.optional.arm.FEAT_I8MM: 1\nhw.optional.arm.FEAT_BF16: 0\n"""
INTEL_MAC = """machdep.cpu.brand_string: Intel(R) Core(TM) i7-1068NG7\nhw.memsize: 8589934592
hw.optional.avx1_0: 1\nhw.optional.avx2_0: 1\nmachdep.cpu.leaf7_features: AVX2 AVX512F AVX512VNNI\n"""
GOVERNOR = "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"
GROUP = "proc/self/cgroup"
V2 = "sys/fs/cgroup"
CORES = 64

has_affinity = pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="no affinity masks here")


def plant(root: Path, files: dict[str, str]) -> Path:
    for path, text in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text, encoding="utf-8")
    return root


@pytest.fixture
def many_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    """An affinity mask larger than the quotas, so that the quota decides."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: set(range(CORES)), raising=False)


@pytest.mark.parametrize(
    ("cpuinfo", "arch", "flags", "vnni"),
    [
        (ZEN1 * 2, "x86_64", AVX2, False),
        (XEON, "x86_64", ALL_X86, True),
        ("flags\t: avx avx2 avx_vnni\n", "x86_64", ("avx", "avx2", "avx_vnni"), True),
        (PI5, "aarch64", ("neon", "dotprod", "fp16"), True),
        (GRAVITON, "aarch64", ("neon", "dotprod", "i8mm", "bf16", "sve", "fp16"), True),
        ("Features\t: half thumb neon vfpv4\n", "armv7l", ("neon",), False),
        ("isa\t: rv64imafdc\n", "riscv64", (), False),
    ],
    ids=["zen1", "xeon", "n100", "pi5", "graviton", "armv7", "riscv"],
)
def test_flags_and_vnni(tmp_path: Path, cpuinfo: str, arch: str, flags: tuple[str, ...], vnni: bool) -> None:
    plant(tmp_path, {"proc/cpuinfo": cpuinfo})
    assert machine.isa_flags(tmp_path) == flags
    assert machine.has_vnni(arch=arch, root=tmp_path) is vnni


@pytest.mark.parametrize(
    ("flags", "arch", "vnni"),
    [
        ([], "arm64", True),
        ([], "ARM64", True),
        (["amx_int8"], "x86_64", True),
        (["avx512_vnni"], "AMD64", True),
        (["avx2", "avx512f", "avx512_bf16", "amx_bf16"], "x86_64", False),
        ([], "", False),
    ],
)
def test_vnni_of_a_stored_record(flags: list[str], arch: str, vnni: bool) -> None:
    assert machine.has_vnni(flags, arch=arch) is vnni


@pytest.mark.parametrize(
    ("sysctl", "cpu", "flags", "memory"),
    [
        (M2, "Apple M2", ["neon", "dotprod", "i8mm"], 8192),
        (INTEL_MAC, "Intel(R) Core(TM) i7-1068NG7", ["avx", "avx2", "avx512f", "avx512_vnni"], 8192),
        (None, None, [], None),
    ],
    ids=["apple", "intel", "no-sysctl"],
)
def test_macos(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    sysctl: str | None,
    cpu: str | None,
    flags: list[str],
    memory: int | None,
) -> None:
    def run(*_args: object, **_options: object) -> SimpleNamespace:
        if sysctl is None:
            raise FileNotFoundError("sysctl")
        return SimpleNamespace(stdout=sysctl.encode())

    monkeypatch.setattr(machine, "ROOT", tmp_path)  # an empty folder stands for a Mac's `/`
    monkeypatch.setattr(platform, "system", lambda: "Darwin")
    monkeypatch.setattr(platform, "processor", lambda: "")
    monkeypatch.setattr(subprocess, "run", run)
    record = machine.identity(tmp_path).to_json()
    assert (record["cpu"], record["isa"], record["memory_mb"]) == (cpu, flags, memory)


@has_affinity
def test_cores_are_the_affinity_mask_where_there_is_no_quota(tmp_path: Path) -> None:
    mask = os.sched_getaffinity(0)
    assert machine.cores_allowed(tmp_path) == len(mask)
    assert 1 <= machine.cores_allowed() <= len(mask)
    os.sched_setaffinity(0, {min(mask)})
    try:
        assert machine.cores_allowed(tmp_path) == 1
    finally:
        os.sched_setaffinity(0, mask)


def test_cores_where_there_are_no_affinity_masks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    assert machine.cores_allowed(tmp_path) == os.cpu_count()
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert machine.cores_allowed(tmp_path) == 1


@pytest.mark.usefixtures("many_cores")
@pytest.mark.parametrize(
    ("files", "cores"),
    [
        ({f"{V2}/cpu.max": "max 100000\n"}, CORES),
        ({f"{V2}/cpu.max": "150000 100000\n"}, 2),
        ({f"{V2}/cpu.max": "200000 100000\n"}, 2),
        ({f"{V2}/cpu.max": "1000 100000\n"}, 1),
        ({f"{V2}/cpu.max": "0 100000\n"}, 1),
        ({f"{V2}/cpu.max": "9900000 100000\n"}, CORES),
        ({f"{V2}/cpu.max": "150000 0\n"}, CORES),
        ({f"{V2}/cpu.max": "nonsense"}, CORES),
        ({f"{V2}/unified/cpu.max": "250000 100000\n"}, 3),
        # Every group above this process's own limits it; a group beside it does not.
        ({GROUP: "0::/a/b\n", f"{V2}/a/cpu.max": "250000 100000\n", f"{V2}/a/b/cpu.max": "max 100000\n"}, 3),
        ({GROUP: "0::/a/b\n", f"{V2}/a/cpu.max": "max 100000\n", f"{V2}/a/b/cpu.max": "250000 100000\n"}, 3),
        ({GROUP: "0::/a\n", f"{V2}/b/cpu.max": "100000 100000\n"}, CORES),
        # The path may lie outside this namespace, or be the host's: the mount is then the group.
        ({GROUP: "0::/../b\n", f"{V2}/cpu.max": "150000 100000\n"}, 2),
        ({GROUP: "0::/docker/01\n", f"{V2}/cpu.max": "150000 100000\n"}, 2),
    ],
)
def test_cgroup_v2_quota(tmp_path: Path, files: dict[str, str], cores: int) -> None:
    assert machine.cores_allowed(plant(tmp_path, files)) == cores


@pytest.mark.usefixtures("many_cores")
@pytest.mark.parametrize(("quota", "cores"), [("-1\n", CORES), ("150000\n", 2), ("300000\n", 3)])
@pytest.mark.parametrize("controllers", ["cpu", "cpu,cpuacct"])
@pytest.mark.parametrize("folder", ["", "/docker/01"])
def test_cgroup_v1_quota(tmp_path: Path, controllers: str, folder: str, quota: str, cores: int) -> None:
    mount = f"{V2}/{controllers}{folder}"
    plant(tmp_path, {GROUP: f"4:memory:/m\n1:{controllers}:/docker/01\n0::/\n"})
    plant(tmp_path, {f"{mount}/cpu.cfs_quota_us": quota})
    assert machine.cores_allowed(tmp_path) == CORES  # without its period a quota says nothing
    plant(tmp_path, {f"{mount}/cpu.cfs_period_us": "100000\n"})
    assert machine.cores_allowed(tmp_path) == cores


def test_identity_is_json_and_anonymous(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    secret = "b0b-workbench-7"
    plant(tmp_path, {"proc/cpuinfo": PI5, "proc/device-tree/model": "Raspberry Pi 5 Model B Rev 1.0\0"})
    plant(tmp_path, {"proc/meminfo": "MemTotal:        8256016 kB\nMemFree:  1 kB\n", GOVERNOR: "ondemand\n"})
    plant(tmp_path, {"etc/hostname": secret, "proc/sys/kernel/hostname": secret})
    monkeypatch.setattr(socket, "gethostname", lambda: secret)
    monkeypatch.setattr(platform, "node", lambda: secret)
    for variable in ("HOSTNAME", "USER", "LOGNAME", "HOME"):
        monkeypatch.setenv(variable, secret)
    record = machine.identity(tmp_path).to_json()
    text = json.dumps(record)
    assert json.loads(text) == record
    for private in (secret, str(tmp_path), "5ec2e75e21a1"):
        assert private not in text
    assert list(record)[:7] == ["os", "kernel", "arch", "cpu", "cores", "cores_allowed", "isa"]
    assert list(record)[7:] == ["governor", "memory_mb", "python", "versions"]
    assert record["cpu"] == "Raspberry Pi 5 Model B Rev 1.0, arm 0x41/0xd0b"
    assert (record["memory_mb"], record["governor"]) == (8062, "ondemand")


def test_identity_of_this_machine() -> None:
    record = machine.identity().to_json()
    assert socket.gethostname() not in [value for value in record.values() if isinstance(value, str)]
    assert (record["cores"], record["python"]) == (os.cpu_count(), platform.python_version())
    versions = record["versions"]
    assert isinstance(versions, dict)
    assert set(versions) == {"numpy", "pillow", "onnxruntime", "openvino"}
    assert versions["numpy"] == importlib.metadata.version("numpy")


def test_identity_imports_no_runtime() -> None:
    code = (
        "import sys; from edge_tl.device import machine; machine.identity(); machine.current_load();"
        "print(sorted({'onnxruntime', 'openvino', 'torch'} & set(sys.modules)))"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    printed = subprocess.check_output([sys.executable, "-c", code], text=True, env=environment)
    assert printed.strip() == "[]"


def test_version_under_another_distribution_name(monkeypatch: pytest.MonkeyPatch) -> None:
    def version(name: str) -> str:
        if name == "onnxruntime-gpu":
            return "1.23.0"
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", version)
    versions = {"numpy": None, "pillow": None, "onnxruntime": "1.23.0", "openvino": None}
    assert machine.identity().to_json()["versions"] == versions


def test_nothing_is_known_and_nothing_raises(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.delattr(os, "getloadavg", raising=False)
    for name in ("system", "release", "machine", "processor"):
        monkeypatch.setattr(platform, name, lambda: "")
    record = machine.identity(tmp_path).to_json()
    unknown = {key for key, value in record.items() if value is None}
    assert unknown == {"os", "kernel", "arch", "cpu", "governor", "memory_mb"}
    assert record["isa"] == []
    assert machine.has_vnni(root=tmp_path) is False
    assert set(machine.current_load(tmp_path).to_json().values()) == {None}


def test_unreadable_files_are_unknown(tmp_path: Path) -> None:
    (tmp_path / "proc/cpuinfo").mkdir(parents=True)
    plant(tmp_path, {"proc/meminfo": "MemTotal: lots kB\n"})
    (tmp_path / "proc/stat").write_bytes(b"\xff\xfe\x00cpu")
    assert machine.isa_flags(tmp_path) == ()
    assert machine.identity(tmp_path).to_json()["memory_mb"] is None
    for stat in ("", "cpu 1 2 3\n", "cpu 0 0 0 0 0 0 0 0\n", "intr 1 2 3 4 5 6 7 8 9\n"):
        assert machine.current_load(tmp_path).to_json()["steal"] is None
        plant(tmp_path, {"proc/stat": stat})
    assert machine.current_load(tmp_path).to_json()["steal"] is None


def test_conditions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # guest time (the last two fields) is already in user and nice: it must not count twice.
    plant(tmp_path, {"proc/stat": "cpu  100 0 100 600 100 0 0 100 50 50\ncpu0 9 9 9 9 9 9 9 9 9 9\n"})
    for zone, reading in enumerate(["41000\n", "56500\n", "-273200\n", ""]):
        plant(tmp_path, {f"sys/class/thermal/thermal_zone{zone}/temp": reading, GOVERNOR: "powersave\n"})
    monkeypatch.setattr(os, "getloadavg", lambda: (1.5, 1.0, 0.5), raising=False)
    steal = pytest.approx(0.1)
    expected = {"load1": 1.5, "steal": steal, "governor": "powersave", "temperature_c": 56.5}
    assert machine.current_load(tmp_path).to_json() == expected


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (["avx", "avx2"], "avx2"),
        (["avx2", "avx512f"], "avx512f"),
        (["avx2", "avx_vnni"], "avx_vnni"),
        (["avx2", "avx512f", "avx512_vnni"], "avx512_vnni"),
        (["avx2", "avx512f", "avx512_vnni", "amx_int8"], "amx_int8"),
        (["neon"], "neon"),
        (["neon", "dotprod", "i8mm"], "i8mm"),
        ([], None),
    ],
)
def test_the_instruction_set_of_int8(flags: list[str], expected: str | None) -> None:
    assert machine.int8_isa(flags) == expected
