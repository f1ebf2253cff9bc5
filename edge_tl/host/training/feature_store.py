"""Features of images in a folder: raw rows and one index line per image content. Computes none.

Lines are appended after their rows, so a kill loses at most the last batch, and the next run goes on from there.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge_tl.device.files import write_atomic


@dataclass
class FeatureStore:
    """A cache of features: `rows` maps a digest to its row of `array`, `bad` one to its fault, `remarks` one to what
    had to be assumed to decode it."""

    folder: Path
    width: int
    rows: dict[str, int] = field(default_factory=dict)
    bad: dict[str, str] = field(default_factory=dict)
    remarks: dict[str, str] = field(default_factory=dict)
    transient: dict[str, str] = field(default_factory=dict)
    """Faults that hold for this run only: a missing file or decoder, a limit. No later run sees them."""
    torn: bool = False
    """The index holds lines without a row; they must go before new rows take those places."""

    @classmethod
    def open(cls, folder: Path, width: int) -> FeatureStore:
        """Read what is whole: an index line counts only if its row is there."""
        store = cls(folder, width)
        index, data = folder / "index.jsonl", folder / "rows.f32"
        if not index.is_file():
            return store
        whole = data.stat().st_size // (4 * width) if data.is_file() else 0
        *lines, rest = index.read_bytes().split(b"\n")
        store.torn = bool(rest)  # what follows the last newline was cut off
        for line in lines:
            try:
                entry = json.loads(line)
            except ValueError:
                store.torn = True
                continue
            if "passing" in entry:
                store.transient[entry["digest"]] = entry["passing"]
            elif "bad" in entry:
                store.bad[entry["digest"]] = entry["bad"]
            elif entry["row"] < whole:
                store.rows[entry["digest"]] = entry["row"]
                if "remark" in entry:
                    store.remarks[entry["digest"]] = entry["remark"]
            else:
                store.torn = True
        return store

    def append(
        self, digests: list[str], rows: NDArray[np.float32], bad: dict[str, str], remarks: dict[str, str]
    ) -> None:
        """Write rows, float32 `(n, d)`, then their index lines."""
        self.folder.mkdir(parents=True, exist_ok=True)
        data, index = self.folder / "rows.f32", self.folder / "index.jsonl"
        if self.torn:
            write_atomic(index, _lines(self.rows, self.bad, self.remarks))
            self.torn = False
        whole = data.stat().st_size // (4 * self.width) if data.exists() else 0
        with data.open("r+b" if data.exists() else "w+b") as file:
            file.truncate(whole * 4 * self.width)  # a row cut off by a kill
            file.seek(0, 2)
            file.write(np.ascontiguousarray(rows, np.float32).tobytes())
        added = {d: whole + i for i, d in enumerate(digests)}
        with index.open("ab") as file:
            file.write(_lines(added, bad, remarks))
        self.rows |= added
        self.bad |= bad
        self.remarks |= remarks

    def add_transient(self, faults: dict[str, str], *, write: bool) -> None:
        """Faults of this run; written only for the other processes of it to read."""
        self.transient |= faults
        if write and faults:
            with (self.folder / "index.jsonl").open("ab") as file:
                file.writelines(
                    json.dumps({"digest": digest, "passing": fault}).encode() + b"\n"
                    for digest, fault in faults.items()
                )

    def array(self) -> NDArray[np.float32]:
        """Memory-mapped `(n, d)`."""
        return np.memmap(self.folder / "rows.f32", np.float32, "r").reshape(-1, self.width)


def _lines(rows: dict[str, int], bad: dict[str, str], remarks: dict[str, str]) -> bytes:
    lines = []
    for digest, row in rows.items():
        remark = {"remark": remarks[digest]} if digest in remarks else {}
        lines.append(json.dumps({"digest": digest, "row": row, **remark}))
    lines += [json.dumps({"digest": digest, "bad": reason}) for digest, reason in bad.items()]
    return "".join(f"{line}\n" for line in lines).encode()


def of_digests(known: Mapping[str, str], digests: Sequence[str]) -> dict[str, str]:
    """The entries of `known` for those of `digests` that it has."""
    return {digest: known[digest] for digest in digests if digest in known}
