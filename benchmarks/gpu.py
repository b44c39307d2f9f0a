"""Training and evaluation on a GPU beside what the card can do: `python benchmarks/gpu.py [--backbones A,B] [overrides]`.

Training at 256x128 in bfloat16 on generated people in batches of 64 (`sampler.identities=64` makes 256): images/s of a run,
of the bare loop with the same parts (train.py says which), of the step alone and of the loader alone with the run's worker
processes. The card's limit is measured in the same process, a large bf16 matrix product. Torch counts the operations of
forward and backward, a multiplication and an addition as two; the share is how much of the limit they make. Normalization,
activations and the optimizer move memory and count for nothing, so that no network reaches 1.

Evaluation is `ranking.py --device` at 3,368 queries x 515,913 gallery images in a process of its own, beside its bare
product. `--device cpu` tries all of it where there is no GPU. On the machine that market.py describes:

    export PYTHONPATH=/tmp/site:$PWD REID_LIGHTNING_CACHE=/tmp/cache
    python3 benchmarks/gpu.py --json $OUT/gpu.json                                # batches of 64, as in BoT
    python3 benchmarks/gpu.py --evaluation none sampler.identities=64 compile=true --json $OUT/gpu_256_compile.json
    python3 benchmarks/train.py --backbones resnet50,osnet_x1_0 --variants --peers data.image_size=[256,128]
"""

import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
from measure import arguments, median_times, write_rows
from torch.utils.flop_counter import FlopCounterMode

from train import Bare, composed, measure, print_row

HERE = Path(__file__).resolve().parent


def peak_flops(device: str, size: int, repeats: int = 5) -> float:
    """Operations a second of a bf16 product of random square matrices, the median of some."""
    left, right = (torch.randn(size, size, device=device, dtype=torch.bfloat16) for _ in range(2))
    products = 10 if device == "cuda" else 1
    out = torch.empty_like(left)

    def multiply() -> None:
        for _ in range(products):
            torch.mm(left, right, out=out)

    multiply()
    return products * 2 * size**3 / median_times([multiply], repeats=repeats)[0]


def step_flops(config: dict[str, Any]) -> float:
    """Operations of forward and backward for an image, counted without torch.compile, which hides them."""
    bare = Bare(config | {"compile": False})
    batch = next(bare.batches(1))
    with FlopCounterMode(display=False) as counter:
        bare.step(batch)
    return counter.get_total_flops() / bare.batch_size


def rank_on(device: str, size: str, repeats: int) -> str:
    """Run the evaluation's benchmark and return its output."""
    command = [
        sys.executable,
        str(HERE / "ranking.py"),
        "--device",
        device,
        "--size",
        size,
        "--repeats",
        str(repeats),
    ]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--backbones", default="resnet50,osnet_x1_0", help="names with commas between")
    parser.add_argument("--steps", type=int, default=50, help="in an epoch")
    parser.add_argument("--epochs", type=int, default=3, help="of a run, the first left out")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument(
        "--matrix", type=int, default=8192, help="rows of the matrices that show the card's limit"
    )
    parser.add_argument("--evaluation", default="market500k", help="a size of ranking.py, or none")
    options, overrides = parser.parse_known_args()
    if options.device == "cuda" and not torch.cuda.is_available():
        parser.error("there is no GPU here; --device cpu tries the script")
    if options.device == "cpu" and torch.cuda.is_available():
        parser.error("hide the GPU from --device cpu: CUDA_VISIBLE_DEVICES= python benchmarks/gpu.py ...")
    peak = peak_flops(options.device, options.matrix)
    print(f"bf16 product of {options.matrix} x {options.matrix}: {peak / 1e12:.3g} TFLOP/s")
    rows = [{"matrix": options.matrix, "peak_flops": peak}]
    settings = ["data.image_size=[256,128]", "trainer.precision=bf16-mixed", "trainer.log_every_n_steps=50"]
    for backbone in options.backbones.split(","):
        chosen = [*settings, *overrides, f"backbone={backbone}"]
        with tempfile.TemporaryDirectory() as folder:
            config = composed(chosen, Path(folder) / "run", options.steps, options.epochs)
            if options.device == "cuda":
                torch.cuda.reset_peak_memory_stats()
            row = {"overrides": chosen} | measure(config, options.repeats)
            row["flops_per_image"] = step_flops(config)
        row["share_of_peak"] = {
            name: row[name]["median"] * row["flops_per_image"] / peak for name in ("run", "bare", "step")
        }
        rows.append(row)
        print_row(f"{backbone} {' '.join(overrides)}".strip(), row)
        share = ", ".join(f"{name} {value:.1%}" for name, value in row["share_of_peak"].items())
        print(
            f"  {row['flops_per_image'] / 1e9:.1f} GFLOP an image; of the card's limit: {share}", flush=True
        )
        if options.device == "cuda":
            print(f"  {torch.cuda.max_memory_allocated() / 2**30:.1f} GiB at most")
    if options.evaluation != "none":
        said = rank_on(options.device, options.evaluation, options.repeats)
        rows.append({"evaluation": options.evaluation, "said": said.splitlines()})
        print(said, end="")
    write_rows(options.json, rows)


if __name__ == "__main__":
    main()
