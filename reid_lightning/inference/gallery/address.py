"""The address of a gallery, which alone says where its vectors lie: a folder, a file of Milvus Lite, or a Milvus server."""

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reid_lightning.arguments import as_path
from reid_lightning.errors import InputError
from reid_lightning.inference.gallery.folder_store import FolderStore
from reid_lightning.inference.gallery.manifest import MANIFEST, Manifest
from reid_lightning.inference.gallery.store import Store, already_there

LITE = ".db"
NAME = "gallery"  # of the collection in a file of Milvus Lite
PORT = 19530
# A `Path` makes one slash of two.
_SERVER = re.compile(r"milvus(?P<tls>\+tls)?:/{0,2}(?P<rest>.*)", re.DOTALL)
_REST = re.compile(
    r"(?P<host>[\w.-]+|\[[0-9a-fA-F:]+\])(:(?P<port>\d{1,5}))?/(?P<name>[A-Za-z_]\w{0,199})", re.ASCII
)


@dataclass(frozen=True)
class MilvusAddress:
    """A gallery in Milvus.

    Attributes:
        uri: Of the server, or the file of Milvus Lite.
        name: Of the collection of vectors.
        shown: As messages name it.
        is_lite: Whether it is a file, which one process opens at a time.
    """

    uri: str
    name: str
    shown: str
    is_lite: bool


def as_address(value: Any) -> Path | MilvusAddress:
    """Return where a gallery lies.

    Args:
        value: A folder; a file that ends in `.db`; or `milvus://HOST:PORT/NAME`, with TLS `milvus+tls://HOST:PORT/NAME`.

    Raises:
        InputError: It is no path, or an address of Milvus that cannot be read.

    Examples:
        >>> as_address("milvus://vectors.example:19530/people").uri
        'http://vectors.example:19530'
        >>> as_address("people.db").is_lite, as_address("people")
        (True, PosixPath('people'))
    """
    path = as_path(value, "The folder of a gallery")
    found = _SERVER.fullmatch(os.fspath(path))
    if found is None:
        path = path.expanduser()
        if path.suffix == LITE:
            return MilvusAddress(str(path), NAME, str(path), True)
        return path
    rest = _REST.fullmatch(found["rest"])
    if rest is None or not 0 < int(rest["port"] or PORT) < 65536:
        secret = " Credentials stand in $MILVUS_TOKEN, not in the address." if "@" in found["rest"] else ""
        raise InputError(
            "The address of a gallery in Milvus is milvus://HOST:PORT/NAME, whose name has letters, digits and underscores "
            f"alone, such as milvus://127.0.0.1:{PORT}/people.{secret}"
        )
    tls = found["tls"] or ""
    port = int(rest["port"] or PORT)
    shown = f"milvus{tls}://{rest['host']}:{port}/{rest['name']}"
    return MilvusAddress(f"http{'s' if tls else ''}://{rest['host']}:{port}", rest["name"], shown, False)


def require_free(address: Path | MilvusAddress) -> None:
    """Refuse an address where a gallery lies already, before any work is done for a new one.

    Raises:
        InputError: One does.
    """
    if isinstance(address, Path):
        taken = (address / MANIFEST).exists()
    else:
        from reid_lightning.inference.gallery.milvus_store import MilvusStore

        taken = MilvusStore.is_there(address)
    if taken:
        shown = address if isinstance(address, Path) else address.shown
        raise already_there(shown)


def opened(address: Path | MilvusAddress) -> Store:
    """Open a gallery.

    Raises:
        InputError: There is none, or it is damaged.
    """
    if isinstance(address, Path):
        return FolderStore(address)
    from reid_lightning.inference.gallery.milvus_store import MilvusStore

    return MilvusStore(address)


def created(address: Path | MilvusAddress, manifest: Manifest) -> Store:
    """Make an empty gallery.

    Raises:
        InputError: The place is taken, or cannot be written to.
    """
    if isinstance(address, Path):
        return FolderStore.create(address, manifest)
    from reid_lightning.inference.gallery.milvus_store import MilvusStore

    return MilvusStore.create(address, manifest)
