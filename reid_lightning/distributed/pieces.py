"""Work in numbered pieces, each a file that is written atomically, so that a killed command can continue.

Several processes, on one machine or on several with one file system, do different pieces of one work, and the process
that ends last joins them. A piece never depends on what has run before, so the joined result is the same for any division.
"""

import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

from reid_lightning.errors import InputError
from reid_lightning.files import atomic_path, file_lock, read_own, remove_leftovers

_WORK = "work.json"
_JOIN = ".join.lock"


class Pieces:
    """The folder of the pieces so far.

    A subclass says how many pieces there are (`__len__`), and writes and reads them.

    Args:
        output: What they will be joined to; the folder lies beside it, as `OUTPUT.parts`.

    Attributes:
        ending: Of a piece's file.
        holds: What the pieces are, in the plural.
        called: What users call the facts on which the pieces depend, by name.
    """

    ending: ClassVar[str]
    holds: ClassVar[str]
    called: ClassVar[Mapping[str, str]]

    def __init__(self, output: Path) -> None:
        self.folder = output.with_name(f"{output.name}.parts")

    def __len__(self) -> int:
        """Return how many pieces there are."""
        raise NotImplementedError

    @contextmanager
    def at_work(self, this: int, of: int, own: str) -> Iterator[None]:
        """Keep others from the same part, and leave no folder behind in which nothing is done.

        Args:
            this: Number of the part, from 1.
            of: All parts.
            own: What this process works on, in words.

        Raises:
            InputError: Another process is working on this part.
        """
        lock = f".{this}-of-{of}.lock"
        refusing = f"another process is working on {own}; wait for it, or give another output"
        with file_lock(self.folder / lock, refusing=refusing):
            try:
                yield
            finally:
                others = {path.name for path in self.folder.glob(".*.lock")} - {lock, _JOIN}
                if not self.done() and not others:
                    self.remove()

    @contextmanager
    def joining(self) -> Iterator[bool]:
        """Wait until nobody else joins the pieces; False where somebody else has done so."""
        with file_lock(self.folder / _JOIN):
            yield bool(self.done())

    def begin(self, work: Mapping[str, Any]) -> None:
        """Start, or continue with what is there.

        Args:
            work: All that the pieces depend on, plain values.

        Raises:
            InputError: There are pieces of other work.
        """
        path = self.folder / _WORK
        work = {"format": 1, **work}
        try:
            before = json.loads(read_own(path))
        except (OSError, ValueError, RecursionError):  # not there, or damaged
            before = None
        if before == work:
            return
        if self.done():
            before = before if isinstance(before, dict) else {}
            other = next((name for name in work if before.get(name) != work[name]), "format")
            raise InputError(
                f"{self.folder} holds {self.holds} of an unfinished command with another {self.called.get(other, other)}; "
                "repeat that command to finish it, or remove the folder to start again."
            )
        with atomic_path(path) as temporary:
            temporary.write_text(json.dumps(work, indent=1) + "\n")

    def done(self) -> list[int]:
        """Return the pieces that are done."""
        if not self.folder.is_dir():
            return []
        there = {path.name for path in self.folder.iterdir()}
        return [piece for piece in range(len(self)) if self.file(piece).name in there]

    def todo(self, this: int, of: int) -> list[int]:
        """Return the pieces of a part that are not done: part 1 of 2 has the first, the third and so on."""
        done = set(self.done())
        return [piece for piece in range(this - 1, len(self), of) if piece not in done]

    def file(self, piece: int) -> Path:
        """Return the file of a piece."""
        return self.folder / f"{piece:07}{self.ending}"

    def removed(self, damaged: Path, *more: Path) -> InputError:
        """Remove a damaged file of a piece and its other files; return what is to be said."""
        for path in (damaged, *more):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)
        return InputError(f"{damaged} was damaged and is removed; run the same command to make it again.")

    def remove(self) -> None:
        """Remove the folder."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def remove_leftovers(self) -> None:
        """Remove what killed processes left half written."""
        if self.folder.is_dir():
            remove_leftovers(self.folder / "*")
