"""What the API answers, as it stands in its OpenAPI description."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Cell = str | int | float | bool | None


class Answer(BaseModel):
    """A JSON object without further keys."""

    model_config = ConfigDict(extra="forbid")


class Error(Answer):
    """Why a request was not done."""

    error: Annotated[str, Field(description="One sentence: what is wrong and what to do.")]


class Health(Answer):
    """Whether the server works."""

    status: Annotated[str, Field(description='"ok".')]


class Looks(Answer):
    """A class of an attribute with its confidence."""

    answer: Annotated[str | None, Field(alias="class")]
    confidence: Annotated[float | None, Field(ge=0, le=1.001)]


class Description(Answer):
    """What a person looks like, as the model sees it."""

    attributes: Annotated[dict[str, Looks], Field(description="By the attribute's name.")]
    traits: Annotated[dict[str, float | None], Field(description="In the traits' own units.")]


class Hit(Answer):
    """An image of the gallery."""

    rank: Annotated[int, Field(ge=1)]
    id: Annotated[int, Field(ge=0)]
    distance: float
    probability: Annotated[
        float | None,
        Field(
            description="That it shows the person of the picture, of pairs of which every second does; null: unknown."
        ),
    ]
    same: Annotated[bool | None, Field(description="Whether it lies within `threshold`; null: unknown.")]
    known: Annotated[dict[str, Cell], Field(description="What the gallery knows of it, by column.")]
    agrees: Annotated[str | None, Field(description="Attributes that it shares; null: not asked for.")]
    differs: Annotated[str | None, Field(description="Attributes that it does not share.")]


class Hits(Answer):
    """The images of the gallery that are nearest to a picture, nearest first."""

    found: list[Hit]
    images: Annotated[int, Field(description="In the gallery.")]
    search: Annotated[str, Field(description="How they were found: exact, or by which index.")]
    threshold: Annotated[float | None, Field(description="Largest distance that is taken for one person.")]
    looks: Annotated[dict[str, Looks] | None, Field(description="Attributes of the picture.")]


class Compared(Answer):
    """Whether two pictures show one person."""

    distance: float
    probability: Annotated[
        float | None, Field(description="Of one person; null: the model is not calibrated.")
    ]
    same: Annotated[bool | None, Field(description="The verdict; null: the model is not calibrated.")]
    threshold: Annotated[
        float | None, Field(description="The largest distance that is taken for one person.")
    ]
    false_accepts: Annotated[float | None, Field(description="Share of pairs of two people within it.")]
    prior: Annotated[float, Field(description="Prior: share of all pairs that show one person.")]


class Enrolled(Answer):
    """An image in the gallery, on the disk."""

    id: Annotated[int, Field(ge=0)]
    person_id: str
    already: Annotated[
        bool, Field(description="Whether the same picture was there before; it was not changed then.")
    ]


class ForgetPerson(Answer):
    """All images of a person."""

    person_id: Annotated[str, Field(min_length=1, max_length=200)]


class ForgetImage(Answer):
    """One image."""

    id: Annotated[int, Field(ge=0, lt=2**62, strict=True)]  # false is not the image 0


class Forgotten(Answer):
    """What was removed from the gallery."""

    removed: Annotated[int, Field(ge=0, description="Images.")]


class Person(Answer):
    """A person of the gallery."""

    person_id: str
    images: Annotated[int, Field(ge=1)]


class People(Answer):
    """People of the gallery in the order of their names."""

    people: list[Person]
    more: Annotated[bool, Field(description="Whether others follow: ask again with `after`, the last name.")]


class Limits(Answer):
    """What the server takes."""

    max_bytes: int
    max_pixels: int
    formats: list[str]


class Info(Answer):
    """What the server is and holds."""

    version: str
    images: int
    people: int
    columns: Annotated[
        dict[str, str], Field(description="Of the gallery, with their kinds: filters may name them.")
    ]
    attributes: Annotated[dict[str, list[str]], Field(description="Classes of each attribute; empty: none.")]
    describes: Annotated[bool, Field(description="Whether /describe answers.")]
    calibrated: Annotated[bool, Field(description="Whether distances have probabilities.")]
    distance: str
    model: Annotated[str, Field(description="SHA-256 of the weights.")]
    preprocessing: str
    read_only: bool
    thumbnails: bool
    limits: Limits
