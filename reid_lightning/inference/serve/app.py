"""The application of a server: its routes, and every error as one sentence of JSON."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI, Request, Security
from fastapi.exceptions import RequestValidationError
from fastapi.security import HTTPBearer
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response

import reid_lightning
from reid_lightning.errors import printable
from reid_lightning.inference.serve.batching import Closed
from reid_lightning.inference.serve.gate import Gate
from reid_lightning.inference.serve.problems import Problem
from reid_lightning.inference.serve.routes import asking, changing, reading
from reid_lightning.inference.serve.service import Service

_SENTENCES = {
    404: "There is no such address: /openapi.json lists what there is.",
    405: "This address does not take that method: /openapi.json says which.",
}


def create_app(service: Service) -> Gate:
    """Return the ASGI application of a server.

    Args:
        service: What works; it is closed with the application.
    """

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        await asyncio.to_thread(service.close)

    app = FastAPI(
        title="reid-lightning",
        version=reid_lightning.__version__,
        description='Search a gallery of people with pictures. Every error is `{"error": "one sentence"}`.',
        docs_url=None,  # its page asks other servers for scripts
        redoc_url=None,
        lifespan=lifespan,
    )
    secured = []
    if service.settings.token is not None:  # the gate compares it; this describes it
        secured = [Security(HTTPBearer(auto_error=False, description="The server's token."))]
    for routes in (asking, changing, reading):
        app.include_router(routes(service, secured))
    _speak(app)
    return Gate(app, service.settings, service.metrics)


def _speak(app: FastAPI) -> None:
    """Answer every error as JSON with one sentence."""

    @app.exception_handler(HTTPException)
    async def refused(request: Request, error: HTTPException) -> Response:
        said = error.detail if isinstance(error, Problem) else _SENTENCES.get(error.status_code)
        return _said(error.status_code, said or f"{str(error.detail).rstrip('.')}.", error.headers)

    @app.exception_handler(RequestValidationError)
    async def not_valid(request: Request, error: RequestValidationError) -> Response:
        return _said(422, _sentence(_of_interest(error)))

    @app.exception_handler(Closed)
    async def stopping(request: Request, error: Closed) -> Response:
        return _said(503, "The server is stopping: try again soon.", {"Retry-After": "5"})

    @app.exception_handler(Exception)
    async def failed(request: Request, error: Exception) -> Response:
        return _said(500, "The server failed: its log says why.")


def _of_interest(error: RequestValidationError) -> Any:
    """Return the error to speak of: where a body may have one of two forms, that of the form whose key it has."""
    errors, body = error.errors(), error.body
    named = set(body) if isinstance(body, dict) else set()
    wrong = [each for each in errors if each["loc"][-1] in named and each["type"] != "extra_forbidden"]
    return (wrong or errors)[0]


def _sentence(error: Any) -> str:
    """Return what is wrong with a field in one sentence."""
    if error["type"] == "json_invalid":
        return "The body is not JSON."
    place = ".".join(str(part) for part in error["loc"][1:] if not str(part).startswith("Forget"))
    message = str(error["msg"])
    if "UploadFile" in message:
        message = "it must be sent as a file, with a file name"
    elif error["type"] == "string_pattern_mismatch":
        message = "it must not be blank"
    said = f"{place}: {message[:1].lower()}{message[1:]}" if place else message
    return said.rstrip(".") + "."


def _said(status: int, sentence: str, headers: Any = None) -> Response:
    return JSONResponse({"error": printable(sentence)}, status, headers)
