"""The verb snippet: a program that classifies images with this bundle and nothing of edge-tl. It needs no PyTorch."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from edge_tl.cli._completion import one_of
from edge_tl.cli._console import finish, say, tell_spent
from edge_tl.cli._options import BundlePath, Debug, Json
from edge_tl.device.errors import BadInput

Lang = Annotated[
    str,
    typer.Option(
        autocompletion=one_of("python", "cpp", "javascript", "java", "csharp", "rust"),
        help="python, cpp, javascript, java, csharp or rust.",
    ),
]
RuntimeName = Annotated[
    str | None,
    typer.Option(
        help="onnxruntime or openvino; onnxruntime-web: a page for a browser.",
        show_default="the recommended artifact's",
    ),
]
ArtifactId = Annotated[str | None, typer.Option(help="Which artifact.", show_default="the recommended one")]
ProgramFile = Annotated[
    Path | None,
    typer.Option("--out", "-o", help="Write the program into this new file.", show_default="stdout"),
]


def snippet(
    bundle: BundlePath,
    lang: Lang,
    runtime: RuntimeName = None,
    artifact: ArtifactId = None,
    out: ProgramFile = None,
    json: Json = False,
    debug: Debug = False,
) -> int:
    """Print a program in another language for this bundle."""
    from edge_tl.device.bundle import read_bundle
    from edge_tl.device.files import write_atomic
    from edge_tl.device.snippets.program import write_program

    loaded = read_bundle(bundle)
    program = write_program(loaded, lang=lang, runtime=runtime, artifact=artifact)
    if out is not None:
        _check_new(out, bundle, program.file)
        write_atomic(out, program.text.encode("ascii"))
    if said := loaded.record.failed_at_export(loaded.artifact(program.artifact).record):
        say(f"warning: {said}")
    if program.not_run:
        say(f"warning: not run by us: {program.not_run}. Check its answers before you trust it.")
    then = (
        f"{program.artifact} on {program.runtime}; its first lines say how to build and run it; next, with its answers "
        f"to {bundle / 'golden' / 'images'}: edge-tl diagnose {bundle} answers.csv"
    )
    if not json and out is None:
        sys.stdout.write(program.text)
        sys.stdout.flush()
        tell_spent()
        say(then)
        return 0
    result = {
        "lang": lang,
        "runtime": program.runtime,
        "artifact": program.artifact,
        "not_run": program.not_run,
        "path": None if out is None else str(out),
        "program": program.text,
    }
    return finish(result, f"wrote {out}", as_json=json, then=then)


def _check_new(out: Path, bundle: Path, name: str) -> None:
    """Raises `BadInput` where the program cannot or must not lie."""
    if out.is_dir():
        raise BadInput(f"--out {out}: a folder is there. Give a file name, e.g. {out / name}.")
    if out.exists() or out.is_symlink():
        raise BadInput(f"--out {out}: a file is there already. Give another name, or move it.")
    if not out.absolute().parent.is_dir():
        raise BadInput(f"--out {out}: there is no folder {out.parent}. Make it, or give another path.")
    if bundle.resolve() in out.resolve().parents:
        raise BadInput(
            f"--out {out}: that is inside the bundle, which holds its own files only. Give a path elsewhere."
        )
