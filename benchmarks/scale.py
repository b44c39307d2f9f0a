"""What a number of crops a day needs, computed from this project's measured rates: the table of docs/scale.md.

Nothing is measured here. `python benchmarks/scale.py --crops 1e9 --cameras 10000 --gpu-rate 10000` prints them for other
numbers.
"""

import argparse
import math

DAY = 86_400  # seconds
PEAK = 2.0  # busiest hour over the mean: an assumption

# Rates of docs/benchmarks.md.
NETWORK_PER_CORE = 1_207 / 2  # crops a second: ResNet-10 at 256 x 128, OpenVINO, 8 bits, two cores
FLOAT_PER_CORE = 168 / 2  # the same network in torch, float32
DECODED_PER_CORE = 1_025  # crops decoded a second
EXACT_MS, APPROXIMATE_MS = 128.0, 14.2  # CPU milliseconds of a query in a million vectors of 512 numbers
INDEX_S, GALLERY_S = 177.0, 131.0  # seconds to build the index, or the gallery, of a million
BYTES = {"float32": 4 * 512, "float16": 2 * 512}
JPEG = 4_000  # bytes of a crop of 128 x 64 pixels: an assumption


def rows(
    crops: float, cameras: float, gpu_rate: float, gpu_price: float, core_price: float
) -> list[tuple[str, str, str]]:
    """Return what is needed, how it is computed, and the result.

    Args:
        crops: A day.
        cameras: Their number.
        gpu_rate: Crops a second that one GPU embeds; an assumption.
        gpu_price: Of a GPU hour; an assumption.
        core_price: Of a core hour; an assumption.
    """
    mean = crops / DAY
    peak = PEAK * mean
    millions = crops / 1e6
    return [
        ("crops a second, mean", f"{crops:,.0f} / {DAY:,}", f"{mean:,.0f}"),
        ("crops a second, peak", f"{PEAK:g} x mean", f"{peak:,.0f}"),
        ("crops a second of a camera", f"{mean:,.0f} / {cameras:,.0f}", f"{mean / cameras:.2f}"),
        ("network in", f"peak x {JPEG:,} bytes", f"{8 * peak * JPEG / 1e9:.2f} Gbit/s"),
        ("cores that decode", f"peak / {DECODED_PER_CORE:,}", f"{math.ceil(peak / DECODED_PER_CORE):,}"),
        (
            "cores that embed, 8 bits",
            f"peak / {NETWORK_PER_CORE:,.0f}",
            f"{math.ceil(peak / NETWORK_PER_CORE):,}",
        ),
        (
            "cores that embed, float32",
            f"peak / {FLOAT_PER_CORE:,.0f}",
            f"{math.ceil(peak / FLOAT_PER_CORE):,}",
        ),
        ("- - GPUs that embed", f"peak / {gpu_rate:,.0f} (assumed)", f"{math.ceil(peak / gpu_rate):,}"),
        (
            "vectors of a day, float32",
            f"crops x {BYTES['float32']:,} bytes",
            f"{crops * BYTES['float32'] / 1e12:.2f} TB",
        ),
        (
            "vectors of a day, float16",
            f"crops x {BYTES['float16']:,} bytes",
            f"{crops * BYTES['float16'] / 1e12:.2f} TB",
        ),
        (
            "cores that write the gallery",
            f"{millions:,.0f} M x {GALLERY_S:g} s / {DAY:,}",
            f"{millions * GALLERY_S / DAY:.1f}",
        ),
        (
            "cores that build the index",
            f"{millions:,.0f} M x {INDEX_S:g} s / {DAY:,}",
            f"{millions * INDEX_S / DAY:.1f}",
        ),
        (
            "- - one query in a day, exact",
            f"{millions:,.0f} x {EXACT_MS:g} ms of a core",
            f"{millions * EXACT_MS / 1e3:,.0f} core s",
        ),
        (
            "- - one query in a day, index",
            f"{millions:,.0f} x {APPROXIMATE_MS:g} ms of a core",
            f"{millions * APPROXIMATE_MS / 1e3:,.1f} core s",
        ),
        (
            "cost of a million crops, cores, 8 bits",
            f"1e6 x (1 / {NETWORK_PER_CORE:,.0f} + 1 / {DECODED_PER_CORE:,}) s x {core_price:g}/h",
            f"{1e6 * (1 / NETWORK_PER_CORE + 1 / DECODED_PER_CORE) / 3600 * core_price:.3f}",
        ),
        (
            "- - cost of a million crops, GPU",
            f"1e6 x ({gpu_price:g} / {gpu_rate:,.0f} + {core_price:g} / {DECODED_PER_CORE:,}) / 3600",
            f"{1e6 * (gpu_price / gpu_rate + core_price / DECODED_PER_CORE) / 3600:.3f}",
        ),
    ]


def table(entries: list[tuple[str, str, str]]) -> str:
    """Return a Markdown table; what is extrapolated or assumed has dashes in front."""
    lines = ["| what | arithmetic | result |", "|---|---|---|"]
    return "\n".join([*lines, *(f"| {' | '.join(entry)} |" for entry in entries)])


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--crops", type=float, default=1e9, help="a day")
    parser.add_argument("--cameras", type=float, default=1e4)
    parser.add_argument("--gpu-rate", type=float, default=1e4, help="crops a second of one GPU (assumed)")
    parser.add_argument("--gpu-price", type=float, default=2.0, help="of a GPU hour (assumed)")
    parser.add_argument("--core-price", type=float, default=0.04, help="of a core hour (assumed)")
    given = parser.parse_args()
    print(table(rows(given.crops, given.cameras, given.gpu_rate, given.gpu_price, given.core_price)))


if __name__ == "__main__":
    main()
