"""Compiles and runs the programs that `snippet` prints. What a language needs is looked for; without it a test is
skipped and says what is missing."""

from __future__ import annotations

import csv
import io
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from edge_tl.device.snippets.program import Program

FAKES = Path(__file__).parent / "device" / "snippets" / "fakes"
PACKAGES = ["onnxruntime-node", "onnxruntime-web", "sharp"]
Answers = dict[str, NDArray[np.float64]]


def tool(name: str) -> str:
    return shutil.which(name) or pytest.skip(f"{name} is not installed")


def node_packages(folder: Path) -> Path:
    """A `node_modules` with `PACKAGES`: the one that EDGE_TL_NODE_MODULES names, else installed from npm."""
    if given := os.environ.get("EDGE_TL_NODE_MODULES"):
        return Path(given)
    words = [
        tool("npm"),
        "install",
        "--ignore-scripts",
        "--no-audit",
        "--no-fund",
        "--prefer-offline",
        *PACKAGES,
    ]
    (folder / "package.json").write_text("{}")
    try:
        done = subprocess.run(words, cwd=folder, capture_output=True, text=True, timeout=300)
    except subprocess.TimeoutExpired:
        pytest.skip("npm did not install the packages in 300 s")
    if done.returncode:
        pytest.skip(f"npm cannot install {', '.join(PACKAGES)}: {done.stderr.strip()[-200:]}")
    return folder / "node_modules"


def build(program: Program, folder: Path, *, packages: Path | None = None, fake: bool = False) -> list[str]:
    """Write `program` into `folder`, compile it, and return the command that runs it. With `fake` its runtime is one of
    `FAKES`, whose model answers with its input. `packages` is a `node_modules`."""
    source = folder / program.file
    source.write_text(program.text, "ascii")
    if program.lang == "python":
        return [sys.executable, str(source)]
    if program.lang == "javascript":
        return _build_javascript(source, packages, fake)
    if program.lang == "cpp":
        return _build_cpp(source, program.runtime, fake)
    if program.lang == "java":
        classes = folder / "classes"
        _run(tool("javac"), "-Xlint:all", "-Werror", "-d", classes, source, *(FAKES / "java").rglob("*.java"))
        return [tool("java"), "-cp", str(classes), "Classify"]
    for crate in ("image", "ort"):
        _run(tool("rustc"), "--edition=2021", "--crate-type=rlib", FAKES / f"{crate}.rs", "--out-dir", folder)
    found = ["--extern", f"image={folder / 'libimage.rlib'}", "--extern", f"ort={folder / 'libort.rlib'}"]
    _run(tool("rustc"), "--edition=2021", "-O", "-Dwarnings", *found, source, "-o", folder / "classify")
    return [str(folder / "classify")]


def _build_javascript(source: Path, packages: Path | None, fake: bool) -> list[str]:
    assert packages is not None
    there = source.parent / "node_modules"
    if fake:
        (there / "onnxruntime-node").mkdir(parents=True)
        shutil.copy(FAKES / "onnxruntime-node.js", there / "onnxruntime-node" / "index.js")
        (there / "sharp").symlink_to(packages / "sharp")
    else:
        there.symlink_to(packages)
    return [tool("node"), str(source)]


def _build_cpp(source: Path, runtime: str, fake: bool) -> list[str]:
    for header, package in (("stb/stb_image.h", "libstb-dev"), ("jpeglib.h", "libjpeg62-turbo-dev")):
        if not (Path("/usr/include") / header).is_file():
            pytest.skip(f"{header} is not here (Debian: {package})")
    made = source.with_suffix("")
    words: list[str | Path] = [tool("g++"), "-std=c++17", "-O1", source, "-o", made]
    if fake:
        words += ["-Wall", "-Wextra", "-Werror", "-Wno-unused-function", "-Wno-missing-field-initializers"]
        words += ["-I", FAKES]
    elif runtime == "openvino":
        import openvino

        root = Path(openvino.__file__).parent
        library = next(iter(sorted((root / "libs").glob("libopenvino.so.*"))), None)
        if library is None:
            pytest.skip("OpenVINO's wheel has no libs/libopenvino.so.*")
        words += ["-I", root / "include", library, f"-Wl,-rpath,{root / 'libs'}"]
    else:
        home = os.environ.get("ONNXRUNTIME_HOME")
        if not home:
            pytest.skip(
                "ONNX Runtime's headers are in no package index; ONNXRUNTIME_HOME names no folder of them"
            )
        words += ["-I", f"{home}/include", f"-L{home}/lib", f"-Wl,-rpath,{home}/lib", "-lonnxruntime"]
    _run(*words, "-ljpeg")
    return [str(made)]


def _run(*words: str | Path) -> None:
    done = subprocess.run([str(word) for word in words], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-4000:]


def answers(command: list[str], *words: object, code: int = 0) -> tuple[list[str], Answers]:
    """Run a program; its header, and its numbers by file."""
    done = subprocess.run([*command, *map(str, words)], capture_output=True, timeout=300)
    assert done.returncode == code, done.stderr.decode()[-2000:]
    return read_answers(done.stdout.decode("utf-8"))


def read_answers(text: str) -> tuple[list[str], Answers]:
    header, *rows = csv.reader(io.StringIO(text, newline=""))
    assert all(len(row) == len(header) for row in rows)
    return header, {row[0]: np.array(row[1:], np.float64) for row in rows}
