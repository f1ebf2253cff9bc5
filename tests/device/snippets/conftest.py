"""The packages of Node, installed once."""

from __future__ import annotations

from pathlib import Path

import pytest
from snippet_programs import node_packages


@pytest.fixture(scope="session")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return node_packages(tmp_path_factory.mktemp("node"))
