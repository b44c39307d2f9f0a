"""What the page of a run shows of its traits."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from reid_lightning.reporting.figures import COLORS, FAINT, new_figure, plain, save
from reid_lightning.reporting.page import Picture

if TYPE_CHECKING:
    from reid_lightning.systems.traits.metric import TraitErrors

MOST = 4000  # points of a panel


def scatter(errors: "TraitErrors", path: Path) -> Picture:
    """Draw the answers over the true values, a panel a trait whose values are known, with the line of right answers."""
    numbers = errors.summary()
    known = [place for place, name in enumerate(errors.names) if f"{name}/error" in numbers]
    figure = new_figure(3.4 * len(known), 3.4)
    for axes, place in zip(np.atleast_1d(figure.subplots(1, len(known))), known, strict=True):
        name = errors.names[place]
        truth, answers = (side[:, place].double().numpy() for side in (errors.truth, errors.answers))
        rows = np.flatnonzero(~np.isnan(truth))
        rows = rows[np.linspace(0, len(rows) - 1, min(MOST, len(rows))).round().astype(int)]
        low, high = (edge([edge(truth[rows]), edge(answers[rows])]) for edge in (np.min, np.max))
        axes.plot([low, high], [low, high], color=FAINT, linewidth=0.8)
        axes.axhline(errors.medians[place], color=FAINT, linewidth=0.8, linestyle=":")
        axes.scatter(truth[rows], answers[rows], s=6, color=COLORS[0], alpha=0.35, linewidths=0)
        error, constant = numbers[f"{name}/error"], numbers[f"{name}/constant_error"]
        plain(axes, f"{name}: off by {error:.3g}, constant {constant:.3g}", "true value")
        axes.set_ylabel("answer", fontsize=8, color=FAINT)
    figure.tight_layout()
    save(figure, path)
    told = []
    for place in known:
        name = errors.names[place]
        error, constant = numbers[f"{name}/error"], numbers[f"{name}/constant_error"]
        told.append(f"{name} is off by {error:.3g} on average, the constant guess by {constant:.3g}")
    caption = (
        "A point is an image; on the line the answer is right. The dotted line is the median of the training's values: the "
        f"constant guess. {'; '.join(told)}."
    )
    return Picture("Traits", path, caption, width=23 * len(known))
