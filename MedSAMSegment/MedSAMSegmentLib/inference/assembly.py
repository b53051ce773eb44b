"""Puts the slices' logits together on the scan's grid, and turns them into the final mask."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from ..prompts.plan import Rectangle, SlicePlan
from ..prompts.plane import SlicePlane
from .cleanup import EMPTY_LOGIT, Voxel, clean_up
from .crop import CropFrame
from .result import Extent
from .settings import CleanupSettings

if TYPE_CHECKING:
    from ..volume import Geometry, OrientedBox


@dataclass(frozen=True, eq=False)
class LogitBlock:
    """Logits of one object on the scan's grid, only where the object may lie.

    Attributes:
        plane, frame: how the scan is cut and cropped.
        slices, rows, columns: where the block lies in the plane's coordinates.
        logits: (slices, rows, columns) float16; ``EMPTY_LOGIT`` where nothing is known.
        clip: bool of the same shape: inside the oriented box with its margin, and on slices with a rectangle of their
            own inside that with the same margin; or ``None`` without clipping.
    """

    plane: SlicePlane
    frame: CropFrame
    slices: slice
    rows: slice
    columns: slice
    logits: np.ndarray
    clip: np.ndarray | None

    @classmethod
    def empty(cls, geometry: Geometry, plan: SlicePlan, frame: CropFrame, settings: CleanupSettings) -> LogitBlock:
        """A block for ``plan``: the frame's part of its slices, or of it the clipping box's part."""
        plane = plan.plane
        rows, columns = frame.window(plane.shape)
        slices = slice(plan.slices[0], plan.slices[-1] + 1)
        clip = None
        if settings.clip:
            box = plan.box.expanded(settings.margin_mm)
            corners = plane.to_slice(geometry.lps_to_index(np.asarray(box.corners_lps())))
            (x0, y0, _), (x1, y1, _) = corners.min(axis=0), corners.max(axis=0)
            rows, columns = _shared(rows, y0, y1), _shared(columns, x0, x1)
        # Drawn masks are kept whole, also where they reach beyond the box.
        for mask in plan.masks.values():
            rows, columns = _holding(rows, np.any(mask, axis=1)), _holding(columns, np.any(mask, axis=0))
        shape = tuple(part.stop - part.start for part in (slices, rows, columns))
        if settings.clip:
            clip = _inside(box, geometry, plane, (slices, rows, columns))
            for index, rectangle in plan.boxes.items():
                clip[index - slices.start] &= _in_rectangle(rectangle, plane, settings.margin_mm, rows, columns)
        return cls(plane, frame, slices, rows, columns, np.full(shape, EMPTY_LOGIT, dtype=np.float16), clip)

    def put(self, index: int, logits: torch.Tensor) -> None:
        """Bring one slice's low-resolution logits to the scan's grid."""
        picture = logits.detach().to("cpu", torch.float32).clamp(EMPTY_LOGIT, -EMPTY_LOGIT).numpy()
        self.logits[index - self.slices.start] = self.frame.paste(picture, self.rows, self.columns)

    def slice_mask(self, index: int) -> np.ndarray:
        """(rows, columns) bool of the whole slice: its logits, clipped, without the other steps of clean-up."""
        mask = np.zeros(self.plane.shape, dtype=bool)
        k = index - self.slices.start
        found = self.logits[k] > 0
        mask[self.rows, self.columns] = found if self.clip is None else found & self.clip[k]
        return mask

    @property
    def extent(self) -> Extent:
        """Where the block lies in the scan, as slices of (k, j, i)."""
        parts = [self.rows, self.columns]
        parts.insert(self.plane.axis, self.slices)
        return parts[0], parts[1], parts[2]

    def to_scan_axes(self, array: np.ndarray) -> np.ndarray:
        """An array (slices, rows, columns) of the block as (k, j, i)."""
        return np.ascontiguousarray(np.moveaxis(array, 0, self.plane.axis))


def finished_mask(
    block: LogitBlock, plan: SlicePlan, settings: CleanupSettings, given: Mapping[int, np.ndarray]
) -> np.ndarray:
    """The final mask in the block's axes: cleaned up, with the slices ``given`` by the user exactly as they are."""
    plane = plan.plane
    seed = np.zeros(block.logits.shape, dtype=bool)
    # Where a rectangle was drawn the object is, also where that part of it stands apart.
    for index in {plan.key_slice, *plan.boxes}.intersection(plan.slices):
        row = index - block.slices.start
        seed[row] = block.logits[row] > 0
    inside = {k: mask for k, mask in given.items() if block.slices.start <= k < block.slices.stop}
    for index, mask in inside.items():
        seed[index - block.slices.start] = mask[block.rows, block.columns]
    result = clean_up(
        block.logits,
        (plane.slice_spacing, plane.row_spacing, plane.column_spacing),
        settings,
        block.clip,
        seed,
        _clicks(block, plan, positive=True),
        _clicks(block, plan, positive=False),
    )
    for index, mask in inside.items():
        result[index - block.slices.start] = mask[block.rows, block.columns]
    return result


def _clicks(block: LogitBlock, plan: SlicePlan, positive: bool) -> list[Voxel]:
    """Clicked voxels in the block's coordinates; those outside it are left out."""
    found = []
    for index, points in plan.points.items():
        for point in points:
            voxel = (
                index - block.slices.start,
                int(np.floor(point.y + 0.5)) - block.rows.start,
                int(np.floor(point.x + 0.5)) - block.columns.start,
            )
            if point.positive == positive and all(0 <= v < n for v, n in zip(voxel, block.logits.shape, strict=True)):
                found.append(voxel)
    return found


def _inside(box: OrientedBox, geometry: Geometry, plane: SlicePlane, where: tuple[slice, slice, slice]) -> np.ndarray:
    """Which voxel centres of a block (slices, rows, columns) lie in the box.

    The box's coordinates are affine in the index, so each is a sum of one term an axis, and no array of points is made.
    """
    slices, rows, columns = where
    basis = np.array([[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]])
    local = np.asarray(box.to_local(geometry.index_to_lps(plane.to_index(basis))))
    origin, (per_x, per_y, per_slice) = local[0], local[1:] - local[0]
    x, y, k = (np.arange(part.start, part.stop, dtype=np.float64) for part in (columns, rows, slices))
    result = np.ones((k.size, y.size, x.size), dtype=bool)
    for component in range(3):
        in_slice = origin[component] + x[None, :] * per_x[component] + y[:, None] * per_y[component]
        for number, step in enumerate(k * per_slice[component]):
            result[number] &= np.abs(in_slice + step) <= 1.0 + 1e-9
    return result


def _in_rectangle(rectangle: Rectangle, plane: SlicePlane, margin_mm: float, rows: slice, columns: slice) -> np.ndarray:
    """(rows, columns) bool: which pixel centres lie in a rectangle grown by a margin."""
    x0, y0, x1, y1 = rectangle
    wide, high = margin_mm / plane.column_spacing, margin_mm / plane.row_spacing
    x, y = np.arange(columns.start, columns.stop), np.arange(rows.start, rows.stop)
    return ((y >= y0 - high) & (y <= y1 + high))[:, None] & ((x >= x0 - wide) & (x <= x1 + wide))[None, :]


def _shared(part: slice, low: float, high: float) -> slice:
    """The indices of ``part`` within [low, high]; at least one, so that a block is never without extent."""
    start = min(max(part.start, int(np.ceil(low - 1e-6))), part.stop - 1)
    return slice(start, max(min(part.stop, int(np.floor(high + 1e-6)) + 1), start + 1))


def _holding(part: slice, used: np.ndarray) -> slice:
    """``part``, grown to hold every index that is ``used``."""
    hits = np.flatnonzero(used)
    if hits.size == 0:
        return part
    return slice(min(part.start, int(hits[0])), max(part.stop, int(hits[-1]) + 1))
