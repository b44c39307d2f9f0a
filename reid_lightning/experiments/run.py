"""One job: data, module, callbacks, loggers, trainer; fit, test, report."""

import copy
import logging
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import lightning
import torch
import yaml
from lightning import Callback, Trainer
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.pytorch.callbacks import ModelCheckpoint, RichProgressBar
from lightning.pytorch.utilities import rank_zero_only

from reid_lightning.config.resolve import instantiate
from reid_lightning.data.datamodule import ReIDDataModule
from reid_lightning.distributed.batch_norm import SynchronizedBatchNorm
from reid_lightning.distributed.ddp_launcher import (
    Children,
    JobDDPStrategy,
    processes_of_one_job,
    world_size,
)
from reid_lightning.distributed.launched import launched
from reid_lightning.engine import loggers as loggers_
from reid_lightning.engine.callbacks.freeze_backbone import FreezeBackbone
from reid_lightning.engine.callbacks.stop_at_signal import StopAtSignal
from reid_lightning.engine.callbacks.time_limit import StopAfter, TimeLimit
from reid_lightning.engine.checkpoint_entry import CHECKPOINT_KEY, trained_epochs
from reid_lightning.engine.checkpoint_io import AtomicCheckpointIO
from reid_lightning.engine.metrics_file import MetricsFile
from reid_lightning.engine.module import ReIDModule
from reid_lightning.errors import InputError
from reid_lightning.experiments.checks import (
    check_data,
    check_launched,
    check_run,
    check_weights,
    of_lightning,
)
from reid_lightning.experiments.factory import build_datamodule, build_module
from reid_lightning.experiments.feeding import feed_of_config, with_architecture, with_start
from reid_lightning.experiments.malloc import keep_freed_memory
from reid_lightning.experiments.model_places import local_path
from reid_lightning.experiments.quiet import quiet
from reid_lightning.experiments.resume import Resumed, resumed_from
from reid_lightning.experiments.run_folder import alone_in
from reid_lightning.experiments.source_tables import SourceTables
from reid_lightning.experiments.tasks import tasks_of
from reid_lightning.files import atomic_path
from reid_lightning.models.weights import load_whole
from reid_lightning.results.card_writer import CardWriter, write_final_card
from reid_lightning.results.data_facts import warn_of_images
from reid_lightning.results.finished import mark
from reid_lightning.results.protocol_line import warn_of_small_validation
from reid_lightning.results.run_result import run_of, write_results
from reid_lightning.results.summary import RunResult, Stopwatch
from reid_lightning.systems.task import Run

log = logging.getLogger("reid_lightning")


@dataclass
class Fitted:
    """What one fit leaves behind."""

    trainer: Trainer
    module: ReIDModule
    datamodule: ReIDDataModule
    checkpoint: Path | None  # the best on validation; None: the weights as they are
    best_epoch: int  # epochs trained until then
    score: float | None
    validation: dict[str, float]  # numbers of the checkpoint's own validation
    interval: list[float] | None  # of its mAP
    unfinished: bool = False  # the time limit ended it; a continued run has more epochs to train


def run_job(
    config: dict[str, Any], tables: SourceTables | None = None, locked: bool = False
) -> RunResult | None:
    """Train, evaluate and report one resolved config.

    Args:
        config: Plain containers; `output_dir` receives everything that the run leaves.
        tables: What the jobs of a process have read in common; None reads again.
        locked: Whether the caller holds the lock of `output_dir` already.

    Returns:
        The result; its `score` (validation mAP) is what a sweep optimizes, and the test set has been seen once. None if
        `time_limit` has ended it before its last epoch: it is neither tested nor reported yet.

    Raises:
        InputError: Anything in the config or the data that cannot be used.
    """
    quiet()
    keep_freed_memory()
    config = with_start(with_architecture(config))
    check_run(config)
    check_launched(config)
    output_dir = Path(config["output_dir"])
    with alone_in(output_dir, locked), _loggers_closed():
        resumed = resumed_from(config, output_dir)
        if resumed is None:
            check_weights(config)
        feed = feed_of_config(config) if resumed is None else resumed.feed
        if not feed.is_plain:
            log.info("images come in with %s", feed)
        config = {**config, "feed": feed.as_dict()}
        _write_config(config, output_dir / "config.yaml")
        mark(output_dir, finished=False)
        return _run(config, output_dir, tables, resumed)


def _run(
    config: dict[str, Any], output_dir: Path, tables: SourceTables | None, resumed: Resumed | None
) -> RunResult | None:
    """Train, evaluate and report in a folder where nobody else works."""
    watch = Stopwatch()
    with processes_of_one_job() as children:
        fitted = _fit(config, output_dir, children, watch, tables, resumed=resumed)
        score, validation, interval = fitted.score, fitted.validation, fitted.interval
        epoch = fitted.best_epoch if fitted.checkpoint is not None else None
        if fitted.unfinished:
            _say_how_to_continue(fitted.trainer, output_dir)
            return None
        if config["refit"]:
            chosen = loggers_.beside_the_file(fitted.trainer.loggers)
            fitted = _fit(
                _on_all_identities(config),
                output_dir / "refit",
                children,
                watch,
                tables,
                stop_after=fitted.best_epoch,
            )
            fitted.trainer.loggers = [*fitted.trainer.loggers, *chosen]  # they take the test
        with watch.stage("test"):
            best = None if config["trainer"]["fast_dev_run"] else fitted.checkpoint
            if fitted.datamodule.is_tested:
                with _uncompiled(config):
                    fitted.trainer.test(
                        fitted.module, fitted.datamodule, ckpt_path=best, verbose=False, weights_only=True
                    )
            else:
                log.info("the data has no query and gallery rows: nothing is tested")
        run = run_of(fitted.trainer, fitted.module, fitted.datamodule, output_dir, config, watch)
        result = write_results(
            run, fitted.trainer, fitted.module, watch.seconds, score, validation, interval, epoch
        )
        if run.steps is None and fitted.trainer.is_global_zero and (file := _described(fitted)) is not None:
            write_final_card(result, file, config, fitted.module, fitted.datamodule)
            loggers_.record_all(fitted.trainer.loggers, loggers_.Outcome(model=file))
        for sentence in loggers_.finish(fitted.trainer.loggers):
            log.info(sentence)
    if run.steps is None:
        mark(output_dir, finished=True)
    return result


@contextmanager
def _loggers_closed() -> Iterator[None]:
    """Close what a job that ends early has opened, so that the next job of the process starts runs of its own."""
    try:
        yield
    except BaseException:
        loggers_.abandon()
        raise


def _described(fitted: Fitted) -> Path | None:
    """Return the checkpoint with the weights that were tested: the best one, or the last where nothing chose one."""
    if fitted.checkpoint is not None:
        return fitted.checkpoint
    last = Path(fitted.trainer.default_root_dir) / "checkpoints" / "last.ckpt"
    return last if last.is_file() else None


def _uncompiled(config: Mapping[str, Any]) -> AbstractContextManager[Any]:
    """Keep torch.compile out of the one test, which is over before its graphs (of full batches and the last) are made."""
    return torch.compiler.set_stance("force_eager") if config["compile"] else nullcontext()


def _say_how_to_continue(trainer: Trainer, output_dir: Path) -> None:
    """Close the loggers of a job that its time limit has ended."""
    log.info(
        "time_limit: ended after %d of %s epochs; continue with hydra.run.dir=%s resume=last",
        trainer.current_epoch,
        trainer.max_epochs,
        output_dir,
    )
    for sentence in loggers_.finish(trainer.loggers):
        log.info(sentence)


def _fit(
    config: dict[str, Any],
    output_dir: Path,
    children: Children,
    watch: Stopwatch,
    tables: SourceTables | None = None,
    resumed: Resumed | None = None,
    stop_after: int | None = None,
) -> Fitted:
    """Build everything of a run and train it."""
    lightning.seed_everything(config["seed"], workers=True, verbose=False)
    with watch.stage("data"):
        datamodule = build_datamodule(config)
        if tables is not None:
            datamodule.share(tables.joined(config, datamodule.attributes))
        datamodule.setup("fit")
        check_data(config, datamodule)
        warn_of_small_validation(datamodule, instantiate(config["evaluation"], "evaluation"))
        for kind, settings in tasks_of(config).values():
            kind.check_data(settings, config, datamodule)
    with watch.stage("build"):
        module = build_module(config, datamodule.num_identities, datamodule.identity_labels, datamodule)
        if config.get("start_from") and resumed is None:
            load_whole(module.network, local_path(str(config["start_from"])))
        module.data_fingerprint = datamodule.fingerprint()
        callbacks = _callbacks(config, output_dir, datamodule.has_validation, stop_after)
        if config["time_limit"] is not None:
            deadline = watch.started + 60 * config["time_limit"]
            callbacks.append(TimeLimit(deadline, output_dir / "checkpoints" / "last.ckpt"))
        trainer = _trainer(config, output_dir, callbacks, children, datamodule.has_validation, resumed)
    with watch.stage("data"):
        datamodule.prepare_data()  # the images are decoded when all else is known to be right
        warn_of_images(datamodule, Path(config["output_dir"]))
    run = run_of(trainer, module, datamodule, Path(config["output_dir"]), config, watch)
    _prepare(module, replace(run, resumed=resumed is not None))
    with watch.stage("fit"), of_lightning():
        path = str(resumed.path) if resumed else None
        trainer.fit(module, datamodule, ckpt_path=path, weights_only=True)
    if trainer.interrupted:
        raise KeyboardInterrupt
    if any(isinstance(callback, TimeLimit) and callback.ended for callback in callbacks):
        return Fitted(
            trainer, module, datamodule, None, trainer.current_epoch, None, {}, None, unfinished=True
        )
    last = module.validation_summary, module.validation_interval
    watching = next((c for c in callbacks if isinstance(c, ModelCheckpoint) and c.monitor), None)
    if watching is None or watching.best_model_score is None:
        return Fitted(trainer, module, datamodule, None, trainer.current_epoch, None, *last)
    best, score = Path(watching.best_model_path), float(watching.best_model_score)
    epochs, validation, interval = _read_best(best)
    return Fitted(trainer, module, datamodule, best, epochs, score, validation, interval)


@rank_zero_only
def _prepare(module: ReIDModule, run: Run) -> None:
    """Let the tasks learn what comes before the training, in the first process, whose weights all others start from."""
    for task in module.tasks:
        task.before_fit(run)


def _callbacks(
    config: Mapping[str, Any], output_dir: Path, has_validation: bool, stop_after: int | None
) -> list[Callback]:
    callbacks: list[Callback] = [StopAtSignal()]
    without_people = {
        f"val/{name}/{number}" for name, (task, _) in tasks_of(config).items() for number in task.monitors
    }
    for name, node in copy.deepcopy(dict(config["callbacks"])).items():
        saves = node["_target_"].endswith("ModelCheckpoint")
        if saves:
            node["dirpath"] = str(output_dir / "checkpoints")
        if has_validation or not node.get("monitor") or node["monitor"] in without_people:
            callbacks.append(instantiate(node, f"callbacks.{name}"))
        elif not saves:
            raise InputError(
                f"{node['_target_'].rsplit('.', 1)[-1]} watches {node['monitor']}, and data.validation=none leaves none; "
                "use callbacks=default"
            )
    if any(isinstance(callback, ModelCheckpoint) for callback in callbacks):
        callbacks.append(CardWriter(output_dir / "checkpoints", config))
    if config["frozen_epochs"]:
        callbacks.append(FreezeBackbone(config["frozen_epochs"]))
    if stop_after is not None:
        callbacks.append(StopAfter(stop_after))
    if config["trainer"].get("enable_progress_bar", True):
        callbacks.append(RichProgressBar(refresh_rate=5, leave=False))
    return callbacks


def _trainer(
    config: Mapping[str, Any],
    output_dir: Path,
    callbacks: list[Callback],
    children: Children,
    has_validation: bool,
    resumed: Resumed | None,
) -> Trainer:
    node = dict(config["trainer"])
    file = MetricsFile(output_dir, epochs=resumed.epochs if resumed else 0)
    loggers: list[Any] = [file]
    if output_dir == Path(config["output_dir"]):
        chosen = [instantiate(logger, f"logger.{name}") for name, logger in (config["logger"] or {}).items()]
        for logger in chosen:
            logger.log_hyperparams(dict(config))
            loggers_.log_earlier(logger, file.earlier())
        loggers += chosen
    ranks = world_size(node["devices"], node["num_nodes"], node["accelerator"])
    plugins: list[Any] = [*(node.get("plugins") or []), AtomicCheckpointIO()]
    if node.pop("sync_batchnorm") and ranks > 1:
        on_gpu = node["accelerator"] != "cpu" and torch.cuda.is_available()
        plugins.append(SynchronizedBatchNorm(on_gpu))
    job = launched()
    if job is not None and job.by == "srun":
        plugins.append(SLURMEnvironment(auto_requeue=False))  # submitit queues a job again
    elif job is None and SLURMEnvironment.detect():
        plugins.append(
            LightningEnvironment()
        )  # in a SLURM job without srun the first process starts the others
    strategy = JobDDPStrategy(Path(config["output_dir"]) / "config.yaml", children) if ranks > 1 else "auto"
    trainer = instantiate(
        node,
        "trainer",
        callbacks=callbacks,
        logger=loggers,
        strategy=strategy,
        plugins=plugins,
        default_root_dir=str(output_dir),
        use_distributed_sampler=False,  # the samplers know their rank
        enable_model_summary=False,
    )
    if not has_validation:
        trainer.limit_val_batches = 0  # `fast_dev_run` has set another number
    return trainer


def _read_best(path: Path) -> tuple[int, dict[str, float], list[float] | None]:
    """Return after how many epochs a checkpoint was written, the numbers of its validation, and the interval of its mAP.

    Another checkpoint may have a higher mAP, where something else chose this one.
    """
    checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    entry = checkpoint[CHECKPOINT_KEY]
    return trained_epochs(checkpoint), entry["validation"], entry.get("validation_interval")


def _on_all_identities(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the config of the refit: no validation, and nothing that watches it."""
    refit = copy.deepcopy(dict(config))
    refit["data"]["validation"] = None
    refit["callbacks"] = {
        name: node
        for name, node in refit["callbacks"].items()
        if "monitor" not in node or node["_target_"].endswith("ModelCheckpoint")
    }
    return refit


@rank_zero_only
def _write_config(config: Mapping[str, Any], path: Path) -> None:
    """Write the resolved config, from which further ranks and later commands start."""
    with atomic_path(path) as temporary:
        temporary.write_text(yaml.safe_dump(dict(config), sort_keys=False))
