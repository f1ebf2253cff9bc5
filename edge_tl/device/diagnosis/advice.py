"""What to change in a pipeline that makes a classic mistake: one line each."""

from __future__ import annotations

from edge_tl.device.preprocess import Preprocess

_LINES = {
    "bgr": "your image is BGR: after imread, cv2.cvtColor(image, cv2.COLOR_BGR2RGB)",
    "no_scale": "your pixels are 0..255 where 0..1 is expected: divide them by 255 before mean and std",
    "double_scale": "your pixels are divided by 255 twice: once a library's ToTensor does it, do not do it again",
    "no_mean_std": "mean and std are missing, or others: after / 255, (x - {mean}) / {std} for R, G, B",
    "wrong_unit": "your mean is in levels of 255 and your pixels are in 0..1: use {mean} with x / 255, or {levels} "
    "with x in 0..255",
    "double_normalize": "mean and std are applied twice: remove one of the two normalizations",
    "opencv_bilinear": "cv2.resize and most C libraries do not antialias: resize with Pillow's {filter}, or one that "
    "averages all pixels it shrinks",
    "nearest": "your resize takes the nearest pixel: use {filter} with antialiasing, as Pillow does",
    "bicubic": "your resize is bicubic, as {others}: use {filter} as Pillow does it",
    "squash": "you squeeze the whole image to {size}: {frame}",
    "crop_first": "you cut the image before you resize it: {frame}",
    "exif_ignored": "turn the image by its EXIF orientation after decoding: ImageOps.exif_transpose(image), or decode "
    "with cv2.IMREAD_COLOR, which does it",
    "nhwc": "your numbers are in another order than 1x3xHxW: image.transpose(2, 0, 1), not reshape",
    "no_softmax": "softmax is missing: these numbers are no probabilities; e = exp(x - max(x)), e / sum(e)",
    "double_softmax": "softmax is applied twice: the values are probabilities already, remove one",
    "label_order": "your labels are in another order than the logits: take the list labels of bundle.json as it is",
    "other_artifact": "these are the answers of {artifact}: load the file of the artifact that you mean",
    "other_model": "these answers follow nothing that is known of this bundle's model: compare your input with "
    "golden/pixels.npz; where it is the same, your model file is another one, see its SHA-256 in bundle.json",
}

# Antialiasing is about images that are shrunk.
_ENLARGED = {
    "opencv_bilinear": "your resize enlarges the images with another filter: use {filter} as Pillow does it",
    "nearest": "your resize takes the nearest pixel: use {filter}, as Pillow does",
}


def advice_for(
    mistakes: tuple[str, ...], contract: Preprocess, artifact: str, *, enlarged: bool = False
) -> str:
    """One line that says which lines to change. `enlarged`: most of the images are smaller than the model's input."""
    lines = _LINES | (_ENLARGED if enlarged else {})
    height, width = contract.input_size
    words = {
        "mean": _numbers(contract.mean),
        "std": _numbers(contract.std),
        "levels": " and ".join(
            _numbers(tuple(255 * v for v in each)) for each in (contract.mean, contract.std)
        ),
        "filter": contract.interpolation,
        "size": f"{width} x {height}",
        "frame": _frame(contract),
        "artifact": artifact,
        "others": "in OpenCV (a = -0.75; Pillow's is -0.5)"
        if contract.interpolation == "bicubic"
        else "this model's is not",
    }
    return "; ".join(lines[mistake].format(**words) for mistake in mistakes)


def _numbers(values: tuple[float, ...]) -> str:
    return f"[{', '.join(f'{value:.6g}' for value in values)}]"


def _frame(contract: Preprocess) -> str:
    """What the contract does instead, in words."""
    height, width = contract.input_size
    if contract.resize == "shorter":
        return (
            f"resize the shorter side to {contract.resize_size[0]}, the other in proportion, then cut the centre "
            f"{width} x {height}"
        )
    if contract.resize == "exact":
        return f"resize the whole image to {contract.resize_size[1]} x {contract.resize_size[0]}, proportions aside"
    if contract.resize == "letterbox":
        return f"resize the whole image in proportion until it fits into {width} x {height}, and pad the rest"
    return f"cut the centre {width} x {height} and resize nothing"
