"""A lesser x86 CPU made of this one: the runtimes' real kernels, chosen as they would be there.

A library asks the CPUID instruction what it may use, which user code cannot be kept from. So the runtimes' libraries
are copied with every CPUID replaced by UD2, an instruction of the same length that traps, and a preloaded handler
(cpuid_mask.c) answers in its place, without the bits that the lesser CPU lacks. /proc/cpuinfo is answered alike, so
edge-tl itself sees the lesser CPU too. At full speed and with AVX-512, which qemu's translator does not have. What does
not ask (a kernel that assumes AVX) runs all the same: that is what `qemu-x86_64 -cpu` is beside it for.
"""

from __future__ import annotations

import os
import re
import shutil
import struct
import subprocess
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
PACKAGES = ("onnxruntime", "openvino")
_SOURCE = HERE / "cpuid_mask.c"

_VNNI = "7 0 c 00000800  7 1 a 00000010  7 1 d 00080530  7 0 d 03400000"  # AVX512, AVX, their sequels and AMX
_AVX512_AFTER_SKYLAKE = "7 0 c 00005042  7 0 b 00200000  7 0 d 0080010c  7 1 a 00000020"
_AVX512 = f"{_VNNI}  {_AVX512_AFTER_SKYLAKE}  7 0 b dc030000  7 0 c 00000600"
_AVX2 = f"{_AVX512}  7 0 b 00000128  1 0 c 20001000  80000001 0 c 00010800"  # FMA, F16C, BMI1; XOP, FMA4
_AVX = f"{_AVX2}  1 0 c 1c000000"  # with XSAVE


@dataclass(frozen=True)
class LesserCpu:
    """`mask` is what cpuid_mask.c takes away, `flags` are the words of /proc/cpuinfo that go with it, and `qemu` is the
    CPU of qemu-x86_64 that has the same, None where its translator has no such instructions."""

    mask: str
    flags: str
    qemu: str | None


_SEQUELS = r"avx\w*_?vnni\w*|amx\w*"
_NO_AVX512 = rf"{_SEQUELS}|avx512\w*|vaes|vpclmulqdq|gfni"
_NO_AVX2 = rf"{_NO_AVX512}|avx2|fma|f16c|bmi."
LEVELS = {
    "avx512": LesserCpu(
        f"{_VNNI}  {_AVX512_AFTER_SKYLAKE}",
        rf"{_SEQUELS}|avx512_?(vbmi|bitalg|vpop|bf16|fp16|ifma|vp2)\w*",
        None,
    ),
    "avx2": LesserCpu(_AVX512, _NO_AVX512, "Haswell"),
    "avx": LesserCpu(_AVX2, _NO_AVX2, "SandyBridge"),
    "sse42": LesserCpu(_AVX, rf"{_NO_AVX2}|avx|xsave\w*", "Westmere"),
}
"""By name. AVX-512 as Skylake-X has it, AVX2 as Haswell, AVX as Sandy Bridge, SSE4.2 as Westmere and the Atoms."""


def environment(level: str, cache: Path, python: Path, path: str = "") -> dict[str, str]:
    """Variables with which the runtimes of `python` take this machine for a CPU of `level`; `path` goes on PYTHONPATH
    behind them. `cache` keeps the copies, 200 MB. Raises `OSError` or `CalledProcessError` where there is no gcc or
    objdump."""
    copies = cache / "packages"
    if not (copies / "ready").exists():
        _copy(_site(python), copies)
    shim = cache / "cpuid_mask.so"
    if not shim.exists() or shim.stat().st_mtime < _SOURCE.stat().st_mtime:
        subprocess.run(["gcc", "-O1", "-shared", "-fPIC", "-o", shim, _SOURCE, "-ldl"], check=True)
    return {
        "PYTHONPATH": os.pathsep.join([str(copies), *filter(None, [path])]),
        "LD_PRELOAD": str(shim),
        "CPUID_MASK": LEVELS[level].mask,
        "CPUINFO": str(_write_cpuinfo(level, cache)),
    }


def emulated(level: str, cache: Path, python: Path) -> tuple[str, ...]:
    """What starts `python` under qemu's translator of x86, on a CPU of `level`. Raises `OSError` where there is none,
    and for a level that it has not."""
    qemu = shutil.which("qemu-x86_64-static") or shutil.which("qemu-x86_64")
    cpu = LEVELS[level].qemu
    if qemu is None or cpu is None:
        raise OSError(f"no emulator of {level} here")
    # What lies below the prefix stands for the same path on the machine.
    prefix = _write_cpuinfo(level, cache).parent.parent
    return (qemu, "-L", str(prefix), "-cpu", cpu, str(python))


def _site(python: Path) -> Path:
    asked = [str(python), "-c", "import sysconfig; print(sysconfig.get_path('platlib'))"]
    return Path(subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip())


def _write_cpuinfo(level: str, cache: Path) -> Path:
    path = cache / level / "proc" / "cpuinfo"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        lesser_cpuinfo(Path("/proc/cpuinfo").read_text(encoding="utf-8"), level), encoding="utf-8"
    )
    return path


def lesser_cpuinfo(text: str, level: str) -> str:
    """/proc/cpuinfo without the flags that a CPU of `level` lacks."""
    lacking = re.compile(LEVELS[level].flags)
    lines = []
    for line in text.splitlines():
        key, colon, value = line.partition(":")
        if key.strip() == "flags":
            value = " " + " ".join(flag for flag in value.split() if not lacking.fullmatch(flag))
        lines.append(key + colon + value)
    return "\n".join(lines) + "\n"


def _copy(site: Path, copies: Path) -> None:
    """The packages with their libraries patched; metadata is copied beside them, which the versions are read from."""
    shutil.rmtree(copies, ignore_errors=True)
    copies.mkdir(parents=True)
    for package in PACKAGES:
        for folder in [site / package, *site.glob(f"{package}-*.dist-info")]:
            shutil.copytree(
                folder,
                copies / folder.name,
                ignore=shutil.ignore_patterns("__pycache__", "*_gpu_plugin*", "*_npu_plugin*"),
            )
    for library in copies.rglob("*.so*"):
        if not library.is_symlink():
            trap_cpuid(library)
    (copies / "ready").touch()


def trap_cpuid(library: Path) -> int:
    """Replace every CPUID in the file by UD2; how many there were."""
    shown = subprocess.Popen(
        ["objdump", "-d", "--no-show-raw-insn", library], stdout=subprocess.PIPE, text=True
    )
    assert shown.stdout is not None
    found = [int(line.split(":")[0], 16) for line in shown.stdout if line.rstrip().endswith("\tcpuid")]
    if shown.wait():
        raise OSError(f"objdump cannot read {library.name}")
    content = bytearray(library.read_bytes())
    for address in found:
        offset = _offset(content, address)
        assert content[offset : offset + 2] == b"\x0f\xa2", (library.name, hex(address))
        content[offset : offset + 2] = b"\x0f\x0b"
    library.write_bytes(content)
    return len(found)


def _offset(content: bytearray, address: int) -> int:
    """Where in a 64-bit ELF file lies what is loaded at `address`: by the program headers."""
    (start,) = struct.unpack_from("<Q", content, 32)
    size, count = struct.unpack_from("<HH", content, 54)
    for place in range(start, start + size * count, size):
        kind, _, offset, virtual, _, length = struct.unpack_from("<IIQQQQ", content, place)
        if kind == 1 and virtual <= address < virtual + length:
            return int(offset + address - virtual)
    raise ValueError(f"no segment holds {address:#x}")
