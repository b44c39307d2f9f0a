"""What a server allows, as one value; it is checked before anything is loaded."""

import ipaddress
import os
import re
from dataclasses import dataclass
from pathlib import Path

from reid_lightning.errors import InputError
from reid_lightning.inference.options import require_option

TOKEN_VARIABLE = "REID_TOKEN"
LEAST_TOKEN = 16  # characters
_TOKEN = re.compile(r"[!-~]+")  # what a header may hold


@dataclass(frozen=True)
class Settings:
    """Address, limits and switches of a server.

    Attributes:
        host: Address to listen at.
        port: Port to listen at; 0: a free port.
        token: What every request must bring; None: nothing, on this machine alone.
        proxy: Address of a reverse proxy, whose `X-Forwarded-For` names the client; None if there is none.
        max_megabytes: Size of a request's body.
        max_megapixels: Size of an uploaded picture, read from its header.
        per_minute: Requests per minute of one client; 0: no limit.
        queue: Uploaded pictures in progress or waiting.
        timeout: Seconds from the first byte of a request to its answer.
        batch: Pictures in a batch of the model.
        wait_ms: Milliseconds that the first picture of a batch waits for others.
        read_only: Whether nobody may enrol or forget people.
        thumbnails: Whether the gallery's images are shown.
        keep_pictures: Whether enrolled pictures are kept on the disk.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    token: str | None = None
    proxy: str | None = None
    max_megabytes: float = 20.0
    max_megapixels: float = 25.0
    per_minute: int = 1200
    queue: int = 128
    timeout: float = 30.0
    batch: int = 32
    wait_ms: float = 5.0
    read_only: bool = False
    thumbnails: bool = True
    keep_pictures: bool = True

    def __post_init__(self) -> None:
        require_option("--port", 0 <= self.port < 65536, "be between 0 and 65535", self.port)
        for option, size in (
            ("--max-megabytes", self.max_megabytes),
            ("--max-megapixels", self.max_megapixels),
        ):
            require_option(option, 0.01 <= size <= 10_000, "be between 0.01 and 10,000", size)
        for option, count in (("--queue", self.queue), ("--batch", self.batch)):
            require_option(option, count >= 1, "be 1 or more", count)
        require_option("--per-minute", self.per_minute >= 0, "be 0 or more", self.per_minute)
        require_option(
            "--timeout", 0 < self.timeout <= 3600, "be a number of seconds up to 3600", self.timeout
        )
        require_option("--wait", 0 <= self.wait_ms <= 10_000, "be between 0 and 10,000", self.wait_ms)
        require_option(
            "--proxy", self.proxy is None or _is_address(self.proxy), "be an IP address", self.proxy
        )
        if self.token is None and not is_loopback(self.host):
            raise InputError(
                f"--host {self.host} lets other machines in, which needs a token: give --token-file FILE, or set "
                f"{TOKEN_VARIABLE}."
            )

    @property
    def max_bytes(self) -> int:
        """Bytes of a request's body."""
        return round(1e6 * self.max_megabytes)

    @property
    def max_pixels(self) -> int:
        """Pixels of an uploaded picture."""
        return round(1e6 * self.max_megapixels)

    @property
    def wait(self) -> float:
        """Seconds that the first picture of a batch waits for others."""
        return self.wait_ms / 1e3

    @property
    def most_requests(self) -> int:
        """Requests in progress, bodies that are still on their way included."""
        return 4 * self.queue


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def is_loopback(host: str) -> bool:
    """Tell whether an address is reached from this machine alone.

    Examples:
        >>> is_loopback("127.0.0.1"), is_loopback("::1"), is_loopback("localhost"), is_loopback("0.0.0.0")
        (True, True, True, False)
    """
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def read_token(file: Path | None) -> str | None:
    """Return the token of a file, or else of the environment; None if there is none.

    Raises:
        InputError: The file cannot be read, or the token is too short or holds characters that a header cannot.
    """
    if file is not None:
        origin = str(file)
        try:
            with file.open("rb") as opened:
                token = opened.read(4096).decode("ascii", "replace").strip()
        except OSError as error:
            raise InputError(f"--token-file {file} cannot be read: {error.strerror}.") from error
    else:
        origin, token = TOKEN_VARIABLE, os.environ.get(TOKEN_VARIABLE, "").strip()
        if not token:
            return None
    if len(token) < LEAST_TOKEN or not _TOKEN.fullmatch(token):
        raise InputError(
            f"{origin} must hold one token of {LEAST_TOKEN} or more letters, digits and signs without spaces; "
            "`openssl rand -hex 24` makes one."
        )
    return token
