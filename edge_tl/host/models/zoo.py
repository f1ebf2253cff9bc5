"""The models that can be fine-tuned: a plain table from name to torchvision's builder, weights and head.

Builds no network and reads no weights. A new classifier is one more row; `timm:NAME` opens the timm library.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from torch import nn

from edge_tl.device.errors import BadInput, MissingExtra
from edge_tl.device.records.codec import Record
from edge_tl.host.models import timm_models
from edge_tl.host.models.timm_models import TIMM as TIMM
from edge_tl.host.recipe import schema
from edge_tl.host.torchvision_ import tv

FACTORY = schema.FACTORY


@dataclass(frozen=True)
class ZooEntry:
    """`imagenet` is what `--weights imagenet` downloads; `head` the path of the last linear layer; `deep` says
    that the classifier has hidden layers of its own before it."""

    build: Callable[..., nn.Module]
    imagenet: Any
    head: str
    deep: bool = False

    @property
    def contract(self) -> Any:
        """The weights whose transforms are assumed for a file, which says nothing of its own: the first
        published ones, since most weights in circulation were trained like them."""
        family: Any = type(self.imagenet)
        return next(iter(family))


@dataclass(frozen=True)
class ModelRecord(Record):
    """A model as `edge-tl models` lists it: `params` in millions with 1,000 classes, `image_size` in pixels, `accuracy`
    on ImageNet as a fraction in [0, 1]."""

    name: str
    params: float
    image_size: int
    accuracy: float


ZOO: dict[str, ZooEntry] = {
    "mobilenet_v2": ZooEntry(tv.mobilenet_v2, tv.MobileNet_V2_Weights.IMAGENET1K_V2, "classifier.1"),
    "mobilenet_v3_small": ZooEntry(
        tv.mobilenet_v3_small, tv.MobileNet_V3_Small_Weights.IMAGENET1K_V1, "classifier.3", deep=True
    ),
    "mobilenet_v3_large": ZooEntry(
        tv.mobilenet_v3_large, tv.MobileNet_V3_Large_Weights.IMAGENET1K_V2, "classifier.3", deep=True
    ),
    "efficientnet_b0": ZooEntry(tv.efficientnet_b0, tv.EfficientNet_B0_Weights.IMAGENET1K_V1, "classifier.1"),
    "efficientnet_b1": ZooEntry(tv.efficientnet_b1, tv.EfficientNet_B1_Weights.IMAGENET1K_V2, "classifier.1"),
    "efficientnet_b2": ZooEntry(tv.efficientnet_b2, tv.EfficientNet_B2_Weights.IMAGENET1K_V1, "classifier.1"),
    "efficientnet_b3": ZooEntry(tv.efficientnet_b3, tv.EfficientNet_B3_Weights.IMAGENET1K_V1, "classifier.1"),
    "efficientnet_b4": ZooEntry(tv.efficientnet_b4, tv.EfficientNet_B4_Weights.IMAGENET1K_V1, "classifier.1"),
    "efficientnet_v2_s": ZooEntry(
        tv.efficientnet_v2_s, tv.EfficientNet_V2_S_Weights.IMAGENET1K_V1, "classifier.1"
    ),
    "resnet18": ZooEntry(tv.resnet18, tv.ResNet18_Weights.IMAGENET1K_V1, "fc"),
    "resnet50": ZooEntry(tv.resnet50, tv.ResNet50_Weights.IMAGENET1K_V2, "fc"),
    "vgg16": ZooEntry(tv.vgg16, tv.VGG16_Weights.IMAGENET1K_V1, "classifier.6", deep=True),
    "vgg16_bn": ZooEntry(tv.vgg16_bn, tv.VGG16_BN_Weights.IMAGENET1K_V1, "classifier.6", deep=True),
    "inception_v3": ZooEntry(tv.inception_v3, tv.Inception_V3_Weights.IMAGENET1K_V1, "fc"),
    "regnet_y_400mf": ZooEntry(tv.regnet_y_400mf, tv.RegNet_Y_400MF_Weights.IMAGENET1K_V2, "fc"),
    "regnet_x_400mf": ZooEntry(tv.regnet_x_400mf, tv.RegNet_X_400MF_Weights.IMAGENET1K_V2, "fc"),
    "shufflenet_v2_x1_0": ZooEntry(tv.shufflenet_v2_x1_0, tv.ShuffleNet_V2_X1_0_Weights.IMAGENET1K_V1, "fc"),
    "shufflenet_v2_x0_5": ZooEntry(tv.shufflenet_v2_x0_5, tv.ShuffleNet_V2_X0_5_Weights.IMAGENET1K_V1, "fc"),
    "mnasnet1_0": ZooEntry(tv.mnasnet1_0, tv.MNASNet1_0_Weights.IMAGENET1K_V1, "classifier.1"),
    "mnasnet0_5": ZooEntry(tv.mnasnet0_5, tv.MNASNet0_5_Weights.IMAGENET1K_V1, "classifier.1"),
    "squeezenet1_1": ZooEntry(tv.squeezenet1_1, tv.SqueezeNet1_1_Weights.IMAGENET1K_V1, "classifier.3"),
    "squeezenet1_0": ZooEntry(tv.squeezenet1_0, tv.SqueezeNet1_0_Weights.IMAGENET1K_V1, "classifier.3"),
    "convnext_tiny": ZooEntry(tv.convnext_tiny, tv.ConvNeXt_Tiny_Weights.IMAGENET1K_V1, "classifier.2"),
}


def zoo_entry(name: str) -> ZooEntry:
    """Raises `BadInput` for a model that is not in the table."""
    if name not in ZOO:
        near = difflib.get_close_matches(name.lower(), ZOO, n=1)
        nearest = f" Nearest: {near[0]}." if near else ""
        raise BadInput(f"unknown model {name!r}.{nearest} See `edge-tl models`, or give {TIMM}NAME.")
    return ZOO[name]


def check_model_name(name: str) -> None:
    """Raises `BadInput` for a name that nothing can be built of, and `MissingExtra`; it builds nothing."""
    if name.startswith(TIMM):
        timm_models.timm_config(name)
    elif not name.startswith(FACTORY):
        zoo_entry(name)


def is_known(name: str) -> bool:
    """Whether the table or the installed timm has a model of this very name: building it runs no code and opens no path
    that the name says, as a factory, `hf-hub:` and `local-dir:` do."""
    if not name.startswith(TIMM):
        return name in ZOO
    if not re.fullmatch(r"[A-Za-z0-9_.]+", name.removeprefix(TIMM)):
        return False
    with suppress(BadInput, MissingExtra):
        timm_models.timm_config(name)
        return True
    return False


def model_table() -> list[ModelRecord]:
    """One record a model of the table, from what torchvision publishes with the weights; no model is built."""
    return [
        ModelRecord(
            name=name,
            params=round(entry.imagenet.meta["num_params"] / 1e6, 2),
            image_size=entry.imagenet.transforms().crop_size[0],
            accuracy=round(entry.imagenet.meta["_metrics"]["ImageNet-1K"]["acc@1"] / 100, 5),
        )
        for name, entry in ZOO.items()
    ]
