"""What an evaluation collects of its images, apart from the process that did: a column of every metric, row by row."""

from torch import Tensor, cat, nn

from reid_lightning.distributed.row_metric import RowMetric
from reid_lightning.errors import InputError
from reid_lightning.systems.task import Task


class CollectedRows(dict[str, Tensor]):
    """Columns of the metrics of a module, as `METRIC.COLUMN`, (N, ...) each; `ReIDModule.test_step` takes them."""

    @classmethod
    def taken_from(cls, module: nn.Module) -> "CollectedRows":
        """Take what the metrics of a module hold out of them, onto the CPU."""
        found = cls()
        for name, metric in _metrics(module).items():
            if len(metric.index):
                columns = {
                    column: cat(list(getattr(metric, column))) for column in ("index", *metric.columns)
                }
                found |= {f"{name}.{column}": rows.cpu().contiguous() for column, rows in columns.items()}
            metric.reset()
        return found

    def put_into(self, module: nn.Module) -> None:
        """Add the rows to the metrics of a module of the same config."""
        for name, metric in _metrics(module).items():
            if f"{name}.index" in self:
                columns = {column: self[f"{name}.{column}"] for column in metric.columns}
                metric.add(self[f"{name}.index"], columns)


def _metrics(module: nn.Module) -> dict[str, RowMetric]:
    return {name: part for name, part in module.named_modules() if isinstance(part, RowMetric)}


def require_collecting(tasks: list[Task]) -> None:
    """Refuse tasks that keep what they see of an evaluation where another process does not find it.

    Raises:
        InputError: Names the task.
    """
    for task in tasks:
        if type(task).update is not Task.update and not _metrics(task):
            raise InputError(
                f"the task {task.name} keeps what it collects in no RowMetric, and parts of an evaluation cannot be joined: "
                "evaluate without --part, or let it collect in a RowMetric (reid_lightning.distributed.row_metric)"
            )
