"""The box as the coarse network sees it (`models/coarse.py`), and its answer as any slice sees it.

The grid lies along the box's own axes, so a rotated box on an oblique scan is resampled once and the network meets
the same upright picture as ever.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import numpy as np
import torch
import torch.nn.functional as F
from scipy import ndimage

from ..models.coarse import NOTHING_LOGIT, CoarseGrid, read_at
from ..prompts.plan import SlicePlan
from .crop import CropFrame
from .crop_prompts import box_coordinates
from .predictor import BoxCoordinates

if TYPE_CHECKING:
    from ..volume import Geometry, IntensityRange, OrientedBox, Volume

# A plan's box has its axes along columns, rows and slices; the grid is counted in slices, rows and columns.
_AXES = (2, 1, 0)

# What changes within so many cells of a click was asked for.
_BESIDE = 2


# The grid follows the slices where no step leaves its axis by more than this part of the largest step.
_UPRIGHT = 1e-6

OnSlice = Callable[[int], torch.Tensor]
"""The number of slices further up (0 for the slice begun with) -> (size, size) float32 logits."""


@dataclass(frozen=True)
class CoarseView:
    """A box on the coarse network's grid.

    Attributes:
        intensities: (cells) float32 in 0..1.
        slice_step: distance between the scan's slices over half the box's depth.
        axes: the box's own axes (0, 1, 2) that the grid's slices, rows and columns follow.
        box: that is seen.
    """

    intensities: np.ndarray
    slice_step: float
    axes: tuple[int, int, int]
    box: OrientedBox


@dataclass(frozen=True)
class Click:
    """Where somebody clicked (LPS, mm), and whether inside the object."""

    position: tuple[float, float, float]
    inside: bool


@dataclass(frozen=True)
class CoarseMask:
    """Where the object roughly is.

    Attributes:
        logits: (cells) > 0 is the object.
        grid: the cells.
        axes, box: see :class:`CoarseView`.
        clicks: that it takes account of.
        told: what the user said that it takes account of, see `box_clicks.py`.
    """

    logits: torch.Tensor
    grid: CoarseGrid
    axes: tuple[int, int, int]
    box: OrientedBox
    clicks: tuple[Click, ...] = ()
    told: frozenset[Hashable] = frozenset()

    def on_slices(self, geometry: Geometry, plan: SlicePlan, frame: CropFrame) -> OnSlice:
        """The coarse mask on the slices of a crop, numbered from the plan's key slice."""
        place = box_coordinates(geometry, replace(plan, box=self.box), frame, plan.key_slice)
        return self.seen_from(place, place.frame_size)

    def about(self, box: OrientedBox) -> CoarseMask:
        """The same on the grid about another box with the same axes; where it was not looked at, there is nothing."""
        if box == self.box:
            return self
        axes, half = np.asarray(self.box.axes), np.asarray(self.box.size) / 2
        shift = (np.asarray(box.centre) - np.asarray(self.box.centre)) @ axes / half
        scale = np.asarray(box.size) / 2 / half
        logits, seen = self.logits, torch.ones_like(self.logits, dtype=torch.bool)
        for number, axis in enumerate(self.axes):
            at = (shift[axis] + self.grid.place(number).double().numpy() * scale[axis]) / self.grid.reach
            logits = _Places.of(at, logits.shape[number], logits.device).along(logits, number)
            shape = [-1 if each == number else 1 for each in range(3)]
            seen &= torch.from_numpy(np.abs(at) <= 1.0).to(seen.device).view(shape)
        return replace(self, logits=logits.masked_fill(~seen, NOTHING_LOGIT), box=box)

    def places(self, clicks: Sequence[Click]) -> tuple[np.ndarray, np.ndarray]:
        """The clicks that lie on the grid: (n, 3) along its slices, rows and columns (faces at -1 and 1); (n,) bool."""
        positions = np.array([click.position for click in clicks]).reshape(-1, 3)
        at = np.asarray(self.box.to_local(positions))[:, list(self.axes)]
        shown = (np.abs(at) <= self.grid.reach).all(axis=1)
        return at[shown], np.array([click.inside for click in clicks], dtype=bool)[shown]

    def corrected(self, logits: torch.Tensor, new: tuple[Click, ...]) -> CoarseMask:
        """With more of the object where other logits (cells) say so next to a new click inside it, and with less next
        to one outside.

        The rest stays as it was to the last bit: somebody who clicks on one place did not object to the others.
        """
        places, inside = self.places(new)
        cells = self.grid.cells_of(torch.from_numpy(places)).numpy()
        before, after = (self.logits > 0).cpu().numpy(), (logits > 0).cpu().numpy()
        result = self.logits
        for chosen, changed, larger in (
            (cells[inside], after & ~before, torch.maximum),
            (cells[~inside], before & ~after, torch.minimum),
        ):
            about = torch.from_numpy(_beside(changed, chosen)).to(result.device)
            result = torch.where(about, larger(result, logits), result)
        return replace(self, logits=result, clicks=self.clicks + new)

    def seen_from(self, coordinates: BoxCoordinates, size: int) -> OnSlice:
        """The coarse mask on the slices of a crop.

        Args:
            coordinates: of one slice.
            size: rows and columns of the result, over the whole crop.
        """
        # In the order of the grid: slices, rows, columns.
        per_slice, per_row, per_column = (
            np.abs(step[list(self.axes)]) for step in (coordinates.per_slice, coordinates.per_v, coordinates.per_u)
        )
        steps = np.stack([per_slice, per_row, per_column])
        upright = steps.sum() - np.trace(steps) <= _UPRIGHT * steps.max()
        return (self._seen_upright if upright else self._seen_anyhow)(coordinates, size)

    def _seen_anyhow(self, coordinates: BoxCoordinates, size: int) -> OnSlice:
        """However slices and grid lie to each other."""
        # `grid_sample` takes (x, y, z), that is columns, rows, slices, from -1 to 1 over the whole grid.
        order, reach = list(self.axes[::-1]), self.grid.reach
        device = self.logits.device
        here = torch.from_numpy(coordinates.grid(size)[..., order] / np.float32(reach)).to(device)
        per_slice = torch.from_numpy((coordinates.per_slice[order] / reach).astype(np.float32)).to(device)

        def on_slice(slices_up: int) -> torch.Tensor:
            at = here + slices_up * per_slice
            return read_at(self.logits[None], at[None, None])[0, 0]

        return on_slice

    def _seen_upright(self, coordinates: BoxCoordinates, size: int) -> OnSlice:
        """Where slices, rows and columns follow those of the grid: one axis after the other, the same on all slices."""
        reach, centres = self.grid.reach, coordinates.centres(size)
        depth, height, width = self.axes
        rows = (coordinates.origin[height] + centres * coordinates.per_v[height]) / reach
        columns = (coordinates.origin[width] + centres * coordinates.per_u[width]) / reach
        first, step = coordinates.origin[depth] / reach, coordinates.per_slice[depth] / reach
        logits, device = self.logits, self.logits.device
        across = _Places.of(rows, logits.shape[1], device), _Places.of(columns, logits.shape[2], device)
        nothing = torch.from_numpy((np.abs(rows) > 1.0)[:, None] | (np.abs(columns) > 1.0)[None, :]).to(device)

        def on_slice(slices_up: int) -> torch.Tensor:
            at = first + slices_up * step
            if abs(at) > 1.0:
                return logits.new_full((size, size), NOTHING_LOGIT)
            # A layer at a time is so small that no second core is waited for.
            layer = _Places.of(np.array([at]), len(logits), device).along(logits, 0)[0]
            return across[1].along(across[0].along(layer, 0), 1).masked_fill_(nothing, NOTHING_LOGIT)

        return on_slice


@runtime_checkable
class SeesBox(Protocol):
    """A predictor that can look at a whole box before it is asked for single slices.

    Attributes:
        grid: the cells it wants to see; ``None`` where its weights have no part for that.
    """

    grid: CoarseGrid | None

    def find(self, view: CoarseView) -> Iterator[CoarseMask]:
        """Where in the box the object is: at once, and then better and better; the last answer counts."""
        ...


@runtime_checkable
class CorrectsBox(SeesBox, Protocol):
    """A predictor that can look at the whole box again when somebody has clicked.

    Attributes:
        corrects: ``False`` where its weights have no part for that.
    """

    corrects: bool

    def correct(self, view: CoarseView, found: CoarseMask, places: np.ndarray, inside: np.ndarray) -> torch.Tensor:
        """A mask in the light of clicks.

        Args:
            view: the box on the predictor's own grid.
            found: about the same box; the mask that was clicked on.
            places, inside: the clicks, at least one, see :meth:`CoarseMask.places`.

        Returns:
            (cells) logits.
        """
        ...


@dataclass(frozen=True)
class _Places:
    """Where values are read along an axis.

    Attributes:
        before: (n,) the cells before the places.
        part: (n,) how far from there to the next.
    """

    before: torch.Tensor
    part: torch.Tensor

    @classmethod
    def of(cls, at: np.ndarray, count: int, device: torch.device) -> _Places:
        """Places from -1 to 1 over all cells; beyond the outermost cells' centres their values go on."""
        place = np.clip(((at + 1.0) * count - 1.0) / 2.0, 0.0, count - 1.0)
        before = np.minimum(place.astype(np.int64), count - 2)
        part = (place - before).astype(np.float32)
        return cls(torch.from_numpy(before).to(device), torch.from_numpy(part).to(device))

    def along(self, values: torch.Tensor, axis: int) -> torch.Tensor:
        """Linear interpolation along one axis."""
        part = self.part.view([-1 if each == axis else 1 for each in range(values.ndim)])
        return torch.lerp(values.index_select(axis, self.before), values.index_select(axis, self.before + 1), part)


def _beside(changed: np.ndarray, cells: np.ndarray) -> np.ndarray:
    """The connected parts of what changed (cells) that come near one of the cells (n, 3), and what is about them."""
    parts, _ = ndimage.label(changed, np.ones((3, 3, 3)))
    near: set[int] = set()
    for cell in cells.tolist():
        near.update(np.unique(parts[tuple(slice(max(at - _BESIDE, 0), at + _BESIDE + 1) for at in cell)]).tolist())
    wanted = np.isin(parts, sorted(near - {0}))
    return np.asarray(ndimage.binary_dilation(wanted, np.ones((3, 3, 3))))


def view_box(volume: Volume, plan: SlicePlan, window: IntensityRange, grid: CoarseGrid) -> CoarseView:
    """Resample the box and its margin onto the grid; the scan is read slab by slab and never copied whole."""
    points = _cell_indices(plan.box, volume.geometry, grid, _AXES)
    step = plan.plane.slice_spacing / (float(plan.box.size[_AXES[0]]) / 2)
    return CoarseView(_sample(volume, points, window), step, _AXES, plan.box)


def _cell_indices(box: OrientedBox, geometry: Geometry, grid: CoarseGrid, axes: tuple[int, int, int]) -> np.ndarray:
    """(*cells, 3) index coordinates (k, j, i) of all cell centres."""
    # The whole way is affine: four points tell it.
    local = np.zeros((4, 3))
    local[[1, 2, 3], axes] = 1.0
    lps = box.centre + (local * (np.asarray(box.size) / 2)) @ np.asarray(box.axes).T
    middle, *ends = np.asarray(geometry.lps_to_index(lps))[:, ::-1]
    slices, rows, columns = (
        grid.place(number).double().numpy()[:, None] * (end - middle) for number, end in enumerate(ends)
    )
    return np.asarray((middle + slices)[:, None, None] + rows[:, None] + columns)


def _sample(volume: Volume, points: np.ndarray, window: IntensityRange) -> np.ndarray:
    """Windowed values at index points (*cells, 3), averaged over blocks where cells are coarser than voxels.

    Beyond the scan its edge repeats.
    """
    shape = np.array(volume.voxels.shape)
    # The cells are evenly spaced: neighbours at one corner, and all corners, tell what holds for all.
    here = points[0, 0, 0]
    step = np.max([np.abs(points[next_one] - here) for next_one in ((1, 0, 0), (0, 1, 0), (0, 0, 1))], axis=0)
    block = np.maximum(np.floor(step + 1e-6), 1).astype(int)
    corners = points[np.ix_(*([0, -1] for _ in range(3)))].reshape(-1, 3)
    start = np.clip(np.floor(corners.min(axis=0)).astype(int) - block, 0, shape - 1)
    stop = np.clip(np.ceil(corners.max(axis=0)).astype(int) + block + 1, start + 1, shape)
    reduced = _block_means(volume.voxels, start, stop, block)
    place = (points - start + 0.5) / block
    # From block counts to the -1..1 of `grid_sample`, in its order (x, y, z).
    at = place / np.array(reduced.shape) * 2.0 - 1.0
    sampled = F.grid_sample(
        torch.from_numpy(reduced)[None, None],
        torch.from_numpy(np.ascontiguousarray(at[..., ::-1], dtype=np.float32))[None],
        mode="bilinear",
        padding_mode="border",
        align_corners=False,
    )
    return window.apply(sampled[0, 0].numpy())


def _block_means(voxels: np.ndarray, start: np.ndarray, stop: np.ndarray, block: np.ndarray) -> np.ndarray:
    """Means of blocks of a part of the scan, float32; incomplete blocks at its end are of what is there."""
    counts = -(-(stop - start) // block)
    result = np.empty(tuple(counts), dtype=np.float32)
    for number, k in enumerate(range(start[0], stop[0], block[0])):
        slab = voxels[k : min(k + block[0], stop[0]), start[1] : stop[1], start[2] : stop[2]]
        first, *others = slab.astype(np.float32)
        for other in others:
            first += other
        rows = _sums(first / np.float32(len(slab)), int(block[1]))
        result[number] = _sums(rows.T, int(block[2])).T
    for axis, size in ((1, block[1]), (2, block[2])):
        share = np.full(counts[axis], size, dtype=np.float32)
        share[-1] = stop[axis] - start[axis] - (counts[axis] - 1) * size
        result /= np.expand_dims(share, [other for other in range(3) if other != axis])
    return result


def _sums(values: np.ndarray, count: int) -> np.ndarray:
    """Sums of ``count`` rows each, the last of those that are left."""
    result = values[::count].copy()
    for first in range(1, count):
        rows = values[first::count]
        result[: len(rows)] += rows
    return result
