"""What a session gives back: a mask on the scan's own grid, and what one needs to judge and to repeat it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import UsageError

if TYPE_CHECKING:
    from ..volume import Geometry

Extent = tuple[slice, slice, slice]
"""A block of the scan, as three slices of (k, j, i)."""


@dataclass(frozen=True, eq=False)
class Result:
    """One segmented object.

    Attributes:
        name: of the object.
        geometry: of the scan.
        extent: the block of the scan that the object may lie in; everything outside is background.
        extent_mask: bool, the mask inside ``extent``.
        logits: float16, the network's logits inside ``extent`` before clean-up.
        axis: array axis that counts the segmented slices.
        key_slice: where segmentation began.
        scores: for each slice the network looked at, estimated overlap x stability, 0..1.
        complete: ``False`` when the user cancelled; slices not reached are background.
        timings: seconds by stage: ``"total"``, ``"first_mask"``, ``"cleanup"``.
        provenance: model, weights, versions, settings and prompts: plain values, fit for JSON.
    """

    name: str
    geometry: Geometry
    extent: Extent
    extent_mask: np.ndarray
    logits: np.ndarray
    axis: int
    key_slice: int
    scores: Mapping[int, float]
    complete: bool = True
    timings: Mapping[str, float] = field(default_factory=dict)
    provenance: Mapping[str, Any] = field(default_factory=dict)

    @cached_property
    def mask(self) -> np.ndarray:
        """(k, j, i) bool on the scan's own grid; read-only."""
        mask = np.zeros(self.geometry.shape, dtype=bool)
        mask[self.extent] = self.extent_mask
        mask.flags.writeable = False
        return mask

    def probabilities(self) -> np.ndarray:
        """(k, j, i) float32 in 0..1 on the scan's own grid: the network's, before clean-up; 0 outside ``extent``."""
        probabilities = np.zeros(self.geometry.shape, np.float32)
        # Logits of float16 lie within +-65504; clipped, the exponential cannot overflow.
        probabilities[self.extent] = 1 / (1 + np.exp(-np.clip(self.logits.astype(np.float32), -80, 80)))
        return probabilities

    @property
    def voxels(self) -> int:
        """Number of voxels of the mask."""
        return int(np.count_nonzero(self.extent_mask))

    @property
    def millilitres(self) -> float:
        """Volume of the mask."""
        return self.voxels * abs(float(np.linalg.det(self.geometry.affine[:3, :3]))) / 1000.0

    def slice_mask(self, index: int) -> np.ndarray:
        """(rows, columns) bool of slice ``index`` of the segmentation plane."""
        where: list[Any] = [slice(None)] * 3
        where[self.axis] = index
        return self.mask[tuple(where)]

    def slices_for_review(self, count: int = 3) -> tuple[int, ...]:
        """The slices with the lowest scores among those that hold a part of the mask, worst first."""
        other = tuple(a for a in range(3) if a != self.axis)
        filled = np.flatnonzero(self.extent_mask.any(axis=other)) + self.extent[self.axis].start
        scored = [int(index) for index in filled if int(index) in self.scores]
        return tuple(sorted(scored, key=lambda index: (self.scores[index], index))[:count])


def labelmap(results: Iterable[Result] | Mapping[str, Result]) -> np.ndarray:
    """All objects in one array (k, j, i): 0 is background, the first object 1, the next 2 ...

    A voxel of several objects goes to the one whose logit is highest there.  ``uint8``, or ``uint16`` for more than 255
    objects.

    Raises:
        UsageError: ``NO_RESULTS`` or ``MIXED_SCANS``.
    """
    items = list(results.values()) if isinstance(results, Mapping) else list(results)
    if not items:
        raise UsageError("NO_RESULTS", "There is nothing to write.", "Segment an object first.")
    shape = items[0].geometry.shape
    if any(item.geometry != items[0].geometry for item in items):
        raise UsageError("MIXED_SCANS", "The results belong to different scans.", "Write one file for each scan.")
    labels = np.zeros(shape, dtype=np.uint8 if len(items) < 256 else np.uint16)
    for number, item in enumerate(items, start=1):
        wins = item.extent_mask.copy()
        for earlier, other in enumerate(items[: number - 1], start=1):
            shared = _overlap(item.extent, other.extent)
            if shared is None:
                continue
            mine, theirs = _within(shared, item.extent), _within(shared, other.extent)
            wins[mine] &= ~((labels[shared] == earlier) & (other.logits[theirs] >= item.logits[mine]))
        labels[item.extent][wins] = number
    return labels


def _overlap(a: Extent, b: Extent) -> Extent | None:
    """The block two extents share."""
    starts = [max(x.start, y.start) for x, y in zip(a, b, strict=True)]
    stops = [min(x.stop, y.stop) for x, y in zip(a, b, strict=True)]
    if any(start >= stop for start, stop in zip(starts, stops, strict=True)):
        return None
    k, j, i = (slice(start, stop) for start, stop in zip(starts, stops, strict=True))
    return k, j, i


def _within(block: Extent, extent: Extent) -> Extent:
    """``block`` in the coordinates of ``extent``."""
    k, j, i = (slice(x.start - y.start, x.stop - y.start) for x, y in zip(block, extent, strict=True))
    return k, j, i
