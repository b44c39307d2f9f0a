"""Traits that are numbers: a task that only its folder, its option and the data know."""

import json

import numpy as np
import pandas as pd
import pytest
import torch
from torch.nn import functional

from reid_lightning.errors import InputError
from reid_lightning.experiments.checks import check_run
from reid_lightning.experiments.evaluate import evaluate
from reid_lightning.experiments.factory import build_datamodule, build_module
from reid_lightning.experiments.run import run_job
from reid_lightning.models.features import Features
from reid_lightning.systems.traits.metric import TraitErrors, TraitEvaluation
from reid_lightning.systems.traits.task import TraitsTask
from reid_lightning.systems.traits.values import TrainingValues, trait_values

NAN = float("nan")
TRAINING = TrainingValues.of(
    np.array([[160.0, 20.0], [170.0, NAN], [180.0, 60.0], [190.0, 40.0]], np.float32)
)


def task(**settings):
    torch.manual_seed(0)
    return TraitsTask(["height", "age_years"], in_features=4, training=TRAINING, **settings).double()


def a_batch(dtype=torch.float64):
    generator = torch.Generator().manual_seed(1)
    vectors = torch.randn(5, 4, generator=generator, dtype=dtype)
    values = torch.tensor([[165.0, NAN], [NAN, NAN], [182.0, 33.0], [200.0, 20.0], [NAN, 71.0]])
    return Features(vectors, vectors, vectors), {"traits": values, "index": torch.arange(5)}


def test_smooth_l1_is_that_of_plain_loops():
    traits, (features, batch) = task(beta=0.5), a_batch()
    value = traits.losses(None, features, batch, lambda tensor: tensor)["traits"].value
    outputs, means = traits.head(features.before_neck).tolist(), []
    for place, (mean, deviation) in enumerate(((175.0, np.sqrt(125.0)), (40.0, np.sqrt(800 / 3)))):
        costs = []
        for row, true in enumerate(batch["traits"][:, place].tolist()):
            if not np.isnan(true):
                error = abs(outputs[row][place] - (true - mean) / deviation)
                costs.append(error**2 / (2 * 0.5) if error < 0.5 else error - 0.25)
        means.append(np.mean(costs))
    assert value.item() == pytest.approx(np.mean(means), abs=1e-5)


def test_bins_share_a_value_between_their_two_neighbors():
    traits, (features, batch) = task(bins=4), a_batch()
    value = traits.losses(None, features, batch, lambda tensor: tensor)["traits"].value
    logits = traits.head(features.before_neck).unflatten(1, (2, 4)).log_softmax(2)
    centers = np.array([[160, 170, 180, 190], [20, 100 / 3, 140 / 3, 60]])
    means = []
    for place in range(2):
        costs = []
        for row, true in enumerate(batch["traits"][:, place].tolist()):
            if not np.isnan(true):
                true = np.clip(true, centers[place, 0], centers[place, -1])
                shares = np.interp(true, centers[place], np.arange(4))
                low, share = int(shares), shares % 1
                target = np.zeros(4)
                target[low] += 1 - share
                target[min(low + 1, 3)] += share
                costs.append(-(target * logits[row, place].detach().numpy()).sum())
        means.append(np.mean(costs))
    assert value.item() == pytest.approx(np.mean(means), abs=1e-5)
    weights = logits.exp().detach().numpy()
    expected = (weights * centers).sum(2)
    np.testing.assert_allclose(traits.answers(features).detach().numpy(), expected, rtol=1e-5)


@pytest.mark.parametrize("bins", [None, 8])
def test_what_is_unknown_trains_nothing(bins):
    traits, (features, batch) = task(bins=bins), a_batch()
    unknown = batch | {"traits": torch.full((5, 2), NAN)}
    value = traits.losses(None, features, unknown, lambda tensor: tensor)["traits"].value
    value.backward()
    assert value == 0
    assert all(not parameter.grad.any() for parameter in traits.parameters())
    assert traits.losses(None, features, batch, lambda tensor: tensor)["traits"].value > 0


@pytest.mark.parametrize("bins", [None, 5])
def test_half_types_and_shares_of_processes_give_the_loss_of_one(bins):
    traits, (features, batch) = task(bins=bins).float(), a_batch(torch.float32)
    whole = traits.losses(None, features, batch, lambda tensor: tensor)["traits"].value
    shares = [slice(0, 2), slice(2, 5)]
    others = iter([traits.head(features.before_neck[shares[1]]), batch["traits"][shares[1]]])
    first = Features(*(field[shares[0]] for field in features[:3]))
    joined = traits.losses(
        None, first, {"traits": batch["traits"][shares[0]]}, lambda tensor: torch.cat([tensor, next(others)])
    )["traits"].value
    torch.testing.assert_close(joined, whole)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = traits.losses(None, features, batch, lambda tensor: tensor)["traits"].value
    assert half.dtype == torch.float32
    torch.testing.assert_close(half, whole, rtol=0.05, atol=0.05)


@pytest.mark.parametrize("bins", [None, 12])
def test_the_head_learns_what_can_be_learned(bins):
    torch.manual_seed(0)
    vectors = torch.randn(256, 4)
    values = torch.stack([170 + 10 * vectors[:, 0], 40 + 12 * vectors[:, 1] - 5 * vectors[:, 2]], dim=1)
    traits = TraitsTask(["a", "b"], bins=bins, in_features=4, training=TrainingValues.of(values.numpy()))
    optimizer = torch.optim.Adam(traits.parameters(), lr=0.05)
    features = Features(vectors, vectors, vectors)
    for _ in range(300):
        loss = traits.losses(None, features, {"traits": values}, lambda tensor: tensor)["traits"].value
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    traits.update(None, features, {"traits": values, "index": torch.arange(256)})
    scores = traits.compute()
    for name in ("a", "b"):
        assert scores[f"{name}/error"] < 0.25 * scores[f"{name}/constant_error"]
        assert scores[f"{name}/correlation"] > 0.97


def test_errors_are_those_of_each_image_once_in_any_order():
    answers, truth = torch.tensor([[1.0], [5.0], [9.0]]), torch.tensor([[2.0], [NAN], [6.0]])
    evaluation = TraitEvaluation(["age"])
    evaluation.medians = [4.0]
    evaluation.update(answers[[2, 0]], truth[[2, 0]], torch.tensor([2, 0]))
    evaluation.update(answers[[1, 0]], truth[[1, 0]], torch.tensor([1, 0]))
    found = evaluation.compute()
    assert torch.equal(found.answers, answers)
    assert found.summary() == {"age/error": 2.0, "age/constant_error": 2.0, "age/correlation": 1.0}
    nothing = TraitErrors(("age",), answers, torch.full((3, 1), NAN), (4.0,))
    assert nothing.summary() == {}


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"traits": []}, "traits must name at least one column"),
        ({"traits": ["age"], "weight": 0}, "weight must be > 0, got 0"),
        ({"traits": ["age"], "bins": 1}, "bins must be a whole number of at least 2 or null, got 1"),
        ({"traits": ["age"], "beta": -1}, "beta must be > 0, got -1"),
    ],
)
def test_senseless_settings_are_refused(settings, words):
    with pytest.raises(ValueError, match=words):
        TraitsTask(**settings)


def test_a_value_that_is_no_number_is_named_with_its_image():
    table = pd.DataFrame({"path": ["a.jpg", "b.jpg"], "source": "own", "height": ["171", "tall"]})
    with pytest.raises(InputError, match="height is not a finite number"):
        trait_values(table, ["height"])
    assert np.isnan(trait_values(table, ["weight"])).all()


@pytest.mark.parametrize(
    ("trait", "words"),
    [
        ("weight", "names weight, which is not a column of pedestrians"),
        ("age", "names age, which is an attribute"),
    ],
)
def test_data_without_the_trait_are_refused_before_training(compose, tiny, trait, words):
    config = compose(*tiny, "task=traits", f"tasks.traits.traits=[{trait}]", "data.weights=null")
    check_run(config)
    with pytest.raises(InputError, match=words):
        run_job(config)


def test_batches_carry_the_traits_and_the_head_is_trained_with_the_rest(compose, tiny):
    config = compose(*tiny, "task=traits", "data.weights=null")
    datamodule = build_datamodule(config)
    datamodule.prepare_data()
    datamodule.setup("fit")
    batch = next(iter(datamodule.train_dataloader()))
    expected = datamodule.table[["height", "age_years"]].iloc[batch["index"].tolist()].to_numpy(np.float32)
    np.testing.assert_array_equal(batch["traits"].numpy(), expected)
    module = build_module(config, datamodule.num_identities, datamodule.identity_labels, datamodule)
    optimizer = module._optimizer(module.network, module.objective)
    trained = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
    head = module.objective.tasks["traits"].head
    assert {id(head.weight), id(head.bias)} <= trained
    assert "objective.tasks.traits.head.weight" in module.state_dict()


@pytest.mark.slow
def test_a_run_trains_reports_and_is_evaluated_again(compose, tiny, tmp_path):
    config = compose(*tiny, "task=traits", "tasks.traits.bins=6", "trainer.max_epochs=1", "data.weights=null")
    result = run_job(config)
    folder = tmp_path / "run"
    scores = result.reports["traits"]
    assert {"height/error", "height/constant_error", "age_years/error"} <= scores.keys()
    assert json.loads((folder / "metrics.json").read_text())["traits"] == pytest.approx(scores)
    logged = pd.read_csv(folder / "metrics.csv")
    assert logged["test/traits/height/error"].dropna().item() == pytest.approx(scores["height/error"])
    assert (folder / "traits.png").is_file()
    assert "constant guess" in (folder / "report.html").read_text()
    again = evaluate(folder / "checkpoints" / "best.ckpt", tmp_path / "again")
    assert again.reports["traits"] == pytest.approx(scores)


def test_smooth_l1_is_torchs_own():
    traits, (features, batch) = task(), a_batch()
    known = ~batch["traits"].isnan()
    outputs = traits.head(features.before_neck)
    scaled = traits._scaled(batch["traits"])
    means = [
        functional.smooth_l1_loss(outputs[known[:, place], place], scaled[known[:, place], place].double())
        for place in range(2)
    ]
    value = traits.losses(None, features, batch, lambda tensor: tensor)["traits"].value
    torch.testing.assert_close(value, torch.stack(means).mean(), rtol=1e-5, atol=1e-6)
