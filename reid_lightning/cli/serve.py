"""The command that puts a gallery and its model behind HTTP."""

from pathlib import Path
from typing import Annotated

import typer

from reid_lightning.cli.arguments import Override, Trust
from reid_lightning.cli.gallery import Address, Checkpoint


def serve(
    gallery: Address,
    model: Checkpoint,
    host: Annotated[
        str,
        typer.Option(help="Address to listen at; an address that other machines can reach needs a token."),
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen at; 0: a free port.")] = 8000,
    token_file: Annotated[
        Path | None, typer.Option(help="File with the token that requests must send; default: $REID_TOKEN.")
    ] = None,
    proxy: Annotated[
        str | None, typer.Option(help="Address of a reverse proxy, whose X-Forwarded-For names the client.")
    ] = None,
    max_megabytes: Annotated[float, typer.Option(help="Maximum size of a request.")] = 20,
    max_megapixels: Annotated[
        float, typer.Option(help="Maximum size of a picture, checked before it is decoded.")
    ] = 25,
    per_minute: Annotated[int, typer.Option(help="Requests per minute of one client; 0: no limit.")] = 1200,
    queue: Annotated[
        int, typer.Option(help="Pictures in progress or waiting; further ones are rejected.")
    ] = 128,
    timeout: Annotated[float, typer.Option(help="Seconds that a request may take.")] = 30,
    batch: Annotated[int, typer.Option(help="Pictures in a batch of the model.")] = 32,
    wait: Annotated[float, typer.Option(help="Milliseconds that a picture waits for others.")] = 5,
    read_only: Annotated[
        bool, typer.Option("--read-only", help="Do not allow to enrol or forget people.")
    ] = False,
    thumbnails: Annotated[bool, typer.Option(help="Show thumbnails of the gallery's images.")] = True,
    keep_pictures: Annotated[
        bool,
        typer.Option(help="Keep enrolled pictures in GALLERY/pictures; `reid gallery rebuild` needs them."),
    ] = True,
    access_log: Annotated[
        bool, typer.Option("--access-log", help="Log every request and its address.")
    ] = False,
    override: Override = None,
    trust: Trust = None,
) -> None:
    """Serve a page and a JSON API: search, compare, describe, enrol and forget people."""
    from reid_lightning.inference.serve.command import serve as serve_gallery
    from reid_lightning.inference.serve.settings import Settings, read_token

    settings = Settings(
        host=host,
        port=port,
        token=read_token(token_file),
        proxy=proxy,
        max_megabytes=max_megabytes,
        max_megapixels=max_megapixels,
        per_minute=per_minute,
        queue=queue,
        timeout=timeout,
        batch=batch,
        wait_ms=wait,
        read_only=read_only,
        thumbnails=thumbnails,
        keep_pictures=keep_pictures,
    )
    serve_gallery(gallery, model, settings, access_log, override or [], trust or [])
