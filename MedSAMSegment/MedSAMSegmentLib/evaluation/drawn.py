"""What is drawn on an object of which the truth is known: a 3-D box, or something on its largest slice only."""

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

PROMPTS = ("box", "rectangle", "diameter", "slice")

Drawn = OrientedBox | SliceBoxPrompt | LinePrompt | MaskPrompt
"""A box; a rectangle, the longest diameter, or the whole cross-section on one slice."""


def check_prompt(prompt: str, jitter: int) -> None:
    """Raises ``UsageError`` (``UNKNOWN_PROMPT``, ``OPTION_CONFLICT``) for what cannot be drawn."""
    if prompt not in PROMPTS:
        raise UsageError("UNKNOWN_PROMPT", f"There is no prompt {prompt!r}.", f"Use one of {', '.join(PROMPTS)}.")
    if prompt != "box" and jitter:
        raise UsageError("OPTION_CONFLICT", "Only boxes are drawn carelessly.", f"Leave the jitter out for a {prompt}.")


def drawn_on_slice(prompt: str, truth: np.ndarray, geometry: Geometry, plane: SlicePlane) -> Drawn:
    """Drawn exactly, on the slice where the object is largest.

    Args:
        prompt: ``"rectangle"``, ``"diameter"`` (between the centres of two pixels) or ``"slice"``.
        truth: (k, j, i) bool, not empty.
        geometry: of the scan.
        plane: whose slices are drawn on.
    """
    index = int(np.moveaxis(truth, plane.axis, 0).sum(axis=(1, 2)).argmax())
    mask = np.take(truth, index, axis=plane.axis)
    if prompt == "slice":
        return MaskPrompt(plane.axis, index, mask)
    rows, columns = np.nonzero(mask)
    if prompt == "rectangle":
        edges = columns.min() - 0.5, rows.min() - 0.5, columns.max() + 0.5, rows.max() + 0.5
        return SliceBoxPrompt(plane.axis, index, edges)
    # Only the first and the last pixel of a row can be an end.
    ends = np.diff(rows, prepend=-1, append=-1) != 0
    outermost = ends[:-1] | ends[1:]
    columns, rows = columns[outermost].astype(np.float64), rows[outermost]
    if columns.size == 1:
        columns, rows = np.add(columns, [-0.5, 0.5]), rows.repeat(2)
    pixels = np.stack([columns, rows, np.full_like(columns, index)], axis=1)
    start, end = furthest_apart(np.asarray(geometry.index_to_lps(plane.to_index(pixels))))
    return LinePrompt(tuple(start.tolist()), tuple(end.tolist()))
