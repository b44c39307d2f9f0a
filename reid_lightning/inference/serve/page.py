"""The page for people: one document with its style and its script, which the browser keeps from any other server."""

import base64
import hashlib
from importlib.resources import files

from reid_lightning.inference.serve.settings import Settings
from reid_lightning.inference.serve.uploads import MEDIA_TYPES
from reid_lightning.reporting.render import TEMPLATES

OWN = files("reid_lightning.inference.serve") / "templates"


def page(settings: Settings) -> tuple[str, dict[str, str]]:
    """Return the page and its headers.

    It holds nothing of the gallery: its script asks for that, with the token where one is needed.

    Args:
        settings: Whether a token is needed, and how large a picture may be.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        loader=PackageLoader("reid_lightning.inference.serve", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    style = (TEMPLATES / "page.css").read_text(encoding="utf-8") + (OWN / "serve.css").read_text(
        encoding="utf-8"
    )
    script = (OWN / "serve.js").read_text(encoding="utf-8")
    text = environment.get_template("serve.html.j2").render(
        style=Markup(style),
        script=Markup(script),
        accept=",".join(MEDIA_TYPES),
        needs_token=settings.token is not None,
        max_bytes=settings.max_bytes,
    )
    policy = (
        f"default-src 'none'; style-src {_hash(style)}; script-src {_hash(script)}; img-src 'self' blob: data:; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    return text, {"Content-Security-Policy": policy}


def _hash(content: str) -> str:
    digest = hashlib.sha256(content.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"
