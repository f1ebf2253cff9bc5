"""Run the service until it is told to end: what is in work is answered first."""

from __future__ import annotations

import logging
import signal
import socket
from collections.abc import Callable
from typing import Any

from edge_tl.device.errors import BadInput, MissingExtra
from edge_tl.device.model import Model
from edge_tl.device.serve.app import create_app
from edge_tl.device.serve.connection import timed_connection
from edge_tl.device.serve.options import ServeOptions
from edge_tl.device.text import printable

MOST_CONNECTIONS = 512  # beside those of the queue; a further one is answered 503, in plain text


def open_socket(options: ServeOptions) -> socket.socket:
    """Bound, so that a port that is taken is told before a model is loaded. Raises `BadInput`."""
    family = socket.AF_INET6 if ":" in options.host else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_STREAM)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((options.host, options.port))
    except OSError as error:
        bound.close()
        why = error.strerror or str(error)
        raise BadInput(
            f"--host {printable(options.host)} --port {options.port}: {why}. Give another port, or the address of this "
            "machine that is to listen."
        ) from None
    return bound


def serve_model(
    model: Model, options: ServeOptions, bound: socket.socket, *, started: Callable[[str], None]
) -> None:
    """Answer on `bound` until SIGINT or SIGTERM; `started` is called with the address once it listens. A request that
    is in work then has `timeout_s` to end. Raises `MissingExtra`."""
    try:
        import uvicorn
    except ImportError:
        raise MissingExtra("uvicorn, which serve needs,", "serve") from None
    _own_handler_waits()
    config = uvicorn.Config(
        create_app(model, options),
        log_level=logging.WARNING,
        access_log=False,
        lifespan="on",
        http=timed_connection(options.limits.timeout_s),
        limit_concurrency=options.limits.queue + MOST_CONNECTIONS,
        timeout_keep_alive=10,
        timeout_graceful_shutdown=max(1, round(options.limits.timeout_s)),
        h11_max_incomplete_event_size=64 << 10,
        server_header=False,
    )
    host, port = bound.getsockname()[:2]

    class Telling(uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            if self.started:
                started(f"http://{f'[{host}]' if ':' in host else host}:{port}/")

    Telling(config).run(sockets=[bound])


def _own_handler_waits() -> None:
    """A handler that would end the process where a signal has no effect within seconds learns that it has one."""
    for number in (signal.SIGINT, signal.SIGTERM):
        handler: Any = signal.getsignal(number)
        if hasattr(handler, "deferred"):
            handler.deferred = True
