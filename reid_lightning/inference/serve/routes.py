"""What a server answers: questions to the model and the gallery, changes of the gallery, and what it is."""

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Body, File, Form, Path, Query, UploadFile
from starlette.responses import HTMLResponse, Response

import reid_lightning
from reid_lightning.inference.serve import schemas
from reid_lightning.inference.serve.declared import errors, pictures, plain
from reid_lightning.inference.serve.metrics import MEDIA_TYPE
from reid_lightning.inference.serve.page import page
from reid_lightning.inference.serve.people import Question
from reid_lightning.inference.serve.problems import Problem
from reid_lightning.inference.serve.service import Service
from reid_lightning.inference.serve.uploads import FORMATS
from reid_lightning.inference.serve.writing import Enrol, checked_row

MOST_HITS, MOST_PEOPLE, MOST_ID = 200, 1000, 2**62 - 1

Picture = Annotated[UploadFile, File(description=f"An image file: {', '.join(FORMATS)}.")]
Whom = Annotated[UploadFile, File(description="Whom to find; without it `like` is needed.")]
Where = Annotated[
    str | None,
    Form(max_length=2000, description="A condition on the gallery's images.", examples=["camera != c3"]),
]
Name = Annotated[str, Form(min_length=1, max_length=200, pattern=r"\S")]
Text = Annotated[str | None, Form(max_length=200)]


def asking(service: Service, secured: Sequence[Any]) -> APIRouter:
    """Return the routes that ask the model and the gallery."""
    router = APIRouter(dependencies=list(secured), tags=["questions"])

    @router.post("/search", responses=errors(400, 422), openapi_extra=pictures("picture"))
    async def search(
        picture: Whom = None,  # type: ignore[assignment]  # a form has no null, and the schema says none
        k: Annotated[int, Form(ge=1, le=MOST_HITS, description="Length of the list.")] = 20,
        where: Where = None,
        like: Annotated[
            str | None,
            Form(max_length=500, description="Attributes in words.", examples=["female, red upper body"]),
        ] = None,
        explain: Annotated[
            bool, Form(description="Whether each answer says which attributes it shares.")
        ] = False,
    ) -> schemas.Hits:
        """Find the images of the gallery that are nearest to a picture, look as wished, or both."""
        where, like = (text if text and text.strip() else None for text in (where, like))
        if picture is None and like is None:
            raise Problem(422, "Nothing is searched for: send a picture, like, or both.")
        if where is not None or like is not None:
            await service.reading(service.people.check, where, like)
        with service.places(1):
            seen = None if picture is None else await service.embedded(picture)
            question = Question(
                None if seen is None else seen.vector,
                None if seen is None else seen.looks,
                k,
                where,
                like,
                explain,
            )
            found, probabilities, threshold = await service.search(question)
        return schemas.Hits(
            found=[
                schemas.Hit(
                    rank=row["rank"],
                    id=row["id"],
                    distance=row["distance"],
                    probability=probability,
                    same=None if threshold is None else row["distance"] <= threshold,
                    known={name: _cell(value) for name, value in row["known"].items()},
                    agrees=row["agrees"],
                    differs=row["differs"],
                )
                for row, probability in zip(found.rows, probabilities, strict=True)
            ],
            images=found.images,
            search=found.how,
            threshold=threshold,
            looks=None if seen is None else _looks(service.looks(seen)),
        )

    @router.post("/compare", responses=errors(400, 422), openapi_extra=pictures("first", "second"))
    async def compare(
        first: Picture,
        second: Picture,
        false_accepts: Annotated[
            float | None,
            Form(gt=0, le=1, description="Share of pairs of two people that may be taken for one."),
        ] = None,
        prior: Annotated[
            float, Form(gt=0, lt=1, description="Prior: share of all pairs that show one person.")
        ] = 0.5,
    ) -> schemas.Compared:
        """Say whether two pictures show one person."""
        with service.places(2):
            one = await service.embedded(first, "The first picture")
            other = await service.embedded(second, "The second picture")
        found = service.compare(one.vector, other.vector, false_accepts, prior)
        return schemas.Compared(
            distance=float(found.distance),
            probability=None if found.probability is None else float(found.probability),
            same=None if found.same is None else bool(found.same),
            threshold=found.threshold,
            false_accepts=found.false_accepts,
            prior=found.prior,
        )

    @router.post("/describe", responses=errors(400, 409, 422), openapi_extra=pictures("picture"))
    async def describe(picture: Picture) -> schemas.Description:
        """Say what the person of a picture looks like."""
        if not service.worker.describes:
            raise Problem(409, "The model of this server predicts neither attributes nor traits.")
        with service.places(1):
            found = await service.worker.describe(await service.opened(picture))
        return schemas.Description(attributes=_looks(found["attributes"]) or {}, traits=found["traits"])

    return router


def changing(service: Service, secured: Sequence[Any]) -> APIRouter:
    """Return the routes that change the gallery."""
    router = APIRouter(dependencies=list(secured), tags=["changes"])

    def require_changes() -> None:
        if service.settings.read_only:
            raise Problem(403, "This server changes nothing: it was started with --read-only.")

    @router.post("/enrol", responses=errors(400, 409, 422), openapi_extra=pictures("picture"))
    async def enrol(
        picture: Picture,
        person_id: Name,
        camera_id: Text = None,
        tracklet_id: Text = None,
        frame_id: Annotated[int | None, Form(ge=0, le=MOST_ID)] = None,
        time: Annotated[datetime | None, Form(description="ISO 8601; UTC unless a zone is given.")] = None,
        more: Annotated[
            str | None,
            Form(max_length=10_000, description="Further columns of the gallery, as a JSON object."),
        ] = None,
    ) -> schemas.Enrolled:
        """Add a picture of a person; it is on the disk when the answer comes. The same picture is added once."""
        require_changes()
        fixed = {
            "person_id": person_id,
            "camera_id": camera_id,
            "tracklet_id": tracklet_id,
            "frame_id": frame_id,
            "time": time,
        }
        known = {name: value for name, value in fixed.items() if value is not None}
        row = await service.reading(lambda: checked_row(_more(more) | known, service.people.view()))
        with service.places(1):
            kept, ready = await service.opened_to_keep(picture)
            with service.places(service.more_places(kept)):
                seen = await service.worker.embed(ready)
                looks = None if seen.looks is None else seen.looks.numpy()
                done = await service.people.enrol(Enrol(seen.vector.numpy(), looks, kept, row))
        return schemas.Enrolled(id=done.id, person_id=row["person_id"], already=done.already)

    @router.post("/forget", responses=errors(400, 404, 422))
    async def forget(
        whom: Annotated[
            schemas.ForgetPerson | schemas.ForgetImage, Body(description="A person, or one image.")
        ],
    ) -> schemas.Forgotten:
        """Remove all images of a person, or one image: rows, vectors, and pictures that this server has taken in."""
        require_changes()
        if isinstance(whom, schemas.ForgetPerson):
            return schemas.Forgotten(removed=await service.people.forget(whom.person_id, None))
        return schemas.Forgotten(removed=await service.people.forget(None, whom.id))

    return router


def reading(service: Service, secured: Sequence[Any]) -> APIRouter:
    """Return the routes that say what the server is and holds."""
    router, own = APIRouter(tags=["server"]), list(secured)
    text, headers = page(service.settings)

    @router.get("/", response_class=Response, responses=plain("text/html", "The page."))
    async def home() -> HTMLResponse:
        """Show the page for people."""
        return HTMLResponse(text, headers=headers)

    @router.get("/health", responses=errors())
    async def health() -> schemas.Health:
        """Say whether the server works; without a token."""
        await service.reading(service.people.view)
        return schemas.Health(status="ok")

    @router.get("/info", responses=errors(), dependencies=own)
    async def info() -> schemas.Info:
        """Say what the server is and holds."""
        return await service.reading(_info, service)

    @router.get("/people", responses=errors(422), dependencies=own)
    async def people(
        after: Annotated[
            str | None, Query(max_length=200, description="The last name of the answer before.")
        ] = None,
        limit: Annotated[int, Query(ge=1, le=MOST_PEOPLE)] = 100,
    ) -> schemas.People:
        """List the people of the gallery in the order of their names."""
        found, more = await service.reading(service.people.counted, after, limit)
        return schemas.People(
            people=[schemas.Person(person_id=name, images=count) for name, count in found], more=more
        )

    @router.get(
        "/thumbnails/{id}",
        response_class=Response,
        responses=plain("image/jpeg", "A small JPEG.", 404, 422),
        dependencies=own,
    )
    async def thumbnail(id: Annotated[int, Path(ge=0, le=MOST_ID)]) -> Response:
        """Show an image of the gallery, small and encoded again."""
        if not service.settings.thumbnails:
            raise Problem(404, "This server shows no images: it was started with --no-thumbnails.")
        data = await service.decoding(service.people.thumbnail, id)
        if data is None:
            raise Problem(
                404, f"The gallery holds no image with the id {id}, or its file cannot be read any more."
            )
        return Response(data, media_type="image/jpeg")

    @router.get(
        "/metrics",
        response_class=Response,
        responses=plain("text/plain", "For Prometheus."),
        dependencies=own,
    )
    async def metrics() -> Response:
        """Return counters in the text format of Prometheus."""
        service.metrics.images.set(len(await service.reading(service.people.view)))
        return Response(service.metrics.text(), media_type=MEDIA_TYPE)

    return router


def _info(service: Service) -> schemas.Info:
    found, model, settings = service.people.view().info, service.model, service.settings
    return schemas.Info(
        version=reid_lightning.__version__,
        images=found["images"],
        people=found["people"],
        columns={name: kind for name, kind in found["columns"].items() if name != "path"},
        attributes={} if model.schema is None else {each.name: list(each.classes) for each in model.schema},
        describes=service.worker.describes,
        calibrated=model.calibration is not None,
        distance=found["distance"],
        model=found["fingerprint"],
        preprocessing=found["preprocessing"],
        read_only=settings.read_only,
        thumbnails=settings.thumbnails,
        limits=schemas.Limits(
            max_bytes=settings.max_bytes, max_pixels=settings.max_pixels, formats=list(FORMATS)
        ),
    )


def _looks(found: dict[str, dict[str, Any]] | None) -> dict[str, schemas.Looks] | None:
    return None if found is None else {name: schemas.Looks(**each) for name, each in found.items()}


def _more(text: str | None) -> dict[str, Any]:
    """Read further columns.

    Raises:
        Problem: They are not a JSON object of text, numbers and truth.
    """
    if text is None or not text.strip():
        return {}
    try:
        found = json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict) or not all(
        isinstance(value, str | int | float) for value in found.values()
    ):
        raise Problem(
            422, 'more must be a JSON object of text, numbers and truth, such as {"shift": "early"}.'
        )
    return found


def _refuse_constant(name: str) -> Any:
    raise ValueError(name)


def _cell(value: Any) -> schemas.Cell:
    return value.isoformat() if isinstance(value, datetime) else value
