"""What goes wrong with a request: a status and one sentence, which the client gets as JSON."""

from starlette.exceptions import HTTPException

from reid_lightning.errors import printable


class Problem(HTTPException):
    """A request that is not done.

    Args:
        status: Of HTTP.
        sentence: What is wrong and what to do.
        retry_after: Seconds after which the same request may succeed; None: it never will.
    """

    def __init__(self, status: int, sentence: str, retry_after: int | None = None) -> None:
        headers = {} if retry_after is None else {"Retry-After": str(retry_after)}
        headers |= {"WWW-Authenticate": "Bearer"} if status == 401 else {}
        super().__init__(status, printable(sentence), headers)


def without_place(sentence: object, address: object) -> str:
    """Return a sentence that does not tell where the gallery lies on the server.

    Examples:
        >>> without_place("/srv/people holds no image.", "/srv/people")
        'The gallery holds no image.'
    """
    said = str(sentence).replace(str(address), "the gallery")
    return f"The gallery{said.removeprefix('the gallery')}" if said.startswith("the gallery") else said
