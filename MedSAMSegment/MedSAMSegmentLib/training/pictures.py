"""Pictures a person looks at while a network trains: the curve, and samples with what the network makes of them."""

from __future__ import annotations

import csv
from pathlib import Path

import torch
import torch.nn.functional as F

from ..models.coarse import CoarseNetwork
from ..models.embedded import EmbeddedNetwork, SlicePrompts
from .options import BODIES
from .samples import Batch, SampleOptions, make_batch
from .volume_samples import make_volume_batch

_SHEET_STREAM = 1 << 50

OVERLAPS = [
    "coarse",
    "again",
    "found",
    "corrected",
    "rectangle",
    "first",
    "guided",
    "tracked",
    "swept",
    "clicked",
]
"""Columns of the log that hold Dice."""


def draw_curve(log: Path, target: Path) -> None:
    """Loss and Dice over the steps of a log (CSV as `run` writes it), smoothed, as a PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with log.open(newline="") as file:
        rows = list(csv.DictReader(file))
    figure = Figure(figsize=(9, 4), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    for axes, columns in (
        (left, ["loss"]),
        (right, OVERLAPS),
    ):
        for column in columns:
            points = [(int(row["step"]), float(row[column])) for row in rows if row.get(column)]
            if points:
                steps, values = zip(*points, strict=True)
                axes.plot(steps, _smooth(list(values)), label=column)
        axes.set_xlabel("step")
        axes.grid(alpha=0.3)
        axes.legend()
    right.set_ylim(0.0, 1.0)
    right.set_title("Dice on fresh synthetic volumes and slices")
    figure.savefig(target, dpi=110)


def _smooth(values: list[float], weight: float = 0.95) -> list[float]:
    smoothed: list[float] = []
    total = 0.0
    for index, value in enumerate(values):
        total = weight * total + (1 - weight) * value
        smoothed.append(total / (1 - weight ** (index + 1)))
    return smoothed


@torch.no_grad()
def draw_samples(network: EmbeddedNetwork | None, target: Path, seed: int = 0, columns: int = 8, rows: int = 5) -> None:
    """Synthetic slices with the box (yellow), the truth (green), the network's mask from the box alone (red)."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.patches import Rectangle

    batch = make_batch(seed, _SHEET_STREAM, rows * columns, SampleOptions(slices=1, looks=1))
    logits = None if network is None else _first_masks(network, batch)
    figure = Figure(figsize=(1.6 * columns, 1.6 * rows), layout="constrained")
    FigureCanvasAgg(figure)
    for index, axes in enumerate(figure.subplots(rows, columns).flat):
        axes.imshow(batch.images[index, 1].numpy(), cmap="gray", vmin=0, vmax=1)
        x0, y0, x1, y1 = batch.rectangles[index, 0].tolist()
        axes.add_patch(Rectangle((x0, y0), x1 - x0, y1 - y0, fill=False, edgecolor="gold", linewidth=0.8))
        truth = batch.masks[index, 1]
        if bool(truth.any()):
            axes.contour(truth.numpy(), [0.5], colors="lime", linewidths=0.8)
        if logits is not None and bool((logits[index] > 0).any()):
            axes.contour(logits[index].numpy(), [0.0], colors="red", linewidths=0.8)
        axes.set_axis_off()
    figure.savefig(target, dpi=100)


@torch.no_grad()
def draw_volumes(
    coarse: CoarseNetwork, target: Path, seed: int = 0, columns: int = 8, rows: int = 6, bodies: float = BODIES
) -> None:
    """Synthetic boxes, one a row, on slices from end to end: the truth (green), the coarse network's mask (red)."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    device = next(coarse.parameters()).device
    batch = make_volume_batch(seed, _SHEET_STREAM, rows, coarse.grid, looks=1, bodies=bodies)
    logits = coarse(batch.intensities.to(device), batch.slice_step.to(device), batch.regions.to(device)).cpu()
    figure = Figure(figsize=(1.6 * columns, 1.6 * rows), layout="constrained")
    FigureCanvasAgg(figure)
    depth = coarse.grid.cells[0]
    for index, line in enumerate(figure.subplots(rows, columns)):
        for number, axes in enumerate(line):
            k = round((number + 1) * (depth - 1) / (columns + 1))
            axes.imshow(batch.intensities[index, k].numpy(), cmap="gray", vmin=0, vmax=1)
            for values, level, colour in ((batch.masks, 0.5, "lime"), (logits, 0.0, "red")):
                if bool((values[index, k] > level).any()):
                    axes.contour(values[index, k].numpy(), [level], colors=colour, linewidths=0.8)
            axes.set_axis_off()
    figure.savefig(target, dpi=100)


def _first_masks(network: EmbeddedNetwork, batch: Batch) -> torch.Tensor:
    pictures = torch.stack([batch.images[:, 0], batch.images[:, 1], batch.images[:, 2]], dim=1)
    device = next(network.parameters()).device
    features = network.encode_slices(pictures.to(device))
    prompts = SlicePrompts(batch.box_coordinates[:, 0].to(device), batch.slice_step.to(device))
    output = network.segment_slice(network.without_memory(features), features.high_resolution, prompts)
    return F.interpolate(output.logits, size=batch.masks.shape[-2:], mode="bilinear", align_corners=False)[:, 0].cpu()
