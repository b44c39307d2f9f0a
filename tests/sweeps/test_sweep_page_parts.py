"""What the page of a sweep says beside its numbers: commands, header, curves and links, from folders as jobs leave them."""

import json
import os
import shlex

import pandas as pd
import pytest
import yaml
from helpers import write_job

from reid_lightning.sweeps.commands import command_of_sweep, commands_of_options, repeating
from reid_lightning.sweeps.curves import LENGTH, learning_curves, matching_curves
from reid_lightning.sweeps.header import header_of
from reid_lightning.sweeps.reader import read_sweep
from reid_lightning.sweeps.report import report_sweep

METRICS = {"validation": {"mAP": 0.5}, "test": {"mAP": 0.4, "rank1": 0.5}}


def job(folder, loss, seed, ranks=(1, 2, 1, 30), **metrics):
    write_job(folder, [f"loss={loss}", "data.root=/home/me/market"], seed, METRICS | metrics)
    table = pd.DataFrame({"first_match_rank": [*ranks, None], "num_matches": [*([3] * len(ranks)), 0]})
    table.assign(path="a.jpg", source="m", person_id="1", camera_id="1", average_precision=0.5).to_csv(
        folder / "queries.csv", index=False
    )


@pytest.fixture
def sweep(tmp_path):
    for loss in ("triplet", "circle"):
        for seed in (1, 2):
            job(tmp_path / f"{loss} {seed}", loss, seed)
    return tmp_path


def test_an_option_is_repeated_with_all_of_its_seeds(sweep):
    assert commands_of_options(sweep, read_sweep(sweep)) == {
        f"loss={loss}": f"python train.py --multirun loss={loss} data.root=DIR seed=1,2"
        for loss in ("triplet", "circle")
    }


def test_overrides_reach_hydra_as_they_were():
    jobs = [
        ["loss=[triplet,center]", "+note='a b'", "seed=3", "data.split=0"],
        ["x", "seed=3", "data.split=1"],
    ]
    command = repeating(jobs)
    assert shlex.split(command) == [
        *("python", "train.py", "--multirun", "loss=[triplet,center]", "+note='a b'"),
        *("seed=3", "data.split=0,1"),
    ]
    assert repeating([["loss=circle", "seed=3"]]) == "python train.py loss=circle seed=3"
    assert "\x1b" not in repeating([["loss=\x1b[2J"]])


def test_the_command_of_the_sweep_without_places(sweep):
    assert command_of_sweep(sweep) == ""
    settings = {
        "overrides": {
            "hydra": ["hydra.mode=MULTIRUN", "hydra.sweep.dir='multirun/x'", "hydra/launcher=joblib"],
            "task": ["loss=triplet,circle", "data.root=/home/me/market", "seed=1,2"],
        },
        "sweeper": {"params": {"seed": "1,2,3", "miner": "batch_hard,batch_all"}},
    }
    (sweep / "multirun.yaml").write_text(yaml.safe_dump({"hydra": settings}))
    assert command_of_sweep(sweep) == (
        "python train.py --multirun loss=triplet,circle data.root=DIR seed=1,2 miner=batch_hard,batch_all "
        "hydra/launcher=joblib"
    )
    for damaged in ("[", "- 1", "hydra: 3", "hydra: {overrides: {hydra: [1], task: []}}"):
        (sweep / "multirun.yaml").write_text(damaged)
        assert command_of_sweep(sweep) == ""
        report_sweep(sweep)


def test_the_header_counts_jobs_and_names_what_is_known(sweep):
    write_job(sweep / "lost", ["loss=lost", "data.root=/home/me/market"], 1)
    for place, folder in enumerate(sorted(sweep.glob("[ct]*"))):
        os.utime(folder / "metrics.json", (1_700_000_000 + 600 * place,) * 2)
        identity = {"machine": f"machine {place % 2}", "commit": "abc1234", "version": "0.1.0"}
        (folder / "identity.json").write_text(json.dumps(identity))
    (sweep / "circle 1" / "identity.json").write_text("[1]")
    (sweep / "circle 2" / "checkpoints").mkdir()
    (sweep / "circle 2" / "checkpoints" / "card.json").write_text(
        json.dumps({"versions": {"reid-lightning": "0.1.0", "torch": "2.9"}})
    )
    assert header_of(sweep, read_sweep(sweep)) == [
        "5 jobs of 3 options, seeds 1, 2; 1 failed.",
        "Finished 2023-11-14 22:13 to 2023-11-14 22:43 UTC.",
        "Code: reid-lightning 0.1.0, torch 2.9; reid-lightning 0.1.0.",
        "Commit: abc1234.",
        "Machine: machine 1; machine 0.",
    ]
    report_sweep(sweep)
    page = (sweep / "sweep.html").read_text()
    assert "Machine: machine 1; machine 0." in page
    assert 'href="lost' not in page
    assert page.count("(failed)") == 1


def test_ranks_are_those_of_queries_that_have_a_match(sweep):
    curves = matching_curves(sweep, read_sweep(sweep), "test", ["loss=circle"])
    assert [(curve.option, curve.seed) for curve in curves] == [("loss=circle", "1"), ("loss=circle", "2")]
    assert curves[0].points == tuple((rank, 0.5 if rank == 1 else 0.75) for rank in range(1, LENGTH + 1))


def test_ranks_that_are_not_those_of_the_reported_score_are_not_drawn(tmp_path):
    job(tmp_path / "a", "triplet", 1, test={"mAP": 0.4, "rank1": 0.6})  # drawn galleries, for example
    job(tmp_path / "b", "triplet", 2)
    (tmp_path / "b" / "queries.csv").write_text("a,b\n1,2\n")
    job(tmp_path / "c", "triplet", 3, test={})
    job(tmp_path / "d", "triplet", 4)
    (tmp_path / "d" / "queries.csv").unlink()
    jobs = read_sweep(tmp_path)
    assert matching_curves(tmp_path, jobs, "test", ["loss=triplet", *jobs["option"]]) == []


def test_learning_curves_count_epochs_from_one(sweep):
    (sweep / "circle 1" / "metrics.csv").write_text(
        "epoch,step,train/loss,val/mAP\n0,1,3,\n0,2,,0.2\n1,4,,0.4\ninf,5,,0.5\n1e300,5,,0.5\n2,6,,-inf\n"
    )
    (sweep / "circle 2" / "metrics.csv").write_text("\n")
    (sweep / "triplet 1" / "metrics.csv").write_text("epoch,step\n0,1\n")
    (sweep / "triplet 2" / "metrics.csv").write_bytes(b"\xff\xfe")
    (curve,) = learning_curves(sweep, read_sweep(sweep))
    assert (curve.option, curve.seed, curve.points) == ("loss=circle", "1", ((1, 0.2), (2, 0.4)))


def test_names_that_are_no_text_and_long_ones_are_shown(tmp_path):
    for place, name in enumerate((os.fsdecode(b"\xff"), "x" * 200, "</script><b>\"'&")):
        job(tmp_path / os.fsdecode(b"job\xff ") / str(place), f"'{place}'", 1)
        overrides = tmp_path / os.fsdecode(b"job\xff ") / str(place) / ".hydra" / "overrides.yaml"
        overrides.write_text(yaml.safe_dump([f"loss={name}", "seed=1"]))
    report_sweep(tmp_path)
    page = (tmp_path / "sweep.html").read_text(encoding="utf-8")
    assert f"loss={'x' * 200}" in page
    assert "loss=\\udcff" in page
    assert "</script><b>" not in page
    (tmp_path / os.fsdecode(b"job\xff ") / "1" / "report.html").write_text("")
    report_sweep(tmp_path)
    assert 'href="job%FF%20/1/report.html"' in (tmp_path / "sweep.html").read_text(encoding="utf-8")
