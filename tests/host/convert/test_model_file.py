"""Any model file: the size of all its files, and silence while a library writes it."""

from __future__ import annotations

import logging
import sys
from pathlib import Path

import pytest

from edge_tl.device.runtimes.families import files_of
from edge_tl.host.convert.model_file import quiet, size_mb


def test_the_size_of_an_ir_is_that_of_both_files(tmp_path: Path):
    (tmp_path / "m.xml").write_bytes(bytes(1_000))
    (tmp_path / "m.bin").write_bytes(bytes(2_000_000))
    (tmp_path / "m.onnx").write_bytes(bytes(500_000))
    assert size_mb(tmp_path / "m.xml") == pytest.approx(2.001)
    assert size_mb(tmp_path / "m.onnx") == pytest.approx(0.5)
    assert [path.name for path in files_of(tmp_path / "m.xml")] == ["m.xml", "m.bin"]


def test_a_library_neither_prints_nor_warns_and_afterwards_both_work(
    capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
):
    @quiet()
    def library() -> None:
        sys.stdout.write("talk")
        logging.getLogger("library").warning("talk")
        raise RuntimeError("broken")

    with pytest.raises(RuntimeError, match="broken"):
        library()
    assert capsys.readouterr().out == ""
    assert caplog.records == []
    logging.getLogger("library").warning("heard")
    assert [record.message for record in caplog.records] == ["heard"]
