"""Arrays of a `.npz` that somebody else may have written: names, shapes and sizes are checked before anything is
allocated.

Only float32 or uint8, in C order, stored or deflated; never a pickle. It must not know what the arrays mean.
"""

from __future__ import annotations

import math
import os
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from edge_tl.device.errors import BundleError

Shape = tuple[int | None, ...]

MOST_BYTES = 512 << 20  # of one array: two kilobytes of zeros unpack to megabytes
_HEADER = 10_000  # bytes; numpy's own limit for a header that it is to trust
_DIRECTORY = 64 << 10
_COMPRESSIONS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # others give more at once than they are asked for
_END, _LOCATOR = b"PK\x05\x06", b"PK\x06\x07"  # of the directory, and of one in the larger format


def shapes_of(
    path: Path, wanted: Mapping[str, Shape], *, dtype: type[np.float32 | np.uint8] = np.float32
) -> dict[str, tuple[int, ...]]:
    """The shapes of the arrays in `path`, which must be exactly `wanted`, None standing for any length; no data is
    read. Raises `BundleError`."""
    with _opened(path, wanted, _little(dtype)) as (_, found):
        return found


def read_arrays(path: Path, wanted: Mapping[str, Shape]) -> dict[str, NDArray[np.float32]]:
    """The arrays of `path`, which must be exactly `wanted`. Raises `BundleError`."""
    return _all(path, wanted, _little(np.float32))


def read_levels(path: Path, wanted: Mapping[str, Shape]) -> dict[str, NDArray[np.uint8]]:
    """As `read_arrays`, of uint8."""
    return _all(path, wanted, _little(np.uint8))


def _little(dtype: type[np.float32 | np.uint8]) -> np.dtype[Any]:
    found: np.dtype[Any] = np.dtype(dtype).newbyteorder("<")
    return found


def _all(path: Path, wanted: Mapping[str, Shape], dtype: np.dtype[Any]) -> dict[str, NDArray[Any]]:
    with _opened(path, wanted, dtype) as (file, found):
        return {name: _read(path, file, name, shape, dtype) for name, shape in found.items()}


@contextmanager
def _opened(
    path: Path, wanted: Mapping[str, Shape], dtype: np.dtype[Any]
) -> Iterator[tuple[zipfile.ZipFile, dict[str, tuple[int, ...]]]]:
    """The archive and the shapes of its members, which were checked by name, size and header."""
    _check_directory(path, len(wanted))
    try:
        file = zipfile.ZipFile(path)
    except Exception as error:  # zipfile raises a dozen unrelated types on broken files
        raise _broken(path, error) from None
    with file:
        names = [member.filename for member in file.infolist()]
        if sorted(names) != sorted(f"{name}.npy" for name in wanted):
            raise _other(path, f"holds {', '.join(sorted(names)[:8])[:200]}", ", ".join(sorted(wanted)))
        found = {}
        for name, shape in wanted.items():
            with _member(path, file, name) as member:
                size = file.getinfo(f"{name}.npy").file_size
                found[name] = _header(path, (member, size), name, shape, dtype)
        yield file, found


def _check_directory(path: Path, count: int) -> None:
    """Raises `BundleError` unless the archive ends as numpy writes it: `zipfile` makes an object of every entry that it
    is told of before anybody can ask how many there are."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(size - 42, 0))
            end = file.read()
    except OSError as error:
        raise _broken(path, error) from None
    entries, length = int.from_bytes(end[-12:-10], "little"), int.from_bytes(end[-10:-6], "little")
    if end[-22:-18] != _END or end[:4] == _LOCATOR or entries != count or length > _DIRECTORY:
        raise _broken(path, ValueError(f"it is no archive of {count} arrays"))


def _member(path: Path, file: zipfile.ZipFile, name: str) -> IO[bytes]:
    try:
        if file.getinfo(f"{name}.npy").compress_type not in _COMPRESSIONS:
            raise ValueError(f"{name} is compressed in another way than deflate")
        return file.open(f"{name}.npy")
    except Exception as error:  # as above: encrypted, cut short, another name in its own header
        raise _broken(path, error) from None


def _header(
    path: Path, of: tuple[IO[bytes], int], name: str, wanted: Shape, should: np.dtype[Any]
) -> tuple[int, ...]:
    """Read the header of a member and its size; what it says must be what is wanted, and agree with the size."""
    member, size = of
    try:
        if npy.read_magic(member) != (1, 0):  # whose header has 64 KB at most
            raise ValueError(f"{name} is of another version of the format than 1.0")
        shape, fortran, dtype = npy.read_array_header_1_0(member, max_header_size=_HEADER)
    except Exception as error:  # numpy parses it as Python's literals, which fail in many ways
        raise _broken(path, error) from None
    fits = len(shape) == len(wanted) and all(w in (None, s) for w, s in zip(wanted, shape, strict=True))
    if not fits or fortran or dtype != should:
        shown = "x".join("n" if length is None else str(length) for length in wanted)
        raise _other(path, f"{name!r} is {dtype} {str(shape)[:80]}", f"{should.name} {shown}")
    data = should.itemsize * math.prod(shape)
    if not data <= MOST_BYTES or size != member.tell() + data:
        raise _other(path, f"{name!r} has {size} bytes", f"the {data} of its header, {MOST_BYTES} at most")
    return shape


def _read(
    path: Path, file: zipfile.ZipFile, name: str, shape: tuple[int, ...], dtype: np.dtype[Any]
) -> NDArray[Any]:
    array = np.empty(shape, dtype)
    left = memoryview(array.reshape(-1).view(np.uint8).data)
    with _member(path, file, name) as member:
        _header(path, (member, file.getinfo(f"{name}.npy").file_size), name, shape, dtype)
        try:
            while left:
                chunk = member.read(min(len(left), 1 << 20))
                if not chunk:
                    raise EOFError(f"{name} is cut short")
                left[: len(chunk)] = chunk
                left = left[len(chunk) :]
            member.read(1)  # the end, where the checksum is compared
        except Exception as error:  # a broken stream, a wrong checksum
            raise _broken(path, error) from None
    return array


def _other(path: Path, found: str, should: str) -> BundleError:
    return BundleError(
        f"damaged file in bundle: {path}: {found}; it should be {should}. Copy the bundle again, or export again."
    )


def _broken(path: Path, error: Exception) -> BundleError:
    why = " ".join(str(error).split())[:200] or type(error).__name__
    return BundleError(
        f"damaged file in bundle: {path} is not what was exported ({why}). Copy the bundle again, or export again."
    )
