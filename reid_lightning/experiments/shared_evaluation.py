"""An evaluation that several processes share: each collects its part, and the process that ends last ranks all of it."""

import json
from collections.abc import Iterator, Mapping, Sequence
from hashlib import file_digest, sha256
from pathlib import Path
from typing import Any, ClassVar

import torch
from lightning import LightningModule
from lightning.pytorch.utilities import rank_zero_only
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch.utils.data import DataLoader

from reid_lightning import __version__
from reid_lightning.data.dataset import keep_batch
from reid_lightning.data.samplers import Batch
from reid_lightning.distributed.launched import local_rank, part_of
from reid_lightning.distributed.pieces import Pieces
from reid_lightning.engine.collected import CollectedRows, require_collecting
from reid_lightning.engine.module import ReIDModule
from reid_lightning.errors import InputError
from reid_lightning.experiments.evaluate import Evaluation, EvaluationSettings, evaluating
from reid_lightning.experiments.model_folder import WEIGHTS
from reid_lightning.files import atomic_path, require_regular
from reid_lightning.reporting.terminal import say
from reid_lightning.results.data_facts import warn_of_images
from reid_lightning.results.summary import METRICS, RunResult

PIECE = 1024  # images, rounded down to whole batches: what a kill can lose
_INDEX = "test.index"
_CALLED = {
    "format": "version of reid-lightning",
    "version": "version of reid-lightning",
    "piece": "version of reid-lightning",
    "batch_size": "batch size",
    "model": "model",
    "settings": "protocol, precision or other setting",
    "images": "data",
}


class CollectedPieces(Pieces):
    """What has been collected so far, whole batches of the test set at a time.

    Args:
        output: Folder of the results; that of the pieces lies beside it.
        batches: Of the whole test set.
    """

    ending: ClassVar[str] = ".safetensors"
    holds: ClassVar[str] = "parts"
    called: ClassVar[Mapping[str, str]] = _CALLED

    def __init__(self, output: Path, batches: Sequence[Batch]) -> None:
        super().__init__(output)
        self.all_batches = batches
        self.size = max(1, PIECE // max(1, len(batches[0])))  # batches

    def __len__(self) -> int:
        """Return how many pieces there are."""
        return -(-len(self.all_batches) // self.size)

    def batches(self, piece: int) -> Sequence[Batch]:
        """Return the batches of a piece."""
        return self.all_batches[piece * self.size : (piece + 1) * self.size]

    def write(self, piece: int, rows: CollectedRows) -> None:
        """Write a piece.

        Raises:
            InputError: It cannot be written.
        """
        with atomic_path(self.file(piece)) as temporary:
            save_file(dict(rows), temporary)

    def joined(self) -> CollectedRows:
        """Return the rows of all pieces, read one piece at a time into the tensors that are ranked.

        Raises:
            InputError: A file is damaged; it is removed, so that the same command makes it again.
        """
        shapes = [shape for _, shape in self._read(lambda opened, name: opened.get_slice(name).get_shape())]
        found, filled = CollectedRows(), dict.fromkeys(shapes[0], 0)
        for piece, columns in self._read(lambda opened, name: opened.get_tensor(name)):
            rows = [row for batch in self.batches(piece) for row, _ in batch]
            if columns.keys() != shapes[0].keys() or columns[_INDEX].tolist() != rows:
                raise self.removed(self.file(piece))
            for name, column in columns.items():
                if name not in found:
                    length = sum(shape[name][0] for shape in shapes)
                    found[name] = column.new_empty((length, *column.shape[1:]))
                start = filled[name]
                filled[name] = start + len(column)
                found[name][start : filled[name]] = column
        return found

    def _read(self, take: Any) -> Iterator[tuple[int, dict[str, Any]]]:
        """Yield of every piece what is taken of each column."""
        for piece in range(len(self)):
            file = self.file(piece)
            try:
                require_regular(file)
                with safe_open(file, "pt") as opened:
                    columns = {name: take(opened, name) for name in opened.keys()}  # noqa: SIM118
                if _INDEX not in columns:
                    raise ValueError
            except (SafetensorError, ValueError, OSError, RuntimeError):
                raise self.removed(file) from None
            yield piece, columns


class _Collector(LightningModule):
    """Embeds the batches of some pieces and writes each piece when its last batch is done."""

    def __init__(self, module: ReIDModule, pieces: CollectedPieces, todo: Sequence[int]) -> None:
        super().__init__()
        self.module, self.pieces = module, pieces
        self.ends: dict[int, int] = {}  # number of batches -> the piece that they end
        for piece in todo:
            self.ends[(max(self.ends) if self.ends else 0) + len(pieces.batches(piece))] = piece

    def test_step(self, batch: dict[str, torch.Tensor], batch_idx: int) -> None:
        self.module.test_step(batch, batch_idx)
        if (piece := self.ends.get(batch_idx + 1)) is not None:
            self.pieces.write(piece, CollectedRows.taken_from(self.module))


def evaluate_part(
    path: str | Path,
    output_dir: str | Path,
    part: str,
    settings: EvaluationSettings | None = None,
) -> RunResult | None:
    """Do a part of an evaluation; the process that ends last ranks the test set and writes what `evaluate` writes.

    Batches are those of an evaluation in one process, so that the numbers are the same to the digit with as many threads.
    What has been collected lies in `OUTPUT_DIR.parts` until it is joined; a part that was killed continues there.

    Args:
        path: A checkpoint file written by a run, or the folder of a saved model.
        output_dir: Receives the results; all processes must see it.
        part: "K/N" for the K-th of N parts; "auto" takes K and N from the SLURM array, torchrun or srun.
        settings: How it is evaluated, the same for all parts; None: the defaults.

    Returns:
        None where other processes have parts to do.

    Raises:
        InputError: As of `evaluate`; or the part is none, its work is done by another process, or there are parts of another
            evaluation.
    """
    this, of = part_of(part)
    rank_zero_only.rank = 0  # type: ignore[attr-defined]  # each process is the first one of its own evaluation
    output_dir = Path(output_dir)
    own = f"part {this} of {of} of {output_dir}"
    if (output_dir / METRICS).exists() and not output_dir.with_name(f"{output_dir.name}.parts").is_dir():
        raise InputError(
            f"{output_dir} holds an evaluation already, with all parts; remove it, or give another --output."
        )
    evaluation = Evaluation.of(path, output_dir, settings)
    require_collecting(evaluation.module.tasks)
    pieces = CollectedPieces(output_dir, list(evaluation.datamodule.test_batches()))
    with pieces.at_work(this, of, own):
        pieces.begin(_work(evaluation, path))
        pieces.remove_leftovers()
        _collect(evaluation, pieces, pieces.todo(this, of), part == "auto")
        if missing := len(pieces) - len(pieces.done()):
            say(
                f"{own} is done; the others have {missing} of {len(pieces)} pieces to do, and the last one ranks them"
            )
            return None
        with pieces.joining() as mine:
            return _ranked(evaluation, pieces) if mine else None


def _work(evaluation: Evaluation, path: str | Path) -> dict[str, Any]:
    """Return what the rows depend on."""
    file = Path(path) / WEIGHTS if Path(path).is_dir() else Path(path)
    with file.open("rb") as opened:
        weights = file_digest(opened, "sha256").hexdigest()
    settings = {
        name: node for name, node in evaluation.config.items() if name not in ("output_dir", "reports")
    }
    return {
        "version": __version__,
        "piece": PIECE,
        "batch_size": evaluation.datamodule.batch_size,
        "model": weights,
        "settings": sha256(json.dumps(settings, sort_keys=True, default=str).encode()).hexdigest(),
        "images": evaluation.datamodule.fingerprint(),
    }


def _collect(evaluation: Evaluation, pieces: CollectedPieces, todo: Sequence[int], own_gpu: bool) -> None:
    """Embed some pieces."""
    if not todo:
        return
    trainer = _trainer(evaluation, own_gpu)
    evaluation.datamodule.trainer = (
        trainer  # which says how many loader processes there are, and on what device
    )
    loader = evaluation.datamodule.test_part_dataloader(
        [batch for piece in todo for batch in pieces.batches(piece)]
    )
    with evaluation.watch.stage("test"):
        trainer.test(_Collector(evaluation.module, pieces, todo), loader, verbose=False)


def _trainer(evaluation: Evaluation, own_gpu: bool) -> Any:
    gpus = 0 if evaluation.config["trainer"]["accelerator"] == "cpu" else torch.cuda.device_count()
    device = local_rank() % gpus if own_gpu and gpus > 1 else None
    return evaluating(evaluation.config, device, alone=True)


def _ranked(evaluation: Evaluation, pieces: CollectedPieces) -> RunResult:
    """Rank what all processes have collected, write the results and remove the pieces."""
    warn_of_images(evaluation.datamodule, evaluation.output_dir)
    trainer = _trainer(evaluation, own_gpu=False)
    with evaluation.watch.stage("test"):
        batches: Any = [pieces.joined()]
        loader: DataLoader[CollectedRows] = DataLoader(batches, batch_size=None, collate_fn=keep_batch)
        trainer.test(evaluation.module, loader, verbose=False)
    result = evaluation.write(trainer)
    pieces.remove()
    return result
