"""Regions of even grey value that fit into a box: its six faces touch them, and they end there.

A tight box says more than where to look: the object reaches every one of its faces and goes beyond none (Lempitsky et
al., "Image segmentation with a bounding box prior", ICCV 2009).  Which connected region does so is a question about the
whole box at once that convolutions cannot answer, least of all for thin or bent objects that fill little of it.  So the
regions are found by thresholds, as extremal regions are (Matas et al., BMVC 2002), and described by how well they fit;
how much of that to believe is learned (:class:`RegionScorer`, a part of `models/coarse.py`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from .coarse import CoarseGrid

MOST_REGIONS = 32
"""So many regions of a box are kept, the best fitting ones."""

TRAITS = 8
"""Numbers that describe a region, see :func:`box_regions`."""

# Typical means and standard deviations of the traits.
_TRAIT_MEANS = (0.05, 0.04, -1.05, 1.3, 1.0, 0.78, 0.28, 0.7)
_TRAIT_SCALES = (0.11, 0.09, 0.73, 0.7, 0.94, 0.22, 0.27, 0.28)

# Thresholds lie at quantiles of the grey values in the box and at even steps between 0 and 1, no closer than this.
_QUANTILES, _EVEN, _CLOSEST = 8, 6, 0.02

# Beside everything below and everything above a threshold, bands of so many neighbouring thresholds are looked at.
_BANDS = (2, 4)

# Smaller regions, and those further from the faces (sum over all six, in parts of the box), are not looked at.
_LEAST_CELLS, _FURTHEST = 15, 0.5

# Whether a region goes on beyond a face is seen on so many cells.
_BEYOND = 2


@dataclass(frozen=True, eq=False)
class BoxRegions:
    """Regions of one box.

    Attributes:
        masks: (MOST_REGIONS, *cells) bool, only cells between the faces; rows beyond the last region are empty.
        traits: (MOST_REGIONS, TRAITS) float32.
        known: (MOST_REGIONS,) bool: which rows hold a region.
    """

    masks: np.ndarray
    traits: np.ndarray
    known: np.ndarray


def box_regions(intensities: np.ndarray, grid: CoarseGrid) -> BoxRegions:
    """Connected regions of a box that come near all six faces.

    Args:
        intensities: (*cells) windowed to [0, 1].
        grid: says which of the cells lie between the faces.

    Returns:
        the regions; their traits are the sum and the largest of the gaps to the six faces (parts of the box), the
        logarithms of the share of the box filled, of the area at the faces, and of the area that goes on beyond them
        (both over the region's own surface, about), the part of the area at the faces that goes on, and the grey values
        at both ends.
    """
    from scipy import ndimage

    inner = grid.between_faces()
    box = intensities[inner]
    faces = _Faces.of(intensities, inner)
    sharing_a_face = ndimage.generate_binary_structure(3, 1)
    found: list[tuple[np.ndarray, np.ndarray]] = []
    for low, high in _grey_value_ranges(box):
        labels, count = ndimage.label((box >= low) & (box <= high), structure=sharing_a_face)
        sizes = np.bincount(labels.ravel(), minlength=count + 1)
        gaps_of = _gaps(labels, sizes)
        if not gaps_of:
            continue
        at_faces, goes_on = faces.areas(labels, count, low, high)
        for number, gaps in gaps_of.items():
            surface = sizes[number] ** (2 / 3)
            traits = (
                sum(gaps),
                max(gaps),
                np.log(sizes[number] / box.size),
                np.log(at_faces[number] / surface + 0.05),
                np.log(goes_on[number] / surface + 0.05),
                goes_on[number] / max(at_faces[number], 1),
                max(low, 0.0),
                min(high, 1.0),
            )
            found.append((np.array(traits, dtype=np.float32), labels == number))
    found.sort(key=lambda region: float(region[0][0] + region[0][5]))
    result = BoxRegions(
        np.zeros((MOST_REGIONS, *intensities.shape), dtype=bool),
        np.zeros((MOST_REGIONS, TRAITS), dtype=np.float32),
        np.arange(MOST_REGIONS) < len(found),
    )
    for row, (traits, mask) in enumerate(found[:MOST_REGIONS]):
        result.masks[row][inner] = mask
        result.traits[row] = traits
    return result


@dataclass(frozen=True, eq=False)
class RegionBatch:
    """The regions of B boxes (:class:`BoxRegions`); R is ``MOST_REGIONS``.

    Attributes:
        masks: (B, R, *cells) bool.
        traits: (B, R, TRAITS) float.
        known: (B, R) bool: which rows hold a region.
    """

    masks: Tensor
    traits: Tensor
    known: Tensor

    @classmethod
    def of(cls, intensities: Sequence[Tensor], grid: CoarseGrid) -> RegionBatch:
        """Found in boxes (*cells), each windowed to [0, 1]."""
        found = [box_regions(one.cpu().numpy(), grid) for one in intensities]
        masks, traits, known = (
            torch.from_numpy(np.stack([getattr(regions, name) for regions in found]))
            for name in ("masks", "traits", "known")
        )
        return cls(masks, traits, known).to(intensities[0].device)

    def to(self, device: torch.device) -> RegionBatch:
        """The same on a device."""
        return RegionBatch(self.masks.to(device), self.traits.to(device), self.known.to(device))

    def part(self, boxes: slice) -> RegionBatch:
        """Of some of the boxes."""
        return RegionBatch(self.masks[boxes], self.traits[boxes], self.known[boxes])


class RegionScorer(nn.Module):
    """Traits of regions -> how well each is expected to overlap the object."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(TRAITS, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU(), nn.Linear(width, 1)
        )
        # How much better than the others the best region has to be to stand alone.
        self.sharpness = nn.Parameter(torch.tensor(4.0))

    def forward(self, regions: RegionBatch) -> Tensor:
        """(B, R) logits of the expected Dice overlap."""
        mean, scale = (regions.traits.new_tensor(numbers) for numbers in (_TRAIT_MEANS, _TRAIT_SCALES))
        return self.layers((regions.traits - mean) / scale)[..., 0]

    def maps(self, regions: RegionBatch) -> Tensor:
        """(B, 2, *cells) in [0, 1]: the regions' mean, weighted by expected overlap; the best one's overlap."""
        # No box holds a region beyond these rows.
        most = 1 + int((regions.known * torch.arange(MOST_REGIONS, device=regions.known.device)).max())
        regions = RegionBatch(regions.masks[:, :most], regions.traits[:, :most], regions.known[:, :most])
        scores = self(regions)
        nothing = ~regions.known
        share = (scores * self.sharpness).masked_fill(nothing, -1e4).softmax(dim=1) * regions.known
        expected = scores.sigmoid() * regions.known
        masks = regions.masks.flatten(2).to(scores.dtype)
        mean = torch.einsum("br,brn->bn", share, masks)
        best = (expected[..., None] * masks).amax(dim=1)
        return torch.stack([mean, best], dim=1).unflatten(2, regions.masks.shape[2:])


@dataclass(frozen=True, eq=False)
class _Faces:
    """The cells at the six faces of a box, one after another; those at an edge lie at several.

    Attributes:
        cells: (n,) their places in the box, counted as ``ravel`` does.
        beyond: (n,) mean grey value just beyond the face.
    """

    cells: np.ndarray
    beyond: np.ndarray

    @classmethod
    def of(cls, intensities: np.ndarray, inner: tuple[slice, slice, slice]) -> _Faces:
        numbers = np.arange(intensities[inner].size).reshape(intensities[inner].shape)
        cells, beyond = [], []
        for axis in range(3):
            start, stop = inner[axis].start, inner[axis].stop
            for at, part in ((0, slice(max(start - _BEYOND, 0), start)), (-1, slice(stop, stop + _BEYOND))):
                where = list(inner)
                where[axis] = part
                cells.append(numbers.take(at, axis=axis).ravel())
                beyond.append(intensities[tuple(where)].mean(axis=axis).ravel())
        return cls(np.concatenate(cells), np.concatenate(beyond))

    def areas(self, labels: np.ndarray, count: int, low: float, high: float) -> tuple[np.ndarray, np.ndarray]:
        """(count + 1,) cells of each region at the faces, and those of them that go on beyond the face."""
        regions = labels.ravel()[self.cells]
        on = regions[(self.beyond >= low) & (self.beyond <= high)]
        return np.bincount(regions, minlength=count + 1), np.bincount(on, minlength=count + 1)


def _gaps(labels: np.ndarray, sizes: np.ndarray) -> dict[int, list[float]]:
    """The distances to the six faces, in parts of the box, of every region that is large and near enough."""
    from scipy import ndimage

    large = np.flatnonzero(sizes[1:] >= _LEAST_CELLS) + 1
    near = {}
    extents = ndimage.find_objects(labels) if large.size else []
    for number in large.tolist():
        gaps = [
            end / length
            for part, length in zip(extents[number - 1], labels.shape, strict=True)
            for end in (part.start, length - part.stop)
        ]
        if sum(gaps) <= _FURTHEST:
            near[number] = gaps
    return near


def _grey_value_ranges(box: np.ndarray) -> Iterator[tuple[float, float]]:
    """Ranges (lowest, highest) of grey values in which a region is looked for."""
    quantiles = np.quantile(box, np.linspace(0.0, 1.0, _QUANTILES + 1)[1:-1])
    thresholds: list[float] = []
    for value in np.sort(np.concatenate([quantiles, np.linspace(0.0, 1.0, _EVEN + 1)[1:-1]])):
        if not thresholds or value - thresholds[-1] > _CLOSEST:
            thresholds.append(float(value))
    for value in thresholds:
        yield -np.inf, value
        yield value, np.inf
    for width in _BANDS:
        for first in range(0, len(thresholds) - width, width // 2):
            yield thresholds[first], thresholds[first + width]
