"""Where a result is saved: refused before anything is measured for it, written when it is there."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from edge_tl.cli._console import say
from edge_tl.device.errors import BadInput, EdgeTLError


def check_out(out: Path | None, option: str = "--out", *, read: Sequence[Path] = ()) -> None:
    """Refuse a path that nothing can be saved at, before anything is measured for it, and one that is read: a file of
    a bundle, or a result to compare. It leaves nothing behind."""
    if out is None:
        return
    from edge_tl.device.own_results import is_result

    try:
        place = out.resolve()
        for source in map(Path.resolve, read):
            if source == place and place.is_file():
                raise BadInput(f"{option} {out}: that file is read. Give another name.")
            if source in place.parents:
                raise BadInput(f"{option} {out}: that is inside {source.name}. Give a path elsewhere.")
        if out.is_dir():
            raise BadInput(
                f"{option} {out}: a folder is there. Give a file name, e.g. {out / 'result.json'}."
            )
        if out.exists() and not out.is_file():
            raise BadInput(f"{option} {out}: that is no ordinary file. Give another file name.")
        if out.is_file() and not is_result(out):
            raise BadInput(f"{option} {out}: a file is there that edge-tl did not write. Give another name.")
        folder = next(above for above in out.absolute().parents if above.exists())
        # Tried, not asked: permissions do not know of read-only disks. As long a name as the file will have at first.
        with tempfile.NamedTemporaryFile(dir=folder, prefix=f".{out.name}."):
            pass
    except OSError as error:
        why = error.strerror or type(error).__name__
        raise BadInput(f"{option} {out}: nothing can be saved there ({why}). Give another path.") from None


def saved(save: Callable[[], None], show: Callable[[], int]) -> int:
    """Save, then show, and return the exit code of that. Should saving fail, what was measured is shown all the same,
    and the failure raised after it."""
    failure: Exception | None = None
    try:
        save()
    except (OSError, EdgeTLError) as error:
        failure = error
    code = show()
    if failure:
        raise failure
    return code


def save_to(result: dict[str, Any], out: Path | None) -> None:
    """Write the result as JSON, and say so."""
    if out:
        from edge_tl.device.files import write_json

        write_json(out, result)
        say(f"saved {out}")
