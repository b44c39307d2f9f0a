"""Cluster contrast: how clusters are formed, what a run logs and leaves, resumed and on two processes."""

import json
import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from helpers import run_forked
from sklearn.metrics import adjusted_rand_score

from reid_lightning.errors import InputError
from reid_lightning.experiments.run import run_job
from reid_lightning.models.features import Features
from reid_lightning.models.necks import BNNeck
from reid_lightning.retrieval.protocol import EvaluationProtocol
from reid_lightning.systems import training_set
from reid_lightning.systems.clusters.forming import Forming, against_truth, agreement, points_of, shape_of
from reid_lightning.systems.clusters.memory import ClusterMemory
from reid_lightning.systems.clusters.task import ClustersTask, too_few
from reid_lightning.systems.task import Run
from reid_lightning.systems.training_set import fill_neck_statistics

UNLABELLED = (
    "experiment=unlabelled",
    "tasks.clusters.k1=6",
    "tasks.clusters.k2=2",
    "tasks.clusters.least=2",
    "tasks.clusters.eps=0.6",
    "sampler.batches=2",
)


def people(seed=0, count=12, images=8, size=16, noise=0.4):
    generator = torch.Generator().manual_seed(seed)
    centers = torch.randn(count, 1, size, generator=generator)
    vectors = centers + noise * torch.randn(count, images, size, generator=generator)
    return vectors.flatten(0, 1), np.repeat(np.arange(count), images)


NOWHERE = np.full(96, -1)
UNKNOWN = torch.full((96,), -1)


def test_people_who_are_apart_are_the_clusters():
    vectors, truth = people()
    groups, numbers = Forming(0.5, 4, 8, 3).form(vectors, UNKNOWN, NOWHERE)
    assert adjusted_rand_score(truth, groups) > 0.95
    assert set(numbers) == {"silhouette"}
    assert numbers["silhouette"] > 0.5


def test_the_best_eps_is_chosen_without_labels():
    vectors, truth = people(noise=0.8)
    scores, found = {}, {}
    for eps in (0.2, 0.5, 0.9):
        found[eps], numbers = Forming(eps, 4, 8, 3).form(vectors, UNKNOWN, NOWHERE)
        scores[eps] = numbers["silhouette"]
    groups, numbers = Forming([0.9, 0.2, 0.5], 4, 8, 3).form(vectors, UNKNOWN, NOWHERE)
    best = max(scores, key=scores.get)
    assert numbers == {"silhouette": pytest.approx(scores[best]), "eps": best}
    assert (groups == found[best]).all()
    right = {eps: agreement(groups, truth) for eps, groups in found.items()}
    assert right[best] == max(right.values())


def test_a_tracklet_stays_together_and_counts_its_images():
    vectors, truth = people()
    tracklets = NOWHERE.copy()
    mixed = np.array([0, 1, 10, 11])  # of two people, as a tracker errs
    tracklets[mixed] = 3
    groups, _ = Forming(0.5, 4, 8, 3).form(vectors, UNKNOWN, tracklets)
    assert len(set(groups[mixed].tolist())) == 1
    assert groups[mixed[0]] >= 0
    tracks = np.arange(96) // 4  # two of each person
    groups, _ = Forming(0.6, 4, 2, 1).form(vectors, UNKNOWN, tracks)
    assert all(len(set(groups[tracks == track].tolist())) == 1 for track in range(24))
    assert agreement(groups, truth) > 0.95


def test_points_keep_the_order_of_their_first_images():
    point, first, sizes = points_of(np.array([4, -1, 2, 4, -1, 2, 2]))
    assert point.tolist() == [0, 1, 2, 0, 3, 2, 2]
    assert first.tolist() == [0, 1, 2, 4]
    assert sizes.tolist() == [2, 1, 3, 1]


def test_outliers_are_left_out_or_alone():
    vectors, _ = people(noise=0.9)
    left, _ = Forming(0.3, 4, 8, 3).form(vectors, UNKNOWN, NOWHERE)
    kept, _ = Forming(0.3, 4, 8, 3, keep_alone=True).form(vectors, UNKNOWN, NOWHERE)
    assert (left < 0).any()
    assert (kept >= 0).all()
    assert (kept[left >= 0] == left[left >= 0]).all()
    assert np.bincount(kept)[kept[left < 0]].max() == 1
    assert shape_of(left)["outliers"] == pytest.approx((left < 0).mean())


@pytest.mark.parametrize(
    ("groups", "said"),
    [
        (
            [0, 0, 0, -1],
            r"one cluster holds 3 of 4 training images, .* lower tasks.clusters.eps=0.5, or start",
        ),
        (
            [-1, -1, -1, 0],
            "one cluster was found among 4 .* raise tasks.clusters.eps=0.5, lower tasks.clusters.least=8",
        ),
        ([-1, -1, -1, -1], "no cluster was found among 4 training images"),
    ],
)
def test_too_few_clusters_are_explained(groups, said):
    assert re.match(said, too_few(np.array(groups), Forming(0.5, 8, 8, 3)))


def test_truth_is_compared_as_scikit_learn_does():
    groups, truth = np.array([0, 0, 0, 1, 1, -1, -1]), np.array([5, 5, 6, 6, 6, 6, -1])
    found = against_truth(groups, truth)
    assert found["purity"] == pytest.approx(4 / 5)
    assert found["ari"] == pytest.approx(adjusted_rand_score([5, 5, 6, 6, 6, 6], [0, 0, 0, 1, 1, 2]))
    assert found["people"] == 2
    assert against_truth(groups, np.full(7, -1)) == {}


def test_camera_proxies_are_the_parts_of_clusters():
    groups, cameras = torch.tensor([0, 0, 1, -1, 1, 0]), torch.tensor([0, 1, 0, 0, 0, 1])
    memory = ClusterMemory(groups, cameras, torch.eye(6), "camera")
    assert memory.slots.tolist() == [0, 1, 2, -1, 2, 1]
    assert memory.clusters.tolist() == [0, 0, 1]
    assert memory.cameras.tolist() == [0, 1, 0]
    torch.testing.assert_close(memory.vectors[1], torch.tensor([0, 0.5, 0, 0, 0, 0.5]).sqrt())


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"eps": 1.0}, "eps must be above 0 and below 1"),
        ({"eps": []}, "eps must be above 0 and below 1"),
        ({"k2": 40}, "k2 must be <= k1"),
        ({"least": 0}, "least must be a whole number >= 1"),
        ({"momentum": 1.0}, r"momentum must be in \[0, 1\)"),
        ({"proxies": "person"}, "proxies must be one of cluster, camera"),
        ({"update": "mean"}, "update must be one of all, hardest"),
        ({"temperature": 0}, "temperature must be > 0"),
        ({"camera_statistics": 1}, "camera_statistics must be >= 2, or null"),
    ],
)
def test_settings_out_of_range_are_refused(settings, said):
    with pytest.raises(ValueError, match=said):
        ClustersTask(**settings)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (["data.unlabelled=false"], "add data.unlabelled=true"),
        (["classifier=softmax"], "add classifier=none"),
        (["sampler=pk"], "add sampler=groups"),
        (["tasks.clusters=null", "loss=triplet"], "no task finds them labels"),
    ],
)
def test_what_does_not_go_together_is_refused(compose, changes, said):
    with pytest.raises(InputError, match=said):
        run_job(compose("experiment=unlabelled", *changes))


def test_groups_without_a_task_that_finds_them_are_refused(compose):
    with pytest.raises(InputError, match="use sampler=pk, or experiment=unlabelled"):
        run_job(compose("sampler=groups"))


def features(vectors):
    return Features(vectors, vectors, vectors)


def stepped(task, vectors, index):
    return task.losses(None, features(vectors), {"index": index}, lambda rows: rows)["clusters"].value


@pytest.mark.parametrize("proxies", ["cluster", "camera"])
@pytest.mark.parametrize("update", ["all", "hardest"])
def test_a_step_contrasts_and_then_moves_the_memory(proxies, update):
    vectors, truth = people(count=3, images=4)
    task = ClustersTask(proxies=proxies, update=update)
    cameras = torch.arange(12) % 2
    task.memory = ClusterMemory(torch.from_numpy(truth), cameras, vectors, proxies)
    task._places = torch.cat([torch.tensor([-1]), torch.arange(12)])  # the table has another row before
    index = torch.tensor([1, 2, 9, 12])
    assert task.labels({"index": index}).tolist() == [0, 0, 2, 2]
    before = task.memory.vectors.clone()
    leaf = vectors[index - 1].clone().requires_grad_()
    value = stepped(task, leaf, index)
    value.backward()
    assert leaf.grad.abs().sum() > 0
    moved = (task.memory.vectors != before).any(dim=1)
    assert moved.any()
    assert not moved.all()
    task.eval()
    before = task.memory.vectors.clone()
    stepped(task, vectors[index - 1], index)
    assert torch.equal(task.memory.vectors, before)


def overrides(tiny, *more):
    kept = [item for item in tiny if not item.startswith(("data.validation", "sampler."))]
    return (
        *kept,
        *UNLABELLED,
        "sampler.identities=4",
        "sampler.images_per_identity=2",
        "trainer.max_epochs=3",
        *more,
    )


def state_of(folder, name="last"):
    return torch.load(folder / "checkpoints" / f"{name}.ckpt", weights_only=True)


@pytest.mark.slow
def test_a_run_leaves_its_clusters_and_a_killed_one_ends_alike(compose, tiny, tmp_path, monkeypatch):
    folder, killed = tmp_path / "whole", tmp_path / "killed"
    result = run_job(compose(*overrides(tiny), output_dir=folder))
    assert result.test["mAP"] > 0
    numbers = json.loads((folder / "metrics.json").read_text())["clusters"]
    assert {"clusters", "outliers", "silhouette", "stability", "purity", "ari", "people"} <= set(numbers)
    assert numbers["people"] == 10
    logged = pd.read_csv(folder / "metrics.csv")["val/clusters/silhouette"].dropna()
    assert len(logged) == 3
    assert numbers["silhouette"] == pytest.approx(logged.max(), abs=1e-6)
    assert (folder / "clusters.png").is_file()
    assert (folder / "cluster_sheet.jpg").is_file()
    assert "A sheet of clusters" in (folder / "report.html").read_text()

    calls, form = [], Forming.form

    def dies(self, *given):
        calls.append(len(calls))
        if len(calls) == 3:  # at the start and after each epoch: that of the second epoch
            raise MemoryError("killed")
        return form(self, *given)

    monkeypatch.setattr(Forming, "form", dies)
    with pytest.raises(MemoryError):
        run_job(compose(*overrides(tiny), output_dir=killed))
    monkeypatch.setattr(Forming, "form", form)
    assert state_of(killed)["epoch"] == 0
    run_job(compose(*overrides(tiny, "resume=last"), output_dir=killed))
    one, other = state_of(folder), state_of(killed)
    assert all(torch.equal(one["state_dict"][name], other["state_dict"][name]) for name in one["state_dict"])
    for name in ("groups", "vectors"):
        ours, theirs = (state["reid_lightning_training"]["clusters"][name] for state in (one, other))
        assert torch.equal(ours, theirs)
    ends = [json.loads((place / "metrics.json").read_text()) for place in (folder, killed)]
    assert ends[0]["test"] == ends[1]["test"]
    assert ends[0]["clusters"] == ends[1]["clusters"]


@pytest.mark.slow
def test_two_processes_train_as_one(tiny, tmp_path):
    """In double precision: rounding alone is left, and clusters are the same."""
    for processes in (1, 2):
        run_forked(
            "train.py", *overrides(tiny), "trainer.precision=64-true", "augmentation=none", "trainer=ddp_cpu",
            "tasks.clusters.camera_statistics=6", "tasks.clusters.center_cameras=true", "evaluation.camera_statistics=6",
            f"trainer.devices={processes}", f"hydra.run.dir={tmp_path / str(processes)}",
        )  # fmt: skip
    one, two = (pd.read_csv(tmp_path / name / "metrics.csv") for name in ("1", "2"))
    for name in ("train/clusters", "val/clusters/silhouette", "val/clusters/clusters"):
        np.testing.assert_allclose(one[name].dropna(), two[name].dropna(), rtol=1e-5, atol=1e-6)
    groups = [state_of(tmp_path / n)["reid_lightning_training"]["clusters"]["groups"] for n in ("1", "2")]
    assert torch.equal(*groups)
    tests = [json.loads((tmp_path / n / "metrics.json").read_text())["test"] for n in ("1", "2")]
    assert tests[0] == pytest.approx(tests[1], abs=1e-6)


def a_run(network, vectors):
    """A run whose training images are vectors that the network takes."""
    batches = [
        {"images": part, "index": rows}
        for part, rows in zip(vectors.split(5), torch.arange(12).split(5), strict=True)
    ]
    data = SimpleNamespace(train_rows=np.arange(12), train_images_dataloader=lambda every=1: batches)
    return Run({}, Path(), network, data, EvaluationProtocol(), torch.device("cpu"))


class NeckAlone(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.neck = BNNeck(4)

    def forward(self, images, cameras=None):
        return Features(*self.neck(images))


def test_a_new_neck_has_the_statistics_of_the_images_and_a_trained_one_keeps_its_own():
    vectors = 3 + 2 * torch.randn(12, 4, generator=torch.Generator().manual_seed(0))
    network = NeckAlone()
    run = a_run(network, vectors)
    assert fill_neck_statistics(run)
    assert network.training
    torch.testing.assert_close(network.neck.norm.running_mean, vectors.mean(dim=0))
    torch.testing.assert_close(network.neck.norm.running_var, vectors.var(dim=0, correction=0))
    # What is clustered is then what is trained.
    in_training = network(vectors).embedding
    fresh = NeckAlone()
    fill_neck_statistics(a_run(fresh, vectors))
    torch.testing.assert_close(fresh.eval()(vectors).embedding, in_training)
    kept = network.neck.norm.running_mean.clone()
    assert not fill_neck_statistics(a_run(network, vectors + 1))
    assert torch.equal(network.neck.norm.running_mean, kept)


@pytest.mark.slow
def test_a_run_that_its_criterion_calls_worse_ends_with_its_start(compose, tiny, tmp_path, monkeypatch):
    falling = iter([0.9, 0.3, 0.2, 0.1])
    form = Forming.form

    def worse(self, *given):
        return form(self, *given)[0], {"silhouette": next(falling)}

    monkeypatch.setattr(Forming, "form", worse)
    result = run_job(compose(*overrides(tiny), output_dir=tmp_path / "run"))
    best = state_of(tmp_path / "run", "best")
    assert best["global_step"] == 0
    assert result.test["mAP"] > 0
    written = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert written["clusters"]["silhouette"] == 0.9


@pytest.mark.slow
def test_a_run_starts_from_a_whole_network(compose, tiny, tmp_path, monkeypatch, trained):
    seen = []

    def looks(run):
        seen.append({name: tensor.clone() for name, tensor in run.network.state_dict().items()})
        return fill_neck_statistics(run)

    monkeypatch.setattr(training_set, "fill_neck_statistics", looks)
    start = torch.load(trained, weights_only=True)["state_dict"]
    run_job(
        compose(
            *overrides(tiny, "trainer.max_epochs=1", f"start_from={trained}"), output_dir=tmp_path / "run"
        )
    )
    assert any(name.startswith("neck.") for name in seen[0])
    assert all(torch.equal(tensor, start[f"network.{name}"]) for name, tensor in seen[0].items())


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (["neck=linear"], "holds another network: neck"),
        (["backbone.weights=other.ckpt"], "drop backbone.weights=other.ckpt"),
    ],
)
@pytest.mark.slow
def test_a_start_that_does_not_fit_is_refused(compose, tiny, trained, changes, said):
    with pytest.raises(InputError, match=said):
        run_job(compose(*overrides(tiny, *changes, f"start_from={trained}")))
