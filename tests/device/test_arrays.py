"""An archive of arrays is read as numpy writes it; whatever else it holds is refused before memory is taken for it."""

from __future__ import annotations

import io
import struct
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_tl.device.arrays import MOST_BYTES, read_arrays, shapes_of
from edge_tl.device.errors import BundleError

WANTED = {"a": (2, 3), "b": (4,)}
ARRAYS: dict[str, Any] = {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.ones(4, np.float32)}


def header(text: str, version: bytes = b"\x01\x00") -> bytes:
    size = struct.pack("<H" if version[0] == 1 else "<I", len(text))
    return b"\x93NUMPY" + version + size + text.encode("latin-1")


def described(shape: object, dtype: str = "<f4", fortran: bool = False) -> bytes:
    return header(repr({"descr": dtype, "fortran_order": fortran, "shape": shape}) + "\n")


def archive(path: Path, a: bytes, compression: int = zipfile.ZIP_DEFLATED) -> Path:
    buffer = io.BytesIO()
    np.save(buffer, ARRAYS["b"])
    with zipfile.ZipFile(path, "w", compression) as file:
        file.writestr("a.npy", a)
        file.writestr("b.npy", buffer.getvalue())
    return path


@pytest.mark.parametrize("write", [np.savez, np.savez_compressed])
def test_what_numpy_wrote_comes_back(tmp_path: Path, write: Callable[..., None]) -> None:
    write(tmp_path / "x.npz", **ARRAYS)
    assert shapes_of(tmp_path / "x.npz", {"a": (2, None), "b": (None,)}) == WANTED
    got = read_arrays(tmp_path / "x.npz", WANTED)
    assert all(np.array_equal(got[name], ARRAYS[name]) and got[name].dtype == np.float32 for name in ARRAYS)


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
@pytest.mark.parametrize(
    ("a", "says"),
    [
        (described((2, 4)) + bytes(32), r"\(2, 4\); it should be float32 2x3"),
        (described((100_000, 100_000)) + bytes(24), "it should be float32 2x3"),
        (described((2, 3)) + bytes(20), "has .* bytes"),
        (described((2, 3)) + bytes(28), "has .* bytes"),
        (described((2, 3), "<f8") + bytes(48), "float64"),
        (described((2, 3), "|O") + bytes(24), "object"),
        (described((2, 3), fortran=True) + bytes(24), "it should be"),
        (described("no"), "not what was exported"),
        (described((-2, -3)) + bytes(24), "it should be"),
        (header("{" * 5000), "not what was exported"),
        (header("9" * 9000), "not what was exported"),
        (header("(" * 9000), "not what was exported"),
        (header(repr({"descr": "<f4", "fortran_order": False, "shape": (2, 3)}) + " " * 30_000), "header"),
        (header("{}", b"\x02\x00"), "version"),
        (b"", "not what was exported"),
        (b"\x80\x04K\x01.", "not what was exported"),  # a pickle
    ],
)
def test_another_array_is_refused(tmp_path: Path, a: bytes, says: str, compression: int) -> None:
    with pytest.raises(BundleError, match=says) as caught:
        read_arrays(archive(tmp_path / "x.npz", a, compression), WANTED)
    assert len(str(caught.value)) < 700


@pytest.mark.parametrize("compression", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_only_deflate_gives_no_more_than_it_is_asked_for(tmp_path: Path, compression: int) -> None:
    with pytest.raises(BundleError, match="another way than deflate"):
        read_arrays(archive(tmp_path / "x.npz", described((2, 3)) + bytes(24), compression), WANTED)


def test_a_bomb_takes_no_memory(tmp_path: Path) -> None:
    """400 MB of zeros in 400 KB; and a header that tells of gigabytes."""
    path = archive(tmp_path / "x.npz", described((2, 3)) + bytes(400_000_000))
    huge = archive(tmp_path / "y.npz", described((100_000, 100_000)))
    tracemalloc.start()
    for bomb, wanted in ((path, (2, 3)), (huge, (None, None)), (path, (None, None))):
        with pytest.raises(BundleError):
            read_arrays(bomb, {"a": wanted, "b": (4,)})
    assert tracemalloc.get_traced_memory()[1] < 5_000_000
    tracemalloc.stop()
    assert MOST_BYTES < 4 * 100_000**2


def test_a_directory_of_a_million_entries_is_not_listed(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        for i in range(2000):
            file.writestr(str(i), b"")
    (tmp_path / "x.npz").write_bytes(buffer.getvalue())
    with pytest.raises(BundleError, match="no archive of 2 arrays"):
        read_arrays(tmp_path / "x.npz", WANTED)


def test_names_that_are_not_there_or_there_twice(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", a=ARRAYS["a"], c=ARRAYS["b"])
    with pytest.raises(BundleError, match="it should be a, b"):
        read_arrays(tmp_path / "x.npz", WANTED)
    with zipfile.ZipFile(tmp_path / "y.npz", "w") as file:
        file.writestr("a.npy", b"")
        with pytest.warns(UserWarning, match="Duplicate"):
            file.writestr("a.npy", b"")
    with pytest.raises(BundleError, match="it should be a, b"):
        read_arrays(tmp_path / "y.npz", WANTED)


@pytest.fixture(scope="module")
def content(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("arrays") / "x.npz"
    np.savez_compressed(path, **ARRAYS)
    return path.read_bytes()


@given(data=st.data())
def test_any_change_gives_the_same_arrays_or_a_bundle_error(
    data: st.DataObject, content: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    changed = bytearray(content)
    for _ in range(data.draw(st.integers(1, 4))):
        changed[data.draw(st.integers(0, len(changed) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.getbasetemp() / "changed.npz"
    path.write_bytes(bytes(changed[: data.draw(st.integers(0, len(changed)))]))
    try:
        got = read_arrays(path, WANTED)
    except BundleError:
        return
    assert {name: array.shape for name, array in got.items()} == WANTED
