"""Pictures of attribute recognition: each attribute against always the most frequent class, and what is confused."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from reid_lightning.reporting.figures import COLORS, FAINT, INK, as_they_are, new_figure, plain, save


def attribute_bars(titles: Sequence[str], scores: Mapping[str, Sequence[float]], path: str | Path) -> None:
    """Draw a row per attribute: accuracy and balanced accuracy as bars, and what always one class would score as marks.

    Args:
        titles: Attributes, from top to bottom.
        scores: "accuracy" and "balanced_accuracy" of each, and as "majority" and "balanced_majority" those of always the
            most frequent class; fractions, NaN where unknown.
        path: Picture file.
    """
    from matplotlib.ticker import PercentFormatter

    places = np.arange(len(titles))
    figure = new_figure(7.0, 0.9 + 0.46 * len(titles))
    axes = figure.subplots()
    kinds = (
        ("accuracy", "majority", "accuracy", COLORS[0], "white", -0.2),
        ("balanced_accuracy", "balanced_majority", "balanced accuracy", "#9dbcd9", INK, 0.2),
    )
    for name, baseline, label, color, ink, offset in kinds:
        axes.barh(places + offset, scores[name], height=0.38, color=color, label=label)
        for place, value in zip(places, scores[name], strict=True):
            if value > 0.06:  # inside the bar, where no mark crosses it
                axes.text(
                    0.008, place + offset, f"{100 * value:.1f}", va="center_baseline", fontsize=7, color=ink
                )
        marks = np.asarray(scores[baseline], float)
        middle = places + offset
        axes.vlines(
            marks, middle - 0.19, middle + 0.19, color=COLORS[1], linewidth=2.2,
            label="most frequent class always" if baseline == "majority" else "",
        )  # fmt: skip
        for place, gain in zip(places, np.asarray(scores[name], float) - marks, strict=True):
            axes.text(
                1.02, place + offset, f"{100 * gain:+.1f}", va="center_baseline", fontsize=7, color=FAINT
            )
    axes.set_yticks(places, list(titles))
    as_they_are(axes.get_yticklabels())
    axes.invert_yaxis()
    axes.set_xlim(0, 1.09)
    axes.set_xticks(np.linspace(0, 1, 6))
    axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    plain(axes, "", "images answered right; on the right, points above the mark")
    axes.grid(visible=False, axis="y")
    axes.tick_params(axis="y", labelcolor=INK, length=0)
    axes.legend(
        fontsize=8,
        frameon=False,
        labelcolor=INK,
        handlelength=1.4,
        ncols=3,
        loc="lower left",
        bbox_to_anchor=(0, 1),
    )
    figure.tight_layout()
    save(figure, path)


def confusion_matrices(
    titles: Sequence[str], classes: Sequence[Sequence[str]], counts: Sequence[np.ndarray], path: str | Path
) -> None:
    """Draw confusion matrices beside one another; a row is what is true, its cells the shares of the answers.

    Args:
        titles: Attributes.
        classes: Class names of each.
        counts: (k, k) counts of each, rows true, columns answered.
        path: Picture file.
    """
    figure = new_figure(
        sum(1.6 + 0.36 * len(names) for names in classes), 1.5 + 0.36 * max(map(len, classes))
    )
    axes_of = figure.subplots(
        1, len(titles), squeeze=False, width_ratios=[1.6 + 0.36 * len(names) for names in classes]
    )
    for axes, title, names, table in zip(axes_of[0], titles, classes, counts, strict=True):
        shares = table / np.maximum(table.sum(axis=1, keepdims=True), 1)
        axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
        for row, column in np.argwhere(shares >= 0.005):
            color = "white" if shares[row, column] > 0.55 else INK
            share = f"{100 * shares[row, column]:.0f}"
            axes.text(column, row, share, ha="center", va="center", fontsize=7, color=color)
        places = range(len(names))
        axes.set_xticks(places, names, rotation=45, ha="right", rotation_mode="anchor")
        axes.set_yticks(
            places, [f"{name} ({count:,})" for name, count in zip(names, table.sum(axis=1), strict=True)]
        )
        as_they_are([*axes.get_xticklabels(), *axes.get_yticklabels()])
        plain(axes, title, "answered, % of the true")
        axes.grid(visible=False)
        axes.tick_params(length=0, labelcolor=INK)
        axes.spines[["left", "bottom"]].set_visible(False)
    figure.tight_layout(w_pad=2)
    save(figure, path)


def junk_roc(scores: np.ndarray, is_distractor: np.ndarray, path: str | Path) -> float:
    """Draw how well low attribute scores find distractors, and return the area under the curve.

    Args:
        scores: (N,) sum of squared attribute scores; low ones are taken for distractors.
        is_distractor: (N,) boolean, some of either kind.
        path: Picture file.
    """
    from sklearn.metrics import roc_auc_score, roc_curve

    area = float(roc_auc_score(is_distractor, -scores))
    false_rate, true_rate, _ = roc_curve(is_distractor, -scores)
    figure = new_figure(4.2, 3.8)
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color=FAINT, linewidth=0.8, linestyle=(0, (4, 4)))
    axes.plot(false_rate, true_rate, color=COLORS[0], linewidth=1.8)
    axes.text(0.97, 0.05, f"area {area:.3f}", ha="right", fontsize=9, color=INK)
    axes.set_ylabel("distractors found", fontsize=8, color=FAINT)
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1.01)
    plain(axes, "", "people taken for distractors")
    figure.tight_layout()
    save(figure, path)
    return area
