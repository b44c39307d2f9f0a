"""The whole run on a handful of generated people: files, resume, refit, processes, errors."""

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest
import torch
from helpers import environment, train

from reid_lightning.errors import InputError
from reid_lightning.experiments.evaluate import evaluate, load_module
from reid_lightning.experiments.run import run_job

pytestmark = pytest.mark.slow
REPOSITORY = Path(__file__).resolve().parents[2]
# No batch statistics, dropout or augmentation: what one process and two must agree on.
PURE = (
    "backbone=timm",
    "backbone.name=test_vit",
    "neck=linear",
    "augmentation=none",
    "optimizer=sgd",
    "optimizer.lr=0.01",
)


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]


def metrics(folder: Path) -> pd.DataFrame:
    return pd.read_csv(folder / "metrics.csv")


def test_a_run_leaves_everything_it_promises(compose, tiny, tmp_path):
    config = compose(*tiny, "trainer.max_epochs=2", "trainer.log_every_n_steps=1")
    result = run_job(config)
    folder = tmp_path / "run"
    written = json.loads((folder / "metrics.json").read_text())
    assert written["test"]["mAP"] == pytest.approx(result.test["mAP"])
    assert written["protocol"] == result.protocol
    assert {"rank1", "rank5", "rank10", "mINP", "mAP_trapezoid", "queries_without_match"} <= written[
        "test"
    ].keys()
    for name in ("config.yaml", "metrics.csv", "queries.csv", "report.html", "cmc.png", "ranked_lists.png"):
        assert (folder / name).stat().st_size > 0, name
    assert not list(folder.rglob("*.part*"))
    queries = pd.read_csv(folder / "queries.csv")
    assert len(queries) == written["test"]["queries"]
    assert queries["average_precision"].mean() == pytest.approx(result.test["mAP"])
    assert result.score == pytest.approx(metrics(folder)["val/mAP"].max())


def test_the_validation_reported_is_that_of_the_checkpoint_that_is_tested(compose, brief, tmp_path):
    """Something else than the mAP chooses: here the worst epoch."""
    overrides = ("trainer.max_epochs=3", "trainer.log_every_n_steps=1", "callbacks.best.mode=min")
    result = run_job(compose(*brief, *overrides))
    logged = metrics(tmp_path / "run").dropna(subset="val/mAP").reset_index()
    best = torch.load(tmp_path / "run" / "checkpoints" / "best.ckpt", weights_only=True)
    row = logged.loc[best["epoch"]]
    assert row["val/mAP"] == logged["val/mAP"].min() < logged["val/mAP"].max()
    for name, value in result.validation.items():
        assert value == pytest.approx(row[f"val/{name}"]), name
    assert result.validation == best["reid_lightning"]["validation"]


@pytest.mark.parametrize("epochs", [1, 3])
def test_an_epoch_of_fewer_steps_than_lie_between_two_entries_is_logged_with_its_last_step(
    compose, tiny, tmp_path, epochs
):
    own = (f"trainer.max_epochs={epochs}", "data.validation=none", "+trainer.limit_train_batches=4")
    for every in (1, 50):
        run_job(compose(*tiny, *own, f"trainer.log_every_n_steps={every}", output_dir=tmp_path / str(every)))
    all_steps, few = (metrics(tmp_path / name).dropna(subset="train/loss") for name in ("1", "50"))
    assert len(all_steps) == 4 * epochs
    assert few["step"].tolist() == [4 * epoch + 3 for epoch in range(epochs)]
    last = all_steps[all_steps["step"] % 4 == 3]
    for name in (
        "epoch",
        "train/loss",
        "train/triplet",
        "train/identity",
        "train/lr",
        "train/triplet/active_fraction",
    ):
        assert few[name].tolist() == last[name].tolist()
    assert (tmp_path / "50" / "learning_curves.png").stat().st_size > 0
    assert 'id="curves"' in (tmp_path / "50" / "report.html").read_text()


def test_the_same_seed_gives_the_same_run_and_another_seed_another(compose, brief, tmp_path):
    runs = {}
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        config = compose(*brief, "trainer.max_epochs=1", f"seed={seed}", output_dir=tmp_path / name)
        run_job(config)
        runs[name] = weights(tmp_path / name)
    same = [torch.equal(runs["a"][key], runs["b"][key]) for key in runs["a"]]
    other = [torch.equal(runs["a"][key], runs["c"][key]) for key in runs["a"]]
    assert all(same)
    assert not all(other)


@pytest.mark.parametrize(
    "settings",
    [
        ("data.num_workers=2",),  # workers draw before the epoch is announced
        ("miner=offline_hard", "miner.first_round=0.25", "miner.every=2", "sampler.triplets=4"),
        ("neck=linear", "neck.dropout=0.5"),  # the network draws
        ("trainer.precision=64-true",),
    ],
    ids=["workers", "offline_hard", "dropout", "64_bits"],
)
def test_what_a_resumed_run_draws_equals_the_uninterrupted_one(compose, brief, tmp_path, settings):
    offline = "sampler.triplets=4" in settings
    length = [s for s in brief if not (offline and s.startswith("sampler."))] + [
        "trainer.max_epochs=4",
        *settings,
    ]
    run_job(compose(*length, output_dir=tmp_path / "whole"))
    stop = "+callbacks.stop={_target_: reid_lightning.engine.callbacks.time_limit.StopAfter, epochs: 2}"
    run_job(compose(*length, stop, output_dir=tmp_path / "parts"))
    run_job(compose(*length, "resume=last", output_dir=tmp_path / "parts"))
    at_most = 1e-14 if "64" in settings[0] else 1e-6
    for key, value in weights(tmp_path / "whole").items():
        torch.testing.assert_close(value, weights(tmp_path / "parts")[key], rtol=0, atol=at_most)


def test_a_resumed_run_equals_the_uninterrupted_one(compose, brief, tmp_path):
    length = ("trainer.max_epochs=4", "augmentation=strong", "loss=[triplet]")
    whole = run_job(compose(*brief, *length, output_dir=tmp_path / "whole"))
    # The schedule keeps its length; the run ends after two epochs as a killed one would.
    # resume=auto is one command for the start and for what comes after a kill.
    run_job(
        compose(
            *brief, *length, "resume=auto",
            "+callbacks.stop={_target_: reid_lightning.engine.callbacks.time_limit.StopAfter, epochs: 2}",
            output_dir=tmp_path / "parts",
        )
    )  # fmt: skip
    resumed = run_job(compose(*brief, *length, "resume=auto", output_dir=tmp_path / "parts"))
    for key, value in weights(tmp_path / "whole").items():
        torch.testing.assert_close(value, weights(tmp_path / "parts")[key], rtol=0, atol=1e-6)
    assert resumed.test == whole.test
    assert resumed.score == whole.score
    logged = ["epoch", "step", "train/loss", "val/mAP"]
    pd.testing.assert_frame_equal(metrics(tmp_path / "parts")[logged], metrics(tmp_path / "whole")[logged])

    before = (tmp_path / "whole" / "config.yaml").read_text()
    for overrides, sentence in (
        (["resume=last"], "already been trained for its 4 epochs"),
        ([], "already holds a run"),
        (["resume=last", "trainer.max_epochs=5", "neck=linear"], "another one .neck"),
    ):
        with pytest.raises(InputError, match=sentence):
            run_job(compose(*brief, *length, *overrides, output_dir=tmp_path / "whole"))
    assert (tmp_path / "whole" / "config.yaml").read_text() == before
    assert len(metrics(tmp_path / "whole")) > 4


def test_a_resume_on_other_data_is_said_and_on_moved_data_is_not(compose, brief, tmp_path, caplog):
    stop = "+callbacks.stop={_target_: reid_lightning.engine.callbacks.time_limit.StopAfter, epochs: 1}"
    root = "data.sources.pedestrians.root"
    run_job(compose(*brief, stop, f"{root}={tmp_path / 'here'}", "trainer.max_epochs=3"))
    shutil.copytree(tmp_path / "here", tmp_path / "there")
    moved = [
        *brief,
        "trainer.max_epochs=3",
        "resume=last",
        f"{root}={tmp_path / 'there'}",
        "data.cache=false",
    ]
    caplog.clear()
    run_job(compose(*moved, stop.replace("epochs: 1", "epochs: 2")))
    said = [message for message in caplog.messages if "differs from its checkpoint" in message]
    assert said == ["resumed run differs from its checkpoint: callbacks.stop.epochs was 1, is 2"]
    (tmp_path / "there" / "pedestrians.files.json").unlink()  # otherwise a changed picture is refused
    picture = next((tmp_path / "there" / "bounding_box_train").glob("*.jpg"))
    picture.write_bytes(picture.read_bytes() + b"\0")
    caplog.clear()
    run_job(compose(*moved, stop.replace("epochs: 1", "epochs: 3")))
    assert any("the data have other rows, columns or image files" in message for message in caplog.messages)


def test_a_resume_without_a_checkpoint_is_an_error_and_trains_nothing(compose, tiny, tmp_path):
    with pytest.raises(InputError, match=r"no checkpoint .*last\.ckpt"):
        run_job(compose(*tiny, "resume=last"))
    assert not (tmp_path / "run" / "checkpoints").exists()


def test_refit_trains_on_all_identities_for_the_chosen_epochs(compose, brief, tmp_path):
    run_job(compose(*brief, "trainer.max_epochs=3", "refit=true"))
    first = torch.load(tmp_path / "run" / "checkpoints" / "best.ckpt", weights_only=True)
    again = torch.load(tmp_path / "run" / "refit" / "checkpoints" / "last.ckpt", weights_only=True)
    assert again["epoch"] == first["epoch"]
    assert len(first["reid_lightning"]["identity_labels"]) == 7
    assert len(again["reid_lightning"]["identity_labels"]) == 10


def test_a_checkpoint_evaluates_alone_to_the_same_numbers(compose, brief, tmp_path):
    result = run_job(compose(*brief, "trainer.max_epochs=1"))
    again = evaluate(tmp_path / "run" / "checkpoints" / "best.ckpt", tmp_path / "again")
    assert again.test == pytest.approx(result.test)
    other = evaluate(
        tmp_path / "run" / "checkpoints" / "best.ckpt", tmp_path / "other", ["evaluation=torchreid"]
    )
    assert other.protocol != result.protocol


def test_a_misspelt_override_of_a_checkpoint_names_the_right_one(compose, brief, tmp_path):
    run_job(compose(*brief, "trainer.max_epochs=1"))
    with pytest.raises(InputError, match=r"did you mean evaluation\.flip\?"):
        load_module(tmp_path / "run" / "checkpoints" / "best.ckpt", ["evaluation.flipp=true"])


@pytest.mark.parametrize(
    "mining",
    [
        ("sampler.identities=4", "trainer.max_epochs=2"),
        (
            "miner=offline_hard",
            "miner.first_round=0",
            "miner.every=1",
            "sampler.triplets=4",
            "trainer.max_epochs=3",
        ),
    ],
    ids=["batch_hard", "offline_hard"],
)
def test_two_processes_end_where_one_does(brief, tmp_path, mining):
    length = [option for option in brief if not option.startswith("sampler.")]
    length += [*PURE, "data.batch_size=7", *mining]
    length += ["sampler.images_per_identity=2"] if "sampler.identities=4" in mining else []
    train(*length, folder=tmp_path / "one")
    train(*length, "trainer.devices=2", folder=tmp_path / "two")
    first, second = (json.loads((tmp_path / name / "metrics.json").read_text()) for name in ("one", "two"))
    assert second["test"] == pytest.approx(first["test"], abs=1e-6)
    for key, value in weights(tmp_path / "one").items():
        torch.testing.assert_close(value, weights(tmp_path / "two")[key], rtol=1e-4, atol=1e-5)


def test_two_processes_train_what_one_does_with_batch_statistics_and_augmentation(brief, tmp_path):
    # In float64, because a training of float32 multiplies the rounding of its first step by a thousand in twenty others.
    length = [*brief, "trainer.precision=64-true", "trainer.max_epochs=2", "trainer.log_every_n_steps=1"]
    train(*length, folder=tmp_path / "one")
    done = train(*length, "trainer=ddp_cpu", folder=tmp_path / "two")
    assert "sync_dist" not in done.stdout + done.stderr
    first, second = (json.loads((tmp_path / name / "metrics.json").read_text()) for name in ("one", "two"))
    assert second["test"] == pytest.approx(first["test"], abs=1e-9)
    assert second["intervals"]["test"] == pytest.approx(first["intervals"]["test"], abs=1e-9)
    logged = ["epoch", "step", "train/loss", "train/identity", "train/triplet", "val/mAP"]
    one, two = (metrics(tmp_path / name)[logged] for name in ("one", "two"))
    pd.testing.assert_frame_equal(two, one, rtol=0, atol=1e-6)
    for key, value in weights(tmp_path / "one").items():
        torch.testing.assert_close(value, weights(tmp_path / "two")[key], rtol=0, atol=1e-6)


LOSSES = sorted(file.stem for file in (REPOSITORY / "conf" / "loss").glob("*.yaml"))
LOSSES.remove("jigsaw")  # of a transformer's tokens


def test_a_sweep_over_all_losses_and_two_miners_trains_every_one(brief, tmp_path):
    train(
        *brief,
        "trainer.max_epochs=1",
        "+trainer.limit_train_batches=4",
        f"loss={','.join(LOSSES)}",
        "miner=batch_hard,semi_hard",
        folder=tmp_path / "sweep",
        multirun=True,
    )
    assert len(list((tmp_path / "sweep").glob("*/metrics.json"))) == 2 * len(LOSSES)


def test_a_setting_of_the_swept_options_reaches_every_job(tiny, tmp_path):
    swept = train(
        *tiny, "trainer.fast_dev_run=1", "classifier=arcface,cosface", "classifier.scale=16",
        folder=tmp_path / "sweep", multirun=True, code=None,
    )  # fmt: skip
    assert swept.returncode == 0 or "no metrics.json" in swept.stdout, swept.stderr
    jobs = list((tmp_path / "sweep").glob("classifier-*/config.yaml"))
    assert len(jobs) == 2
    for job in jobs:
        assert "scale: 16" in job.read_text()


SPY = """
import lightning, pathlib
class Spy(lightning.Callback):
    def __init__(self, folder):
        self.folder = pathlib.Path(folder)
    def on_train_end(self, trainer, module):
        rate = module.config["optimizer"]["lr"]
        used = trainer.optimizers[0].defaults["lr"]
        (self.folder / f"rank{trainer.global_rank}.txt").write_text(f"{rate} {used} {trainer.world_size}")
"""


def test_every_rank_of_a_sweep_trains_its_own_job(tiny, tmp_path):
    (tmp_path / "spy.py").write_text(SPY)
    train(
        *tiny,
        "trainer.devices=2",
        "trainer.max_epochs=1",
        "optimizer.lr=0.001,0.002",
        "+callbacks.spy={_target_: spy.Spy, folder: '${output_dir}'}",
        folder=tmp_path / "sweep",
        multirun=True,
        where=environment(PYTHONPATH=str(tmp_path)),
    )
    folders = sorted(path for path in (tmp_path / "sweep").iterdir() if path.is_dir())
    assert [folder.name.rsplit("_", 1)[0] for folder in folders] == [
        "optimizer.lr-0.001",
        "optimizer.lr-0.002",
    ]
    for folder, rate in zip(folders, (0.001, 0.002), strict=True):
        assert (folder / "rank0.txt").read_text() == f"{rate} {rate} 2"
        assert (folder / "rank1.txt").read_text() == f"{rate} {rate} 2"
        assert (folder / "report.html").is_file()


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        (["data=market1501", "data.root=/nowhere"], "/nowhere"),
        (["data=market1501"], "data.root"),
        (["sampler.identities=500"], "500"),
        (["loss=tripplet"], "tripplet"),
        (["loss.triplet.margn=1"], "loss.triplet.margin"),
        (["optimizer.learning_rate=1"], "optimizer.l"),
        (["trainer.precision=16-true"], "16-mixed"),
    ],
)
def test_a_users_error_is_one_sentence(tiny, tmp_path, overrides, sentence):
    failed = train(*[option for option in tiny if not any("data=" in o for o in overrides) or "data." not in option],
                     *overrides, folder=tmp_path / "run", code=None)  # fmt: skip
    assert failed.returncode != 0
    assert sentence in failed.stderr
    assert "Traceback" not in failed.stderr
    assert not list((tmp_path / "run").rglob("*.ckpt"))
