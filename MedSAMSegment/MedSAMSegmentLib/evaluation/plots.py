"""Box plots of evaluation results."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..export.atomic import atomic_path
from .report import Report

COLOURS = ("#4cc2b0", "#f0a35e", "#7f9df5", "#e5738a", "#b5d36a", "#c79be8", "#9aa4ad")
BACKGROUND = "#14181d"
FOREGROUND = "#d7dde2"


def write_box_plots(reports: Sequence[Report], path: str | Path) -> None:
    """Draw Dice (above) and NSD (below) by group, one box a method, one dot an object, and save a PNG.

    The box is the middle half of the objects, its line the median, the diamond the mean, the whiskers reach the last
    object within 1.5 box lengths.

    Raises:
        OutputError: the file cannot be written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    groups = [summary.group for summary in reports[0].groups()]
    figure = Figure(
        figsize=(min(max(7.0, 1.2 + len(groups) * (0.7 + 0.25 * len(reports))), 20.0), 8.0), layout="constrained"
    )
    figure.set_facecolor(BACKGROUND)
    FigureCanvasAgg(figure)
    upper, lower = figure.subplots(2, 1, sharex=True)
    boxes = f"boxes ± {reports[0].jitter} voxels" if reports[0].jitter else "tight boxes"
    upper.set_title(f"{reports[0].manifest} · {boxes}", color=FOREGROUND, loc="left", fontsize=12)
    for axes, measure, caption in (
        (upper, "dice", "Dice"),
        (lower, "nsd", f"surface Dice at {reports[0].tolerance_mm:g} mm"),
    ):
        _draw(axes, reports, groups, measure)
        axes.set_ylabel(caption, color=FOREGROUND)
    counts = [summary.count for summary in reports[0].groups()]
    lower.set_xticks(range(len(groups)))
    lower.set_xticklabels([f"{name}\nn = {count}" for name, count in zip(groups, counts, strict=True)], fontsize=9)
    legend = figure.legend(loc="outside lower center", ncols=min(len(reports), 4), frameon=False, fontsize=10)
    for text in legend.get_texts():
        text.set_color(FOREGROUND)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png", dpi=130, facecolor=BACKGROUND)


def _draw(axes, reports: Sequence[Report], groups: Sequence[str], measure: str) -> None:  # type: ignore[no-untyped-def]
    import numpy as np

    width = 0.8 / len(reports)
    generator = np.random.default_rng(0)  # sideways spread of the dots only
    for number, report in enumerate(reports):
        colour = COLOURS[number % len(COLOURS)]
        for place, group in enumerate(groups):
            values = [
                value
                for score in report.scores
                if score.group == group and (value := getattr(score, measure)) is not None
            ]
            if not values:
                continue
            centre = place + (number - (len(reports) - 1) / 2) * width
            axes.boxplot(
                [values],
                positions=[centre],
                widths=width * 0.72,
                showfliers=False,
                showmeans=True,
                patch_artist=True,
                boxprops={"facecolor": colour + "55", "edgecolor": colour},
                medianprops={"color": FOREGROUND, "linewidth": 1.4},
                meanprops={"marker": "D", "markerfacecolor": colour, "markeredgecolor": BACKGROUND, "markersize": 5},
                whiskerprops={"color": colour},
                capprops={"color": colour},
            )
            spread = centre + generator.uniform(-0.25, 0.25, len(values)) * width
            axes.plot(spread, values, ".", color=colour, alpha=0.55, markersize=4)
        if measure == "dice":
            axes.plot([], [], "s", color=colour, label=report.title, markersize=8)
    axes.set_ylim(-0.02, 1.02)
    axes.set_facecolor(BACKGROUND)
    axes.grid(axis="y", color="#2b333b", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(colors=FOREGROUND)
    for spine in axes.spines.values():
        spine.set_color("#3a444e")
