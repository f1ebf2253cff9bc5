"""The command line: `edge-tl VERB`. A verb parses, calls one function and prints.

Importing it imports no PyTorch and no runtime: a verb is imported when it runs.
"""

from __future__ import annotations

import os
import re
import shlex
import sys
import traceback
from typing import Annotated, NoReturn

import typer

from edge_tl import __version__
from edge_tl.cli import _completion, _interrupts, _streams
from edge_tl.cli._console import begin, complain, say
from edge_tl.cli._help import HELP
from edge_tl.cli._verbs import VERBS, LazyGroup, add_placeholders
from edge_tl.device.errors import EXIT_BAD_INPUT, EXIT_INTERRUPTED, EdgeTLError, MissingExtra

app = typer.Typer(
    name="edge-tl",
    cls=LazyGroup,
    no_args_is_help=True,
    add_completion=True,
    context_settings=HELP,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Fine-tune an image classifier, export it to ONNX and OpenVINO in INT8, and prove that the device "
    "gives PyTorch's answers.",
    epilog="Exit codes: 0 done and passed; 1 a gate or budget failed, everything is saved; "
    "2 bad input or usage; 130 interrupted. Every verb takes -q, -v, --debug and, but for serve, --json.",
)


@app.callback()
def _before_the_verb(
    version: Annotated[
        bool,
        typer.Option(
            "--version", is_eager=True, callback=lambda asked: _version(asked), help="Print the version."
        ),
    ] = False,
) -> None:
    """The options that stand before a verb."""


def _version(asked: bool) -> None:
    if asked:
        sys.stdout.write(f"edge-tl {__version__}\n")
        raise typer.Exit


add_placeholders(app)

# Packages of the extra `host`: a verb that needs a missing one says so.
_HOST_MODULES = {
    "torch", "torchvision", "onnx", "onnxscript", "nncf", "safetensors", "pydantic", "yaml", "sklearn",
    "scipy", "matplotlib", "jinja2", "onnxruntime", "openvino", "rich",
    "accelerate", "optuna", "filelock", "sqlalchemy",
}  # fmt: skip


FACTORY_VARIABLE = "EDGE_TL_FACTORY"  # of `host.factories`, which a device's environment cannot import


def main(arguments: list[str] | None = None) -> None:
    """Run one verb and exit with its code."""
    arguments = sys.argv[1:] if arguments is None else arguments
    # Only --factory, typed with this command, may name code to run: not what the shell exported.
    os.environ.pop(FACTORY_VARIABLE, None)
    debug = "--debug" in arguments
    begin(arguments)
    _streams.survive_closed_readers()
    _completion.prepare_scripts(arguments)
    with _interrupts.handled() as interrupts:
        try:
            code = app(arguments, prog_name="edge-tl", standalone_mode=False)
            sys.stdout.flush()
            if code == EXIT_INTERRUPTED:  # some versions of Typer make a code of the interrupt
                raise KeyboardInterrupt
            sys.exit(code if isinstance(code, int) else 0)
        except (KeyboardInterrupt, typer.Abort):
            _interrupted(arguments)
        except Exception as error:
            if interrupts.received:  # what failed while it cleaned up
                _interrupted(arguments)
            _fail(error, arguments, debug=debug)


def _interrupted(arguments: list[str]) -> NoReturn:
    again = ["edge-tl", *arguments]
    if arguments[:1] == ["finetune"] and "--resume" not in arguments:
        again.append("--resume")
    what = "Go on with" if "--resume" in again else "Run it again with"
    say(f"interrupted. Nothing half-written is left. {what}: {shlex.join(again)}", always=True)
    sys.exit(EXIT_INTERRUPTED)


def _fail(error: Exception, arguments: list[str], *, debug: bool) -> NoReturn:
    _streams.flush_stdout()
    # A usage error's class is click's or Typer's own, by version.
    if show := getattr(error, "show", None):
        if type(error).__name__ == "NoArgsIsHelpError":  # nothing was typed, and this is the help
            show(file=sys.stderr)
        else:
            given = _given(error, arguments)
            path = getattr(getattr(error, "ctx", None), "command_path", None) or _typed_verb(arguments)
            said = f"{given}: {_words(error)}" if given else _words(error, whole=True)
            complain(f"{said} See `{path} --help`.")
        sys.exit(EXIT_BAD_INPUT)
    if debug:
        traceback.print_exc()
    complain(_sentence(error))
    sys.exit(error.exit_code if isinstance(error, EdgeTLError) else EXIT_BAD_INPUT)


def _typed_verb(arguments: list[str]) -> str:
    """The command whose help says more, where the parser does not tell."""
    return f"edge-tl {arguments[0]}" if arguments and arguments[0] in VERBS else "edge-tl"


def _given(error: Exception, arguments: list[str]) -> str | None:
    """The option that a usage error is of, and its value, as they were typed: "--fps abc"."""
    for name in getattr(getattr(error, "param", None), "opts", ()):
        for place, word in enumerate(arguments):
            if name.startswith("-") and word == name and place + 1 < len(arguments):
                return f"{name} {arguments[place + 1]}"
            if name.startswith("--") and word.startswith(f"{name}="):
                return word.replace("=", " ", 1)
    return None


_PARSER = (  # the parser's words, and what to give
    (r"input should be a valid integer\b.*$", "no whole number: give one, e.g. 3"),
    (r"input should be a valid number\b.*$", "no number: give one, e.g. 0.5"),
    (r"'?([^':]*)'? is not a valid int(?:eger)?(?: range)?$", r"\1 is no whole number: give one, e.g. 3"),
    (r"'?([^':]*)'? is not a valid float(?: range)?$", r"\1 is no number: give one, e.g. 0.5"),
    (r"input should be greater than or equal to (\S+)$", r"too small: give \1 or more"),
    (r"input should be less than or equal to (\S+)$", r"too large: give \1 or less"),
    (r"option '(\S+)' requires an argument$", r"option \1 needs a value after it"),
    (r"(\S+) is not in the range x>=(\S+?)\.?$", r"\1 is too small: give \2 or more"),
    (r"(\S+) is not in the range x<=(\S+?)\.?$", r"\1 is too large: give \2 or less"),
)


def _words(error: Exception, *, whole: bool = False) -> str:
    """What the parser says is wrong, as a sentence; `whole` with the name that it is of, which is not said before."""
    said = (
        error.format_message()
        if whole and hasattr(error, "format_message")
        else getattr(error, "message", "")
    )
    text = " ".join(str(said).split()).rstrip(".")
    for theirs, ours in _PARSER:
        text = re.sub(theirs, ours, text, flags=re.IGNORECASE)
    end = "" if text.endswith("?") else "."
    return f"{text[:1].lower()}{text[1:]}{end}"


def _sentence(error: Exception) -> str:
    if isinstance(error, EdgeTLError):
        return str(error)
    if isinstance(error, ModuleNotFoundError):
        package = (error.name or "").split(".")[0]
        if package in _HOST_MODULES or package == "edge_tl":
            missing = "the host part of edge-tl" if package == "edge_tl" else error.name
            return str(MissingExtra(f"{missing}, which this verb needs,", "host"))
    if isinstance(error, MemoryError):
        return (
            "out of memory. Close other programs, or use smaller images, smaller batches or a larger machine."
        )
    if isinstance(error, OSError) and error.strerror:
        return f"{error.strerror}: {error.filename or ''}. Nothing half-written was left as a result."
    return f"unexpected {type(error).__name__}: {error}. Run again with --debug and report what it prints."
