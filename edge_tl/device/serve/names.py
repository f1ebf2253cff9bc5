"""By which names a service is asked, and by which pages: without that, any page that a browser on this machine has open
could ask a service that has no key (DNS rebinding, cross-site requests). Sends nothing.
"""

from __future__ import annotations

import socket
from collections.abc import Mapping
from urllib.parse import urlsplit

from edge_tl.device.serve.options import ServeOptions, is_address
from edge_tl.device.text import printable


def unwelcome(headers: Mapping[bytes, bytes], options: ServeOptions) -> str | None:
    """Why a request must not be answered, None where it may.

    Its `Host` is an address, a name of this machine, or one that was allowed: who has turned a name of theirs towards
    this machine can send no other (https://fetch.spec.whatwg.org). Its `Origin`, which browsers send with what a page
    asks for, is the service itself or a name that was allowed. With a key none of it matters: no page knows it.
    """
    if options.key is not None:
        return None
    host = headers.get(b"host", b"").decode("latin-1")
    name = _name(f"//{host}")
    if host and not _is_own(name, options):  # HTTP/1.0 has none, and no browser speaks it
        said = f"{printable(host[:100])} is no name of this service."
        return f"{said} Start it with {_remedy(name)}."
    origin = headers.get(b"origin")
    if origin is None:
        return None
    asking = origin.decode("latin-1")
    if (host and asking.partition("://")[2] == host) or _name(asking) in options.allowed:
        return None
    return (
        f"a page of {printable(asking[:100])} asks, which is another site. Start the service with "
        f"{_remedy(_name(asking))}."
    )


def _is_own(name: str | None, options: ServeOptions) -> bool:
    if name is None:
        return False
    own = socket.gethostname().lower()
    return is_address(name) or name in {
        "localhost",
        options.host.lower(),
        own,
        f"{own}.local",
        *options.allowed,
    }


def _name(address: str) -> str | None:
    """The host of `//host:port` in small letters, None where there is none."""
    try:
        return urlsplit(address).hostname
    except ValueError:
        return None


def _remedy(name: str | None) -> str:
    return f"--allow-host {printable(name[:100])}, or with a key" if name else "a key"
