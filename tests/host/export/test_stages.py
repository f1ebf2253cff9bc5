"""Staged goldens: each fault, made by code of its own, stops `verify` at its own stage."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from device.conftest import CONTRACT, build, limits
from PIL import Image

from edge_tl.device import bundle as bundles
from edge_tl.device import gates, preprocess
from edge_tl.device.bundle import Bundle, read_bundle
from edge_tl.device.images import decode, exif
from edge_tl.device.records.artifact import LimitsRecord
from edge_tl.device.records.gate import GateResult
from edge_tl.device.runtimes.open import open_runtime
from edge_tl.device.slim import slim
from edge_tl.device.stages import STAGES_FILE, STAGES_RECORD, read_stages, stages_of
from edge_tl.host.export.goldens import GoldenImages, without_logits, write_goldens
from edge_tl.host.images.dataset import Dataset, Sample

Patch = pytest.MonkeyPatch


def photographs(folder: Path) -> Dataset:
    """Twelve JPEG of blocks, shades and some noise, of several shapes."""
    folder.mkdir()
    samples = []
    for i in range(12):
        rng = np.random.default_rng(i)
        size = [(90, 70), (64, 100), (77, 77), (120, 51)][i % 4]
        image = Image.fromarray(rng.integers(0, 256, (6, 7, 3), np.uint8)).resize(size)
        noisy = np.asarray(image).astype(float) + rng.normal(0, 12, (size[1], size[0], 3))
        Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(folder / f"{i}.jpg", quality=90)
        samples.append(Sample(f"{i}.jpg", i % 3, str(i), "test"))
    return Dataset(folder, ["dog", "cat", "eel"], samples)


def make(root: Path) -> Path:
    """The tiny bundle with goldens as `export` writes them."""
    build(root / "b")
    record = read_bundle(root / "b").record
    shutil.rmtree(root / "b" / "golden")
    data = photographs(root / "data")
    runtimes = {artifact.id: open_runtime(root / "b" / artifact.main) for artifact in record.artifacts}
    runtimes |= {bundles.REFERENCE: runtimes["onnx-fp32"]}
    golden, logits = write_goldens(root / "b", runtimes, CONTRACT, GoldenImages(data, data.samples, 36))
    artifacts = tuple(
        replace(each, limits=LimitsRecord(**limits(logits[each.id], logits["pytorch"], each.precision)))
        for each in record.artifacts
    )
    bundles.write_record(root / "b", replace(record, golden=golden, artifacts=artifacts))
    return root / "b"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Do not write to it."""
    return make(tmp_path_factory.mktemp("staged"))


@pytest.fixture
def staged(made: Path, tmp_path: Path) -> Path:
    """A copy to change."""
    shutil.copytree(made, tmp_path / "b")
    return tmp_path / "b"


def pixels_gate(root: Path) -> GateResult:
    result = gates.verify(read_bundle(root, contract_unproven=True), artifacts=["onnx-fp32"])
    return result.gates[0]


def test_an_intact_bundle_says_nothing_of_stages(made: Path):
    result = gates.verify(read_bundle(made))
    assert result.passed
    assert all((gate.stage, gate.image, gate.would_pass) == (None, None, None) for gate in result.gates)


# Each in the way of a library that does so, or of a programmer who forgot it; none calls what it replaces.
def ignore_exif(patch: Patch) -> None:
    patch.setattr(exif, "upright_transpose", lambda image: None)


def quarter_the_other_way(patch: Patch) -> None:
    """As who takes 6 and 8 for each other."""
    other = {6: Image.Transpose.ROTATE_90, 8: Image.Transpose.ROTATE_270}
    turns = exif._TURNS | other
    patch.setattr(exif, "_TURNS", turns)


def opened_as(patch: Patch, change: Callable[[Image.Image], Image.Image | None]) -> None:
    """`change` is what a decoder makes of a file in place of Pillow's loaded image; None where it makes the same."""
    whole = decode._upright_rgb

    def broken(image: Image.Image) -> decode.Decoded:
        image.load()
        changed = change(image)
        if changed is None:
            return whole(image)
        return decode.Decoded(changed.convert("RGB"), None, image.format)

    patch.setattr(decode, "_upright_rgb", broken)


def invert_cmyk(patch: Patch) -> None:
    """As decoders do that do not know Adobe's inversion."""

    def change(image: Image.Image) -> Image.Image | None:
        if image.mode != "CMYK":
            return None
        ink = np.asarray(image).astype(float)
        light = ink[..., :3] * ink[..., 3:] / 255
        return Image.fromarray(light.astype(np.uint8))

    opened_as(patch, change)


def sixteen(patch: Patch, byte: Callable[[np.ndarray[Any, Any]], np.ndarray[Any, Any]]) -> None:
    def change(image: Image.Image) -> Image.Image | None:
        if not image.mode.startswith("I"):
            return None
        return Image.fromarray(byte(np.asarray(image).astype(np.uint16)).astype(np.uint8))

    opened_as(patch, change)


def cut_to_the_low_byte(patch: Patch) -> None:
    sixteen(patch, lambda values: values % 256)


def cut_to_the_high_byte(patch: Patch) -> None:
    """Right of 16 bits that are used, and black of those that hold 8."""
    sixteen(patch, lambda values: values // 256)


def blend(patch: Patch, backdrop: float) -> None:
    def change(image: Image.Image) -> Image.Image | None:
        if image.mode not in ("RGBA", "LA"):
            return None
        bands = np.asarray(image).astype(float)
        share = bands[..., -1:] / 255
        seen = bands[..., :-1] * share + backdrop * (1 - share)
        return Image.fromarray(np.broadcast_to(seen, (*seen.shape[:2], 3)).astype(np.uint8))

    opened_as(patch, change)


def alpha_on_black(patch: Patch) -> None:
    blend(patch, 0)


def alpha_on_white(patch: Patch) -> None:
    blend(patch, 255)


def nearest(patch: Patch) -> None:
    patch.setattr(
        preprocess, "INTERPOLATIONS", dict.fromkeys(preprocess.INTERPOLATIONS, Image.Resampling.NEAREST)
    )


def bilinear_without_antialias(patch: Patch) -> None:
    cv2 = pytest.importorskip("cv2")

    def resize(self: Image.Image, size: tuple[int, int], *_: Any) -> Image.Image:
        return Image.fromarray(cv2.resize(np.asarray(self), size, interpolation=cv2.INTER_LINEAR))

    patch.setattr(Image.Image, "resize", resize)


def longer_side_rounded(patch: Patch) -> None:
    def by_shorter_side(size: tuple[int, int], side: int) -> tuple[int, int]:
        scale = side / min(size)
        return int(np.floor(size[0] * scale + 0.5)), int(np.floor(size[1] * scale + 0.5))

    patch.setattr(preprocess, "size_by_shorter_side", by_shorter_side)


def crop_off_by_one(patch: Patch) -> None:
    def crop(pixels: np.ndarray[Any, Any], size: tuple[int, int]) -> np.ndarray[Any, Any]:
        top, left = (pixels.shape[0] - size[0]) // 2 + 1, (pixels.shape[1] - size[1]) // 2 + 1
        return pixels[top : top + size[0], left : left + size[1]]

    patch.setattr(preprocess, "centre_crop", crop)


def normalized_with(
    change: Callable[[np.ndarray[Any, Any]], np.ndarray[Any, Any]],
) -> Callable[[Patch], None]:
    def apply(patch: Patch) -> None:
        patch.setattr(
            preprocess.Preprocess,
            "normalize",
            lambda self, pixels: np.moveaxis(change(pixels), -1, -3).astype(np.float32),
        )

    return apply


MEAN, STD = np.array(CONTRACT.mean), np.array(CONTRACT.std)

FAULTS: list[tuple[str, Callable[[Patch], None], set[str]]] = [
    ("orient", ignore_exif, {f"exif-{n}" for n in range(2, 9)}),
    ("orient", quarter_the_other_way, {"exif-6", "exif-8"}),
    ("decode", invert_cmyk, {"jpeg-cmyk"}),
    ("decode", cut_to_the_low_byte, {"png-grey-16", "tiff-grey-16"}),
    ("decode", cut_to_the_high_byte, {"png-grey-16-narrow"}),
    ("decode", alpha_on_black, {"png-rgba", "png-grey-alpha", "webp-alpha"}),
    ("decode", alpha_on_white, {"png-rgba", "png-grey-alpha", "webp-alpha"}),
    ("resize", nearest, set()),
    ("resize", bilinear_without_antialias, set()),
    ("resize", longer_side_rounded, set()),
    ("crop", crop_off_by_one, set()),
    ("normalize", normalized_with(lambda p: (p / 255 - MEAN) / 0.5), set()),
    ("normalize", normalized_with(lambda p: p / 255), set()),
    ("normalize", normalized_with(lambda p: (p[..., ::-1] / 255 - MEAN) / STD), set()),
]  # fmt: skip


@pytest.mark.parametrize(("stage", "fault", "kinds"), FAULTS)
def test_every_fault_stops_at_its_own_stage(
    stage: str, fault: Callable[[Patch], None], kinds: set[str], made: Path, monkeypatch: Patch
):
    fault(monkeypatch)
    gate = pixels_gate(made)
    assert (gate.gate, gate.passed, gate.stage) == ("pixels", False, stage), gate.reason
    assert f"{stage} is the first stage that diverges" in gate.reason
    assert str(gate.image) in gate.reason
    if kinds:
        assert str(gate.image).split("-", 1)[1].rpartition(".")[0] in kinds
    if gate.measured is not None:
        assert gate.would_pass == gate.measured > gate.limit
        said = gate.difference is not None and gate.difference > gate.limit
        assert said or "at export" in gate.reason


def test_the_limit_that_would_have_passed_passes(made: Path, monkeypatch: Patch):
    cut_to_the_low_byte(monkeypatch)
    needed = pixels_gate(made).would_pass
    assert needed is not None
    from edge_tl.device import pixels_gate as module

    monkeypatch.setattr(module, "PIXEL_LIMIT_LEVELS", needed + 1e-3)
    assert pixels_gate(made).passed
    monkeypatch.setattr(module, "PIXEL_LIMIT_LEVELS", needed - 1e-2)
    assert not pixels_gate(made).passed


@pytest.mark.parametrize(
    ("change", "stage"),
    [
        ({"std": [0.229, 0.224, 0.5]}, "normalize"),
        ({"mean": [0.3, 0.456, 0.406]}, "normalize"),
        ({"interpolation": "nearest"}, "resize"),
        ({"resize": "exact"}, "resize"),
        ({"crop": [15, 16]}, "crop"),
    ],
    ids=str,
)
@pytest.mark.parametrize("sealed", [False, True])
def test_a_contract_that_was_altered_names_the_stage_it_changes(
    staged: Path, change: dict[str, Any], stage: str, sealed: bool
):
    content = json.loads((staged / "bundle.json").read_text("utf-8"))
    content["preprocess"] |= change
    if sealed:
        bundles.write_sealed(staged, {k: v for k, v in content.items() if k not in ("seal", "contract_seal")})
    else:
        (staged / "bundle.json").write_text(json.dumps(content), encoding="utf-8")
    gate = pixels_gate(staged)
    assert (gate.passed, gate.stage) == (False, stage)


def test_a_decoder_that_rounds_two_levels_apart_is_no_divergence(made: Path, monkeypatch: Patch):
    rng = np.random.default_rng(0)

    def shaken(image: Image.Image) -> Image.Image | None:
        if image.format != "JPEG" or image.mode != "RGB" or "exif" in image.info:
            return None
        levels = np.asarray(image).astype(int)
        return Image.fromarray((levels + rng.integers(-1, 2, levels.shape)).clip(0, 255).astype(np.uint8))

    opened_as(monkeypatch, shaken)
    bundle = read_bundle(made)
    stored = read_stages(made, bundle.record.golden)
    assert stored is not None
    name = next(each.image for each in stored.record.images if each.kind == "jpeg-444")
    assert not np.array_equal(stages_of(CONTRACT, made / name)["decode"], np.asarray(Image.open(made / name)))
    gate = pixels_gate(made)
    assert gate.passed
    nearest(monkeypatch)  # and a true fault beside it is not put down to the decoder
    assert pixels_gate(made).stage == "resize"


def test_the_stages_are_pillows_own(made: Path):
    """From the files, with Pillow alone."""
    bundle = read_bundle(made)
    stored = read_stages(made, bundle.record.golden)
    assert stored is not None
    seen = 0
    for each in stored.record.images:
        if each.kind not in ("exif-6", "jpeg-444", "png-rgb", "exif-3"):
            continue
        seen += 1
        with Image.open(made / each.image) as image:
            flat = image.convert("RGB")
        turn = {"exif-6": Image.Transpose.ROTATE_270, "exif-3": Image.Transpose.ROTATE_180}.get(
            str(each.kind)
        )
        upright = flat.transpose(turn) if turn is not None else flat
        assert each.decode.shape == (flat.height, flat.width, 3)
        assert each.orient.shape == (upright.height, upright.width, 3)
        assert each.decode.sha256 == hashlib.sha256(flat.tobytes()).hexdigest()
        assert each.orient.sha256 == hashlib.sha256(upright.tobytes()).hexdigest()
        assert each.label["pytorch"] == int(
            bundle.golden_logits()["pytorch"][list(bundle.record.golden.images).index(each.image)].argmax()
        )
    assert seen == 4


def test_a_device_that_computes_otherwise_is_named_by_image(staged: Path):
    with np.load(staged / bundles.GOLDEN_LOGITS) as file:
        logits = {name: file[name] for name in file.files}
    logits["onnx-fp32"][7, 1] += 5
    np.savez(staged / bundles.GOLDEN_LOGITS, allow_pickle=False, **logits)
    resealed(staged)
    result = gates.verify(read_bundle(staged), artifacts=["onnx-fp32"])
    gate = next(gate for gate in result.gates if gate.gate == "device")
    assert (gate.passed, gate.stage) == (False, "logits")
    assert gate.image == Path(read_bundle(staged).record.golden.images[7]).name
    assert gate.difference == gate.would_pass == pytest.approx(5, abs=0.01)


def test_a_loss_with_the_hosts_own_logits_is_one_of_labels(staged: Path):
    with np.load(staged / bundles.GOLDEN_LOGITS) as file:
        logits = {name: file[name] for name in file.files}
    logits["pytorch"][5] = np.roll(logits["pytorch"][5], 1)
    np.savez(staged / bundles.GOLDEN_LOGITS, allow_pickle=False, **logits)
    resealed(staged)
    result = gates.verify(read_bundle(staged), artifacts=["onnx-fp32"])
    gate = next(gate for gate in result.gates if gate.gate == "loss")
    assert (gate.passed, gate.stage) == (False, "label")
    assert gate.image == Path(read_bundle(staged).record.golden.images[5]).name
    assert gate.would_pass == gate.measured


def resealed(root: Path) -> None:
    record = bundles.BundleRecord.from_json(json.loads((root / "bundle.json").read_text("utf-8")))
    files = tuple(bundles.file_record(root, file.path) for file in record.golden.files)
    bundles.write_record(root, replace(record, golden=replace(record.golden, files=files)))


def test_a_bundle_without_stages_reads_and_fails_as_before(staged: Path, monkeypatch: Patch):
    record = bundles.BundleRecord.from_json(json.loads((staged / "bundle.json").read_text("utf-8")))
    files = tuple(file for file in record.golden.files if file.path not in (STAGES_FILE, STAGES_RECORD))
    bundles.write_record(staged, replace(record, golden=replace(record.golden, files=files)))
    (staged / STAGES_FILE).unlink()
    assert gates.verify(read_bundle(staged), artifacts=["onnx-fp32"]).passed
    nearest(monkeypatch)
    gate = pixels_gate(staged)
    assert (gate.passed, gate.stage) == (False, None)
    assert gate.would_pass == gate.measured


@pytest.mark.parametrize("name", [STAGES_FILE, STAGES_RECORD])
def test_the_stages_are_sealed_and_bounded(staged: Path, name: str):
    content = (staged / name).read_bytes()
    (staged / name).write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(bundles.BundleError, match="damaged file in bundle"):
        read_bundle(staged)
    if name == STAGES_FILE:
        np.savez(staged / name, decode=np.zeros((1, 2), np.float32))
        resealed(staged)
        with pytest.raises(bundles.BundleError, match="damaged file in bundle"):
            read_bundle(staged)


def test_what_is_slimmed_or_lost_has_no_answers_left(staged: Path, tmp_path: Path):
    whole = read_bundle(staged)
    slim(whole, ["onnx-int8"], tmp_path / "small")
    small: Bundle = read_bundle(tmp_path / "small")
    stored = read_stages(small.root, small.record.golden)
    assert stored is not None
    assert {name for each in stored.record.images for name in each.logits} == {"pytorch", "onnx-int8"}
    golden = without_logits(staged, whole.record.golden, ["onnx-int8"])
    left = read_stages(staged, golden)
    assert left is not None
    assert {name for each in left.record.images for name in each.label} == {
        "pytorch", "onnx-fp32", "openvino-fp32", "openvino-int8",
    }  # fmt: skip


def test_a_pillow_without_webp_does_not_fail_what_export_made(made: Path, monkeypatch: Patch):
    from PIL import features

    from edge_tl.device import pixels_gate as module

    whole = decode._from_bytes

    def without(name: str, content: bytes, limit: float) -> decode.Decoded:
        if content[8:12] == b"WEBP":
            raise decode.BadImage(name, "not an image that Pillow can read")
        return whole(name, content, limit)

    monkeypatch.setattr(decode, "_from_bytes", without)
    assert pixels_gate(made).stage == "decode"
    monkeypatch.setattr(module.features, "check", lambda kind: kind != "webp" and features.check(kind))
    gate = pixels_gate(made)
    assert gate.passed
    assert "2 WebP images" in gate.reason
