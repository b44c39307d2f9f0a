"""Time and memory of the losses beside pytorch-metric-learning: `python benchmarks/losses.py [--json FILE]`.

Forward and backward on random unit vectors, 4 images per identity, 512 dimensions. Every line also says how many
bare N x N matrix products the loss costs. Batch-hard triplets are listed as in training, one for every image. Memory
is what a call holds at its highest above what was held before it.
"""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
from measure import arguments, median_times, peak_mebibytes, write_rows
from pytorch_metric_learning import distances, losses, miners
from torch import Tensor

from reid_lightning.losses.center import CenterLoss
from reid_lightning.losses.centroid_triplet import CentroidTripletLoss
from reid_lightning.losses.circle import CircleLoss
from reid_lightning.losses.contrastive import ContrastiveLoss
from reid_lightning.losses.improved_triplet import ImprovedTripletLoss
from reid_lightning.losses.lossless import LosslessTripletLoss
from reid_lightning.losses.margin_sample import MarginSampleLoss
from reid_lightning.losses.quadruplet import QuadrupletLoss
from reid_lightning.losses.quadruplet_absolute import AbsoluteQuadrupletLoss
from reid_lightning.losses.triplet import TripletLoss
from reid_lightning.losses.weighted_triplet import WeightedTripletLoss
from reid_lightning.mining.batch_hard import BatchHardMiner
from reid_lightning.mining.semi_hard import SemiHardMiner

SIZES, WIDTH, IMAGES = (64, 256, 1024), 512, 4
BARS = {  # (case, batch): (times faster than the baseline, mebibytes)
    ("batch_hard", 64): (2.0, None),
    ("batch_hard", 256): (1.8, None),
    ("batch_hard", 1024): (1.8, None),
    ("batch_all", 256): (2.0, None),
    ("batch_all", 1024): (20.0, 100.0),
}


def mined(loss: Callable[..., Any], miner: Callable[..., Any]) -> Callable[..., Any]:
    return lambda embeddings, labels: loss(embeddings, labels, miner(embeddings.detach(), labels))


def cases(batch: int, device: str) -> list[Any]:
    """Name, our call, the nearest call of pytorch-metric-learning or None."""
    plain = distances.LpDistance(normalize_embeddings=False)
    their_triplet = losses.TripletMarginLoss(margin=0.3, distance=plain)
    their_semi_hard = miners.TripletMarginMiner(margin=0.3, distance=plain, type_of_triplets="semihard")
    return [
        (
            "batch_hard",
            mined(TripletLoss(), BatchHardMiner().padded),
            mined(their_triplet, miners.BatchHardMiner(distance=plain)),
        ),
        ("batch_all", TripletLoss(), their_triplet),
        ("batch_all_soft", TripletLoss(soft_margin=True), losses.TripletMarginLoss(0, smooth_loss=True, distance=plain)),
        ("semi_hard", mined(TripletLoss(), SemiHardMiner()), mined(their_triplet, their_semi_hard)),
        ("lossless_batch_hard", mined(LosslessTripletLoss(), BatchHardMiner().padded), None),
        ("lossless_batch_all", LosslessTripletLoss(), None),
        ("improved_batch_all", ImprovedTripletLoss(), None),
        ("quadruplet", QuadrupletLoss(), None),
        ("quadruplet_absolute", AbsoluteQuadrupletLoss(), None),
        ("contrastive", ContrastiveLoss(), losses.ContrastiveLoss()),
        ("margin_sample", MarginSampleLoss(), None),
        ("weighted_triplet", WeightedTripletLoss(), None),
        ("circle", CircleLoss(), losses.CircleLoss(m=0.25, gamma=128)),
        ("center", CenterLoss(batch // IMAGES, WIDTH).to(device), None),
        ("centroid_triplet", CentroidTripletLoss(), None),
    ]  # fmt: skip


def step(call: Callable[..., Any], embeddings: Tensor, labels: Tensor) -> None:
    embeddings.grad = None
    call(embeddings, labels).backward()


def measure(batch: int, device: str, seconds: float) -> Iterator[dict[str, Any]]:
    torch.manual_seed(0)
    embeddings = torch.nn.functional.normalize(torch.randn(batch, WIDTH, device=device)).requires_grad_()
    labels = torch.arange(batch // IMAGES, device=device).repeat_interleave(IMAGES)

    def product() -> None:
        torch.mm(embeddings.detach(), embeddings.detach().T)

    (bare,) = median_times([product], seconds)
    for name, ours, theirs in cases(batch, device):
        calls = [partial(step, loss, embeddings, labels) for loss in (ours, theirs) if loss is not None]
        median_times(calls, 0)  # warms up
        memory = [peak_mebibytes(call, device) for call in calls]
        times = median_times(calls, seconds)
        row = {
            "case": name,
            "batch": batch,
            "milliseconds": 1e3 * times[0],
            "mebibytes": memory[0],
            "product_milliseconds": 1e3 * bare,
            "products": times[0] / bare,
        }
        if theirs is not None:
            row |= {"their_milliseconds": 1e3 * times[1], "their_mebibytes": memory[1]}
            row["times_faster"] = times[1] / times[0]
        yield row


def verdict(row: dict[str, Any]) -> str:
    """What a row says about its bar, or nothing when it has none."""
    faster, mebibytes = BARS.get((row["case"], row["batch"]), (None, None))
    if faster is None:
        return ""
    reached = row["times_faster"] >= faster and (mebibytes is None or row["mebibytes"] <= mebibytes)
    limit = f" within {mebibytes:g} MiB" if mebibytes else ""
    return f"bar {faster:g}x{limit}: {'reached' if reached else 'MISSED'}"


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--threads", type=int, default=1, help="processor threads")
    parser.add_argument("--seconds", type=float, default=1.0, help="time spent on each line at least")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    rows = []
    print(
        f"{'case':20} {'batch':>5} {'ms':>9} {'MiB':>7} {'products':>9} {'PML ms':>9} {'PML MiB':>8} {'faster':>7}"
    )
    for batch in SIZES:
        for row in measure(batch, options.device, options.seconds):
            rows.append(row)
            line = f"{row['case']:20} {batch:5} {row['milliseconds']:9.2f} {row['mebibytes']:7.1f} {row['products']:9.1f}"
            if "times_faster" in row:
                line += f" {row['their_milliseconds']:9.2f} {row['their_mebibytes']:8.1f} {row['times_faster']:6.1f}x"
            print(f"{line}  {verdict(row)}".rstrip(), flush=True)
    write_rows(options.json, rows)


if __name__ == "__main__":
    main()
