"""The network: input normalisation, backbone, pooling, neck and classifier."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from reid_lightning.models.branches import Descriptor, Parts, VectorHeads
from reid_lightning.models.classifiers.softmax import SoftmaxClassifier
from reid_lightning.models.features import Features
from reid_lightning.models.feed import PLAIN, Feed
from reid_lightning.models.necks import BNNeck
from reid_lightning.models.normalization import InputNormalization
from reid_lightning.models.pooling import AveragePooling


class ReIDNetwork(nn.Module):
    """Maps images to `Features` and features to identity logits.

    Args:
        backbone: (B, 3, H, W) normalised float -> (B, C, h, w); its `out_channels` is C, and its `feed`, where it has one,
            says how images are normalised.
        pooling: (B, C, h, w) -> (B, C); None: the mean over all positions.
        neck: Completed with C; maps (B, C) to the metric, retrieval and classifier vectors of `out_features`.
        classifier: Completed with `out_features` and the number of identities; None for none.
        num_identities: Training identities; may be left out without a classifier.
        descriptor: Completed with the backbone: another vector, outside of training; None for none.
        attributes: Completed with `out_features`: heads on the neck's classifier vector; None for none.
        parts: Completed with C: features of body parts, or what takes the pooling's place; None for none.

    Attributes:
        feed: How images come in; files are to be resized by its interpolation.

    Raises:
        ValueError: There is a classifier and no number of identities.

    Examples:
        >>> from reid_lightning.models.convolutional_backbones import resnet10
        >>> network = ReIDNetwork(resnet10(), num_identities=7)
        >>> features = network(torch.rand(2, 3, 64, 32))
        >>> features.embedding.shape, network.classify(features).shape
        (torch.Size([2, 256]), torch.Size([2, 7]))
    """

    def __init__(
        self,
        backbone: nn.Module,
        pooling: nn.Module | None = None,
        neck: Callable[[int], nn.Module] = BNNeck,
        classifier: Callable[[int, int], nn.Module] | None = SoftmaxClassifier,
        num_identities: int | None = None,
        descriptor: Callable[[nn.Module], Descriptor] | None = None,
        attributes: Callable[[int], VectorHeads] | None = None,
        parts: Callable[[int], Parts] | None = None,
    ) -> None:
        super().__init__()
        self.feed: Feed = getattr(backbone, "feed", PLAIN)
        self.normalize = InputNormalization(self.feed.mean, self.feed.std)
        self.backbone = backbone
        channels = int(backbone.out_channels)  # type: ignore[arg-type]
        self.parts = parts(channels) if parts else None
        pooled = self.parts.pooled_features if self.parts else None
        pooling = AveragePooling() if pooling is None else pooling
        self.pooling = pooling if pooled is None else None
        self.neck = neck(pooled or channels)
        self.embedding_size = int(self.neck.out_features)  # type: ignore[arg-type]
        self.attributes = attributes(self.embedding_size) if attributes else None
        classified = self.embedding_size + (self.attributes.added_features if self.attributes else 0)
        self.classifier = None
        if classifier is not None:
            if num_identities is None:
                raise ValueError(
                    "num_identities is not given; the classifier needs it (None for no classifier)"
                )
            self.classifier = classifier(classified, num_identities)
        self.descriptor = descriptor(backbone) if descriptor else None

    def take_feed(self, feed: Feed) -> None:
        """Take images in as another feed says from now on, such as that of a checkpoint."""
        self.feed = feed
        self.normalize.take(feed.mean, feed.std)

    def forward(self, images: Tensor) -> Features:
        """Return the features of (B, 3, H, W) images, uint8 or float in [0, 1]."""
        images = self.normalize(images)
        if self.descriptor is None or self.training:
            return self._features(images, self.backbone(images))
        last, descriptor = self.descriptor(self.backbone, images)
        return self._features(images, last).with_extra(self.descriptor.gives, descriptor)

    def _features(self, images: Tensor, maps: Tensor) -> Features:
        """Return the features of (B, 3, H, W) normalised images whose (B, C, h, w) maps the backbone gave.

        Scores that heads add join what is classified and compared.
        """
        pooled, local = self.parts(images, maps) if self.parts is not None else (None, None)
        if self.pooling is not None:
            pooled = self.pooling(maps)
        features = Features(*self.neck(pooled))
        if self.parts is not None:
            features = features.with_extra(self.parts.gives, local)
        if self.attributes is None:
            return features
        outputs, scores = self.attributes(features.classifier)
        if scores is not None:
            embedding, classified = (
                torch.cat([vector, scores.to(vector.dtype)], dim=1)
                for vector in (features.embedding, features.classifier)
            )
            features = features._replace(embedding=embedding, classifier=classified)
        return features.with_extra(self.attributes.gives, outputs)

    def classify(self, features: Features, labels: Tensor | None = None) -> Tensor | None:
        """Return (B, identities) logits, with the classifier's margin only if labels are given; None without one."""
        return None if self.classifier is None else self.classifier(features.classifier, labels)
