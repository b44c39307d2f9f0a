"""Multi-depth descriptor: one chosen feature map per layer, resized, smoothed and compared as it is (Birjand 2022).

Resizing and box smoothing are linear and act on rows and columns apart. So a smoothed map is `R x C'` with two small
matrices, and a distance between smoothed maps needs no map of the frame's size.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache

import torch
from torch import Tensor, nn
from torch.nn import functional

from reid_lightning.errors import InputError, require
from reid_lightning.models.backbone import Backbone
from reid_lightning.models.branches import Descriptor


class MultiDepthDescriptor(Descriptor):
    """The maps of the filters that tell people apart best, over all depths of a backbone (University of Birjand 2022).

    The filters are chosen once the backbone is trained (`explore`), and are saved with its weights.

    Args:
        backbone: Its depths are what can be chosen; it is not kept.
        layers: Which of its depths are used, counted from 0; None: all.
        filters: Filters of a layer, the best first; the paper takes one.
        box: Side of the smoothing box in pixels of the frame (l = 20 in the paper).
        stride: Pixels between the values of a smoothed map that the descriptor keeps; 1 keeps all of them.

    Attributes:
        filters: (layers, filters) int64 numbers of the chosen filters; -1 before the exploration.
        gains: (layers, filters) how much farther apart the filter's maps are for different people than for one.

    Raises:
        InputError: A setting is out of range.
    """

    gives = "descriptor"
    filters: Tensor
    gains: Tensor

    def __init__(
        self,
        backbone: Backbone,
        layers: Sequence[int] | None = None,
        filters: int = 1,
        box: int = 20,
        stride: int = 8,
    ) -> None:
        super().__init__()
        depths = len(backbone.depths)
        self.layers = list(range(depths)) if layers is None else sorted(set(layers))
        if not self.layers or self.layers[0] < 0 or self.layers[-1] >= depths:
            raise ValueError(
                f"layers must be numbers from 0 to {depths - 1}, the depths that this backbone has, got {layers}"
            )
        for name, value in (("filters", filters), ("box", box), ("stride", stride)):
            require(value >= 1, name, ">= 1", value)
        self.box, self.stride = box, stride
        self.register_buffer("filters", torch.full((len(self.layers), filters), -1))
        self.register_buffer("gains", torch.zeros(len(self.layers), filters))

    @property
    def explored(self) -> bool:
        """Whether the filters have been chosen."""
        return bool((self.filters >= 0).all())

    @torch.no_grad()
    def explore(
        self,
        backbone: Backbone,
        batches: Iterable[Tensor],
        total: Callable[[Tensor], Tensor] = lambda sums: sums,
    ) -> None:
        """Choose in every layer the filters with the largest mean of `d(query, different) - d(query, same)`.

        Only the maps of one layer are held at a time.

        Args:
            backbone: In evaluation mode.
            batches: (3 T, 3, H, W) normalized images: query, same person, different person, query, ...
            total: Adds up a (C,) vector over all processes, each of which explores triples of its own.

        Raises:
            InputError: A layer has fewer filters than are to be chosen, or there are no triples.
        """
        sums: list[Tensor] = []

        def add(layer: int, maps: Tensor) -> None:
            query, same, different = maps.unflatten(0, (-1, 3)).unbind(1)
            gains = filter_gains(query, same, different, frame, self.box).sum(0).double()
            if layer < len(sums):
                sums[layer] += gains
            else:
                sums.append(gains)

        triples = 0
        for images in batches:
            frame = (images.shape[-2], images.shape[-1])
            triples += len(images) // 3
            with self._maps(backbone, add):
                backbone(images)
        if not triples:
            raise InputError("the training set gives no triples to explore filters with; it needs two people")
        count = float(total(torch.tensor([triples], dtype=torch.float64, device=self.gains.device)))
        for position, gains in enumerate(sums):
            wanted = self.filters.shape[1]
            if wanted > len(gains):
                raise InputError(
                    f"descriptor.filters={wanted} exceeds the {len(gains)} filters of layer {self.layers[position]}: "
                    "lower it, or choose other descriptor.layers"
                )
            best = (total(gains) / count).topk(wanted)
            self.filters[position], self.gains[position] = best.indices, best.values.float()

    @torch.no_grad()
    def mean_distances(self, backbone: Backbone, batches: Iterable[Tensor]) -> list[Tensor]:
        """Return, for every layer, the (2, C) mean distances of its filters' maps: of one person, and of two.

        Args:
            backbone: As of `explore`.
            batches: As of `explore`.

        Raises:
            InputError: There are no triples.
        """
        sums: list[Tensor] = [torch.zeros(()) for _ in self.layers]

        def add(layer: int, maps: Tensor) -> None:
            query, same, different = maps.unflatten(0, (-1, 3)).unbind(1)
            distances = filter_distances(query, same, different, frame, self.box)
            sums[layer] = sums[layer] + torch.stack([d.sum(0) for d in distances]).double().cpu()

        triples = 0
        for images in batches:
            frame = (images.shape[-2], images.shape[-1])
            triples += len(images) // 3
            with self._maps(backbone, add):
                backbone(images)
        if not triples:
            raise InputError("there are no triples to measure distances of filters with")
        return [total / triples for total in sums]

    def forward(self, backbone: Backbone, images: Tensor) -> tuple[Tensor, Tensor]:
        """Run the backbone and read the chosen filters on the way.

        Args:
            backbone: The one whose filters were explored.
            images: (B, 3, H, W) normalized.

        Returns:
            The backbone's own last map (B, C, h, w), and the (B, D) float32 descriptor: D is layers x filters x
            ceil(H / stride) x ceil(W / stride), give or take a row.

        Raises:
            InputError: The filters have not been chosen yet.
        """
        if not torch.compiler.is_exporting() and not self.explored:  # a graph asks nothing
            raise InputError(
                "the descriptor's filters have not been explored yet: descriptor=multi_depth brings callbacks.explore "
                "along, which chooses them before every validation"
            )
        last, chosen = self.chosen_maps(backbone, images)
        frame = (images.shape[-2], images.shape[-1])
        with torch.autocast(images.device.type, enabled=False):
            return last, torch.cat([smooth(m, frame, self.box, self.stride).flatten(1) for m in chosen], 1)

    def chosen_maps(self, backbone: Backbone, images: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Run the backbone on (B, 3, H, W) images; return its last map and each layer's (B, filters, h, w) chosen maps."""
        chosen: list[Tensor] = []
        with self._maps(backbone, lambda layer, maps: chosen.append(maps[:, self.filters[layer]])):
            last = backbone(images)
        return last, chosen

    @contextmanager
    def _maps(self, backbone: Backbone, take: Callable[[int, Tensor], None]) -> Iterator[None]:
        """Call `take(position, maps)` with the (B, C, h, w) float32 maps of each layer as the backbone reaches it."""
        depths = backbone.depths

        def hook(position: int) -> Callable[[nn.Module, object, Tensor], None]:
            return lambda module, inputs, output: take(position, backbone.as_map(output).float())

        handles = [depths[layer].register_forward_hook(hook(i)) for i, layer in enumerate(self.layers)]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()


def smooth(maps: Tensor, frame: tuple[int, int], box: int, stride: int = 1) -> Tensor:
    """Resize maps to the frame and average each pixel's box of neighbors; outside the frame lie zeros.

    Args:
        maps: (..., h, w) of a floating type.
        frame: Height H and width W in pixels.
        box: Side of the box in pixels; one of even side reaches a pixel further up and left.
        stride: Pixels between the values that are returned; 1 returns (..., H, W).

    Examples:
        >>> smooth(torch.ones(1, 2), frame=(2, 4), box=2)
        tensor([[0.2500, 0.5000, 0.5000, 0.5000],
                [0.5000, 1.0000, 1.0000, 1.0000]])
    """
    rows = _smoothing(maps.shape[-2], frame[0], box, stride).to(maps)
    columns = _smoothing(maps.shape[-1], frame[1], box, stride).to(maps)
    return rows @ maps @ columns.T


def filter_gains(query: Tensor, same: Tensor, different: Tensor, frame: tuple[int, int], box: int) -> Tensor:
    """Return (T, C): how much farther the smoothed maps of a different person are than those of the same one.

    Arguments as of `filter_distances`, of which it is the difference `d_d - d_s`.
    """
    to_same, to_different = filter_distances(query, same, different, frame, box)
    return to_different - to_same


def filter_distances(
    query: Tensor, same: Tensor, different: Tensor, frame: tuple[int, int], box: int
) -> tuple[Tensor, Tensor]:
    """Return (T, C) `d_s` and `d_d` for every triple and filter: Euclidean distances of smoothed maps at the frame's size.

    Args:
        query: (T, C, h, w) maps, as the other two.
        same: Of the query's person.
        different: Of another person.
        frame: Height and width in pixels.
        box: Side of the smoothing box in pixels.
    """
    rows, columns = (
        _smoothing(length, size, box, 1).to(query)
        for length, size in zip(query.shape[-2:], frame, strict=True)
    )
    row_products, column_products = rows.T @ rows, columns.T @ columns

    def distance(other: Tensor) -> Tensor:
        # |R x C'|² = <x, R'R x C'C>
        difference = query - other
        squared = (difference * (row_products @ difference @ column_products)).sum((-2, -1))
        return squared.clamp(min=0).sqrt()

    return distance(same), distance(different)


def _smoothing(length: int, size: int, box: int, stride: int) -> Tensor:
    """Return `_smoothing_matrix`, kept for the next call unless a graph is traced, whose tensors hold nothing."""
    make = _smoothing_matrix if torch.compiler.is_exporting() else _kept_matrix
    return make(length, size, box, stride)


@torch.inference_mode(False)  # what is kept must serve inside and outside of inference mode
def _smoothing_matrix(length: int, size: int, box: int, stride: int) -> Tensor:
    """Return the matrix that resizes `length` values to `size`, averages each box and keeps every `stride`-th."""
    lines = torch.eye(length)[:, None]  # every unit vector, as a signal of one channel
    resized = functional.interpolate(lines, size=size, mode="linear", align_corners=False)[:, 0].T
    position = torch.arange(size)
    offset = position[None, :] - position[:, None]
    inside = (offset >= -(box // 2)) & (offset < box - box // 2)
    return (inside[min(stride // 2, size - 1) :: stride].float() / box) @ resized


_kept_matrix = lru_cache(maxsize=256)(_smoothing_matrix)
