"""Runs with a letterbox and with five crops through `export --int8` and every verb that reads what it writes."""

from __future__ import annotations

import csv
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from chromium import PROGRAM, Page, serving
from device.serve.conftest import start as start
from device.snippets.conftest import packages as packages
from device.snippets.test_goldens import within_limits
from host.web.test_page import packed as packed
from PIL import Image, ImageOps
from snippet_programs import build, read_answers

from edge_tl.device.bundle import Bundle, read_bundle
from edge_tl.device.runtimes.open import open_runtime
from edge_tl.device.snippets.program import write_program
from edge_tl.host.web.ort_web import ort_web
from edge_tl.host.web.write import write_web

pytestmark = pytest.mark.slow
RunCli = Callable[..., Any]
POLICIES = ["letterbox", "five-crop"]
SIDE = 48


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classes of 40 coloured images of all aspects: the middle is red or blue."""
    folder = tmp_path_factory.mktemp("photos")
    random = np.random.default_rng(0)
    for name, channel in (("red", 0), ("blue", 2)):
        (folder / name).mkdir()
        for i in range(40):
            wide, high = random.integers(50, 110, 2)
            pixels = random.integers(40, 160, (high, wide, 3), dtype=np.uint8)
            pixels[high // 4 : -high // 4, wide // 4 : -wide // 4, channel] = 250
            Image.fromarray(pixels).save(folder / name / f"{i}.jpg", quality=95)
    return folder


@pytest.fixture(scope="module", params=POLICIES)
def exported(
    request: pytest.FixtureRequest,
    photos: Path,
    shell: Callable[..., Any],
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """A bundle of each policy, that of the letterbox with artifacts of raw pixels too."""
    folder = tmp_path_factory.mktemp(request.param)
    sets = [
        f"model.resize={request.param}", "model.interpolation=bilinear", "export.calibration_images=20",
        "export.golden_images=6",
    ]  # fmt: skip
    words = [word for value in sets for word in ("--set", value)]
    model = "--model mobilenet_v3_small --weights embedded --strategy head --image-size".split()
    made = shell("finetune", photos, *model, SIDE, *words, "--out", folder / "run")
    assert made.code == 0, made.err
    kinds = "both" if request.param == "letterbox" else "tensor"
    asked = ("--int8", "--ladder", "up-to=1", "--input", kinds, "--out", folder / "bundle", "--json")
    done = shell("export", folder / "run", *asked)
    assert done.code in (0, 1), done.err
    return folder / "bundle"


def test_every_artifact_is_made_and_its_pixels_are_the_contracts(exported: Path) -> None:
    record = read_bundle(exported).record
    letterbox = record.preprocess.resize == "letterbox"
    kinds = [f"{runtime}-{precision}" for runtime in ("onnx", "openvino") for precision in ("fp32", "int8")]
    ends = ("", "-image") if letterbox else ("",)
    assert {each.id for each in record.artifacts} == {name + end for name in kinds for end in ends}
    assert [gate for gate in record.gates if not gate.passed and gate.gate in ("pixels", "device")] == []
    for name in kinds if letterbox else []:
        own = record.artifact(f"{name}-image").image_input
        assert own is not None
        assert own.levels_max <= (0 if name.startswith("onnx") else 1)
        if name.endswith("fp32"):
            assert own.flips == 0
    side = SIDE if letterbox else 55  # with the margin of 256 / 224
    assert record.preprocess.input_size == (side, side)


def test_verbs_that_read_a_bundle_take_it(run_cli: RunCli, exported: Path, photos: Path) -> None:
    checked = run_cli("verify", exported, "--json")
    assert (checked.code, checked.json["passed"]) == (0, True)
    timed = run_cli("bench", exported, "--artifact", "onnx-int8", "--quick", "--rounds", 1, "--json")
    assert timed.json["artifacts"][0]["latency_ms"]["p50"] > 0, timed.err
    assert run_cli("gate", exported, "--max-drop", 50, "--junit", "gate.xml").code == 0
    assert run_cli("report", exported, "--out", "page").code == 0
    answers = {}
    names = [each.id for each in read_bundle(exported).artifacts if each.precision == "fp32"]
    for name in names:
        done = run_cli("predict", exported, photos / "red", "--artifact", name, "--json")
        answers[name] = [each["top"][0]["label"] for each in done.json["results"]]
    assert len(answers["onnx-fp32"]) == 40
    assert all(each == answers["onnx-fp32"] for each in answers.values())


def test_heat_maps_are_drawn_by_what_the_record_says(run_cli: RunCli, exported: Path, photos: Path) -> None:
    """Of five crops no position has an answer of its own: parts are covered instead."""
    image = photos / "red" / "0.jpg"
    done = run_cli("predict", exported, image, "--explain", "--artifact", "onnx-int8", "--json")
    assert done.code == 0, done.err
    five = read_bundle(exported).preprocess.five_crop is not None
    assert (done.json["heatmaps"]["method"] == "occlusion") is five
    assert len(list(Path("heatmaps").iterdir())) == 1
    if not five:
        words = ("--explain", "--heatmaps", "others", "--artifact", "onnx-int8-image")
        refused = run_cli("predict", exported, image, *words)
        assert refused.code == 2
        assert "takes raw pixels and has no heat maps" in refused.err


def own_pipeline(bundle: Bundle, path: Path, mistake: str | None) -> np.ndarray[Any, Any]:
    """Pillow's own letterbox, or its resize and crop, written by hand."""
    contract, image = bundle.preprocess, ImageOps.exif_transpose(Image.open(path)).convert("RGB")
    high, wide = contract.input_size
    if contract.pad:
        image = ImageOps.pad(image, (wide, high), Image.Resampling.BILINEAR, color=contract.pad)
    else:
        short = min(image.size)
        size = tuple(side if side == short else int(high * side / short) for side in image.size)
        image = image.resize([high if a == short else b for a, b in zip(image.size, size, strict=True)], 2)
        left, top = (round((side - high) / 2) for side in image.size)
        image = image.crop((left, top, left + wide, top + high))
    pixels = np.asarray(image)[..., :: -1 if mistake == "bgr" else 1] / np.float32(255)
    if mistake != "no_mean_std":
        pixels = (pixels - np.array(contract.mean, np.float32)) / np.array(contract.std, np.float32)
    return np.ascontiguousarray(pixels.transpose(2, 0, 1)[None], np.float32)


@pytest.mark.parametrize("mistake", [None, "bgr", "no_mean_std"])
def test_diagnose_names_what_independent_code_does(
    run_cli: RunCli, exported: Path, tmp_path: Path, mistake: str | None
) -> None:
    bundle = read_bundle(exported)
    run = open_runtime(bundle.artifact("onnx-fp32").path)
    odd = ("grey-16", "rgb-16", "cmyk", "damaged")  # whose decoding is a matter of its own
    files = [path for path in bundle.golden_images() if not any(kind in path.name for kind in odd)]
    rows = [[path.name, *run(own_pipeline(bundle, path, mistake))[0].tolist()] for path in files]
    with (tmp_path / "mine.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["file", *bundle.labels], *rows])
    said = run_cli("diagnose", exported, tmp_path / "mine.csv", "--json")
    if mistake is None:
        assert (said.code, said.json["verdict"]) == (0, "reference")
    else:
        assert (said.code, said.json["verdict"]) == (1, "mistake")
        assert said.json["matches"][0]["mistake"] == mistake


@pytest.mark.parametrize(
    ("lang", "artifact"),
    [("python", "onnx-int8"), ("python", "openvino-int8"), ("cpp", "openvino-fp32"), ("javascript", "onnx-fp32")],
)  # fmt: skip
def test_programs_answer_on_its_goldens(
    exported: Path, tmp_path: Path, request: pytest.FixtureRequest, lang: str, artifact: str
) -> None:
    bundle = read_bundle(exported)
    node = request.getfixturevalue("packages") if lang == "javascript" else None
    command = build(write_program(bundle, lang=lang, artifact=artifact), tmp_path, packages=node)
    words = [*command, "--logits", str(exported), *map(str, bundle.golden_images())]
    done = subprocess.run(words, capture_output=True, timeout=300)
    _, found = read_answers(done.stdout.decode("utf-8"))
    assert len(found) >= len(bundle.golden_images()) - 4, (
        done.stderr.decode()
    )  # kinds that the program does not read
    within_limits(bundle, found, artifact)


@pytest.mark.skipif(PROGRAM is None, reason="Chromium is not installed")
def test_its_page_passes_its_goldens_in_a_browser(exported: Path, packed: Path, tmp_path: Path) -> None:
    write_web(read_bundle(exported), tmp_path / "page", ort_web(packed), artifacts=["onnx-fp32"])
    page = Page(str(PROGRAM), tmp_path / "profile")
    try:
        with serving(tmp_path / "page") as (address, _):
            assert page.open(f"{address}/") == "passed", page.text("#status")
    finally:
        page.close()


def test_serve_answers_as_predict_does(
    run_cli: RunCli, exported: Path, photos: Path, start: Callable[..., Any]
) -> None:
    httpx = pytest.importorskip("httpx")
    image = photos / "blue" / "0.jpg"
    said = run_cli("predict", exported, image, "--artifact", "onnx-int8", "--json").json["results"][0]["top"]
    with start(exported, "--artifact", "onnx-int8") as service:
        sent = {"file": (image.name, image.read_bytes())}
        answer = httpx.post(
            f"{service.url.rstrip('/')}/predict", files=sent, timeout=60, trust_env=False
        ).json()
    assert [each["label"] for each in answer["results"][0]["top"]] == [each["label"] for each in said]
