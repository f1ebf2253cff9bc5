"""The routes of the service. Serves nothing by itself: `server` does."""

# Without `from __future__ import annotations`: FastAPI reads the types of the routes, whose names are local here.

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Annotated, Any

from edge_tl.device.errors import EdgeTLError, MissingExtra
from edge_tl.device.model import Model
from edge_tl.device.serve.answers import AnswerPool
from edge_tl.device.serve.guard import App, Guard, Refused
from edge_tl.device.serve.metrics import ServeMetrics
from edge_tl.device.serve.options import ServeOptions
from edge_tl.device.serve.page import PAGE, PAGE_HEADERS
from edge_tl.device.serve.tensor_routes import add_tensor_routes
from edge_tl.device.text import printable

if TYPE_CHECKING:
    from fastapi import FastAPI

_LONGEST_NAME = 255
_EXAMPLE = {
    "artifact": "onnx-int8", "device": "CPU", "tuned": False, "threads": None,
    "results": [{"image": "a.jpg", "top": [{"label": "daisy", "probability": 0.93}]}],
    "failed": [{"image": "b.jpg", "reason": "not an image that Pillow can read"}],
}  # fmt: skip


def create_app(model: Model, options: ServeOptions) -> App:
    """The service of an opened `model`. Raises `MissingExtra`."""
    try:
        import python_multipart  # noqa: F401 - FastAPI's own message says nothing of the extra
        from fastapi import FastAPI
    except ImportError:
        raise MissingExtra("FastAPI, which serve needs,", "serve") from None
    metrics = ServeMetrics(model.artifact.id, model.runtime.device)
    pool = AnswerPool(model)

    @asynccontextmanager
    async def lifespan(app: Any) -> AsyncIterator[None]:
        with pool:
            yield

    app = FastAPI(
        title=f"edge-tl: {printable(model.bundle.record.name)}",
        version=options.version,
        summary="Classify images; the answers are those of `edge-tl predict`.",
        lifespan=lifespan,
        redoc_url=None,
    )
    _add_pages(app, model, metrics)
    _add_predict(app, pool, options, metrics)
    add_tensor_routes(app, pool, options)
    _add_errors(app)
    return Guard(app, options, metrics)


def _add_pages(app: "FastAPI", model: Model, metrics: ServeMetrics) -> None:
    from fastapi.responses import HTMLResponse, Response

    @app.get("/", include_in_schema=False)
    async def page() -> HTMLResponse:
        return HTMLResponse(PAGE, headers=PAGE_HEADERS)

    @app.get("/healthz", summary="Whether it answers")
    async def healthz() -> dict[str, str]:
        return {"status": "ok", "artifact": model.artifact.id, "device": model.runtime.device}

    @app.get("/metrics", summary="For Prometheus", response_class=Response)
    async def show_metrics() -> Response:
        content, kind = metrics.text()
        return Response(content, media_type=kind)


def _add_predict(app: "FastAPI", pool: AnswerPool, options: ServeOptions, metrics: ServeMetrics) -> None:
    from fastapi import File, Query, Response, UploadFile

    most = options.limits.images
    said = {
        "description": "An answer or a failure for each image.",
        "content": {"application/json": {"example": _EXAMPLE}},
    }
    refusals = {
        400: "The form cannot be read.", 401: "No key, or a wrong one.",
        403: "Asked by another name, or by a page of another site.", 408: "It did not arrive in time.",
        413: "Too many bytes or images.", 415: "No multipart/form-data.", 422: "No image could be used, or no `file`.",
        503: "Too much at once: see Retry-After.",
    }  # fmt: skip

    @app.post(
        "/predict",
        summary="Classify images",
        responses={200: said, **{status: {"description": why} for status, why in refusals.items()}},
    )
    async def predict(
        file: Annotated[list[UploadFile], File(description=f"Encoded images, at most {most}.")],
        top: Annotated[int, Query(ge=1, le=1000, description="How many labels.")] = 3,
    ) -> Response:
        if len(file) > most:
            raise Refused(413, f"{len(file)} images in one request. Send {most} at most.")
        named = [((each.filename or "image")[:_LONGEST_NAME], await each.read()) for each in file]
        result = await pool.images(named, top)
        answered, failed = len(result.results or ()), len(result.failed or ())
        metrics.images(answered, failed)
        content = json.dumps(result.to_json(), allow_nan=False)
        return Response(content, 200 if answered else 422, media_type="application/json")


def _add_errors(app: "FastAPI") -> None:
    from fastapi.exceptions import RequestValidationError
    from fastapi.responses import JSONResponse, Response

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Any, error: RequestValidationError) -> Response:
        """Without what was sent, and in ASCII: FastAPI's own repeats it, and some of it is no UTF-8."""
        said = (f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors()[:10])
        content = json.dumps({"detail": "; ".join(said)[:1000]})
        return Response(content, 422, media_type="application/json")

    @app.exception_handler(EdgeTLError)
    async def broken(request: Any, error: EdgeTLError) -> JSONResponse:
        """The model itself: its answers are no numbers, for one."""
        return JSONResponse({"detail": str(error)}, 500)

    @app.exception_handler(Refused)
    async def refused(request: Any, error: Refused) -> JSONResponse:
        return JSONResponse({"detail": error.reason}, error.status)
