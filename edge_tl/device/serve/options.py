"""What a service takes and where it listens. Opens nothing."""

from __future__ import annotations

import ipaddress
import os
import re
from dataclasses import dataclass, field
from pathlib import Path

from edge_tl.device.errors import BadInput
from edge_tl.device.text import printable

KEY_VARIABLE = "EDGE_TL_API_KEY"
_SHORTEST_KEY = 8
MOST_PIXELS = 40_000_000  # of an image that anybody sent: decoded it takes 120 MB


@dataclass(frozen=True)
class ServeLimits:
    """`body_mb` (10^6 bytes) and `images` of one request, `queue` requests that are in work or wait, `timeout_s` from
    the first byte of a request to its answer. Raises `BadInput`."""

    body_mb: float = 32.0
    images: int = 64
    queue: int = 64
    timeout_s: float = 30.0

    def __post_init__(self) -> None:
        for name, value, most in (
            ("max-mb", self.body_mb, 4096),
            ("max-images", self.images, 4096),
            ("queue", self.queue, 4096),
            ("timeout", self.timeout_s, 3600),
        ):
            if not 0 < value <= most:
                raise BadInput(f"--{name} {value:g}: give more than 0 and at most {most}.")

    @property
    def body_bytes(self) -> int:
        """Of one request."""
        return int(self.body_mb * 1e6)


@dataclass(frozen=True)
class ServeOptions:
    """`key` is what a request must show, None for none. Port 0 takes a free one. `version` is what it says of itself.
    `allowed` are further names, in small letters, by which it may be asked and whose pages may ask. Raises
    `BadInput`."""

    host: str = "127.0.0.1"
    port: int = 8000
    key: bytes | None = field(default=None, repr=False)
    limits: ServeLimits = field(default_factory=ServeLimits)
    version: str = "unknown"
    allowed: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name in self.allowed:
            if not re.fullmatch(r"[a-z0-9_.-]{1,253}", name) and not is_address(name):
                raise BadInput(
                    f"--allow-host {printable(name)}: no name of a host. Give it without https:// and without a port, "
                    "e.g. pi.example.org."
                )

    @property
    def is_open(self) -> bool:
        """Whether others than this machine may ask, without a key."""
        return self.key is None and not is_loopback(self.host)


def is_address(host: str) -> bool:
    """Whether it is one of IPv4 or IPv6, and no name."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches it."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def read_key(file: Path | None) -> bytes | None:
    """The key in `file`, else in the variable EDGE_TL_API_KEY; None where there is neither. Raises `BadInput` for one
    that is empty, short or holds what no header carries."""
    if file is not None:
        where = f"--api-key-file {printable(str(file))}"
        try:
            key = file.read_bytes().strip() if file.is_file() else None
        except OSError as error:
            raise BadInput(f"{where}: {error.strerror}. Give a file that you may read.") from None
        if key is None:
            raise BadInput(f"{where}: no such file. Give a file that holds the key alone.")
    elif KEY_VARIABLE in os.environ:
        where, key = KEY_VARIABLE, os.fsencode(os.environ[KEY_VARIABLE]).strip()
    else:
        return None
    if len(key) < _SHORTEST_KEY or len(key) > 500 or not all(0x21 <= byte <= 0x7E for byte in key):
        raise BadInput(
            f"{where}: no usable key. Give {_SHORTEST_KEY} to 500 letters, digits and signs without a space, e.g. what "
            "`openssl rand -hex 24` prints."
        )
    return key
