"""What the routes declare in the OpenAPI description: every error, answers that are not JSON, types of uploads."""

from typing import Any

from reid_lightning.inference.serve.schemas import Error
from reid_lightning.inference.serve.uploads import MEDIA_TYPES

_WHY = {
    400: "The body cannot be read.",
    401: "A token is needed.",
    403: "Not allowed here.",
    404: "There is no such person or image.",
    408: "The request did not arrive in time.",
    409: "It is against what there is.",
    413: "The body or a picture is too large.",
    422: "A field or a picture cannot be used.",
    429: "Too many requests.",
    500: "The server failed.",
    503: "The server is busy or stopping, or the gallery cannot be used now.",
}


def errors(*more: int) -> dict[int | str, dict[str, Any]]:
    """Declare the errors of a route: those of every route, and its own."""
    statuses = sorted({401, 403, 408, 413, 429, 500, 503, *more})
    return {status: {"model": Error, "description": _WHY[status]} for status in statuses}


def plain(kind: str, what: str, *more: int) -> dict[int | str, dict[str, Any]]:
    """Declare an answer that is not JSON, and its errors, which are."""
    error = {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}
    declared: dict[int | str, dict[str, Any]] = {200: {"content": {kind: {}}, "description": what}}
    return declared | {
        status: {"content": error, "description": each["description"]}
        for status, each in errors(*more).items()
    }


def pictures(*fields: str) -> dict[str, Any]:
    """Declare the media types of uploaded pictures."""
    encoding = {field: {"contentType": ", ".join(MEDIA_TYPES)} for field in fields}
    return {"requestBody": {"content": {"multipart/form-data": {"encoding": encoding}}}}
