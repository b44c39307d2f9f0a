"""One job: data, module, callbacks, loggers, trainer; fit, test, report."""

import copy
import logging
import os
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import lightning
import torch
import yaml
from lightning import Callback, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint, RichProgressBar
from lightning.pytorch.utilities import rank_zero_only

from reid_lightning.config.resolve import instantiate
from reid_lightning.config.schema import of_network
from reid_lightning.config.validate import differences
from reid_lightning.data.datamodule import ReIDDataModule
from reid_lightning.distributed.ddp_launcher import Children, JobDDPStrategy, processes_of_one_job, world_size
from reid_lightning.engine import loggers as loggers_
from reid_lightning.engine.callbacks.freeze_backbone import FreezeBackbone
from reid_lightning.engine.callbacks.time_limit import StopAfter, TimeLimit
from reid_lightning.engine.module import CHECKPOINT_KEY, ReIDModule
from reid_lightning.errors import InputError
from reid_lightning.experiments.checkpoint import completed
from reid_lightning.experiments.checks import check_data, check_run, of_lightning
from reid_lightning.experiments.factory import build_datamodule, build_module
from reid_lightning.experiments.malloc import keep_freed_memory
from reid_lightning.experiments.quiet import quiet
from reid_lightning.experiments.source_tables import SourceTables
from reid_lightning.experiments.tasks import tasks_of
from reid_lightning.files import atomic_path
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
    unfinished: bool = False  # the time limit ended it; a continued run has more epochs to train


def run_job(config: dict[str, Any], tables: SourceTables | None = None) -> RunResult | None:
    """Train, evaluate and report one resolved config.

    Args:
        config: Plain containers; `output_dir` receives everything that the run leaves.
        tables: What the jobs of a process have read in common; None reads anew.

    Returns:
        The result; its `score` (validation mAP) is what a sweep optimises, and the test set has been seen once. None if
        `time_limit` has ended it before its last epoch: it is neither tested nor reported yet.

    Raises:
        InputError: Anything in the config or the data that cannot be used.
    """
    quiet()
    keep_freed_memory()
    check_run(config)
    output_dir = Path(config["output_dir"])
    checkpoint = _resume_path(config["resume"], output_dir, config)
    output_dir.mkdir(parents=True, exist_ok=True)
    _write_config(config, output_dir / "config.yaml")
    watch = Stopwatch()
    with processes_of_one_job() as children:
        fitted = _fit(config, output_dir, children, watch, tables, resume=checkpoint)
        score, validation = fitted.score, fitted.module.validation_summary
        if fitted.unfinished:
            _say_how_to_continue(fitted.trainer, output_dir)
            return None
        if config["refit"]:
            fitted = _fit(
                _on_all_identities(config),
                output_dir / "refit",
                children,
                watch,
                tables,
                stop_after=fitted.best_epoch,
            )
        with watch.stage("test"):
            best = None if config["trainer"]["fast_dev_run"] else fitted.checkpoint
            if fitted.datamodule.has_test:
                with _uncompiled(config):
                    fitted.trainer.test(fitted.module, fitted.datamodule, ckpt_path=best, verbose=False)
            else:
                log.info("the data has no query and gallery rows: nothing is tested")
        run = run_of(fitted.trainer, fitted.module, fitted.datamodule, output_dir, config, watch)
        result = write_results(run, fitted.trainer, fitted.module, watch.seconds, score, validation)
        for sentence in loggers_.finish(fitted.trainer.loggers):
            log.info(sentence)
    return result


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
    resume: str | None = None,
    stop_after: int | None = None,
) -> Fitted:
    """Build everything of a run and train it."""
    lightning.seed_everything(config["seed"], workers=True, verbose=False)
    with watch.stage("data"):
        datamodule = build_datamodule(config)
        if tables is not None:
            datamodule.sources = dict(tables.readers(config))
        datamodule.setup("fit")
        check_data(config, datamodule)
        for kind, settings in tasks_of(config).values():
            kind.check_data(settings, config, datamodule)
    with watch.stage("build"):
        module = build_module(config, datamodule.num_identities, datamodule.identity_labels, datamodule)
        callbacks = _callbacks(config, output_dir, datamodule.has_validation, stop_after)
        if config["time_limit"] is not None:
            deadline = watch.started + 60 * config["time_limit"]
            callbacks.append(TimeLimit(deadline, output_dir / "checkpoints" / "last.ckpt"))
        trainer = _trainer(config, output_dir, callbacks, children, datamodule.has_validation, resume)
    with watch.stage("data"):
        datamodule.prepare_data()  # the images are decoded when all else is known to be right
    run = run_of(trainer, module, datamodule, Path(config["output_dir"]), config, watch)
    _prepare(module, replace(run, resumed=resume is not None))
    with watch.stage("fit"), of_lightning():
        trainer.fit(module, datamodule, ckpt_path=resume)
    if trainer.interrupted:
        raise KeyboardInterrupt
    if any(isinstance(callback, TimeLimit) and callback.ended for callback in callbacks):
        return Fitted(trainer, module, datamodule, None, trainer.current_epoch, None, unfinished=True)
    watching = next((c for c in callbacks if isinstance(c, ModelCheckpoint) and c.monitor), None)
    if watching is None or watching.best_model_score is None:
        return Fitted(trainer, module, datamodule, None, trainer.current_epoch, None)
    best, score = Path(watching.best_model_path), float(watching.best_model_score)
    return Fitted(trainer, module, datamodule, best, _epochs_of(best), score)


@rank_zero_only
def _prepare(module: ReIDModule, run: Run) -> None:
    """Let the tasks learn what comes before the training, in the first process, whose weights all others start from."""
    for task in module.tasks:
        task.before_fit(run)


def _callbacks(
    config: Mapping[str, Any], output_dir: Path, has_validation: bool, stop_after: int | None
) -> list[Callback]:
    callbacks: list[Callback] = []
    for name, node in copy.deepcopy(dict(config["callbacks"])).items():
        saves = node["_target_"].endswith("ModelCheckpoint")
        if saves:
            node["dirpath"] = str(output_dir / "checkpoints")
        if has_validation or not node.get("monitor"):
            callbacks.append(instantiate(node, f"callbacks.{name}"))
        elif not saves:
            raise InputError(
                f"{node['_target_'].rsplit('.', 1)[-1]} watches {node['monitor']}, and data.validation=none leaves none; "
                "use callbacks=default"
            )
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
    resume: str | None,
) -> Trainer:
    node = dict(config["trainer"])
    loggers: list[Any] = [loggers_.csv_logger(output_dir, continued=resume is not None)]
    if output_dir == Path(config["output_dir"]):
        chosen = [instantiate(logger, f"logger.{name}") for name, logger in (config["logger"] or {}).items()]
        for logger in chosen:
            logger.log_hyperparams(dict(config))
        loggers += chosen
    ranks = world_size(node["devices"], node["num_nodes"], node["accelerator"])
    if not has_validation:
        node["limit_val_batches"] = 0
    node["sync_batchnorm"] = node["sync_batchnorm"] and ranks > 1 and torch.cuda.is_available()
    strategy = JobDDPStrategy(Path(config["output_dir"]) / "config.yaml", children) if ranks > 1 else "auto"
    return instantiate(
        node,
        "trainer",
        callbacks=callbacks,
        logger=loggers,
        strategy=strategy,
        default_root_dir=str(output_dir),
        use_distributed_sampler=False,  # the samplers know their rank
        enable_model_summary=False,
    )


def _resume_path(resume: str | None, output_dir: Path, config: Mapping[str, Any]) -> str | None:
    if resume is None:
        if (output_dir / "checkpoints" / "last.ckpt").exists() and not os.environ.get("LOCAL_RANK"):
            raise InputError(
                f"{output_dir} already holds a run; continue it with resume=last, or choose another hydra.run.dir"
            )
        return None
    path = output_dir / "checkpoints" / "last.ckpt" if resume == "last" else Path(resume)
    if not path.is_file():
        where = f"hydra.run.dir={output_dir}" if resume == "last" else f"resume={resume}"
        raise InputError(
            f"there is no checkpoint {path} to resume from ({where}); name the folder of the run to continue with "
            "hydra.run.dir=DIR, or the file itself with resume=FILE"
        )
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
        saved = completed(checkpoint[CHECKPOINT_KEY]["config"])
    except Exception as error:
        raise InputError(
            f"{path} is not a checkpoint of reid-lightning; to start from its weights use backbone.weights={path}"
        ) from error
    untested = resume == "last" and not (output_dir / "metrics.json").exists()
    if checkpoint["epoch"] + 1 >= config["trainer"]["max_epochs"] and not untested:
        raise InputError(
            f"{path} has already been trained for its {checkpoint['epoch'] + 1} epochs; "
            "raise trainer.max_epochs to continue it"
        )
    for line in differences(_of_network(saved), _of_network(config)):
        raise InputError(
            f"the network of {path} is another one ({line}); drop the override, or start in a new folder"
        )
    for line in differences(saved, config):
        log.warning("resumed run differs from its checkpoint: %s", line)
    return str(path)


def _of_network(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a config says about the network."""
    described = of_network(config)
    tasks = tasks_of(config)
    for task, settings in tasks.values():
        described |= task.of_network(settings, config)
    return described | {"tasks": {name: task.__name__ for name, (task, _) in tasks.items()}}


def _epochs_of(checkpoint: Path) -> int:
    """Return after how many epochs a checkpoint was written."""
    return int(torch.load(checkpoint, map_location="cpu", weights_only=True)["epoch"]) + 1


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
