"""What a run leaves: numbers with their protocol, per-query results, pictures and a page."""

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from lightning import Trainer

from reid_lightning import __version__
from reid_lightning.data.annotations import AttributeForm
from reid_lightning.data.datamodule import ReIDDataModule
from reid_lightning.data.table import describe_protocols
from reid_lightning.engine.callbacks.core import Cost
from reid_lightning.engine.loggers import log_images
from reid_lightning.engine.module import ReIDModule
from reid_lightning.errors import InputError
from reid_lightning.files import atomic_path
from reid_lightning.models.flops import forward_gflops
from reid_lightning.reporting.page import Picture
from reid_lightning.results.console import attribute_line, identification_line, print_result
from reid_lightning.results.embedding_map import draw_test_map
from reid_lightning.results.run_page import draw_pictures, write_page
from reid_lightning.results.summary import RunResult
from reid_lightning.retrieval.evaluation import EvaluationRows
from reid_lightning.retrieval.open_set import identification_summary
from reid_lightning.retrieval.ranking import Ranking
from reid_lightning.systems.attributes.files import draw_attributes, write_attribute_files
from reid_lightning.systems.multi_depth.figures import draw_filters
from reid_lightning.systems.pose.figures import draw_skeletons, measure_parts

log = logging.getLogger("reid_lightning")

PEOPLE_OF = {"train": ("train", "val"), "test": ("query",)}  # the splits whose people are counted


def write_results(
    trainer: Trainer,
    module: ReIDModule,
    datamodule: ReIDDataModule,
    output_dir: Path,
    config: Mapping[str, Any],
    seconds: dict[str, float],
    score: float | None = None,
    validation: Mapping[str, float] | None = None,
) -> RunResult:
    """Write numbers, per-query results, pictures and the page of a run.

    Args:
        trainer: The trainer of the last evaluation.
        module: Its last evaluation is reported: the test, or the validation where the data has no test.
        datamodule: Holds the table that the rows refer to.
        output_dir: The run's folder.
        config: The run's plain config.
        seconds: Seconds per stage so far.
        score: Validation mAP of the chosen checkpoint.
        validation: Numbers of the best validation.
    """
    cost: dict[str, Any] = {"parameters": sum(parameter.numel() for parameter in module.network.parameters())}
    for callback in trainer.callbacks:  # type: ignore[attr-defined]
        if isinstance(callback, Cost):
            cost |= callback.summary()
            seconds = seconds | {"fit": seconds["fit"] + callback.earlier} if "fit" in seconds else seconds
    cost["gflops"] = round(forward_gflops(module.network, datamodule.image_size), 4)
    cost["seconds"] = {stage: round(value, 2) for stage, value in seconds.items()}
    result = RunResult(
        score=score,
        validation=dict(validation or {}),
        test=module.evaluated[0].summary(module.protocol.ranks)
        if datamodule.has_test and module.evaluated
        else {},
        protocol="; ".join([*describe_protocols(datamodule.table), module.protocol.describe()]),
        cost=cost,
        attributes=module.attributes_evaluated[0].summary() if module.attributes_evaluated else {},
        identification=_identify(module, datamodule),
        pose=measure_parts(module, datamodule) if trainer.is_global_zero else {},
        people={name: _people(datamodule.table, splits) for name, splits in PEOPLE_OF.items()},
    )
    if trainer.is_global_zero and not config["trainer"]["fast_dev_run"]:
        _write(result, trainer, module, datamodule, output_dir, config)
    if trainer.is_global_zero:
        print_result(result, output_dir)
    return result


def _write(
    result: RunResult,
    trainer: Trainer,
    module: ReIDModule,
    datamodule: ReIDDataModule,
    output_dir: Path,
    config: Mapping[str, Any],
) -> None:
    output_dir.mkdir(parents=True, exist_ok=True)
    with atomic_path(output_dir / "metrics.json") as temporary:
        temporary.write_text(json.dumps({"version": __version__} | asdict(result), indent=2) + "\n")
    pictures: list[Picture] = []
    if module.evaluated is not None:
        ranking, rows = module.evaluated
        with atomic_path(output_dir / "queries.csv") as temporary:
            per_query(ranking, rows, datamodule.table).to_csv(temporary, index=False)
        pictures = draw_pictures(ranking, rows, module.protocol, datamodule.table, output_dir)
        pictures += draw_test_map(rows, datamodule.table, module.protocol, output_dir)
        pictures += draw_filters(module, datamodule, output_dir)
        pictures += draw_skeletons(module, datamodule, output_dir, config, result.pose)
        pictures += _attributes(module, datamodule, output_dir, config)
        log_images(trainer.loggers, {f"test/{picture.path.stem}": picture.path for picture in pictures})
    scores = {"validation": result.validation, "test": result.test}
    write_page(output_dir, result.protocol, scores, _facts(result, config), pictures, config)


def _people(table: pd.DataFrame, splits: Sequence[str]) -> int:
    """Count the people in some splits of a table."""
    rows = table.loc[table["split"].isin(splits), ["source", "person_id"]]
    return len(rows.drop_duplicates())


def _identify(module: ReIDModule, datamodule: ReIDDataModule) -> dict[str, float]:
    """Return how often the queries of the last evaluation are named right, where the protocol asks for it."""
    protocol = module.protocol
    if protocol.identification is None or module.evaluated is None:
        return {}
    rows = module.evaluated[1]
    nobody = torch.tensor(datamodule.table["distractor"].to_numpy(bool))
    gallery = rows.gallery.select(~nobody[rows.gallery.index.cpu()].to(rows.index.device))
    try:
        return identification_summary(
            rows.query.embeddings,
            gallery.embeddings,
            rows.query.person_ids,
            gallery.person_ids,
            rows.query.camera_ids,
            gallery.camera_ids,
            k=protocol.identification,
            metric=protocol.metric,
            camera_policy=protocol.camera_policy,
        )
    except InputError as error:  # of a handful of people; the run's other results stand
        log.warning("evaluation.identification is not measured: %s", error)
        return {}


def _attributes(
    module: ReIDModule, datamodule: ReIDDataModule, output_dir: Path, config: Mapping[str, Any]
) -> list[Picture]:
    """Write the attributes' files where there was a test, and draw their pictures."""
    if module.attributes_evaluated is None or module.evaluated is None or module.schema is None:
        return []
    (scores, answers), (_, ranked) = module.attributes_evaluated, module.evaluated
    if datamodule.has_test:
        gallery_files = config["attributes"]["gallery_files"]
        write_attribute_files(
            answers,
            ranked,
            module.protocol,
            datamodule.table,
            module.schema,
            module.attribute_form or AttributeForm.of_schema(module.schema),
            gallery_files,
            output_dir,
        )
    return draw_attributes(scores, answers, datamodule.table, module.schema, output_dir)


def _facts(result: RunResult, config: Mapping[str, Any]) -> dict[str, str]:
    """Return what the page says beside the scores."""
    cost = result.cost
    facts = {
        "Data": ", ".join(config["data"]["sources"]),
        "Parameters": f"{cost['parameters'] / 1e6:.2f} M",
        "Losses": ", ".join(
            [
                name
                for name, task in (("identity", "classifier"), ("attributes", "attributes"))
                if config[task]
            ]
            + list(config["loss"] or {})
        ),
        "Seed": str(config["seed"]),
        "Time": ", ".join(f"{stage} {value:.0f} s" for stage, value in cost["seconds"].items()),
    }
    if result.attributes:
        facts["Attributes"] = attribute_line(result.attributes).removeprefix("attributes: ")
    if result.identification:
        facts["Identification"] = identification_line(result.identification).removeprefix("identification: ")
    if "images_per_second" in cost:
        facts["Training"] = f"{cost['images_per_second']:.0f} images/s"
    return facts


def per_query(ranking: Ranking, rows: EvaluationRows, table: pd.DataFrame) -> pd.DataFrame:
    """Return a row per query: who, where, and how well it was answered; empty numbers where nothing matched."""
    who = table.iloc[rows.query.index.cpu().numpy()][
        ["path", "source", "person_id", "camera_id"]
    ].reset_index(drop=True)
    return who.assign(
        average_precision=ranking.average_precision.numpy(),
        trapezoid_ap=ranking.trapezoid_ap.numpy(),
        inp=ranking.inp.numpy(),
        first_match_rank=ranking.first_match_rank.numpy(),
        num_matches=ranking.num_matches.numpy(),
    )
