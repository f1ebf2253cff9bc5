"""The contract of the tiny bundle written once more by hand, with mistakes, and what a model answers then."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from device import conftest
from PIL import Image, ImageOps

from edge_tl.device.bundle import Bundle
from edge_tl.device.diagnosis.answers import Answers, answers_of
from edge_tl.device.runtimes.open import open_runtime

MEAN, STD = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
KINDS = ["logits", "probabilities", "decimals", "top1"]


def encoded(seed: int) -> bytes:
    buffer = io.BytesIO()
    image = conftest.picture(seed, width=60 + 9 * (seed % 5), height=50 + 13 * (seed % 3))
    exif = Image.Exif()
    exif[0x0112] = 6 if seed % 5 == 1 else 1
    image.save(buffer, "JPEG", quality=92, exif=exif)
    return buffer.getvalue()


def mistaken(path: Path, made: set[str]) -> np.ndarray:
    """The contract of the tiny bundle, written once more by hand, with what is `made` wrong."""
    image: Image.Image = Image.open(path)
    if "exif_ignored" not in made:
        image = ImageOps.exif_transpose(image)
    pixels = image.convert("RGB")
    if "squash" in made:
        pixels = pixels.resize((16, 16), Image.Resampling.BILINEAR)
    elif "crop_first" in made:
        side = min(pixels.size)
        left, top = (pixels.width - side) // 2, (pixels.height - side) // 2
        pixels = pixels.crop((left, top, left + side, top + side)).resize((16, 16), Image.Resampling.BILINEAR)
    else:
        short = min(pixels.size)
        size = (int(20 * pixels.width / short), int(20 * pixels.height / short))
        pixels = resized(pixels, size, made)
        left, top = round((size[0] - 16) / 2), round((size[1] - 16) / 2)
        pixels = pixels.crop((left, top, left + 16, top + 16))
    values = np.asarray(pixels).astype(np.float64)
    if "level" in made:
        values = (values + np.random.default_rng(0).integers(-1, 2, values.shape)).clip(0, 255)
    if "bgr" in made:
        values = values[:, :, ::-1]
    values = values / {"no_scale": 1, "double_scale": 65025}.get(
        next(iter(made & {"no_scale", "double_scale"}), ""), 255
    )
    if "wrong_unit" in made:
        values = (values - 255 * MEAN) / STD
    elif "no_mean_std" not in made:
        values = (values - MEAN) / STD
    if "double_normalize" in made:
        values = (values - MEAN) / STD
    if "nhwc" in made:
        return values.reshape(3, 16, 16).astype(np.float32)
    return np.stack([values[:, :, channel] for channel in range(3)]).astype(np.float32)


def resized(image: Image.Image, size: tuple[int, int], made: set[str]) -> Image.Image:
    if "bicubic" in made:
        return image.resize(size, Image.Resampling.BICUBIC)
    if not made & {"opencv_bilinear", "nearest"}:
        return image.resize(size, Image.Resampling.BILINEAR)
    cv2 = pytest.importorskip("cv2", reason="OpenCV makes this mistake, and is not installed here")
    kernel = cv2.INTER_LINEAR if "opencv_bilinear" in made else cv2.INTER_NEAREST
    return Image.fromarray(cv2.resize(np.asarray(image), size, interpolation=kernel))


def logits_of(bundle: Bundle, made: set[str], artifact: str = "onnx-fp32") -> np.ndarray:
    runtime = open_runtime(bundle.artifact(artifact).path)
    return np.concatenate([runtime(mistaken(path, made)[None]) for path in bundle.golden_images()])


def softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits.astype(np.float64) - logits.max(axis=1, keepdims=True))
    shares: np.ndarray = powers / powers.sum(axis=1, keepdims=True)
    return shares


def random_logits(bundle: Bundle, number: int) -> np.ndarray:
    """Noise, an answer that hardly changes, and two kinds of random networks."""
    rng = np.random.default_rng(number)
    pixels = bundle.golden_pixels()
    flat = pixels[:, :, ::4, ::4].reshape(len(pixels), -1)
    kinds: list[Callable[[], np.ndarray]] = [
        lambda: rng.normal(0, 3, (24, 3)),
        lambda: rng.normal(0, 3, 3) + rng.normal(0, 0.1, (24, 3)),
        lambda: flat @ rng.normal(0, 1, (flat.shape[1], 3)),
        lambda: np.maximum(flat @ rng.normal(0, 1, (flat.shape[1], 32)), 0) @ rng.normal(0, 0.3, (32, 3)),
    ]
    return kinds[number % 4]()


def answers(logits: np.ndarray, kind: str) -> Answers:
    images = np.arange(len(logits))
    if kind == "top1":
        return Answers("top1", images, None, logits.argmax(axis=1))
    if kind == "logits":
        return answers_of(images, logits.astype(np.float64), 0.0)
    values = softmax(logits)
    return (
        answers_of(images, values, 0.0)
        if kind == "probabilities"
        else answers_of(images, values.round(3), 1e-3)
    )
