"""Attribute scores against scikit-learn and plain loops, alone and in two processes."""

import numpy as np
import pytest
import torch
from sklearn import metrics as sklearn

from reid_lightning.systems.attributes.metric import AttributeEvaluation
from reid_lightning.systems.attributes.scores import joint_accuracy, predicted_classes

NAMES, SIZES, MAJORITY = ("hat", "age", "colour"), (2, 4, 3), [0, 2, 1]


def table(rows=61):
    """Probabilities, squared scores, targets and index of a small test set, in its order."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(rows, sum(SIZES), generator=generator)
    probabilities = torch.cat([block.softmax(1) for block in logits.split(list(SIZES), 1)], dim=1)
    targets = torch.stack([torch.randint(-1, size, (rows,), generator=generator) for size in SIZES], dim=1)
    targets[:, 0] = targets[:, 0].where(torch.rand(rows, generator=generator) < 0.3, 0)  # mostly no hat
    targets[:, 1] = targets[:, 1].where(targets[:, 1] != 3, -1)  # a class that never occurs, but is answered
    return probabilities, probabilities.square().sum(1), targets, torch.arange(100, 100 + rows)


def evaluated(columns, parts):
    evaluation = AttributeEvaluation(NAMES, SIZES)
    evaluation.majority = MAJORITY
    for part in parts:
        evaluation.update(*(column[part] for column in columns))
    return evaluation, evaluation.compute()


def known_answers(columns, head):
    """The known true classes of a head and the answers to them, as arrays."""
    probabilities, _, targets, _ = columns
    start = sum(SIZES[:head])
    answers = probabilities[:, start : start + SIZES[head]].argmax(1)
    known = targets[:, head] >= 0
    return targets[known, head].numpy(), answers[known].numpy()


def mean_accuracy(true, answers):
    """Plain mA: over the classes that occur, half of true positive plus true negative rate."""
    halves = []
    for label in np.unique(true):
        positive = true == label
        hit, rejected = (answers[positive] == label).mean(), (answers[~positive] != label).mean()
        halves.append((hit + rejected) / 2)
    return np.mean(halves)


@pytest.mark.filterwarnings("ignore:y_pred contains classes not in y_true")
def test_scores_equal_scikit_learn():
    columns = table()
    _, scores = evaluated(columns, [torch.arange(61)])
    for head, name in enumerate(NAMES):
        true, answers = known_answers(columns, head)
        found = scores.heads[head]
        assert len(set(true)) < len(true) < 61, name
        assert found.accuracy == pytest.approx(sklearn.accuracy_score(true, answers))
        assert found.balanced_accuracy == pytest.approx(sklearn.balanced_accuracy_score(true, answers))
        assert found.macro_f1 == pytest.approx(sklearn.f1_score(true, answers, average="macro"))
        assert found.mean_accuracy == pytest.approx(mean_accuracy(true, answers))
        assert found.majority == pytest.approx((true == MAJORITY[head]).mean())
        labels = range(SIZES[head])
        expected = sklearn.confusion_matrix(true, answers, labels=labels)
        np.testing.assert_array_equal(scores.confusions[head], expected)


def test_always_answering_the_majority_scores_the_baseline():
    probabilities, squared, targets, index = table()
    probabilities = torch.zeros_like(probabilities)
    for head, label in enumerate(MAJORITY):
        probabilities[:, sum(SIZES[:head]) + label] = 1
    _, scores = evaluated((probabilities, squared, targets, index), [torch.arange(61)])
    for found, size in zip(scores.heads, (2, 3, 3), strict=True):  # classes that occur
        assert found.accuracy == found.majority
        assert found.balanced_accuracy == pytest.approx(1 / size)


def test_summary_averages_the_heads_that_have_known_labels():
    probabilities, squared, targets, index = table()
    targets[:, 1] = -1
    _, scores = evaluated((probabilities, squared, targets, index), [torch.arange(61)])
    summary = scores.summary()
    hat, colour = scores.heads[0], scores.heads[2]
    assert summary["accuracy"] == pytest.approx((hat.accuracy + colour.accuracy) / 2)
    assert summary["hat/macro_f1"] == hat.macro_f1
    assert not any(name.startswith("age/") for name in summary)
    assert all(np.isfinite(value) for value in summary.values())
    assert len(summary) == 5 * (1 + 2)


def test_data_without_annotations_has_rows_and_no_scores():
    probabilities, squared, targets, index = table()
    columns = (probabilities, squared, torch.full_like(targets, -1), index)
    evaluation, scores = evaluated(columns, [torch.arange(61)])
    assert scores.summary() == {}
    assert torch.equal(evaluation.evaluated.probabilities, probabilities)


def test_batches_in_any_order_with_duplicates_give_the_rows_once():
    columns = table()
    shuffled = torch.randperm(61)
    evaluation, scores = evaluated(columns, [shuffled[:20], shuffled[20:], torch.tensor([3, 4, 0])])
    _, expected = evaluated(columns, [torch.arange(61)])
    assert scores.summary() == expected.summary()
    rows = evaluation.evaluated
    for found, column in zip(
        (rows.probabilities, rows.squared_scores, rows.targets, rows.index), columns, strict=True
    ):
        assert torch.equal(found, column)
    evaluation.reset()
    assert evaluation.evaluated is None


SHARDS = {
    "uneven": ([range(0, 61, 2)], [range(1, 7, 2), range(7, 61, 2)]),
    "one without rows": ([range(20), range(20, 61)], []),
    "first without rows": ([], [range(61)]),
    "overlapping": ([range(31)], [range(25, 61)]),
}


def evaluate_shards(process):
    found = {}
    for name, shards in SHARDS.items():
        evaluation, scores = evaluated(table(), [torch.tensor(list(part)) for part in shards[process]])
        found[name] = (scores.summary(), scores.confusions, tuple(vars(evaluation.evaluated).values()))
    return found


@pytest.mark.slow
def test_two_processes_give_the_scores_of_one(processes):
    found = processes(evaluate_shards)
    whole, scores = evaluated(table(), [torch.arange(61)])
    for name in SHARDS:
        for process in (0, 1):
            summary, confusions, rows = found[process][name]
            assert summary == scores.summary(), name
            assert all(map(torch.equal, confusions, scores.confusions)), name
            assert all(map(torch.equal, rows, vars(whole.evaluated).values())), name


@pytest.mark.parametrize("with_identity", [True, False])
def test_joint_accuracy_counts_attributes_and_identity(with_identity):
    probabilities, _, targets, _ = table(9)
    targets[4] = -1
    identity_logits = torch.randn(9, 5)
    labels = torch.randint(5, (9,))
    answers = predicted_classes(probabilities, SIZES)
    shares = []
    for row in range(9):
        right = [int(a) == int(t) for a, t in zip(answers[row], targets[row], strict=True) if t >= 0]
        right += [int(identity_logits[row].argmax()) == int(labels[row])] if with_identity else []
        if right:
            shares.append(sum(right) / len(right))
    assert len(shares) == (9 if with_identity else 8)
    found = joint_accuracy(probabilities, targets, SIZES, identity_logits if with_identity else None, labels)
    assert float(found) == pytest.approx(np.mean(shares))
