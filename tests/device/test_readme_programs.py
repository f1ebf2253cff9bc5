"""README.txt's C++ is built as README.txt says, with stb for the pixels, and used as a developer uses it who has the
bundle alone: right answers, and a mistake on purpose, by name."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from device import conftest
from device.raw_pixels_bundle import add_raw_pixels
from snippet_programs import read_answers, tool

from edge_tl.device.bundle import read_bundle
from edge_tl.device.readme import contract_steps, readme_text
from edge_tl.device.readme_programs import program_lines

AROUND = """
#define STB_IMAGE_IMPLEMENTATION
#include <stb/stb_image.h>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <utility>
%s
int main(int count, char** words) {
    std::printf("file,%s\\n");
%s
    for (int i = 1; i < count; ++i) {
        int width, height, channels;
        unsigned char* rgb = stbi_load(words[i], &width, &height, &channels, 3);
        if (!rgb) return 1;
        if (std::getenv("BGR")) for (int p = 0; p < width * height; ++p) std::swap(rgb[3 * p], rgb[3 * p + 2]);
%s
        std::string name = words[i];
        std::printf("%%s", name.substr(name.rfind('/') + 1).c_str());
        for (int c = 0; c < %d; ++c) std::printf(",%%.6f", probabilities[c]);
        std::printf("\\n");
    }
}
"""


def plain(seed: int) -> bytes:
    return conftest.encode(conftest.picture(seed, width=50 + 7 * (seed % 4), height=44), "PNG")


@pytest.mark.slow
def test_the_lines_for_cpp_are_right_and_a_mistake_on_purpose_is_named(
    tmp_path: Path, run_cli: Callable[..., Any]
) -> None:
    pytest.importorskip("openvino")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(conftest, "goldens", lambda: {f"{i:02d}.png": plain(i) for i in range(12)})
        conftest.build(tmp_path / "tiny")
    bundle = read_bundle(add_raw_pixels(tmp_path / "tiny"))
    said = readme_text(bundle.record).splitlines()
    start = said.index("  #include <openvino/openvino.hpp>")
    each = next(i for i, line in enumerate(said) if line.startswith("  // for each image"))
    built = next(i for i, line in enumerate(said) if line.startswith("  OV="))
    once, loop = said[start + 1 : each], said[each : built - 1]
    text = AROUND % (
        said[start],
        ",".join(bundle.labels),
        "\n".join(once),
        "\n".join(loop),
        len(bundle.labels),
    )
    (tmp_path / "app.cpp").write_text(text.replace('"model.', f'"{bundle.root}/model.'), "ascii")
    tool("g++")
    if not Path("/usr/include/stb/stb_image.h").is_file():
        pytest.skip("stb is not here (Debian: libstb-dev)")
    lines = "\n".join(said[built : built + 3]).replace("python3", sys.executable)
    assert re.search(r"g\+\+ .*app\.cpp -o app", lines)
    subprocess.run(["sh", "-ec", lines], cwd=tmp_path, check=True)
    for wrong, code in (("", 0), ("1", 1)):
        words = [str(tmp_path / "app"), *map(str, bundle.golden_images())]
        done = subprocess.run(
            words, capture_output=True, text=True, env={"BGR": wrong} if wrong else {}, check=True
        )
        assert len(read_answers(done.stdout)[1]) == 12
        (tmp_path / "answers.csv").write_text(done.stdout, "utf-8")
        found = run_cli("diagnose", bundle.root, tmp_path / "answers.csv", "--json")
        assert found.code == code, found.json
        assert [match["mistake"] for match in found.json["matches"]] == ["bgr"] * code


def test_without_raw_pixels_there_is_only_where_programs_come_from(bundle_root: Path) -> None:
    record = read_bundle(bundle_root).record
    assert "edge-tl snippet FOLDER --lang cpp" in "".join(program_lines(record, []))
    assert "openvino.hpp" not in readme_text(record)
    onnx = replace(record.artifact("onnx-fp32"), input="image")
    assert "openvino.hpp" not in "".join(program_lines(record, [onnx]))


def test_the_first_line_of_a_csv_is_that_of_the_labels(bundle_root: Path) -> None:
    record = read_bundle(bundle_root).record
    assert f"  file,{','.join(record.labels)}" in readme_text(record).splitlines()
    many = replace(record, labels=tuple(f"a, {i}" for i in range(30)))
    assert '  file,"a, 0","a, 1",' in readme_text(many)
    assert '"a, 7",...' in readme_text(many)


def test_the_steps_that_the_lines_point_to_are_those(tmp_path: Path) -> None:
    conftest.build(tmp_path / "tiny")
    record = read_bundle(add_raw_pixels(tmp_path / "tiny")).record
    said, steps = readme_text(record), contract_steps(record.preprocess)
    assert "of CMYK and 16-bit files do as steps 3 and 4 below say" in said
    assert "does not turn the image (step 5 below)" in said
    begins = [step.partition(" ")[0] for step in steps[2:5]]
    assert begins == ["CMYK:", "16", "Turn"]
