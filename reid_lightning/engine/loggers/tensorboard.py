"""TensorBoard: a run's numbers, sentences, pictures and curves."""

from pathlib import Path

from lightning.pytorch.loggers import TensorBoardLogger

from reid_lightning.engine.loggers.outcome import Outcome, flat, record
from reid_lightning.errors import InputError


def tensorboard_logger(output_dir: str | Path) -> TensorBoardLogger:
    """Return a TensorBoard logger that writes into the run's folder."""
    try:
        return TensorBoardLogger(save_dir=str(output_dir), name="", version="tensorboard")
    except ModuleNotFoundError as error:
        raise InputError(
            "logger=tensorboard needs the tensorboard package; install the extra: pip install 'reid-lightning[tensorboard]'"
        ) from error


@record.register(TensorBoardLogger)
def _(logger: TensorBoardLogger, outcome: Outcome) -> None:
    import cv2

    board = logger.experiment
    for name, value in flat(outcome.numbers):
        if isinstance(value, str):
            board.add_text(name, value)
        else:
            board.add_scalar(f"summary/{name}", value)
    for name, sentence in outcome.notes.items():
        board.add_text(name, sentence)
    for name, path in outcome.pictures.items():
        picture = cv2.imread(str(path))
        if picture is not None:
            board.add_image(name, picture[..., ::-1].copy(), dataformats="HWC")
    for name, curve in outcome.curves.items():
        for x, y in curve.points:
            board.add_scalar(name, y, int(x))  # a step per point
