"""The connected parts of a mask, found from its runs.

A run is a stretch of neighbouring voxels along the last axis.  Masks of organs have a hundred times fewer runs than
voxels, so joining runs that touch (He, Chao and Suzuki, "A run-based two-scan labeling algorithm", IEEE Transactions
on Image Processing 17, 2008) takes a quarter of the time of labelling voxel by voxel and no array of labels.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components


@dataclass(frozen=True, eq=False)
class Components:
    """Connected components of a mask (d, h, w), numbered from 0.

    Attributes:
        shape: (d, h, w).
        count: how many there are.
        starts, ends: (runs,) where each run begins and where it is over, in the flattened mask whose rows are followed
            by one voxel that is not part of it; ascending.
        numbers: (runs,) the component of each run.
    """

    shape: tuple[int, int, int]
    count: int
    starts: np.ndarray
    ends: np.ndarray
    numbers: np.ndarray

    @classmethod
    def of(cls, mask: np.ndarray, corners: bool) -> Components:
        """Components of a bool mask (d, h, w).

        Args:
            corners: voxels that share an edge or a corner are connected (26 neighbours); else a face (6 neighbours).
        """
        depth, height, width = mask.shape
        starts, ends = _runs(mask)
        # The first of two touching runs is in a row before that of the second: each pair is met once.
        before = ((0, 1), (1, -1), (1, 0), (1, 1)) if corners else ((0, 1), (1, 0))
        line = starts // (width + 1)
        slices, rows = line // height, line % height
        first, second = [], []
        for slices_up, rows_down in before:
            inside = (slices + slices_up < depth) & (rows + rows_down >= 0) & (rows + rows_down < height)
            runs = np.flatnonzero(inside)
            there = (slices_up * height + rows_down) * (width + 1)
            # Sharing a corner is to overlap by none: the ends themselves may meet.
            low = np.searchsorted(ends, starts[runs] + there, side="left" if corners else "right")
            high = np.searchsorted(starts, ends[runs] + there, side="right" if corners else "left")
            met = high - low
            first.append(np.repeat(runs, met))
            second.append(np.arange(met.sum()) + np.repeat(low - np.cumsum(met) + met, met))
        pairs = np.concatenate(first), np.concatenate(second)
        touching = coo_array((np.ones(len(pairs[0]), dtype=np.int8), pairs), shape=(len(starts), len(starts)))
        count, numbers = connected_components(touching, directed=False)
        return cls((depth, height, width), int(count), starts, ends, numbers)

    def sizes(self) -> np.ndarray:
        """(count,) voxels of each component."""
        voxels = np.bincount(self.numbers, weights=self.ends - self.starts, minlength=self.count)
        return voxels.astype(np.int64)

    def at(self, voxels: Sequence[tuple[int, int, int]]) -> np.ndarray:
        """The components of voxels of the mask (slice, row, column); of voxels outside the mask nothing is said."""
        return self._numbers_at(np.array(voxels, dtype=np.int64).reshape(-1, 3))

    def overlaps(self, other: np.ndarray) -> np.ndarray:
        """(count,) voxels that each component shares with another bool mask (d, h, w)."""
        return np.bincount(self._numbers_at(np.argwhere(other)), minlength=self.count)

    def mask(self, wanted: np.ndarray) -> np.ndarray:
        """(d, h, w) bool: the voxels of the components for which ``wanted`` (count,) is true."""
        chosen = wanted[self.numbers]
        result = np.empty(self.shape, dtype=bool)
        line = self.shape[1] * (self.shape[2] + 1)
        begin, over = self.starts[chosen], self.ends[chosen]
        slices = np.searchsorted(begin, np.arange(self.shape[0] + 1) * line)
        for number, (first, last) in enumerate(itertools.pairwise(slices)):
            turns = np.zeros(line, dtype=np.int8)
            turns[begin[first:last] - number * line] = 1
            turns[over[first:last] - number * line] = -1
            result[number] = np.cumsum(turns, dtype=np.int8).reshape(self.shape[1], -1)[:, :-1]
        return result

    def _numbers_at(self, voxels: np.ndarray) -> np.ndarray:
        """The components of those voxels (n, 3) that lie in the mask."""
        if len(self.starts) == 0:
            return np.zeros(0, dtype=np.int64)
        _, height, width = self.shape
        places = (voxels[:, 0] * height + voxels[:, 1]) * (width + 1) + voxels[:, 2]
        run = np.searchsorted(self.starts, places, side="right") - 1
        inside = (run >= 0) & (places < self.ends[run])
        return np.asarray(self.numbers[run[inside]])


def _runs(mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where runs begin and where they are over; see :class:`Components`."""
    _, height, width = mask.shape
    line = height * (width + 1)
    # Each row is followed by a voxel that is not part of it, and so is what comes before the slice.
    framed = np.zeros(1 + line, dtype=bool)
    turns = []
    # Slice by slice: with thousands of slices a copy of all of them would be felt.
    for number, part in enumerate(mask):
        framed[1:].reshape(height, width + 1)[:, :-1] = part
        turns.append(np.flatnonzero(framed[1:] != framed[:-1]) + number * line)
    found = np.concatenate(turns)
    return found[::2], found[1::2]
