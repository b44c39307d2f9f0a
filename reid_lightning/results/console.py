"""What a run prints at its end."""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from rich.console import Console
from rich.table import Table

from reid_lightning.reporting.terminal import say
from reid_lightning.results.summary import RunResult


def print_result(result: RunResult, lines: Iterable[str], output_dir: Path) -> None:
    """Print the numbers with their protocol, and what tasks and reports say of theirs."""
    numbers = result.test or result.validation
    page = Table(title=None, show_edge=False, pad_edge=False)
    names = [name for name in numbers if name in ("mAP", "mINP") or re.fullmatch(r"(rank|mAP@)\d+", name)]
    page.add_column("")
    for name in names:
        page.add_column(name.replace("rank", "Rank-"), justify="right")
    for stage, values in (("validation", result.validation), ("test", result.test)):
        if values:
            page.add_row(stage, *(f"{100 * values[name]:.1f}" for name in names))
    console = Console()
    console.print()
    if numbers:
        console.print(page)
    say(result.protocol, "dim", console)
    if numbers:
        say(
            f"{int(numbers['queries'])} queries, {int(numbers['queries_without_match'])} without a true match; "
            f"AP by trapezoids: {100 * numbers['mAP_trapezoid']:.1f}{_spread(numbers)}",
            "dim",
            console,
        )
    if result.intervals:
        console.print(
            f"[dim]95 % interval of mAP over people: {intervals_text(result)}[/dim]",
            highlight=False,
            soft_wrap=True,
        )
    for line in lines:
        say(line, console=console)
    say(
        f"{result.cost['parameters'] / 1e6:.2f} M parameters; "
        f"{', '.join(f'{stage} {value:.0f} s' for stage, value in result.cost['seconds'].items())}",
        "dim",
        console,
    )
    say(f"report: {output_dir / 'report.html'}", console=console)


def intervals_text(result: RunResult) -> str:
    """Return the intervals of the mAP in percent, by stage.

    Examples:
        >>> result = RunResult(None, {}, {}, "", {}, intervals={"validation": [0.1, 0.52], "test": [0.2, 0.3]})
        >>> intervals_text(result)
        'validation 10.0 to 52.0, test 20.0 to 30.0'
    """
    return ", ".join(
        f"{stage} {100 * low:.1f} to {100 * high:.1f}" for stage, (low, high) in result.intervals.items()
    )


def _spread(numbers: Mapping[str, float]) -> str:
    """Name the standard deviations over the draws of a single-shot gallery."""
    found = {name.removesuffix("_std"): value for name, value in numbers.items() if name.endswith("_std")}
    parts = [f"{name.replace('rank', 'Rank-')} {100 * value:.1f}" for name, value in found.items()]
    return f"; standard deviation over the draws: {', '.join(parts)}" if parts else ""
