"""The shared run's images and contract, and images in shards."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edge_tl.device.preprocess import Preprocess
from edge_tl.host.images.dataset import Dataset, build_dataset
from edge_tl.host.images.listing import list_images
from edge_tl.host.recipe.schema import Data
from edge_tl.host.runs import checkpoint


@pytest.fixture
def dataset(run: Path) -> Dataset:
    return checkpoint.read_run(run).dataset()


@pytest.fixture
def contract(run: Path) -> Preprocess:
    return checkpoint.read_run(run).preprocess


@pytest.fixture
def sharded(tmp_path: Path) -> Dataset:
    """Two classes of 12 images in two shards; the even ones are JPEG, every fourth is large."""
    rng = np.random.default_rng(0)
    for shard in range(2):
        with tarfile.open(tmp_path / f"data-{shard}.tar", "w") as tar:
            for i in range(shard * 12, shard * 12 + 12):
                side = 400 if i % 4 == 3 else 40
                buffer = io.BytesIO()
                picture = Image.fromarray(rng.integers(0, 256, (side, side, 3), np.uint8))
                picture.save(buffer, "PNG" if i % 2 else "JPEG")
                parts = (
                    (f"{i:02d}.{'png' if i % 2 else 'JPG'}", buffer.getvalue()),
                    (f"{i:02d}.cls", str(i // 2 % 2).encode()),
                )
                for name, content in parts:
                    info = tarfile.TarInfo(name)
                    info.size = len(content)
                    tar.addfile(info, io.BytesIO(content))
    return build_dataset(list_images(tmp_path), {}, Data(val=0.2, test=0.5), seed=0)
