"""What can go wrong on a device or on the way to it, as one line for a person: the reason and what to do."""

from __future__ import annotations

import re
from collections.abc import Sequence

from edge_tl.device.errors import EdgeTLError
from edge_tl.device.text import printable

# In what ssh prints (OpenSSH 7.6 to 10): the reason, and what to do about it. {host} is what ssh was given.
_SSH = (
    ("REMOTE HOST IDENTIFICATION HAS CHANGED", "its host key is not the one known here",
     "If the device was set up anew, remove the old key with `ssh-keygen -R` and run `ssh {host}` once"),
    ("Host key verification failed", "its host key is not known here",
     "Run `ssh {host}` once and compare the fingerprint with the device's"),
    ("Permission denied", "ssh was refused",
     "Make `ssh -o BatchMode=yes {host}` work without a password: ssh-copy-id {host}, or ssh-add your key"),
    ("Could not resolve hostname", "no such host",
     "Check the name, or give the device's address"),
    ("Connection refused", "nothing listens for ssh there",
     "Start the ssh server on the device, or check the port"),
    ("timed out|No route to host|Network is unreachable|Host is down", "unreachable",
     "Is it on, and on this network? Try `ssh {host}`"),
    ("Bad configuration option|no argument after keyword|bad configuration options|Can't open user config",
     "ssh does not accept its configuration", "Make `ssh {host}` work first"),
    ("Too many authentication failures", "ssh offered too many keys",
     "Name the right one with IdentityFile and IdentitiesOnly in your ssh configuration"),
)  # fmt: skip

# The kinds of an `ErrorAnswer` of the agent. {text} is its detail.
_AGENT = {
    "disk": "its disk is full: {text}. Free some space there, or name another `folder:` in targets.yaml.",
    "folder": "its folder is not private: {text}.",
    "foreign": "its folder is not edge-tl's own: {text}. Name an empty or new `folder:` in targets.yaml.",
    "venv": "Python there cannot make an environment: {text}. On Debian: sudo apt install python3-venv; or name "
    "another `python:` in targets.yaml.",
    "install": "pip could not install there: {text}. Without internet on the device give --wheels DIR; "
    "`extra: ort` in targets.yaml installs less.",
    "changed": "a file changed while it was copied (SHA-256 {text}). Run again.",
    "files": "files could not be written there: {text}. Check its disk, or name another `folder:` in targets.yaml.",
}


class RemoteError(EdgeTLError):
    """A job failed on one device; the message is a sentence without the device's name."""


class ConnectionLost(RemoteError):
    """An open connection broke; `said` is what ssh printed."""

    def __init__(self, said: Sequence[str]) -> None:
        super().__init__(f"the connection was lost ({_last(said)}). Check power and network, and run again.")


class NoAnswer(RemoteError):
    """The agent ended without an answer, or did not start: its exit code, and what was printed."""

    def __init__(self, code: int, said: Sequence[str]) -> None:
        super().__init__(
            f"no answer from Python there (exit code {code}): {_last(said)}. Try it on the device."
        )
        self.code = code
        self.said = list(said)


def unreachable(host: str, said: Sequence[str]) -> RemoteError:
    """ssh could not connect, and printed these lines."""
    text = "\n".join(said)
    for pattern, reason, remedy in _SSH:
        if re.search(pattern, text, re.IGNORECASE):
            return RemoteError(f"{reason} ({_last(said)}). {remedy.format(host=host)}.")
    return RemoteError(f"ssh could not connect: {_last(said)}. Make `ssh {host}` work first.")


def no_response(host: str, seconds: float) -> RemoteError:
    """ssh was started, and nothing came back in time."""
    return RemoteError(f"no answer within {seconds:.0f} s. Is the device busy? Try `ssh {host} true`.")


def no_python(python: str | None, found: str) -> RemoteError:
    """No interpreter, or one that is too old: `found` says which."""
    remedy = "Install one, or name it as `python:` in targets.yaml."
    what = f"{python} there is not Python 3.10 or newer" if python else "no Python 3.10 or newer there"
    return RemoteError(f"{what} ({found}). {remedy}")


def agent_failed(kind: str, text: str) -> RemoteError:
    """The agent reported an error of this kind."""
    sentence = _AGENT.get(
        kind, "the program on the device failed: {text}. Run again with --debug and report it."
    )
    return RemoteError(sentence.format(text=_one_line(text.rstrip("."))))


def verb_failed(name: str, code: int, said: Sequence[str]) -> RemoteError:
    """The verb ended there without a result: its last error message, which is a sentence."""
    messages = [line.removeprefix("error: ") for line in said if line.startswith("error: ")]
    if messages:
        return RemoteError(_one_line(messages[-1]))
    if code < 0:
        return RemoteError(f"{name} was killed there by signal {-code}. Has the device enough memory?")
    return RemoteError(
        f"{name} printed no result there (exit code {code}): {_last(said)}. Try it on the device."
    )


def _last(said: Sequence[str]) -> str:
    lines = [line.strip() for line in said if line.strip()]
    return _one_line(lines[-1].rstrip(".")) if lines else "no message"


def _one_line(text: str) -> str:
    line = printable(" ".join(text.split()))
    return line if len(line) <= 300 else line[:297] + "…"
