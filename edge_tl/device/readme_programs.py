"""The lines of code in README.txt: an artifact that takes raw pixels in Python and C++, and where programs come from.

Reads nothing but the record. `tests/device/test_readme_programs.py` builds and runs the lines.
"""

from __future__ import annotations

from collections.abc import Sequence

from edge_tl.device.model_metadata import PRECISE
from edge_tl.device.records.artifact import ArtifactRecord
from edge_tl.device.records.bundle import BundleRecord


def raw_pixel_lines(record: BundleRecord, pixels: Sequence[ArtifactRecord]) -> tuple[str, ...]:
    """How `pixels`, of which there is one at least, are used, in a few lines of Python."""
    artifact = _best(record, pixels)
    precise = (artifact.session_options or {}).get(PRECISE) == "1"  # no other option of anybody's bundle
    options = [f'  options.add_session_config_entry("{PRECISE}", "1")'] if precise else []
    run: tuple[str, ...] = (
        "  options = onnxruntime.SessionOptions()",
        *options,
        f'  model = onnxruntime.InferenceSession("{artifact.main}", options)',
        '  print(model.run(None, {"image": image})[0])   # probabilities',
    )
    if artifact.runtime == "openvino":
        run = (
            f'  model = openvino.Core().compile_model("{artifact.main}", "CPU", {{"INFERENCE_PRECISION_HINT": "f32"}})',
            "  print(model([image])[0])   # probabilities",
        )
    return (
        "RAW PIXELS. A file that takes them resizes, crops and normalizes itself: give it the decoded, upright image,",
        "uint8 (1, height, width, 3), R, G, B, of any size, and nothing of the preprocessing below but decoding and",
        "turning.",
        f"  import numpy, {artifact.runtime}; from PIL import Image, ImageOps",
        '  picture = ImageOps.exif_transpose(Image.open("photo.jpg")).convert("RGB")',
        "  image = numpy.asarray(picture)[None]   # of CMYK and 16-bit files do as steps 3 and 4 below say instead",
        *run,
        "",
    )


def program_lines(record: BundleRecord, pixels: Sequence[ArtifactRecord]) -> tuple[str, ...]:
    """How a program is had without writing step after step, and in C++ the few lines where the model preprocesses."""
    lines = [
        "C++, JAVASCRIPT, JAVA, C#, RUST.  edge-tl snippet FOLDER --lang cpp --out classify.cpp  writes a program for",
        "this bundle, preprocessing included. Its first lines say how to build it; then it needs no edge-tl.",
    ]
    if native := [each for each in pixels if each.runtime == "openvino"]:
        lines += _cpp_lines(_best(record, native))
    return (*lines, "")


def _cpp_lines(artifact: ArtifactRecord) -> list[str]:
    return [
        "A file that takes raw pixels needs none of that. In C++ with OpenVINO:",
        "  #include <openvino/openvino.hpp>",
        "  ov::Core core;  // once; in f32, because bf16, which some CPUs take else, changes answers",
        f'  auto model = core.compile_model("{artifact.main}", "CPU",',
        "                                  ov::hint::inference_precision(ov::element::f32));",
        "  auto request = model.create_infer_request();",
        "  // for each image: `rgb` is unsigned char*, height rows of width times R, G, B, turned upright",
        "  request.set_input_tensor(ov::Tensor(ov::element::u8, {1, size_t(height), size_t(width), 3}, rgb));",
        "  request.infer();",
        "  const float* probabilities = request.get_output_tensor().data<float>();",
        "OpenVINO's Python wheel has its headers and libraries (pip install openvino; apt install g++):",
        '  OV=$(python3 -c "import openvino, os; print(os.path.dirname(openvino.__file__))")',
        '  g++ -std=c++17 -O2 app.cpp -o app -I"$OV/include" "$(ls "$OV"/libs/libopenvino.so.* | head -1)" \\',
        '      -Wl,-rpath,"$OV/libs"',
        "stb_image does not turn the image (step 5 below), and OpenCV gives B, G, R.",
    ]


def _best(record: BundleRecord, artifacts: Sequence[ArtifactRecord]) -> ArtifactRecord:
    """The recommended one, else the first that passed its gates, else the first."""
    return min(artifacts, key=lambda each: (each.id != record.recommended, each.passed is not True))
