"""What is drawn on an object of which the truth is known: a 3-D box, or something on one slice or a few."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..errors import UsageError
from ..export.measurements import furthest_apart
from ..prompts import LinePrompt, MaskPrompt, SliceBoxPrompt
from ..volume import OrientedBox

if TYPE_CHECKING:
    from ..prompts import SlicePlane
    from ..volume import Geometry

PROMPTS = ("box", "rectangle", "rectangles", "diameter", "slice")

RECTANGLES = 5
"""So many are drawn of ``"rectangles"``, where the object has as many slices."""

Drawn = OrientedBox | SliceBoxPrompt | tuple[SliceBoxPrompt, ...] | LinePrompt | MaskPrompt
"""A box; a rectangle, rectangles, the longest diameter, or the whole cross-section on one slice."""


def check_prompt(prompt: str, jitter: int) -> None:
    """Raises ``UsageError`` (``UNKNOWN_PROMPT``, ``OPTION_CONFLICT``) for what cannot be drawn."""
    if prompt not in PROMPTS:
        raise UsageError("UNKNOWN_PROMPT", f"There is no prompt {prompt!r}.", f"Use one of {', '.join(PROMPTS)}.")
    if prompt != "box" and jitter:
        raise UsageError("OPTION_CONFLICT", "Only boxes are drawn carelessly.", f"Leave the jitter out for a {prompt}.")


def drawn_on_slice(prompt: str, truth: np.ndarray, geometry: Geometry, plane: SlicePlane) -> Drawn:
    """Drawn exactly, on the slice where the object is largest; rectangles evenly from its first slice to its last.

    Args:
        prompt: ``"rectangle"``, ``"rectangles"``, ``"diameter"`` (between the centres of two pixels) or ``"slice"``.
        truth: (k, j, i) bool, not empty.
        geometry: of the scan.
        plane: whose slices are drawn on.
    """
    if prompt == "rectangles":
        there = np.flatnonzero(np.moveaxis(truth, plane.axis, 0).any(axis=(1, 2)))
        chosen = there[np.linspace(0, len(there) - 1, RECTANGLES).round().astype(int)]
        return tuple(_rectangle(truth, plane, index) for index in dict.fromkeys(chosen.tolist()))
    index = int(np.moveaxis(truth, plane.axis, 0).sum(axis=(1, 2)).argmax())
    mask = np.take(truth, index, axis=plane.axis)
    if prompt == "slice":
        return MaskPrompt(plane.axis, index, mask)
    if prompt == "rectangle":
        return _rectangle(truth, plane, index)
    rows, columns = np.nonzero(mask)
    # Only the first and the last pixel of a row can be an end.
    ends = np.diff(rows, prepend=-1, append=-1) != 0
    outermost = ends[:-1] | ends[1:]
    columns, rows = columns[outermost].astype(np.float64), rows[outermost]
    if columns.size == 1:
        columns, rows = np.add(columns, [-0.5, 0.5]), rows.repeat(2)
    pixels = np.stack([columns, rows, np.full_like(columns, index)], axis=1)
    start, end = furthest_apart(np.asarray(geometry.index_to_lps(plane.to_index(pixels))))
    return LinePrompt(tuple(start.tolist()), tuple(end.tolist()))


def tight_rectangle(mask: np.ndarray) -> tuple[float, float, float, float]:
    """Edges (x0, y0, x1, y1), in index coordinates of the slice, of the rectangle about a mask (rows, columns)."""
    rows, columns = np.nonzero(mask)
    return columns.min() - 0.5, rows.min() - 0.5, columns.max() + 0.5, rows.max() + 0.5


def _rectangle(truth: np.ndarray, plane: SlicePlane, index: int) -> SliceBoxPrompt:
    return SliceBoxPrompt(plane.axis, index, tight_rectangle(np.take(truth, index, axis=plane.axis)))
