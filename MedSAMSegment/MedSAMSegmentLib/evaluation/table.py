"""Tables of evaluation results for a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from .drawn import RECTANGLES
from .report import GroupSummary, Report

if TYPE_CHECKING:
    from rich.table import Table

_ON_SLICE = {
    "rectangle": "one rectangle on one slice an object",
    "rectangles": f"rectangles on up to {RECTANGLES} slices an object",
    "diameter": "one diameter on one slice an object",
    "slice": "one slice drawn an object",
}


def results_table(reports: Sequence[Report]) -> Table:
    """A Rich table with one row a group.

    One report gets a column for each measure; several reports get one column each with ``Dice / NSD``, and their
    seconds an object in the last row.
    """
    from rich import box
    from rich.table import Table

    first = reports[0]
    jitter = sorted({report.jitter for report in reports})
    moved = f"boxes moved by up to {', '.join(map(str, jitter))} voxels a side"
    how = _ON_SLICE.get(first.prompt) or f"one box an object, {'tight boxes' if jitter == [0] else moved}"
    table = Table(title=f"{first.manifest}: {how}", title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("group", no_wrap=True)
    table.add_column("n", justify="right")
    if len(reports) == 1:
        for heading in ("Dice", "median", "worst", f"NSD {first.tolerance_mm:g} mm", "s/object"):
            table.add_column(heading, justify="right", style="bold" if heading == "Dice" else "")
        for summary in first.groups():
            table.add_row(summary.group, str(summary.count), *_measures(summary))
        return table
    for report in reports:
        suffix = "" if len(jitter) == 1 else f" ±{report.jitter}"
        table.add_column(f"{report.title}{suffix}\nDice / NSD {report.tolerance_mm:g} mm", justify="right")
    for summary in first.groups():
        cells = (report.group(summary.group) for report in reports)
        table.add_row(summary.group, str(summary.count), *(f"{cell.dice:.3f} / {_surface(cell)}" for cell in cells))
    table.add_section()
    seconds = (sum(score.seconds for score in report.scores) / len(report.scores) for report in reports)
    table.add_row("seconds an object", str(len(first.scores)), *(f"{value:.3f}" for value in seconds), style="dim")
    return table


def _measures(summary: GroupSummary) -> tuple[str, ...]:
    return (
        f"{summary.dice:.3f}",
        f"{summary.dice_median:.3f}",
        f"{summary.dice_worst:.3f}",
        _surface(summary),
        f"{summary.seconds:.2f}",
    )


def _surface(summary: GroupSummary) -> str:
    return "–" if summary.nsd is None else f"{summary.nsd:.3f}"
