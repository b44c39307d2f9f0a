"""The network: input normalization, backbone, pooling, neck and classifier."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from reid_lightning.errors import InputError
from reid_lightning.models.backbone import Encoded
from reid_lightning.models.branches import Descriptor, Parts, VectorHeads
from reid_lightning.models.classifiers.softmax import SoftmaxClassifier
from reid_lightning.models.features import Features
from reid_lightning.models.feed import PLAIN, Feed
from reid_lightning.models.necks import BNNeck
from reid_lightning.models.normalization import InputNormalization
from reid_lightning.models.pooling import NO_TOKEN, AveragePooling


class ReIDNetwork(nn.Module):
    """Maps images to `Features` and features to identity logits.

    Args:
        backbone: (B, 3, H, W) normalized float -> (B, C, h, w); its `out_channels` is C.
        pooling: (B, C, h, w) -> (B, C); None: the mean over all positions. With `reads_token` it is given the backbone's
            (B, C) class token.
        neck: Completed with C; maps (B, C) to the metric, retrieval and classifier vectors of `out_features`.
        classifier: Completed with `out_features` and the number of identities; None for none.
        num_identities: Training identities; may be left out without a classifier.
        descriptor: Completed with the backbone: another vector, outside of training; None for none.
        attributes: Completed with `out_features`: heads on the neck's classifier vector; None for none.
        parts: Completed with C: features of body parts, or what takes the pooling's place; None for none.
        feed: How images come in: normalized by its numbers, and files resized by its interpolation. None: as the
            backbone says (`Backbone.feed`).

    Raises:
        ValueError: There is a classifier and no number of identities.
        InputError: The pooling reads a class token, and the backbone gives none.

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
        feed: Feed | None = None,
    ) -> None:
        super().__init__()
        self.feed: Feed = getattr(backbone, "feed", PLAIN) if feed is None else feed
        self.normalize = InputNormalization(self.feed.mean, self.feed.std)
        self.backbone = backbone
        channels = int(backbone.out_channels)  # type: ignore[arg-type]
        self.parts = parts(channels) if parts else None
        if self.parts is not None:
            self.parts.adopt(backbone)
        pooled = self.parts.pooled_features if self.parts else None
        pooling = AveragePooling() if pooling is None else pooling
        self.pooling = pooling if pooled is None else None
        self._reads_token = any(getattr(part, "reads_token", False) for part in (self.pooling, self.parts))
        self._reads_cameras = bool(getattr(backbone, "reads_cameras", False))
        if self._reads_token and not getattr(backbone, "has_token", False):
            raise InputError(NO_TOKEN)
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

    def forward(self, images: Tensor, cameras: Tensor | None = None) -> Features:
        """Return the features of a batch.

        Args:
            images: (B, 3, H, W), uint8 or float in [0, 1].
            cameras: (B,) int64, of each image its camera's position among those of the training, -1 for any other; a
                backbone that knows no cameras does not look at them. None: none is known.
        """
        images = self.normalize(images)
        if self.descriptor is None or self.training:
            return self._features(images, self._encode(images, cameras))
        last, descriptor = self.descriptor(self.backbone, images)
        # A descriptor sees maps alone: a class token costs another pass.
        encoded = self._encode(images, cameras) if self._reads_token else Encoded(last)
        return self._features(images, encoded).with_extra(self.descriptor.gives, descriptor)

    def _encode(self, images: Tensor, cameras: Tensor | None) -> Encoded:
        backbone: Any = self.backbone
        known = {"cameras": cameras} if self._reads_cameras else {}
        return backbone.encode(images, **known) if self._reads_token else Encoded(backbone(images, **known))

    def _features(self, images: Tensor, encoded: Encoded) -> Features:
        """Return the features of (B, 3, H, W) normalized images that the backbone has encoded.

        Scores that heads add join what is classified and compared.
        """
        pooled, local = self.parts.of_encoded(images, encoded) if self.parts is not None else (None, None)
        if self.pooling is not None:
            by_token = getattr(self.pooling, "reads_token", False)
            pooled = self.pooling(encoded.token if by_token else encoded.map)
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
