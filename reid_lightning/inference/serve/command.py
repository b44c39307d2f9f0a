"""What `reid serve` does: put a gallery and its model behind HTTP until a signal ends it."""

import importlib.util
import socket
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from reid_lightning.errors import InputError
from reid_lightning.experiments.quiet import quiet
from reid_lightning.inference.gallery.gallery import Gallery
from reid_lightning.inference.gallery.images import load_model
from reid_lightning.inference.serve.settings import Settings
from reid_lightning.reporting.terminal import say
from reid_lightning.signals import stopped_by_signals

NEEDED = ("fastapi", "uvicorn", "python_multipart", "prometheus_client")
BACKLOG = 2048  # connections that wait to be accepted
KEPT = 75  # seconds that an idle connection is kept: longer than reverse proxies keep theirs
LONGER = 5  # seconds that a stop may take beyond the longest request


def require_extra() -> None:
    """Refuse to go on without the packages of the extra `serve`.

    Raises:
        InputError: One is missing.
    """
    if missing := [name for name in NEEDED if importlib.util.find_spec(name) is None]:
        raise InputError(
            f"`reid serve` needs {missing[0]}: install it with `pip install reid-lightning[serve]`."
        )


def serve(
    address: Path | str,
    checkpoint: Path,
    settings: Settings,
    access_log: bool = False,
    overrides: Sequence[str] = (),
    trust: Sequence[str] = (),
) -> None:
    """Serve a gallery until SIGTERM or SIGINT: what is in progress then is finished, and nothing new is taken.

    Args:
        address: The gallery.
        checkpoint: The model that it was built with.
        settings: Address and limits.
        access_log: Whether every request is logged, with the client's address.
        overrides: Hydra overrides of the checkpoint's config.
        trust: Packages of your own that the checkpoint's config may name; their code is run.

    Raises:
        InputError: A package is missing, the gallery is of another model, or the address is taken.
    """
    require_extra()
    import uvicorn

    from reid_lightning.inference.serve.app import create_app
    from reid_lightning.inference.serve.service import Service

    quiet()
    gallery = Gallery(address)  # before the model is loaded, which takes longer
    count = len(gallery)
    if settings.keep_pictures and not gallery.in_folder and not settings.read_only:
        say(f"{address} has no folder: enrolled pictures are not kept", "dim")
        settings = replace(settings, keep_pictures=False)
    with stopped_by_signals(), _listening(settings) as listening:
        service = Service(load_model(checkpoint, overrides, trust), address, settings)
        config = uvicorn.Config(
            create_app(service),
            lifespan="on",
            log_level="info" if access_log else "warning",
            access_log=access_log,
            server_header=False,
            proxy_headers=settings.proxy is not None,
            forwarded_allow_ips=settings.proxy or "",
            timeout_graceful_shutdown=round(settings.timeout) + LONGER,
            timeout_keep_alive=KEPT,
            ws="none",
        )
        listening.listen(BACKLOG)  # who is told the address may use it
        host, port = listening.getsockname()[:2]
        shown = f"[{host}]" if ":" in host else host
        say(f"{address}: {count:,} images at http://{shown}:{port} (Ctrl+C ends it)")
        uvicorn.Server(config).run(sockets=[listening])


def _listening(settings: Settings) -> socket.socket:
    """Return a socket that is bound to the address.

    Raises:
        InputError: It is not to be had.
    """
    where = f"--host {settings.host} --port {settings.port}"
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            settings.host, settings.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        found = socket.socket(family, kind, protocol)
        try:
            found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            found.bind(address)
        except OSError:
            found.close()
            raise
    except OSError as error:
        raise InputError(
            f"{where} cannot be listened at ({error.strerror}): choose another address or port."
        ) from error
    return found
