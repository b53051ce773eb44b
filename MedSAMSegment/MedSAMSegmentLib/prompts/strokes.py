"""Scribbles and diameters on slices: the clicks and rectangles they stand for."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..errors import InputError
from .plane import SlicePlane
from .types import LinePrompt, ScribblePrompt

if TYPE_CHECKING:
    from ..volume import Geometry

_CLICKS_PER_STROKE = 8
"""SAM is trained with up to about as many clicks; more say little and cost attention."""

_CLICKS_PER_LINE = 5
"""As MedSAM2's program for RECIST lines takes."""


def scribble_clicks(geometry: Geometry, plane: SlicePlane, scribble: ScribblePrompt) -> np.ndarray:
    """(n, 3) clicks (x, y, slice) evenly along a scribble, up to eight on each slice that it visits.

    ``slice`` is continuous: the scribble's own place between the slices' centres.
    """
    corners = plane.to_slice(geometry.lps_to_index(np.array(scribble.path)))
    steps = np.linalg.norm(np.diff(np.array(scribble.path), axis=0), axis=1)
    if not steps.any():
        return corners[:1]
    # Dense enough that every slice the path crosses is met: a quarter of the finest spacing.
    finest = min(plane.slice_spacing, plane.row_spacing, plane.column_spacing)
    along = np.concatenate([[0.0], np.cumsum(steps)])
    places = np.linspace(0.0, along[-1], max(2, int(np.ceil(along[-1] / finest * 4)) + 1))
    dense = np.stack([np.interp(places, along, corners[:, axis]) for axis in range(3)], axis=1)
    slices = np.floor(dense[:, 2] + 0.5)
    clicks = []
    for index in dict.fromkeys(slices.tolist()):
        on_slice = dense[slices == index]
        count = min(_CLICKS_PER_STROKE, len(on_slice))
        clicks.append(on_slice[np.linspace(0, len(on_slice) - 1, count).round().astype(int)])
    return np.concatenate(clicks)


def line_on_slice(geometry: Geometry, plane: SlicePlane, line: LinePrompt) -> tuple[int, np.ndarray]:
    """The slice that a diameter lies on and its ends there, (2, 2) as (x, y).

    Raises:
        InputError: ``LINE_ACROSS_SLICES`` when its ends lie more than one slice apart.
    """
    ends = plane.to_slice(geometry.lps_to_index(np.array([line.start, line.end])))
    if abs(ends[0, 2] - ends[1, 2]) > 1.0 + 1e-6:
        raise InputError(
            "LINE_ACROSS_SLICES",
            "The diameter runs across several slices.",
            "Measure it on one slice of the segmentation plane, or choose that plane for the session.",
        )
    return int(np.floor(ends[:, 2].mean() + 0.5)), ends[:, :2]


def line_clicks(ends: np.ndarray) -> np.ndarray:
    """(5, 2) clicks (x, y) on a diameter with the ends (2, 2), a tenth of it away from either end.

    MedSAM2's program draws five at random; evenly spread ones give the same mask every time.
    """
    share = np.linspace(0.1, 0.9, _CLICKS_PER_LINE)[:, None]
    return ends[0] + share * (ends[1] - ends[0])


def line_rectangle(plane: SlicePlane, ends: np.ndarray) -> tuple[float, float, float, float]:
    """The square (in mm) about a diameter's middle whose side is the diameter, as MedSAM2's program has it."""
    spacing = np.array([plane.column_spacing, plane.row_spacing])
    half = np.linalg.norm((ends[1] - ends[0]) * spacing) / 2 / spacing
    (x0, y0), (x1, y1) = ends.mean(axis=0) - half, ends.mean(axis=0) + half
    return float(x0), float(y0), float(x1), float(y1)
