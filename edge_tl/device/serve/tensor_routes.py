"""The paths of the Open Inference Protocol. What is behind them is in `tensors`."""

# Without `from __future__ import annotations`: FastAPI reads the types of the routes, whose names are local here.

import asyncio
from typing import TYPE_CHECKING

from edge_tl.device.errors import BadInput
from edge_tl.device.model import Model
from edge_tl.device.records.codec import Json
from edge_tl.device.serve.answers import AnswerPool
from edge_tl.device.serve.options import ServeOptions
from edge_tl.device.serve.tensors import MODEL_VERSION, model_metadata, read_request, write_answer

if TYPE_CHECKING:
    from fastapi import FastAPI

_HEADER = "Inference-Header-Content-Length"


def add_tensor_routes(app: "FastAPI", pool: AnswerPool, options: ServeOptions) -> None:
    """Those of the server, of its one model, and of inference."""
    _add_server(app, options)
    _add_model(app, pool.model)
    _add_infer(app, pool, options)


def _add_server(app: "FastAPI", options: ServeOptions) -> None:
    @app.get("/v2", summary="Open Inference Protocol: the server")
    async def server() -> Json:
        return {"name": "edge-tl", "version": options.version, "extensions": ["binary_tensor_data"]}

    @app.get("/v2/health/live")
    async def live() -> dict[str, bool]:
        return {"live": True}

    @app.get("/v2/health/ready")
    async def ready() -> dict[str, bool]:
        return {"ready": True}


def _add_model(app: "FastAPI", model: Model) -> None:
    from fastapi.responses import JSONResponse

    @app.get("/v2/models/{name}", summary="What the model takes and gives")
    @app.get("/v2/models/{name}/versions/{version}", include_in_schema=False)
    async def metadata(name: str, version: str = MODEL_VERSION) -> JSONResponse:
        if unknown := _unknown(model, name, version):
            return JSONResponse({"error": unknown}, 404)
        if images := _takes_images(model):
            return JSONResponse({"error": images}, 400)
        return JSONResponse(model_metadata(model))

    @app.get("/v2/models/{name}/ready")
    @app.get("/v2/models/{name}/versions/{version}/ready", include_in_schema=False)
    async def model_ready(name: str, version: str = MODEL_VERSION) -> JSONResponse:
        if unknown := _unknown(model, name, version):
            return JSONResponse({"error": unknown}, 404)
        return JSONResponse({"name": name, "ready": True})


def _add_infer(app: "FastAPI", pool: AnswerPool, options: ServeOptions) -> None:
    from fastapi import Request
    from fastapi.responses import JSONResponse, Response
    from starlette.concurrency import run_in_threadpool

    model = pool.model
    one_parse = asyncio.Lock()  # Python parses JSON in one go, and meanwhile answers nobody

    @app.post("/v2/models/{name}/infer", summary="Logits of preprocessed tensors")
    @app.post("/v2/models/{name}/versions/{version}/infer", include_in_schema=False)
    async def infer(request: Request, name: str, version: str = MODEL_VERSION) -> Response:
        body = await request.body()
        if unknown := _unknown(model, name, version):
            return JSONResponse({"error": unknown}, 404)
        if images := _takes_images(model):
            return JSONResponse({"error": images}, 400)
        header = request.headers.get(_HEADER)
        try:
            async with one_parse:
                asked = await run_in_threadpool(read_request, model, body, header, options.limits.images)
            content, length = write_answer(model, asked, await pool.logits(asked.inputs))
        except BadInput as error:
            return JSONResponse({"error": str(error)}, 400)
        if length is None:
            return Response(content, media_type="application/json")
        return Response(content, media_type="application/octet-stream", headers={_HEADER: str(length)})


def _takes_images(model: Model) -> str | None:
    """Why nobody can give it tensors; None where they can."""
    if not model.artifact.takes_pixels:
        return None
    return f"{model.artifact.id} takes images, not tensors. Post them to /predict."


def _unknown(model: Model, name: str, version: str) -> str | None:
    own = model.bundle.record.name
    if (name, version) == (own, MODEL_VERSION):
        return None
    return f"no model {name[:100]!r} of version {version[:100]!r} here. There is {own!r}, version {MODEL_VERSION}."
