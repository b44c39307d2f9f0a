"""Pages from templates: every value is escaped, the file is written atomically."""

from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reid_lightning.files import atomic_path

if TYPE_CHECKING:
    from jinja2 import Environment
    from markupsafe import Markup

TEMPLATES = files("reid_lightning.reporting") / "templates"


def write_page(template: str, path: str | Path, **values: Any) -> Path:
    """Write a page of HTML from a template.

    Args:
        template: Name of a file in `reporting/templates`.
        path: The page; a surrogate of a name that is not UTF-8 is written as an escape.
        values: What the template names; anything that it names and that is missing is an error.

    Returns:
        The page's path.

    Raises:
        InputError: The page cannot be written.
    """
    text = _environment().get_template(template).render(values)
    path = Path(path)
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace")
    return path


@cache
def _environment() -> "Environment":
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("reid_lightning.reporting", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals["inline"] = _inline
    environment.filters["percent"] = percent
    environment.filters["grouped"] = lambda number: f"{number:,.0f}"
    return environment


def _inline(name: str) -> "Markup":
    """Return a style sheet or a script of ours, which stands in the page as it is."""
    from markupsafe import Markup

    return Markup((TEMPLATES / name).read_text(encoding="utf-8"))


def percent(share: float | None, digits: int = 1) -> str:
    """Return a fraction as percent, empty if there is none.

    Examples:
        >>> percent(0.12345), percent(None)
        ('12.3', '')
    """
    return "" if share is None or share != share else f"{100 * share:.{digits}f}"
