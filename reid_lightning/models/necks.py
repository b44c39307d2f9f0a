"""Between pooling and loss: which vector each loss and the retrieval read.

A neck maps (B, C) to three tables: what metric losses read, what retrieval compares, what the classifier reads.
"""

import torch
from torch import Tensor, nn

from reid_lightning.config.declared import ignores

Vectors = tuple[Tensor, Tensor, Tensor]


class BNNeck(nn.Module):
    """Batch normalization between metric loss and classifier (Luo et al. 2019, "Bag of Tricks", Sec. 3.5).

    Metric losses read the vector before it, classifier and retrieval the one after it. Its shift stays 0.

    Args:
        in_features: Dimensions of the pooled vector.
    """

    def __init__(self, in_features: int) -> None:
        super().__init__()
        self.out_features = in_features
        self.norm = nn.BatchNorm1d(in_features)
        self.norm.bias.requires_grad_(False)

    def forward(self, pooled: Tensor) -> Vectors:
        """Return (B, C) before, after and after the normalization."""
        after = self.norm(pooled)
        return pooled, after, after


class ProjectedNeck(nn.Module):
    """A linear layer without a shift, and batch normalization after it.

    SOLIDER's reduced feature (Chen et al. 2023) is the projected vector alone. CLIP-ReID (Li et al. 2023, Sec. 3.4) compares
    it beside the pooled vector, each of both normalized by itself; one normalization of the joined vector is the same, as it
    takes each dimension alone. Metric losses read the vector before the normalization, whose shift stays 0, classifier and
    retrieval the one after it.

    Args:
        in_features: Dimensions C of the pooled vector.
        projection_size: Dimensions P of the projected vector.
        keep_pooled: Whether the pooled vector stays, in front of the projected one: C + P dimensions instead of P.
    """

    def __init__(self, in_features: int, projection_size: int = 512, keep_pooled: bool = False) -> None:
        super().__init__()
        self.keep_pooled = keep_pooled
        self.out_features = projection_size + (in_features if keep_pooled else 0)
        self.projection = nn.Linear(in_features, projection_size, bias=False)
        self.norm = nn.BatchNorm1d(self.out_features)
        self.norm.bias.requires_grad_(False)

    def forward(self, pooled: Tensor) -> Vectors:
        """Return (B, P) or (B, C + P) before, after and after the normalization."""
        before = self.projection(pooled)
        if self.keep_pooled:
            before = torch.cat([pooled, before], dim=1)
        after = self.norm(before)
        return before, after, after


@ignores("batch_norm", "there is no hidden layer to normalize", hidden_size=None)
class LinearNeck(nn.Module):
    """A fully connected embedding (Hermans et al. 2017; FH Kiel 2020: 1024, BN, ReLU, 128).

    Args:
        in_features: Dimensions of the pooled vector.
        embedding_size: Dimensions of the embedding.
        hidden_size: Dimensions of a layer before it, with batch normalization (if any) and ReLU; None leaves it out.
        batch_norm: Normalize the hidden layer.
        dropout: Probability that a value entering the last layer is dropped.
    """

    def __init__(
        self,
        in_features: int,
        embedding_size: int = 128,
        hidden_size: int | None = None,
        batch_norm: bool = True,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.out_features = embedding_size
        layers: list[nn.Module] = []
        if hidden_size is not None:
            layers.append(nn.Linear(in_features, hidden_size))
            if batch_norm:
                layers.append(nn.BatchNorm1d(hidden_size))
            layers.append(nn.ReLU(inplace=True))
        if dropout:
            layers.append(nn.Dropout(dropout))
        layers.append(nn.Linear(hidden_size or in_features, embedding_size))
        self.layers = nn.Sequential(*layers)

    def forward(self, pooled: Tensor) -> Vectors:
        """Return the (B, embedding_size) embedding for all three."""
        embedding = self.layers(pooled)
        return embedding, embedding, embedding


class ReLUNeck(nn.Module):
    """A fully connected layer with batch normalization and ReLU (University of Trento, after Lin et al. 2019).

    Args:
        in_features: Dimensions of the pooled vector.
        embedding_size: Dimensions of the embedding f.
    """

    def __init__(self, in_features: int, embedding_size: int = 512) -> None:
        super().__init__()
        self.out_features = embedding_size
        self.layers = nn.Sequential(
            nn.Linear(in_features, embedding_size), nn.BatchNorm1d(embedding_size), nn.ReLU()
        )

    def forward(self, pooled: Tensor) -> Vectors:
        """Return the (B, embedding_size) embedding f for all three."""
        embedding = self.layers(pooled)
        return embedding, embedding, embedding


class NoNeck(nn.Module):
    """The pooled vector as it is.

    Args:
        in_features: Dimensions of the pooled vector.
    """

    def __init__(self, in_features: int) -> None:
        super().__init__()
        self.out_features = in_features

    def forward(self, pooled: Tensor) -> Vectors:
        """Return the (B, C) pooled vector for all three."""
        return pooled, pooled, pooled
