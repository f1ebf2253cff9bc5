"""The verb serve: a bundle as a web service. It needs no PyTorch."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer

from edge_tl import __version__
from edge_tl.cli._console import say, tell_spent
from edge_tl.cli._options import AllowFallback, BundlePath, Debug
from edge_tl.cli.predict import ArtifactId, DeviceName
from edge_tl.device.text import printable

_LIMITS = "Limits"

Host = Annotated[str, typer.Option(help="The address to listen at: 0.0.0.0 is every one of this machine.")]
Port = Annotated[int, typer.Option(min=0, max=65535, help="The port; 0 takes a free one.")]
KeyFile = Annotated[
    Path | None,
    typer.Option(
        "--api-key-file",
        help="A file with the key that requests must show.",
        show_default="EDGE_TL_API_KEY, else none",
    ),
]
AllowHost = Annotated[
    list[str] | None,
    typer.Option(
        "--allow-host",
        help="A further name by which browsers ask for it, e.g. behind a proxy; may be given again.",
        show_default="addresses and names of this machine",
    ),
]
MaxMb = Annotated[float, typer.Option("--max-mb", help="The most MB of a request.", rich_help_panel=_LIMITS)]
MaxImages = Annotated[
    int, typer.Option("--max-images", help="The most images of a request.", rich_help_panel=_LIMITS)
]
MostPixels = Annotated[
    int, typer.Option("--max-pixels", min=1, help="The most pixels of an image.", rich_help_panel=_LIMITS)
]
Queue = Annotated[
    int, typer.Option(help="Requests in work or waiting; more get status 503.", rich_help_panel=_LIMITS)
]
Timeout = Annotated[
    float, typer.Option(help="Seconds from the begin of a request to its answer.", rich_help_panel=_LIMITS)
]


def serve(
    bundle: BundlePath,
    host: Host = "127.0.0.1",
    port: Port = 8000,
    api_key_file: KeyFile = None,
    allow_host: AllowHost = None,
    max_mb: MaxMb = 32.0,
    max_images: MaxImages = 64,
    max_pixels: MostPixels = 40_000_000,
    queue: Queue = 64,
    timeout: Timeout = 30.0,
    artifact: ArtifactId = None,
    device: DeviceName = None,
    allow_fallback: AllowFallback = False,
    debug: Debug = False,
) -> int:
    """Answer over HTTP what predict answers."""
    from edge_tl.device.bundle import read_bundle
    from edge_tl.device.serve.options import ServeLimits, ServeOptions, read_key
    from edge_tl.device.serve.server import open_socket, serve_model

    allowed = tuple(name.lower() for name in allow_host or ())
    limits = ServeLimits(max_mb, max_images, queue, timeout)
    options = ServeOptions(host, port, read_key(api_key_file), limits, __version__, allowed)
    loaded = read_bundle(bundle).reading(max_pixels)
    if options.is_open:
        say(f"warning: everybody who reaches {printable(host)} may ask. Add --api-key-file FILE.")
    with open_socket(options) as bound, loaded.open(artifact, device, allow_fallback=allow_fallback) as model:
        if model.note:
            say(model.note if model.tuned else f"note: {model.note}")

        def started(address: str) -> None:
            say(
                f"{model.artifact.id} on {model.runtime.device} answers at {address} (Ctrl-C ends it)",
                always=True,
            )
            say(f"try: curl -F file=@image.jpg {address}predict")

        with suppress(KeyboardInterrupt):  # uvicorn passes it on, once everything is answered
            serve_model(model, options, bound, started=started)
    tell_spent()
    say("stopped; every request in work was answered or had its time.")
    return 0
