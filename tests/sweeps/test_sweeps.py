"""From job folders to mean and spread over seeds, and a real sweep of two by two."""

import json
import statistics
from pathlib import Path

import pandas as pd
import pytest
import yaml
from helpers import train, write_job

from reid_lightning.errors import InputError
from reid_lightning.sweeps.leaderboard import finished_line, summarise
from reid_lightning.sweeps.reader import forget_failure, read_sweep, record_failure
from reid_lightning.sweeps.report import report_sweep

REPOSITORY = Path(__file__).resolve().parents[2]


def write_small_job(folder, overrides, seed=1, numbers=None, failure=None):
    """Write what Hydra and a job leave in a folder; without numbers and reason, the job is unfinished."""
    content = None
    if numbers is not None:
        validation, test, rank1 = numbers
        content = {
            "validation": {"mAP": validation},
            "test": {"mAP": test, "rank1": rank1},
            "cost": {"parameters": 2_100_000, "images_per_second": 120.4, "seconds": {"fit": 1.0}},
        }
    write_job(folder, overrides, seed, content)
    if failure is not None:
        record_failure(folder, failure)


RESULTS = {  # option: validation mAP, test mAP and Rank-1 of seeds 1, 2 and 3
    "loss=triplet": [(0.50, 0.40, 0.60), (0.54, 0.42, 0.66), (0.52, 0.47, 0.63)],
    "loss=lossless": [(0.61, 0.30, 0.50), (0.59, 0.31, 0.52), (0.65, 0.32, 0.48)],
}


@pytest.fixture
def sweep(tmp_path):
    place = 0
    for option, seeds in RESULTS.items():
        for seed, numbers in enumerate(seeds, start=1):
            write_small_job(
                tmp_path / str(place), ["experiment=kiel/tables/loss", option, "+a=b"], seed, numbers
            )
            place += 1
    return tmp_path


def test_mean_spread_and_count_are_those_of_the_seeds(sweep):
    summary = summarise(read_sweep(sweep)).set_index("option")
    assert list(summary.index) == ["loss=lossless", "loss=triplet"]  # by validation, although test disagrees
    for option, seeds in RESULTS.items():
        for place, name in enumerate(("validation/mAP", "test/mAP", "test/rank1")):
            values = [numbers[place] for numbers in seeds]
            row = summary.loc[option]
            assert row[f"{name}/mean"] == pytest.approx(statistics.mean(values))
            assert row[f"{name}/std"] == pytest.approx(statistics.stdev(values))
            assert row[f"{name}/count"] == 3


def test_a_row_holds_everything_about_its_job(sweep):
    jobs = read_sweep(sweep)
    assert list(jobs["job"]) == list("012345")
    first = jobs.iloc[0]
    assert first["option"] == "loss=triplet"
    assert first["seed"] == "1"
    assert pd.isna(first["failure"])
    assert first["override/experiment"] == "kiel/tables/loss"
    assert first["override/a"] == "b"
    assert first["test/rank1"] == 0.60
    assert first["cost/parameters"] == 2_100_000


def test_the_protocol_of_all_jobs_is_named(sweep):
    def write(name, protocol):
        file = sweep / name / "metrics.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | {"protocol": protocol}))

    for name in "012345":
        write(name, "96x48 pixels; cosine distance")
    jobs = read_sweep(sweep)
    assert finished_line(jobs, summarise(jobs)).endswith("validation mAP; 96x48 pixels; cosine distance")
    write("3", "64x32 pixels; cosine distance")
    jobs = read_sweep(sweep)
    assert "the jobs have 2 evaluation protocols" in finished_line(jobs, summarise(jobs))


def test_one_seed_has_no_spread(tmp_path, capsys):
    write_small_job(tmp_path / "0", ["loss=triplet"], 1, (0.5, 0.4, 0.6))
    report_sweep(tmp_path)
    content = json.loads((tmp_path / "sweep.json").read_text())
    assert content["options"][0]["validation/mAP/std"] is None
    assert content["options"][0]["validation/mAP/count"] == 1
    row = pd.read_csv(tmp_path / "sweep.csv", keep_default_na=False).iloc[0]
    assert row["validation/mAP/mean"] == 0.5
    assert row["validation/mAP/std"] == ""
    lines = [line.replace("│", " ").split() for line in printed(tmp_path, capsys).splitlines()]
    assert ["loss=triplet", "50.0", "40.0", "60.0"] in lines
    assert [
        "loss=triplet",
        "120",
        "2.10",
        "0.02",
    ] in lines  # images a second, millions of parameters, minutes
    assert "one seed each, which has no spread" in printed(tmp_path, capsys)


def test_a_repeated_seed_counts_once(tmp_path):
    for place in range(2):
        write_small_job(tmp_path / "first" / str(place), ["loss=triplet"], 1, (0.5, 0.4, 0.6))
    row = summarise(read_sweep(tmp_path)).iloc[0]
    assert row["validation/mAP/count"] == 1
    assert pd.isna(row["validation/mAP/std"])


def identified(folder, config, **identity):
    """Complete a job's folder by its whole config and its identity."""
    written = yaml.safe_load((folder / "config.yaml").read_text()) | config
    (folder / "config.yaml").write_text(yaml.safe_dump(written))
    (folder / "identity.json").write_text(
        json.dumps({"swept": ["seed", "loss"], "data": "d", "code": "c"} | identity)
    )


def test_seeds_of_another_default_data_or_code_are_another_option(sweep):
    for place in range(6):
        identified(
            sweep / str(place), {"margin": 0.3, "sampler": {"seed": place % 3 + 1}, "output_dir": str(place)}
        )
    assert set(read_sweep(sweep)["option"]) == {"loss=triplet", "loss=lossless"}
    identified(sweep / "2", {"margin": 3.0, "sampler": {"seed": 3}})
    identified(sweep / "5", {"margin": 0.3, "sampler": {"seed": 3}}, code="changed")
    assert list(read_sweep(sweep)["option"]) == [
        *["loss=triplet (margin=0.3)"] * 2, "loss=triplet (margin=3.0)",
        *["loss=lossless (code=c)"] * 2, "loss=lossless (code=changed)",
    ]  # fmt: skip


def test_a_setting_of_the_machine_is_no_option_unless_it_is_swept(tmp_path):
    for seed, more in enumerate(([], ["logger=csv"], ["data.num_workers=0", "time_limit=50"]), start=1):
        write_small_job(tmp_path / str(seed), ["loss=triplet", *more], seed, (0.5, 0.4, 0.6))
        identified(tmp_path / str(seed), {})
    jobs = read_sweep(tmp_path)
    assert jobs["option"].nunique() == 1
    assert "override/logger" not in jobs
    for seed, devices in ((4, 1), (5, 2)):
        write_small_job(
            tmp_path / str(seed), ["loss=triplet", f"trainer.devices={devices}"], seed, (0.5, 0.4, 0.6)
        )
        identified(tmp_path / str(seed), {}, swept=["seed", "trainer.devices"])
    swept = read_sweep(tmp_path)
    assert list(swept["override/trainer.devices"].dropna()) == ["1", "2"]
    assert swept["option"].nunique() == 3


@pytest.mark.parametrize("content", ['{"version": "0.1', "{}", "[]"])
def test_broken_results_of_a_job_hide_nothing(sweep, capsys, content):
    (sweep / "3" / "metrics.json").write_text(content)
    assert report_sweep(sweep) == 1
    shown = " ".join(capsys.readouterr().out.split())
    assert "metrics.json is broken" in shown
    assert "5 of 6 jobs finished" in shown


def test_empty_files_of_a_job(sweep):
    for place in range(6):
        identified(sweep / str(place), {"margin": 0.3})
    (sweep / "3" / "config.yaml").write_text("")
    assert (read_sweep(sweep)["option"] == "loss=triplet").sum() == 3
    (sweep / "3" / ".hydra" / "overrides.yaml").write_text("")
    with pytest.raises(InputError, match=r"3/.hydra/overrides.yaml holds no list of overrides"):
        read_sweep(sweep)


def test_random_splits_are_averaged_over_as_seeds_are(tmp_path):
    for split, seed in ((0, 1), (1, 1), (0, 2), (1, 2)):
        numbers = (0.1 * (1 + split) * seed, 0.5, 0.5)
        write_small_job(tmp_path / f"{split}{seed}", ["data=viper", f"data.split={split}"], seed, numbers)
    summary = summarise(read_sweep(tmp_path))
    assert len(summary) == 1
    values = [0.1, 0.2, 0.2, 0.4]
    assert summary["validation/mAP/mean"][0] == pytest.approx(statistics.mean(values))
    assert summary["validation/mAP/std"][0] == pytest.approx(statistics.stdev(values))
    assert summary["validation/mAP/count"][0] == 4


def test_failed_jobs_are_told_and_hide_nothing(sweep, capsys):
    others = ["experiment=kiel/tables/loss", "+a=b"]
    wrong = InputError("loss.circle.margin=2 must be below 1.")
    write_small_job(sweep / "6", ["loss=circle", *others], 1, failure=wrong)
    write_small_job(
        sweep / "7", ["loss=circle", *others], 2, failure=RuntimeError("out of memory\nmany more lines")
    )
    write_small_job(sweep / "10", ["loss=triplet", *others], 4)
    # The folder has held a run before: what counts is that the last one failed.
    again = InputError("already holds a run")
    write_small_job(sweep / "9", ["loss=triplet", *others], 5, (0.9, 0.9, 0.9), failure=again)
    jobs = read_sweep(sweep)
    assert list(jobs["job"])[-4:] == ["6", "7", "9", "10"]
    summary = summarise(jobs).set_index("option")
    assert summary.loc["loss=triplet", "validation/mAP/count"] == 3
    assert summary.loc["loss=circle", "validation/mAP/count"] == 0
    assert summary.index[-1] == "loss=circle"
    text = printed(sweep, capsys)
    assert "6 of 10 jobs finished" in text
    assert "failed: job 6 (loss=circle, seed 1): loss.circle.margin=2 must be below 1." in text
    assert "failed: job 7 (loss=circle, seed 2): RuntimeError: out of memory\n" in text
    assert "failed: job 10 (loss=triplet, seed 4): no metrics.json" in text
    assert report_sweep(sweep) == 4
    forget_failure(sweep / "9")
    assert report_sweep(sweep) == 3


def test_jobs_that_differ_in_nothing_but_the_seed_are_one_option(tmp_path):
    for seed in (1, 2):
        write_small_job(tmp_path / f"a{seed}", ["loss=triplet", "+x=1"], seed, (0.5, 0.4, 0.6))
        write_small_job(tmp_path / "bare" / f"b{seed}", [], seed, (0.5, 0.4, 0.6))
    assert set(read_sweep(tmp_path / "bare")["option"]) == {"default"}
    assert list(read_sweep(tmp_path)["option"].unique()) == ["loss=triplet, x=1", "default"]


def test_a_run_without_validation_or_test_still_counts(tmp_path):
    for seed, score in ((1, 0.2), (2, 0.4)):
        write_small_job(tmp_path / str(seed), ["data.validation=none"], seed, (0, score, score))
        file = tmp_path / str(seed) / "metrics.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | {"validation": {}}))
    row = summarise(read_sweep(tmp_path)).iloc[0]
    assert row["validation/mAP/count"] == 0
    assert row["test/mAP/mean"] == pytest.approx(0.3)


def test_a_folder_without_jobs_is_an_error(tmp_path):
    with pytest.raises(InputError, match="holds no jobs"):
        read_sweep(tmp_path)


def printed(folder, capsys):
    report_sweep(folder)
    return capsys.readouterr().out


@pytest.mark.slow
def test_a_sweep_of_two_by_two(tiny, tmp_path):
    overrides = (*tiny, "trainer.max_epochs=1", "loss=triplet,lossless", "seed=1,2")
    done = train(*overrides, folder=tmp_path, multirun=True)
    assert "4 of 4 jobs finished" in done.stdout
    jobs = read_sweep(tmp_path)
    assert list(jobs["option"]) == ["loss=lossless", "loss=lossless", "loss=triplet", "loss=triplet"]
    assert list(jobs["seed"]) == ["1", "2", "1", "2"]
    content = json.loads((tmp_path / "sweep.json").read_text())
    for option in content["options"]:
        folders = jobs["job"][jobs["option"] == option["option"]]
        runs = [json.loads((tmp_path / folder / "metrics.json").read_text()) for folder in folders]
        scores = [written["validation"]["mAP"] for written in runs]
        assert scores == pytest.approx([written["score"] for written in runs])
        assert option["validation/mAP/mean"] == pytest.approx(statistics.mean(scores))
        assert option["validation/mAP/std"] == pytest.approx(statistics.stdev(scores))
        assert option["test/mAP/mean"] == pytest.approx(statistics.mean(one["test"]["mAP"] for one in runs))
