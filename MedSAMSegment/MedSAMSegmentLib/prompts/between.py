"""Rectangles on several slices say where the object lies on the slices between them, too."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np

from .on_slices import Rectangle

# Two rectangles say little about what lies between them: the object may swell there.
_LEAST_DRAWN = 3


def rectangles_between(drawn: Mapping[int, Rectangle], others: Collection[int] = ()) -> dict[int, Rectangle]:
    """What lies between three or more drawn rectangles.

    Whoever draws some of an object's cross-sections need not draw the rest (as MedSAM's sparse box markers).  Middles
    and the squares of widths and heights follow a curve through those drawn that swings no further than they do
    (PCHIP; Fritsch and Carlson, SIAM J. Numer. Anal. 1980): with squares, sections of an ellipsoid come out nearly
    right, where straight edges would cut it off.

    Args:
        drawn: rectangles by slice.
        others: slices of which more is known.

    Returns:
        by slice; only slices between two drawn rectangles, and none of ``others``.
    """
    if len(drawn) < _LEAST_DRAWN:
        return {}
    from scipy.interpolate import PchipInterpolator

    known = sorted(drawn)
    edges = np.array([drawn[index] for index in known], dtype=np.float64)
    low, high = edges[:, :2], edges[:, 2:]
    between = [k for k in range(known[0] + 1, known[-1]) if k not in drawn and k not in others]
    middles = PchipInterpolator(known, (low + high) / 2)(between)
    halves = np.sqrt(PchipInterpolator(known, ((high - low) / 2) ** 2)(between))
    rectangles = np.concatenate([middles - halves, middles + halves], axis=1).tolist()
    return {index: (x0, y0, x1, y1) for index, (x0, y0, x1, y1) in zip(between, rectangles, strict=True)}
