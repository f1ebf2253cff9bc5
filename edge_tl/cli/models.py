"""The verb models: what can be fine-tuned. It needs the `host` extra."""

from __future__ import annotations

from edge_tl.cli._console import finish
from edge_tl.cli._options import Debug, Json
from edge_tl.cli._table import explained, grid


def models(json: Json = False, debug: Debug = False) -> int:
    """List the models that can be fine-tuned."""
    from edge_tl.host.models import zoo

    rows = zoo.model_table()
    lines = [
        [
            r.name,
            f"{r.params:.1f}",
            str(r.image_size),
            f"{100 * r.accuracy:.1f}",
        ]
        for r in rows
    ]
    return finish(
        {"models": [r.to_json() for r in rows]},
        explained(grid(["model", "parameters M", "input px", "ImageNet top-1 %"], lines)),
        as_json=json,
        then="next: edge-tl finetune FOLDER --model NAME. With the extra timm, --model timm:NAME opens timm's.",
    )
