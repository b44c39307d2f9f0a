import torch
from tester import CLASSES, SIZE, Case, LossTester

from reid_lightning.losses.center import CenterLoss


def plain_update(centers, embeddings, labels, alpha):
    """Equations 3 and 4 of the paper, identity by identity."""
    centers = centers.clone()
    for identity in set(labels.tolist()):
        own = embeddings[labels == identity]
        centers[identity] += alpha * (own - centers[identity]).sum(dim=0) / (1 + len(own))
    return centers


def plain_loss(loss, embeddings, labels, triplets):
    """Equation 2 of the paper, over the mean of the images."""
    distances = [((x - loss.centers[y]) ** 2).sum().item() for x, y in zip(embeddings, labels, strict=True)]
    return sum(distances) / 2 / len(labels)


def loss_with_centers(seed=0, alpha=0.5):
    loss = CenterLoss(CLASSES, SIZE, alpha)
    loss.centers.normal_(generator=torch.Generator().manual_seed(seed))
    return loss


class TestCenterLoss(LossTester):
    cases = (
        Case(CenterLoss(CLASSES, SIZE), plain_loss, any_label=False),
        Case(loss_with_centers(alpha=0.3), plain_loss, any_label=False),
    )


def test_centers_move_as_in_plain_loops(random_batch):
    for seed in range(50):
        embeddings, labels = random_batch(seed)
        loss = CenterLoss(num_classes=4, embedding_size=5, alpha=0.3).double()
        loss.centers.normal_(generator=torch.Generator().manual_seed(seed))
        before = loss.centers.clone()
        loss(embeddings, labels)
        expected = plain_update(before, embeddings, labels, 0.3)
        torch.testing.assert_close(loss.centers, expected, atol=1e-9, rtol=0)


def test_order_of_the_gathered_batch_does_not_matter_to_centers(random_batch):
    """Every process sees the same batch, whatever its own share of it was."""
    embeddings, labels = random_batch(3)
    shuffled = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))
    first, second = CenterLoss(4, 5).double(), CenterLoss(4, 5).double()
    first(embeddings, labels)
    second(embeddings[shuffled], labels[shuffled])
    torch.testing.assert_close(first.centers, second.centers)


def test_the_gradient_is_that_of_the_centers_before_their_move(random_batch):
    embeddings, labels = random_batch(1)
    loss = CenterLoss(4, 5, alpha=1.0).double()
    before = loss.centers.clone()
    loss(embeddings.requires_grad_(), labels).backward()
    torch.testing.assert_close(embeddings.grad, (embeddings.detach() - before[labels]) / len(labels))


def test_centers_move_in_training_only_and_travel_in_the_state(random_batch):
    embeddings, labels = random_batch(2, torch.float32)
    loss = CenterLoss(4, 5)
    loss.eval()(embeddings, labels)
    assert not loss.centers.any()
    loss.train()(embeddings, labels)
    assert loss.centers.any()
    assert not list(loss.parameters())
    other = CenterLoss(4, 5)
    other.load_state_dict(loss.state_dict())
    assert torch.equal(other.centers, loss.centers)


def test_centers_find_the_means():
    torch.manual_seed(0)
    means = torch.randn(3, 4)
    loss = CenterLoss(3, 4)
    labels = torch.arange(3).repeat_interleave(4)
    for _ in range(60):
        loss(means[labels], labels)
    torch.testing.assert_close(loss.centers, means, atol=1e-4, rtol=0)
