"""The packages of Node, installed once, and a bundle with a golden image of every kind of file."""

from __future__ import annotations

from pathlib import Path

import pytest
from device import conftest
from snippet_programs import node_packages

from edge_tl.device.bundle import Bundle, read_bundle


@pytest.fixture(scope="session")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return node_packages(tmp_path_factory.mktemp("node"))


@pytest.fixture(scope="session")
def of_every_kind(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """The tiny bundle with a golden image of every kind of file."""
    kinds = pytest.importorskip("edge_tl.host.export.golden_kinds").KINDS
    made = [
        (kind, make(conftest.picture(i, width=64, height=48))) for i, (kind, make) in enumerate(kinds.items())
    ]
    root = tmp_path_factory.mktemp("kinds") / "tiny"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(conftest, "goldens", lambda: {f"{kind}{end}": content for kind, (end, content) in made})
        conftest.build(root)
    return read_bundle(root)
