"""A classifier that looks at five parts of its input and answers with the mean of what it says of each.

Four corners and the centre, as in Krizhevsky et al., "ImageNet Classification with Deep Convolutional Neural Networks",
2012, without their mirror images. It is five times the work. Trained is the classifier inside, on single crops.
"""

from __future__ import annotations

import torch
from torch import nn

from edge_tl.device.images.frame import centre_offset
from edge_tl.device.preprocess import Preprocess

CROPS = 5


class FiveCropMean(nn.Module):
    """float32 `(n, 3, *whole)` to the mean over five crops of the size `part` of what `model` answers, `(n, k)`; both
    are `(height, width)`. The centre is rounded as the contract rounds its own."""

    def __init__(self, model: nn.Module, whole: tuple[int, int], part: tuple[int, int]) -> None:
        super().__init__()
        self.model = model
        self.part = part
        down, across = whole[0] - part[0], whole[1] - part[1]
        middle = centre_offset(whole[0], part[0]), centre_offset(whole[1], part[1])
        self.corners = [(0, 0), (0, across), (down, 0), (down, across), middle]

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        high, wide = self.part
        # One batch of all crops: the graph holds the network once, and its quantization one set of ranges.
        crops = torch.cat([images[:, :, top : top + high, left : left + wide] for top, left in self.corners])
        answers: torch.Tensor = self.model(crops)
        return answers.reshape(CROPS, -1, answers.shape[1]).mean(0)


def with_crops(model: nn.Module, contract: Preprocess) -> nn.Module:
    """What answers on the contract's input: `model`, in its mode, around five crops where the contract has them."""
    if contract.five_crop is None:
        return model
    return FiveCropMean(model, contract.input_size, contract.five_crop).train(model.training)
