"""A regular grid for planes that lie on a straight line but not at even distances."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...geometry import FloatArray

#: Largest departure of a distance from the usual one, or from a whole multiple of it, as a fraction.
SPACING_TOLERANCE = 0.05
#: Largest departure of a position from the even ones, as a fraction of the step; smaller ones add up on long stacks.
_DRIFT_TOLERANCE = 0.2
#: A grid may have this many times as many slices as there are planes.
_MOST_GROWTH = 4


@dataclass(frozen=True, eq=False)
class Resampling:
    """How the slices of a grid come from planes.

    Attributes:
        heights: of the grid's slices along the normal, mm.
        lower: for each slice of the grid the plane below it (or at it).
        share: how far it is on the way to the next plane, 0 to 1; 0 takes the plane as it is.
    """

    heights: FloatArray
    lower: NDArray[np.int64]
    share: FloatArray

    @property
    def nearest(self) -> NDArray[np.int64]:
        """The plane next to each slice of the grid."""
        nearest: NDArray[np.int64] = np.where(self.share > 0.5, self.lower + 1, self.lower)
        return nearest

    @property
    def interpolated(self) -> int:
        """How many slices of the grid are no acquired plane."""
        return int(np.count_nonzero(self.share))

    def apply(self, planes: NDArray[Any]) -> NDArray[Any]:
        """Grid slices (k, j, i) of the type of the planes (n, j, i); whole numbers are rounded."""
        grid = np.empty((len(self.lower), *planes.shape[1:]), planes.dtype)
        for k, (n, share) in enumerate(zip(self.lower, self.share, strict=True)):
            if share == 0:
                grid[k] = planes[n]
                continue
            between = planes[n] * (1 - share) + planes[n + 1] * share
            grid[k] = np.rint(between) if planes.dtype.kind in "iu" else between
        return grid


def is_even(heights: FloatArray) -> bool:
    """Whether planes (ascending, two or more) may be taken as equally distant."""
    steps = np.diff(heights)
    usual = float(np.median(steps))
    even = np.linspace(heights[0], heights[-1], len(heights))
    drift = float(np.abs(heights - even).max())
    return float(np.abs(steps / usual - 1).max()) <= SPACING_TOLERANCE and drift <= _DRIFT_TOLERANCE * usual


def regular_grid(heights: FloatArray) -> Resampling | None:
    """An even grid for planes at uneven distances; None where it would need too many slices.

    Where all distances are whole multiples of the smallest one, every plane is a slice of the grid; otherwise the grid
    is as fine as the smallest distance.
    """
    steps = np.diff(heights)
    finest = float(steps.min())
    multiples = np.rint(steps / finest)
    whole = float(np.abs(steps / finest - multiples).max()) <= SPACING_TOLERANCE
    count = int(multiples.sum()) if whole else round(float(heights[-1] - heights[0]) / finest)
    if count + 1 > _MOST_GROWTH * len(heights):
        return None
    places = np.linspace(heights[0], heights[-1], count + 1)
    if whole:
        # Positions of planes are their own; only the slices between them are computed.
        numbers = np.concatenate([[0], np.cumsum(multiples)]).astype(np.int64)
        if np.abs(places[numbers] - heights).max() > _DRIFT_TOLERANCE * finest:
            whole = False
    if whole:
        position = np.interp(np.arange(count + 1), numbers, np.arange(len(heights)))
    else:
        position = np.interp(places, heights, np.arange(len(heights)))
    lower = np.minimum(np.floor(position + 1e-9).astype(np.int64), len(heights) - 1)
    share = np.clip(position - lower, 0, 1)
    share[share < 1e-6] = 0
    return Resampling(places, lower, share)
