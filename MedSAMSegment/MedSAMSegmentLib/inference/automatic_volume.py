"""Automatic mask generation through a volume: the masks of single slices become labelled objects.

Every slice is looked at on its own (:func:`~MedSAMSegmentLib.inference.automatic.find_masks`); masks of neighbouring
slices that overlap well are the same object, each mask belonging to one object only, so that the overlap of all pairs
is greatest (the assignment problem).  A slice on which an object was missed is bridged.

    plane, window = SlicePlane.of(volume.geometry), Window.parse("auto").resolve(volume)
    pictures = {index: partial(slice_picture, volume, plane, index, window) for index in range(plane.slices)}
    objects = link_slices(dict(find_in_slices(predictor, pictures)), plane.axis)
    mask = objects[0].mask(volume.voxels.shape)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ..errors import UsageError
from ..prompts.plane import SlicePlane
from .automatic import AutomaticSettings, Cancel, FoundMask, PointPredictor, Progress, find_masks

if TYPE_CHECKING:
    from ..volume import IntensityRange, Volume


@dataclass(frozen=True)
class LinkSettings:
    """Which masks of neighbouring slices are one object.

    Attributes:
        minimum_overlap: their intersection over union, at least.
        gap_slices: so many slices on which the object was missed are bridged.
        minimum_slices: an object seen on fewer slices is dropped; a scan of a single slice is not asked for more.
    """

    minimum_overlap: float = 0.5
    gap_slices: int = 1
    minimum_slices: int = 2

    def __post_init__(self) -> None:
        if not 0 < self.minimum_overlap <= 1:
            raise _bad(f"The overlap must be above 0 and at most 1, not {self.minimum_overlap:g}.")
        if self.gap_slices < 0 or self.minimum_slices < 1:
            raise _bad("A gap has at least 0 slices, an object at least 1.")


class Block(NamedTuple):
    """A mask on one slice: the smallest rows and columns that hold it, and bool pixels inside them."""

    rows: slice
    columns: slice
    pixels: np.ndarray


@dataclass(frozen=True, eq=False)
class FoundObject:
    """One object of a volume.

    Attributes:
        axis: array axis that counts the slices.
        found: by slice, what a grid of points found there.
        blocks: by slice, the object's mask; also where it was bridged or tracked.
        scores: by slice that a network looked at, estimated overlap x stability, 0..1.
    """

    axis: int
    found: Mapping[int, FoundMask]
    blocks: Mapping[int, Block]
    scores: Mapping[int, float]

    @property
    def confidence(self) -> float:
        """Mean of :attr:`scores`."""
        return float(np.mean(list(self.scores.values())))

    @property
    def best_slice(self) -> int:
        """The slice it was found on most surely."""
        return max(self.found, key=lambda index: (self.found[index].confidence, -index))

    @property
    def voxels(self) -> int:
        return sum(int(np.count_nonzero(block.pixels)) for block in self.blocks.values())

    def mask(self, shape: tuple[int, int, int]) -> np.ndarray:
        """Bool (k, j, i) of the whole volume of that shape."""
        result = np.zeros(shape, dtype=bool)
        slices = np.moveaxis(result, self.axis, 0)
        for index, block in self.blocks.items():
            slices[index][block.rows, block.columns] = block.pixels
        return result


def slice_picture(volume: Volume, plane: SlicePlane, index: int, window: IntensityRange) -> np.ndarray:
    """(rows, columns) uint8: a slice as the image networks are shown it."""
    return np.rint(window.apply(volume.slice_array(plane.axis, index)) * 255).astype(np.uint8)


def find_in_slices(
    predictor: PointPredictor,
    pictures: Mapping[int, Callable[[], np.ndarray]],
    settings: AutomaticSettings | None = None,
    progress: Progress | None = None,
    cancel: Cancel | None = None,
) -> Iterator[tuple[int, list[FoundMask]]]:
    """Look at slices one after the other.

    Args:
        predictor: the network.
        pictures: by slice, what makes its picture: (rows, columns) or (rows, columns, 3) uint8.
        settings: how each slice is looked at.
        progress, cancel: see :mod:`~MedSAMSegmentLib.inference.automatic`.

    Yields:
        Slice and masks, so that those of finished slices are not lost when the rest is cancelled.

    Raises:
        CancelledError: ``cancel`` said so.
    """
    for number, (index, picture) in enumerate(pictures.items()):

        def tell(done: int, total: int, before: int = number) -> None:
            if progress is not None:
                progress(before * total + done, len(pictures) * total)

        yield index, find_masks(predictor, picture(), settings, tell, cancel)


def link_slices(
    masks: Mapping[int, Sequence[FoundMask]], axis: int, settings: LinkSettings | None = None
) -> list[FoundObject]:
    """Join masks of slices into objects, the largest first.

    Args:
        masks: by slice, every slice that was looked at.
        axis: array axis that counts the slices.
        settings: see there.
    """
    settings = settings or LinkSettings()
    objects: list[dict[int, FoundMask]] = []
    for index in sorted(masks):
        open_objects = [item for item in objects if max(item) >= index - 1 - settings.gap_slices]
        candidates = list(masks[index])
        taken = _assignment([item[max(item)] for item in open_objects], candidates, settings.minimum_overlap)
        for number, found in enumerate(candidates):
            if number in taken:
                open_objects[taken[number]][index] = found
            else:
                objects.append({index: found})
    least = min(settings.minimum_slices, len(masks))
    joined = [_joined(axis, item) for item in objects if len(item) >= least]
    return sorted(joined, key=lambda item: -item.voxels)


def overlap(a: FoundMask | Block, b: FoundMask | Block) -> float:
    """Intersection over union of two masks of slices of one size."""
    rows = slice(max(a.rows.start, b.rows.start), min(a.rows.stop, b.rows.stop))
    columns = slice(max(a.columns.start, b.columns.start), min(a.columns.stop, b.columns.stop))
    if rows.start >= rows.stop or columns.start >= columns.stop:
        return 0.0
    parts = [
        item.pixels[
            rows.start - item.rows.start : rows.stop - item.rows.start,
            columns.start - item.columns.start : columns.stop - item.columns.start,
        ]
        for item in (a, b)
    ]
    shared = int(np.count_nonzero(parts[0] & parts[1]))
    return shared / (int(np.count_nonzero(a.pixels)) + int(np.count_nonzero(b.pixels)) - shared)


def _assignment(known: Sequence[FoundMask], found: Sequence[FoundMask], least: float) -> dict[int, int]:
    """For each found mask that continues a known one, which; the sum of all overlaps is greatest."""
    from scipy.optimize import linear_sum_assignment

    if not known or not found:
        return {}
    overlaps = np.array([[overlap(old, new) for new in found] for old in known])
    # Pairs that are no pairs count nothing, so that they cannot push a true pair aside.
    overlaps[overlaps < least] = 0.0
    olds, news = linear_sum_assignment(overlaps, maximize=True)
    return {int(new): int(old) for old, new in zip(olds, news, strict=True) if overlaps[old, new] > 0}


def _joined(axis: int, found: Mapping[int, FoundMask]) -> FoundObject:
    blocks = {index: Block(item.rows, item.columns, item.pixels) for index, item in found.items()}
    scores = {index: item.confidence for index, item in sorted(found.items())}
    return FoundObject(
        axis, MappingProxyType(found), MappingProxyType(blocks | _bridges(found)), MappingProxyType(scores)
    )


def _bridges(masks: Mapping[int, FoundMask]) -> dict[int, Block]:
    """Masks for the slices between two on which the object was found: the outline moves from one to the other."""
    result = {}
    known = sorted(masks)
    for before, after in pairwise(known):
        if after - before > 1:
            rows = slice(
                min(masks[before].rows.start, masks[after].rows.start),
                max(masks[before].rows.stop, masks[after].rows.stop),
            )
            columns = slice(
                min(masks[before].columns.start, masks[after].columns.start),
                max(masks[before].columns.stop, masks[after].columns.stop),
            )
            first, last = (_signed_distance(masks[index].mask()[rows, columns]) for index in (before, after))
            for index in range(before + 1, after):
                part = (index - before) / (after - before)
                result[index] = Block(rows, columns, first * (1 - part) + last * part > 0)
    return result


def _signed_distance(mask: np.ndarray) -> np.ndarray:
    """Distance in pixels to the outline, positive inside; beyond the block is outside."""
    from scipy import ndimage

    framed = np.pad(mask, 1)
    distance = ndimage.distance_transform_edt(framed) - ndimage.distance_transform_edt(~framed)
    return distance[1:-1, 1:-1]


def _bad(message: str) -> UsageError:
    return UsageError("BAD_SETTING", message, "See medsamsegment auto --help.")
