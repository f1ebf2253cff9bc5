"""This machine: CPU, instruction set, cores allowed, load, versions.

Never raises on an unknown platform (unknown is None). Never tells whose machine it is (no host name, user, serial
number or path), because the record travels in reports. `root` is the folder that holds `proc` and `sys`.
"""

from __future__ import annotations

import importlib.metadata
import os
import platform
import subprocess
from collections.abc import Collection, Iterable, Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

from edge_tl.device.records.machine import MachineRecord
from edge_tl.device.records.timing import LoadRecord
from edge_tl.device.runtimes.families import FAMILIES

ROOT = Path("/")
CAP_VARIABLE = "ONEDNN_MAX_CPU_ISA"
OLD_CAP_VARIABLE = "DNNL_MAX_CPU_ISA"

_FLAGS = (
    "sse4_1", "avx", "avx2", "fma", "f16c", "avx512f", "avx_vnni", "avx512_vnni", "avx512_bf16",
    "amx_int8", "amx_bf16", "neon", "dotprod", "i8mm", "bf16", "sve", "fp16",
)  # fmt: skip
# What Linux on Arm, then macOS (the last part of the sysctl name, lower case), call the same flags.
_RENAMED = {
    "asimd": "neon", "asimddp": "dotprod", "asimdbf16": "bf16", "asimdhp": "fp16",
    "avx1_0": "avx", "avx2_0": "avx2", "avx512vnni": "avx512_vnni", "advsimd": "neon",
    "feat_dotprod": "dotprod", "feat_i8mm": "i8mm", "feat_bf16": "bf16", "feat_fp16": "fp16",
}  # fmt: skip

# One library ships under several distribution names; the first one found counts.
_DISTRIBUTIONS: dict[str, tuple[str, ...]] = {
    "numpy": ("numpy",),
    "pillow": ("pillow",),
    **{family.name: family.distributions for family in FAMILIES},
}


def cores_allowed(root: Path = ROOT) -> int:
    """Cores this process may use, at least 1: its affinity mask and its cgroup's CPU quota, rounded up.

    A container limited to 1.5 CPUs still sees every core of its host; a thread pool of that size would be
    throttled. Where the platform has no affinity mask, all cores count.
    """
    affinity = getattr(os, "sched_getaffinity", None)
    try:
        cores = len(affinity(0)) if affinity else os.cpu_count() or 1
    except OSError:
        cores = os.cpu_count() or 1
    return max(1, min([cores, *_quotas(root)]))


def isa_flags(root: Path = ROOT) -> tuple[str, ...]:
    """The instruction sets that matter to INT8 and floating point inference and that this CPU has.

    Names are Linux's on x86 (`avx2`, `avx512_vnni`, ...) and short ones on Arm (`neon`, `dotprod`, `i8mm`,
    `bf16`, `sve`, `fp16`). Empty where the platform does not tell (Windows).
    """
    cpuinfo = dict(_pairs(_read(root / "proc/cpuinfo")))  # of the last core; Linux shows all cores the same
    words = (cpuinfo.get("flags") or cpuinfo.get("Features") or "").lower().split()
    if not words:
        sysctl = _sysctl(root)
        words = [k.rpartition(".")[2].lower() for k, v in sysctl.items() if "hw.optional." in k and v == "1"]
        words += sysctl.get("machdep.cpu.leaf7_features", "").lower().split()
    present = {_RENAMED.get(word, word) for word in words}
    return tuple(flag for flag in _FLAGS if flag in present)


def onednn_cap() -> tuple[str, str | None]:
    """The variable that caps oneDNN's instructions, and its value; the older name counts where the newer is not set."""
    names = (CAP_VARIABLE, OLD_CAP_VARIABLE)
    return next(((name, value) for name in names if (value := os.environ.get(name))), (CAP_VARIABLE, None))


def has_vnni(flags: Collection[str] | None = None, *, arch: str | None = None, root: Path = ROOT) -> bool:
    """Whether INT8 dot products accumulate in 32 bits. Left out, `flags` and `arch` are this machine's.

    Before VNNI, x86 adds pairs of 8-bit products in 16 bits, which saturates and changes INT8 results.
    64-bit Arm kernels do not, with or without `dotprod`. False where the flags are unknown.
    """
    if (platform.machine() if arch is None else arch).lower() in ("aarch64", "arm64"):
        return True
    present = isa_flags(root) if flags is None else flags
    return not {"avx_vnni", "avx512_vnni", "amx_int8"}.isdisjoint(present)


def int8_isa(flags: Collection[str] | None = None) -> str | None:
    """The instruction set that INT8 products are computed with here, by the name of its flag; "avx2", "avx512f" and
    "neon" stand for "without dot products". None where the flags are unknown. Two machines that differ in it may give
    different answers from one INT8 file.
    """
    present = isa_flags() if flags is None else flags
    kinds = ("amx_int8", "avx512_vnni", "avx_vnni", "avx512f", "avx2", "i8mm", "dotprod", "neon")
    return next((kind for kind in kinds if kind in present), None)


def identity(root: Path = ROOT) -> MachineRecord:
    """What to print beside every number measured here, anonymous. Imports none of the libraries whose versions it
    gives."""
    return MachineRecord(
        os=platform.system() or None,
        kernel=platform.release() or None,
        arch=platform.machine() or None,
        cpu=_cpu_name(root),
        cores=os.cpu_count(),
        cores_allowed=cores_allowed(root),
        isa=isa_flags(root),
        governor=_governor(root),
        memory_mb=_memory_mb(root),
        python=platform.python_version(),
        versions={name: installed(name) for name in _DISTRIBUTIONS},
    )


def current_load(root: Path = ROOT) -> LoadRecord:
    """What may disturb a timing now: `load1` (runnable tasks, one-minute mean), `steal` (fraction of CPU time
    since boot that the hypervisor gave to others), the clock's `governor`, `temperature_c` (hottest zone)."""
    load1: float | None = None
    with suppress(OSError, AttributeError):  # Windows has none
        load1 = os.getloadavg()[0]
    return LoadRecord(load1, _steal(root), _governor(root), _temperature_c(root))


@cache
def openvino_core() -> Any:
    """The one `openvino.Core` of this process. Raises `ImportError` when OpenVINO is not installed.

    Every Core installs signal handlers; with two of them, Ctrl-C after the first is gone ends in a crash.
    """
    import openvino

    return openvino.Core()


def _quotas(root: Path) -> Iterator[int]:
    """The CPU quotas, in cores rounded up, of this process's cgroup and of every group above it."""
    v1 = v2 = "/"
    for line in _read(root / "proc/self/cgroup").splitlines():
        controllers, _, path = line.partition(":")[2].partition(":")
        if not controllers:
            v2 = path
        elif "cpu" in controllers.split(","):
            v1 = path
    # Hybrid hosts mount v2 under `unified` and keep the cpu controller in v1.
    for folder in _lineage(root, ("", "unified"), v2):
        yield from _cores(_read(folder / "cpu.max"))
    for folder in _lineage(root, ("cpu", "cpu,cpuacct"), v1):
        yield from _cores(_read(folder / "cpu.cfs_quota_us") + " " + _read(folder / "cpu.cfs_period_us"))


def _lineage(root: Path, mounts: Iterable[str], group: str) -> Iterator[Path]:
    """`group`'s folder and those above it. In a container the path may be the host's and its folders missing;
    the mount is then this process's own group, so it always counts."""
    for mount in (root / "sys/fs/cgroup" / name for name in mounts):
        folder = mount / group.lstrip("/")
        yield from (above for above in (folder, *folder.parents) if above.is_relative_to(mount))


def _cores(quota_and_period: str) -> list[int]:
    """CPU time per period, both in microseconds -> cores, rounded up. Unlimited or unreadable: []."""
    words = quota_and_period.split()
    if len(words) != 2 or not all(word.isdecimal() for word in words) or not int(words[1]):
        return []  # unlimited is "max" in v2, -1 in v1
    return [-(-int(words[0]) // int(words[1]))]


def _cpu_name(root: Path) -> str | None:
    """x86 has a model name. Arm mostly has none: the board's and the core types' numbers stand for it."""
    cpuinfo = list(_pairs(_read(root / "proc/cpuinfo")))
    names = [_read(root / "proc/device-tree/model").strip("\0 \n")]
    names += [value for key, value in cpuinfo if key == "model name"]
    makers = [value for key, value in cpuinfo if key == "CPU implementer"]
    parts = [value for key, value in cpuinfo if key == "CPU part"]
    names += [f"arm {maker}/{part}" for maker, part in zip(makers, parts, strict=False)]
    name = ", ".join(filter(None, dict.fromkeys(names))) or _sysctl(root).get("machdep.cpu.brand_string")
    return name or (platform.processor() if root == ROOT else "") or None


def _memory_mb(root: Path) -> int | None:
    total = dict(_pairs(_read(root / "proc/meminfo"))).get("MemTotal", "").removesuffix("kB").strip()
    if total.isdecimal():
        return int(total) // 1024
    size = _sysctl(root).get("hw.memsize", "")
    return int(size) // 2**20 if size.isdecimal() else None


def _governor(root: Path) -> str | None:
    return _read(root / "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor").strip() or None


def _steal(root: Path) -> float | None:
    # cpu user nice system idle iowait irq softirq steal [guest guest_nice: already counted in user and nice]
    words = _read(root / "proc/stat").partition("\n")[0].split()[:9]
    if len(words) < 9 or words[0] != "cpu" or not all(word.isdecimal() for word in words[1:]):
        return None
    ticks = [int(word) for word in words[1:]]
    return ticks[7] / sum(ticks) if any(ticks) else None


def _temperature_c(root: Path) -> float | None:
    zones = (root / "sys/class/thermal").glob("thermal_zone*/temp")
    readings = [_read(zone).strip() for zone in zones]  # millidegrees
    # A disconnected sensor reads below zero (-40, -273) or nothing at all: neither is a temperature.
    return max((int(text) / 1000 for text in readings if text.isdecimal()), default=None)


def installed(name: str) -> str | None:
    """The version of "numpy", "pillow", "onnxruntime" or "openvino", None where it is not installed."""
    for distribution in _DISTRIBUTIONS[name]:
        with suppress(importlib.metadata.PackageNotFoundError, KeyError):  # KeyError: it states no version
            return importlib.metadata.version(distribution)
    return None


def _sysctl(root: Path) -> dict[str, str]:
    """Everything macOS's sysctl tells about this machine (never about a planted `root`), else {}."""
    if root == ROOT and platform.system() == "Darwin":
        with suppress(OSError, subprocess.SubprocessError):
            done = subprocess.run(["sysctl", "-a"], capture_output=True, timeout=10, check=False)
            return dict(_pairs(done.stdout.decode("utf-8", "replace")))
    return {}


def _pairs(text: str) -> Iterator[tuple[str, str]]:
    """The `key : value` lines of cpuinfo, meminfo and sysctl."""
    for line in text.splitlines():
        key, _, value = line.partition(":")
        yield key.strip(), value.strip()


def _read(path: Path) -> str:
    """A file's text, "" when it cannot be read: on another system none of these files exists."""
    with suppress(OSError):
        return path.read_text(encoding="utf-8", errors="replace")
    return ""
