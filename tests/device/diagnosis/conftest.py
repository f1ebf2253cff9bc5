"""A bundle of 24 golden images that is diagnosed often."""

from __future__ import annotations

import pytest
from device import conftest
from device.diagnosis.pipelines import encoded

from edge_tl.device.bundle import read_bundle
from edge_tl.device.diagnosis.search import Search


@pytest.fixture(scope="package")
def search(tmp_path_factory: pytest.TempPathFactory) -> Search:
    """A bundle of 24 golden images, of which what was run once is kept."""
    root = tmp_path_factory.mktemp("diagnosis") / "tiny"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(conftest, "goldens", lambda: {f"{i:02d}.jpg": encoded(i) for i in range(24)})
        conftest.build(root)
    return Search(read_bundle(root))
