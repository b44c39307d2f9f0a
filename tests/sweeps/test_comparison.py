"""What a sweep's report says is better than what, from folders as jobs leave them."""

import csv
import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from helpers import train, write_job

from reid_lightning.errors import InputError
from reid_lightning.retrieval.statistics import (
    difference,
    difference_over_splits,
    holm,
    resample_people,
)
from reid_lightning.sweeps.leaderboard import summarise
from reid_lightning.sweeps.reader import read_sweep
from reid_lightning.sweeps.report import report_sweep
from reid_lightning.sweeps.significance import marginal_means

REPOSITORY = Path(__file__).resolve().parents[2]
PEOPLE = np.repeat(np.arange(60), np.random.default_rng(0).integers(1, 5, 60))
DIFFICULTY = np.random.default_rng(1).normal(0, 0.15, len(PEOPLE))


def scores(level, seed):
    """Return the average precision of every query in one run: training luck, and luck with single queries."""
    generator = np.random.default_rng(seed)
    return np.clip(
        level + DIFFICULTY + generator.normal(0, 0.01) + generator.normal(0, 0.08, len(PEOPLE)), 0, 1
    )


def write_queries(folder, precision, people=PEOPLE, root="/data"):
    table = pd.DataFrame(
        {
            "path": [f"{root}/{place}.jpg" for place in range(len(people))],
            "source": "market1501",
            "person_id": [f"{person:04}" for person in people],
            "camera_id": "1",
            "average_precision": precision,
            "first_match_rank": np.where(np.asarray(precision) > 0.5, 1.0, 4.0),
            "num_matches": 5,
        }
    )
    unmatched = table.iloc[:1].assign(
        path="nobody.jpg", average_precision=np.nan, first_match_rank=np.nan, num_matches=0
    )
    pd.concat([unmatched, table]).to_csv(folder / "queries.csv", index=False)


def write_finished_job(folder, overrides, seed, precision, validation=0.5, counted=None, **queries):
    """Write what a finished job leaves."""
    content = {
        "validation": {"mAP": validation},
        "test": {"mAP": float(np.mean(precision)), "rank1": float(np.mean(np.asarray(precision) > 0.5))},
        "cost": {"parameters": 1_000_000, "seconds": {"fit": 60.0, "test": 30.0}},
    }
    write_job(folder, overrides, seed, content | ({"people": counted} if counted else {}))
    write_queries(folder, precision, **queries)


def reported(folder, baseline=None):
    """Return the options of `sweep.json` by name, and what it says about the comparison."""
    report_sweep(folder, baseline)
    content = json.loads((folder / "sweep.json").read_text())
    return {option["option"]: option for option in content["options"]}, content["comparison"]


@pytest.fixture
def sweep(tmp_path):
    """Three losses of three seeds; contrastive is far worse, circle is triplet again."""
    for option, level in {"triplet": 0.5, "circle": 0.5, "contrastive": 0.35}.items():
        for seed in (1, 2, 3):
            validation = 0.6 if option == "triplet" else level
            luck = 100 * seed + len(option)
            write_finished_job(
                tmp_path / "deep" / f"{option}-{seed}",
                [f"loss={option}"],
                seed,
                scores(level, luck),
                validation,
            )
    return tmp_path


def test_each_option_is_compared_with_the_best_on_validation(sweep):
    options, comparison = reported(sweep)
    assert comparison["against"] == "loss=triplet"
    assert comparison["comparisons"] == 4
    assert comparison["notes"] == []
    assert options["loss=contrastive"]["test/mAP/word"] == "worse"
    assert options["loss=circle"]["test/mAP/word"] == "not distinguishable"
    assert options["loss=triplet"]["test/mAP/word"] is None
    with (sweep / "sweep.csv").open() as file:
        words = {row["option"]: row["test/mAP/word"] for row in csv.DictReader(file)}
    assert words == {"loss=contrastive": "worse", "loss=circle": "not distinguishable", "loss=triplet": ""}


def test_the_numbers_are_those_of_the_bootstrap(sweep):
    options, _ = reported(sweep)
    runs = [scores(0.5, 100 * seed + 7) for seed in (1, 2, 3)] + [
        scores(0.35, 100 * seed + 11) for seed in (1, 2, 3)
    ]
    expected = difference(resample_people(np.stack(runs), PEOPLE), [3, 4, 5], [0, 1, 2])
    found = options["loss=contrastive"]
    assert found["test/mAP/difference"] == pytest.approx(expected.difference)
    assert found["test/mAP/difference"] == pytest.approx(
        found["test/mAP/mean"] - options["loss=triplet"]["test/mAP/mean"]
    )
    assert found["test/mAP/low"] == pytest.approx(expected.low, abs=0.003)
    assert found["test/mAP/high"] == pytest.approx(expected.high, abs=0.003)
    ranks = np.stack(runs) > 0.5
    assert found["test/rank1/difference"] == pytest.approx(ranks[3:].mean() - ranks[:3].mean())


def test_words_hold_for_all_comparisons_together(sweep):
    options, _ = reported(sweep)
    found = [
        options[f"loss={option}"][f"test/{name}/p"]
        for option in ("circle", "contrastive")
        for name in ("mAP", "rank1")
    ]
    runs = {
        option: np.stack([scores(level, 100 * seed + len(option)) for seed in (1, 2, 3)])
        for option, level in {"triplet": 0.5, "circle": 0.5, "contrastive": 0.35}.items()
    }
    alone = []
    for option in ("circle", "contrastive"):
        for table in (np.vstack([runs[option], runs["triplet"]]),) * 2:
            values = table if len(alone) % 2 == 0 else (table > 0.5).astype(float)
            alone.append(difference(resample_people(values, PEOPLE), [0, 1, 2], [3, 4, 5]).p_value)
    assert found == pytest.approx(holm(alone).tolist(), rel=0.2)


def test_the_words_are_printed_with_their_differences(sweep, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    options, _ = reported(sweep)
    printed = capsys.readouterr().out
    low, high = (100 * options["loss=circle"][f"test/mAP/{end}"] for end in ("low", "high"))
    gap = 100 * options["loss=circle"]["test/mAP/difference"]
    assert f"{gap:+.1f} [{low:+.1f}, {high:+.1f}]" in printed
    assert printed.count("not distinguishable") == 2
    assert printed.count("worse") == 2
    assert "differences from loss=triplet with their 95 % intervals" in printed
    assert "…" not in printed


def test_a_named_baseline_takes_the_place_of_the_best(sweep):
    options, comparison = reported(sweep, baseline="contrastive")
    assert comparison["against"] == "loss=contrastive"
    assert options["loss=triplet"]["test/mAP/word"] == "better"
    assert options["loss=circle"]["test/mAP/word"] == "better"


@pytest.mark.parametrize(("baseline", "said"), [("arcface", "none"), ("loss=c", "several")])
def test_a_baseline_that_names_no_single_option(sweep, baseline, said):
    with pytest.raises(InputError, match=f"--baseline {baseline} names {said} of the options.*loss=circle"):
        report_sweep(sweep, baseline)


def test_runs_that_differ_only_in_their_seed_are_not_distinguishable(tmp_path):
    for seed in range(8):
        write_finished_job(
            tmp_path / str(seed),
            [f"+note={'ab'[seed % 2]}"],
            seed,
            scores(0.5, 100 + seed),
            0.5 + seed / 1000,
        )
    options, comparison = reported(tmp_path)
    assert comparison["against"] == "note=b"
    assert options["note=a"]["test/mAP/word"] == "not distinguishable"
    assert options["note=a"]["test/rank1/word"] == "not distinguishable"


def test_without_validation_there_is_no_best_option(sweep):
    for file in sweep.rglob("metrics.json"):
        file.write_text(json.dumps(json.loads(file.read_text()) | {"validation": {}}))
    options, comparison = reported(sweep)
    assert comparison["against"] is None
    assert comparison["notes"] == [
        "without validation no option is the best: name one to compare with by --baseline"
    ]
    assert options["loss=contrastive"]["test/mAP/word"] is None
    options, comparison = reported(sweep, "triplet")
    assert options["loss=contrastive"]["test/mAP/word"] == "worse"


def test_one_option_has_nothing_to_be_compared_with(tmp_path, capsys):
    for seed in range(3):
        write_finished_job(tmp_path / str(seed), [], seed, scores(0.5, seed))
    options, comparison = reported(tmp_path)
    assert comparison["against"] is None
    assert options["default"]["test/mAP/word"] is None
    assert "differences" not in capsys.readouterr().out


def test_one_seed_is_unknown(sweep, capsys):
    write_finished_job(sweep / "lonely", ["loss=lossless"], 1, scores(0.1, 5), 0.1)
    options, comparison = reported(sweep)
    assert options["loss=lossless"]["test/mAP/word"] == "unknown"
    assert options["loss=lossless"]["test/mAP/low"] is None
    assert options["loss=lossless"]["test/mAP/difference"] < -0.3
    assert comparison["comparisons"] == 4
    sentence = "loss=lossless: one seed tells no difference from chance; add seeds, such as seed=1,2,3"
    assert comparison["notes"] == [sentence]
    assert sentence in capsys.readouterr().out


def test_jobs_without_results_of_single_queries_are_named_and_left_out(sweep):
    (sweep / "deep" / "circle-1" / "queries.csv").unlink()
    options, comparison = reported(sweep)
    assert comparison["notes"] == [
        "no test results of single queries (queries.csv) in job deep/circle-1: not compared"
    ]
    assert options["loss=circle"]["test/mAP/word"] == "not distinguishable"
    for seed in (1, 2, 3):
        (sweep / "deep" / f"triplet-{seed}" / "queries.csv").unlink()
    options, comparison = reported(sweep)
    assert comparison["against"] is None
    assert comparison["notes"][-1] == "loss=triplet has no job whose queries can be compared, so nothing is"


def test_jobs_with_other_queries_are_named_and_left_out(sweep):
    for seed in (1, 2, 3):
        folder = sweep / "other" / str(seed)
        write_finished_job(folder, ["loss=circle", "data=cuhk03"], seed, scores(0.9, seed), people=PEOPLE + 1)
    options, comparison = reported(sweep)
    assert comparison["notes"] == [
        "job other/1; other/2; other/3 ranks other queries than job deep/triplet-1: not compared"
    ]
    assert options["loss=circle, data=cuhk03"]["test/mAP/word"] == "unknown"


def test_queries_are_the_same_wherever_the_data_lies_and_in_any_order(sweep):
    before, _ = reported(sweep)
    for seed in (1, 2, 3):
        folder = sweep / "deep" / f"contrastive-{seed}"
        write_queries(folder, scores(0.35, 100 * seed + 11), root="/another/machine")
        pd.read_csv(folder / "queries.csv", dtype={"person_id": str}).sample(
            frac=1, random_state=seed
        ).to_csv(folder / "queries.csv", index=False)
    after, comparison = reported(sweep)
    assert comparison["notes"] == []
    assert after["loss=contrastive"] == pytest.approx(before["loss=contrastive"])


@pytest.fixture
def random_splits(tmp_path):
    """Two losses in five random splits with other people each, two seeds a split; circle is 0.1 worse."""
    for option, level in {"triplet": 0.5, "circle": 0.4}.items():
        for split in range(5):
            for seed in (1, 2):
                people = np.random.default_rng(split).permutation(200)[:40]
                write_finished_job(
                    tmp_path / f"{option}-{split}-{seed}",
                    [f"loss={option}", f"data.split={split}"],
                    seed,
                    np.clip(
                        level
                        + np.random.default_rng(10 * split + seed).normal(0, 0.1, 40)
                        + 0.01 * (people % 7),
                        0,
                        1,
                    ),
                    validation=level,
                    counted={"train": 160, "test": 40},
                    people=people,
                )
    return tmp_path


def test_options_are_compared_split_by_split(random_splits):
    options, comparison = reported(random_splits)
    circle = options["loss=circle"]
    jobs = read_sweep(random_splits)
    means = jobs.groupby(["option", "split"])["test/mAP"].mean()
    gaps = (means["loss=circle"] - means["loss=triplet"]).to_numpy()
    expected = difference_over_splits(gaps, 40 / 160)
    assert circle["test/mAP/difference"] == pytest.approx(expected.difference)
    assert (circle["test/mAP/low"], circle["test/mAP/high"]) == pytest.approx((expected.low, expected.high))
    assert circle["test/mAP/word"] == "worse"
    assert any("over random splits" in note for note in comparison["notes"])


def test_a_split_that_one_option_lacks_is_left_out(random_splits):
    before, _ = reported(random_splits)
    for folder in [*random_splits.glob("circle-4-*"), *random_splits.glob("triplet-0-*")]:
        (folder / "queries.csv").unlink()
    after, comparison = reported(random_splits)
    assert before["loss=circle"]["test/mAP/low"] != after["loss=circle"]["test/mAP/low"]
    assert any("over the 3 random splits that both have" in note for note in comparison["notes"])
    for split in (1, 2):
        for folder in random_splits.glob(f"circle-{split}-*"):
            (folder / "queries.csv").unlink()
    alone, comparison = reported(random_splits)
    assert alone["loss=circle"]["test/mAP/word"] == "unknown"
    assert any("one random split in common" in note for note in comparison["notes"])
    for folder in random_splits.glob("circle-3-*"):
        (folder / "queries.csv").unlink()
    none, _ = reported(random_splits)
    assert none["loss=circle"]["test/mAP/word"] == "unknown"


@pytest.mark.parametrize("change", ["a,b\n1,2\n", "text", "inf", "nan", "1e400", "=cmd"])
def test_a_broken_table_of_queries_is_named(sweep, change):
    file = sweep / "deep" / "circle-1" / "queries.csv"
    table = pd.read_csv(file).astype({"first_match_rank": object})
    table.loc[table.index[table["num_matches"] > 0][0], "first_match_rank"] = change
    file.write_text(change if "," in change else table.to_csv(index=False))
    with pytest.raises(InputError, match=r"circle-1/queries\.csv is not a run's table of queries"):
        report_sweep(sweep)


def test_the_same_report_gives_the_same_numbers(sweep):
    report_sweep(sweep)
    before = (sweep / "sweep.json").read_bytes(), (sweep / "sweep.html").read_bytes()
    report_sweep(sweep)
    assert ((sweep / "sweep.json").read_bytes(), (sweep / "sweep.html").read_bytes()) == before


def test_the_page_has_the_learning_curve_of_every_job_that_logged_one(sweep):
    for seed in (1, 2):
        file = sweep / "deep" / f"circle-{seed}" / "metrics.csv"
        file.write_text("epoch,step,train/loss,val/mAP\n0,9,1.5,\n0,10,,0.2\n1,19,1.1,\n1,20,,0.4\n")
    (sweep / "deep" / "circle-3" / "metrics.csv").write_text("\n")
    report_sweep(sweep)
    page = (sweep / "sweep.html").read_text()
    assert "<title>loss=circle: 40 at 2</title>" in page
    assert len(re.findall(r"<title>[^<]* at 2</title>", page)) == 1  # of seeds 1 and 2 together


def test_wall_time_is_the_sum_of_all_stages(sweep):
    options, _ = reported(sweep)
    assert options["loss=circle"]["cost/seconds/mean"] == 90.0


def grid(tmp_path, values):
    for place, ((loss, miner), validation) in enumerate(values.items()):
        for seed in (1, 2):
            write_finished_job(
                tmp_path / f"{place}-{seed}",
                [f"loss={loss}", f"miner={miner}"],
                seed,
                scores(0.5, seed),
                validation + 0.01 * seed,
            )
    jobs = read_sweep(tmp_path)
    return marginal_means(jobs, summarise(jobs)).set_index(["choice", "value"])


def test_the_effect_of_a_choice_is_its_mean_over_all_else(tmp_path):
    effects = grid(tmp_path, {("a", "x"): 0.1, ("a", "y"): 0.2, ("b", "x"): 0.4, ("b", "y"): 0.7})
    expected = {("loss", "a"): 0.15, ("loss", "b"): 0.55, ("miner", "x"): 0.25, ("miner", "y"): 0.45}
    for key, value in expected.items():
        assert effects.loc[key, "validation/mAP"] == pytest.approx(value + 0.015)
        assert effects.loc[key, "combinations"] == 2
    assert list(effects.index) == [("loss", "b"), ("loss", "a"), ("miner", "y"), ("miner", "x")]


def test_an_effect_is_taken_in_the_same_company_only(tmp_path):
    effects = grid(tmp_path, {("a", "x"): 0.1, ("b", "x"): 0.4, ("b", "y"): 0.7})
    assert effects.loc[("loss", "b"), "validation/mAP"] == pytest.approx(0.415)
    assert effects.loc[("miner", "x"), "validation/mAP"] == pytest.approx(0.415)


def test_choices_that_were_never_crossed_have_no_effect(tmp_path):
    assert grid(tmp_path, {("a", "x"): 0.1, ("b", "y"): 0.4}).empty


def test_brackets_in_a_value_are_printed(tmp_path, capsys):
    for loss in ("[triplet,center]", "triplet"):
        write_finished_job(tmp_path / loss, [f"loss={loss}"], 1, scores(0.5, 1))
    report_sweep(tmp_path)
    assert "loss=[triplet,center]" in capsys.readouterr().out.replace("│", " ")


@pytest.mark.slow
def test_a_trained_backbone_is_better_than_a_frozen_one_of_random_weights(tmp_path):
    overrides = (
        *("frozen_epochs=8,0", "seed=1,2,3"),
        *("data.sources.pedestrians.train_identities=24", "data.sources.pedestrians.test_identities=40"),
        *("data.image_size=[64,32]", "data.num_workers=0", "data.validation=0.3", "sampler.identities=4"),
        *("trainer.max_epochs=8", "trainer.accelerator=cpu", "+trainer.enable_progress_bar=false"),
    )
    train(*overrides, folder=tmp_path, multirun=True)
    options, comparison = reported(tmp_path)
    assert comparison["against"] == "frozen_epochs=0"
    assert options["frozen_epochs=8"]["test/mAP/word"] == "worse"
    assert options["frozen_epochs=8"]["cost/gflops/mean"] > 0
    options, _ = reported(tmp_path, baseline="frozen_epochs=8")
    assert options["frozen_epochs=0"]["test/mAP/word"] == "better"
    assert options["frozen_epochs=0"]["test/mAP/p"] < 0.02
    page = (tmp_path / "sweep.html").read_text()
    for option in (0, 8):
        assert re.search(rf"<title>frozen_epochs={option}: [\d.]+ at 8</title>", page)  # its learning curve
