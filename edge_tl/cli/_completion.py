"""Words that TAB completes a value to, and zsh from the first TAB on. Everything else of `--install-completion` is
Typer's."""

from __future__ import annotations

from collections.abc import Callable, Sequence

# zsh loads the script at the first TAB and runs it as the completion itself. Typer's then only defines the function
# that completes, so that nothing is offered until the second TAB.
_FIRST_TAB = '\nif [[ "$funcstack[1]" = "_%(prog_name)s" ]]; then\n  %(complete_func)s "$@"\nfi\n'


def one_of(*words: str) -> Callable[[str], list[str]]:
    """What an option takes, for its `autocompletion`."""

    def found(incomplete: str) -> list[str]:
        return [word for word in words if word.startswith(incomplete)]

    return found


def prepare_scripts(arguments: Sequence[str]) -> None:
    """Complete Typer's script for zsh, where a script is asked for."""
    if not {"--install-completion", "--show-completion"} & set(arguments):
        return
    try:
        from typer._completion_shared import _completion_scripts as scripts
    except ImportError:  # another version of Typer: its script as it is
        return
    if "zsh" in scripts and "funcstack" not in scripts["zsh"]:
        scripts["zsh"] = scripts["zsh"].rstrip() + _FIRST_TAB
