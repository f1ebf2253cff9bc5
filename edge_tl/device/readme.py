"""README.txt of a bundle, and the contract in words: enough to rebuild the preprocessing in any language.

Reads nothing but the record. `tests/device/test_readme.py` holds an implementation
from these words alone to the contract.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from edge_tl.device.bundle import README, file_record
from edge_tl.device.files import write_atomic
from edge_tl.device.model_card import write_card
from edge_tl.device.preprocess import Preprocess
from edge_tl.device.readme_programs import program_lines, raw_pixel_lines
from edge_tl.device.records.bundle import BundleRecord
from edge_tl.device.text import printable

_DECODE = (
    "Decode the file to RGB, 8 bits a channel, every pixel of it; of several frames the first.",
    "Grey: R = G = B. Palette: its colours; a transparent index changes nothing. Alpha: dropped, the colours stay as "
    "they are stored; nothing is blended with black or white.",
    "CMYK: a JPEG stores the inks inverted, so invert the four values first. Then R = k - m(C, k) with k = 255 - K, G "
    "and B likewise; m(a, b): t = a * b + 128, (t + (t >> 8)) >> 8.",
    "16 bits, one channel (or floats), by the values of the image: floats, all from 0 to 1 (0.1 beyond is allowed): "
    "times 255, rounded; else all from 0 to 255: as they are; else all from 0 to 65535: value / 256, "
    "cut to a whole number; anything else: (value - least) / (largest - least) * 255, rounded. 16-bit RGB: "
    "the high byte of each channel; if every high byte of the image is 0, the low byte, which Pillow's convert does "
    "not give. 16-bit grey with alpha: the high byte.",
    "Turn it by EXIF tag 0x0112 before anything else: 2 mirror left-right; 3 turn by 180 degrees; 4 mirror top-bottom; "
    "5 transpose (rows become columns); 6 turn by 90 degrees clockwise; 7 transpose over the other diagonal; 8 turn by "
    "90 degrees counterclockwise; 1, none, or an EXIF block that cannot be read: nothing.",
)
_FILTERS = {
    "bilinear": ("1", "f(t) = 1 - |t| for |t| < 1, else 0"),
    "bicubic": (
        "2",
        "f(t) = 1.5 |t|^3 - 2.5 |t|^2 + 1 for |t| < 1; -0.5 |t|^3 + 2.5 |t|^2 - 4 |t| + 2 for |t| < 2; else 0",
    ),
    "lanczos": (
        "3",
        "f(t) = sinc(t) * sinc(t / 3) for |t| < 3, else 0; sinc(t) = sin(pi t) / (pi t), sinc(0) = 1",
    ),
}


def contract_steps(contract: Preprocess) -> tuple[str, ...]:
    """The contract, a sentence or some for each step, from the encoded file to the model's input."""
    return (
        *_DECODE,
        _size(contract),
        *(_resize(contract) if contract.resize != "none" else ()),
        *_frame(contract),
        f"Divide by 255, subtract the mean {list(contract.mean)}, divide by the standard deviation "
        f"{list(contract.std)} (R, G, B), in this order, in 32-bit floats.",
        "Layout: float32 (1, 3, H, W), H = {} and W = {}: the whole R plane, then G, then B.".format(
            *contract.input_size
        ),
    )


def _size(contract: Preprocess) -> str:
    high, wide = contract.resize_size
    if contract.resize == "exact":
        return f"Resize to {wide} wide and {high} high, whatever the aspect."
    if contract.resize == "letterbox":
        return (
            f"Resize so that the whole image fits into {wide} wide and {high} high, aspect kept, enlarged if smaller: "
            "with w / h above that of the frame the width is the frame's and the height is h / w * frame width; else "
            "the height is the frame's and the width w / h * frame height; in doubles, halves to the even number, at "
            "least 1."
        )
    if contract.resize == "none":
        return "Do not resize."
    return (
        f"Resize so that the shorter side becomes {high}. The longer becomes {high} * longer / shorter, the product "
        "divided in doubles, then TRUNCATED to a whole number, not rounded. An image of that size is left as it is."
    )


def _resize(contract: Preprocess) -> tuple[str, ...]:
    if contract.interpolation == "nearest":
        return (
            "Nearest: with s = input size / output size, the first output pixel takes the input pixel floor(0.5 * s); "
            "for every further one s is ADDED to that position (in doubles, not multiplied anew: it decides ties).",
        )
    support, formula = _FILTERS[contract.interpolation]
    return (
        f"The filter is Pillow's {contract.interpolation.upper()}, antialiased: {formula}. No filter of OpenCV is the "
        "same. Every row is resized first (the width becomes right), then every "
        "column; a side that keeps its length is not resampled.",
        f"One side, n pixels to m: s = n / m, r = max(s, 1), c = (i + 0.5) * s for output pixel i. It sums the input "
        f"pixels j from max(0, trunc(c - {support} * r + 0.5)) up to, without, min(n, trunc(c + {support} * r + 0.5)), "
        "each with the weight f((j + 0.5 - c) / r) divided by the sum of these weights.",
        "Each weight is rounded to a multiple of 2^-22 (halves away from 0). The sum is rounded to a whole number "
        "(halves up) and clipped to 0..255 after the rows, and again after the columns: between the passes there are 8 "
        "bits.",
    )


def _frame(contract: Preprocess) -> tuple[str, ...]:
    found = []
    if contract.pad is not None:
        high, wide = contract.resize_size
        found.append(
            f"Lay it into a frame of {wide} x {high} of the colour {list(contract.pad)} (R, G, B), at round((frame - "
            "size) / 2) from the left and the top, halves to the even number."
        )
    if contract.crop is not None:
        high, wide = contract.crop
        found.append(
            f"Cut out the centre, {wide} wide and {high} high, from left = round((width - {wide}) / 2) and top = "
            f"round((height - {high}) / 2), halves to the EVEN number (0.5 gives 0, 1.5 gives 2, 2.5 gives 2). Where "
            "the image is smaller, pad with black first: of the d pixels that lack, d / 2 cut to a whole number on the "
            "left (top), the rest on the right (bottom)."
        )
    if contract.five_crop is not None:
        found.append("The model itself looks at five crops of that and averages them: nothing to do.")
    return tuple(found)


def _brief(text: str, most: int = 200) -> str:
    """What a bundle of somebody else says of itself, on the line that it is put in."""
    shown = printable(text)
    return shown if len(shown) <= most else f"{shown[:most]}..."


def readme_text(record: BundleRecord) -> str:
    """README.txt of the bundle that `record` is of."""
    title = f"{printable(record.name)}: an image classifier, {len(record.labels)} labels"
    steps = contract_steps(record.preprocess)
    models = [
        _brief(f"  {each.id:<16} {', '.join(file.path for file in each.files)}: ")
        + _brief(each.runtime_floor or each.runtime)
        + ("; takes raw pixels" if each.takes_pixels else "")
        + (f"; needs a CPU with {' or '.join(each.requires)}" if each.requires else "")
        + ("; did not pass its gates" if each.passed is False else "")
        for each in record.artifacts
    ]
    std = list(record.preprocess.std)
    pixels = [each for each in record.artifacts if each.takes_pixels]
    return "\n".join(
        [
            title,
            "=" * len(title),
            "",
            "FILES",
            *models,
            f"Recommended: {_brief(record.recommended or 'none')}."
            + (f" {_brief(record.recommendation, 600)}" if record.recommendation else ""),
            "Install the runtime named above (pip install onnxruntime, or openvino); other languages have their own.",
            "With Python also edge-tl, from its wheel (no package index has it), with the extra [ort] or [openvino]:",
            "edge-tl predict FOLDER IMAGE.",
            "bundle.json says all of this to programs. Copy the folder whole: a hash covers every file that a device",
            "reads.",
            "",
            *(raw_pixel_lines(record, pixels) if pixels else ()),
            *program_lines(record, pixels),
            "PREPROCESSING, from the encoded file to the input of the model. Every step counts: answers change by a",
            "wrong filter as easily as by a wrong colour order, and accuracy alone does not show it.",
            *(f"{number}. {step}" for number, step in enumerate(steps, 1)),
            "",
            "OUTPUT",
            *(("Of an artifact that takes raw pixels: probabilities. Of any other:",) if pixels else ()),
            "The output is (1, number of labels) logits, already calibrated. Probabilities are their softmax, once:",
            "exp(x - max) / sum of these. The order is that of `labels` in bundle.json, whatever the alphabet says:",
            *(f"  {place} {printable(label)}" for place, label in enumerate(record.labels[:50])),
            *([f"  ... {len(record.labels) - 50} more in bundle.json"] if len(record.labels) > 50 else []),
            "",
            "CHECK YOUR OWN CODE. golden/ holds encoded images (`golden.images` of bundle.json is their order), what",
            "preprocessing made of them here, and the logits. `mine` are your inputs (n, 3, H, W) in that order:",
            '  want = numpy.load("golden/pixels.npz")["pixels"]',
            f"  levels = abs(mine - want) * 255 * numpy.array({std})[:, None, None]",
            "  print(levels.max(axis=(1, 2, 3)))   # at most 2 for every image; more is a mistake, but for JPEG and",
            "                                      # WebP of another decoder than Pillow's: then look at the PNG files",
            "golden/stages.json has the SHA-256 of every stage (decode, orient, resize, crop, normalize), to find it.",
            "Without arrays: run your program on every file of golden/images and write a CSV of its answers, logits or",
            "probabilities. Leave out what your decoder does not read. `file` is the name without a folder:",
            f"  file,{_cells(record.labels)}",
            "  00.jpg,0.9731,0.0102,...",
            "Then  edge-tl diagnose FOLDER answers.csv  says that it is right, or names the mistake and a remedy.",
            "On the device,  edge-tl verify FOLDER  checks decoder, runtime and CPU.",
            "",
        ]
    )


def _cells(labels: Sequence[str]) -> str:
    """The first labels as cells of a CSV."""
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="").writerow([printable(label) for label in labels[:8]])
    return _brief(buffer.getvalue()) + (",..." if len(labels) > 8 else "")


def with_readme(root: Path, record: BundleRecord) -> BundleRecord:
    """Write README.txt and the model card of `record` into the bundle at `root`, and return the record with the first
    and with the steps. The card has no hash: people edit it."""
    write_atomic(root / README, readme_text(record).encode())
    write_card(root, record)
    return replace(
        record, readme=file_record(root, README), preprocess_steps=contract_steps(record.preprocess)
    )
