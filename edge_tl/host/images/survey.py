"""One pass over all images before anything is trained: which cannot be decoded, and the mean colour of the rest.

Only where no pass over frozen features says the first, or `normalize: dataset` asks for the second.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from edge_tl.device.errors import BadInput
from edge_tl.device.images.loader import load_batches
from edge_tl.device.images.reading import EncodedImage
from edge_tl.device.listener import Listener
from edge_tl.device.preprocess import Preprocess
from edge_tl.host.images.dataset import Sample


@dataclass(frozen=True)
class Survey:
    """`bad` maps a digest to its fault; `moments` a digest to the mean of its pixels and of their squares, float64
    `(2, 3)`, in units of the full intensity range, R, G, B; `remarks` one to what had to be assumed to decode it."""

    bad: dict[str, str]
    moments: dict[str, NDArray[np.float64]]
    remarks: dict[str, str] = field(default_factory=dict)

    def normalized(self, contract: Preprocess, samples: Sequence[Sample]) -> Preprocess:
        """The contract with mean and standard deviation of all pixels of `samples`, as the contract frames them.

        Raises `BadInput` for a channel that never varies: it cannot be scaled.
        """
        mean, square = np.mean([self.moments[s.digest] for s in samples], axis=0)
        deviation = np.sqrt(np.maximum(square - mean**2, 0))
        if deviation.min() < 1e-3:
            raise BadInput(
                f"model.normalize = 'dataset': a channel of the images hardly varies (standard deviations "
                f"{', '.join(f'{d:.4f}' for d in deviation)}). Use normalize: weights."
            )
        return replace(contract, mean=_rounded(mean), std=_rounded(deviation))


def _rounded(values: NDArray[np.float64]) -> tuple[float, float, float]:
    """The contract is read by people, and a thousandth of a level is not seen."""
    red, green, blue = (round(float(value), 6) for value in values)
    return red, green, blue


def survey_images(
    contract: Preprocess, samples: Sequence[Sample], images: Sequence[EncodedImage], listener: Listener
) -> Survey:
    """Decode every image as `contract` frames it."""
    plain = replace(contract, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
    bad: dict[str, str] = {}
    moments: dict[str, NDArray[np.float64]] = {}
    remarks: dict[str, str] = {}
    done = 0
    for batch in load_batches(plain, images):
        bad |= {samples[i].digest: reason for i, reason in batch.bad.items()}
        remarks |= {samples[i].digest: remark for i, remark in batch.remarks.items()}
        first = batch.inputs.mean(axis=(2, 3), dtype=np.float64)
        second = np.square(batch.inputs, dtype=np.float64).mean(axis=(2, 3))
        moments |= {
            samples[i].digest: np.stack(m) for i, *m in zip(batch.indices, first, second, strict=True)
        }
        done += len(batch.indices) + len(batch.bad)
        listener.progress("survey", done, len(images))
    return Survey(bad, moments, remarks)
