"""Classical methods that turn a box into a mask: the floor under every model.

Each is a ``Method`` of the harness.  All work inside the index region of the box; "core" below means the ellipsoid
inscribed in the box, shrunk by a factor.

* ``filled_box``: the box itself.
* ``ellipsoid``: the inscribed ellipsoid; never looks at the image.
* ``otsu``: Otsu's threshold of the box (IEEE Trans SMC 9, 1979), the side the core is on, largest part,
  holes filled.
* ``random_walker``: Grady, IEEE PAMI 28, 2006; a small core is foreground, everything outside the box is background.
* ``random_walker_core``: the same with a core of 0.7 of the box, mostly the ellipsoid with corrected borders.
* ``histogram_prior``: per-voxel Bayes decision between the grey values of the core and those around the box, weighted
  by the distance from the ellipsoid.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from ..volume import OrientedBox, Volume

MARGIN = 3
"""Voxels around the box that the image-based methods look at."""


@dataclass(frozen=True)
class _Region:
    """The part of a scan around a box.

    Attributes:
        slices: array slices of the part in the scan.
        values: float32 voxels of the part.
        radius: normalised distance from the box centre: 1 on the inscribed ellipsoid.
        inside: voxels of the box.
    """

    slices: tuple[slice, slice, slice]
    values: np.ndarray
    radius: np.ndarray
    inside: np.ndarray


def filled_box(volume: Volume, boxes: Sequence[OrientedBox]) -> Iterator[np.ndarray]:
    """Every voxel whose centre is in the box."""
    return _each(volume, boxes, lambda region: region.inside, margin=0)


def ellipsoid(volume: Volume, boxes: Sequence[OrientedBox]) -> Iterator[np.ndarray]:
    """The ellipsoid that touches the six faces of the box."""
    return _each(volume, boxes, lambda region: region.radius <= 1.0, margin=0)


def otsu(volume: Volume, boxes: Sequence[OrientedBox]) -> Iterator[np.ndarray]:
    """Two classes of grey values in the box; the class of the core is the object."""
    return _each(volume, boxes, _otsu)


def random_walker(volume: Volume, boxes: Sequence[OrientedBox]) -> Iterator[np.ndarray]:
    """Random walker from a core of 0.3 of the box."""
    return _each(volume, boxes, lambda region: _walk(region, core=0.3, beta=3000.0))


def random_walker_core(volume: Volume, boxes: Sequence[OrientedBox]) -> Iterator[np.ndarray]:
    """Random walker from a core of 0.7 of the box."""
    return _each(volume, boxes, lambda region: _walk(region, core=0.7, beta=1000.0))


def histogram_prior(volume: Volume, boxes: Sequence[OrientedBox]) -> Iterator[np.ndarray]:
    """Bayes decision by grey value and distance from the ellipsoid."""
    return _each(volume, boxes, _histogram_prior)


BASELINES: dict[str, Callable[[Volume, Sequence[OrientedBox]], Iterator[np.ndarray]]] = {
    "filled-box": filled_box,
    "ellipsoid": ellipsoid,
    "otsu": otsu,
    "random-walker": random_walker,
    "random-walker-core": random_walker_core,
    "histogram-prior": histogram_prior,
}


def _each(
    volume: Volume, boxes: Sequence[OrientedBox], segment: Callable[[_Region], np.ndarray], margin: int = MARGIN
) -> Iterator[np.ndarray]:
    for box in boxes:
        mask = np.zeros(volume.voxels.shape, bool)
        region = _region(volume, box, margin)
        if region is not None:
            mask[region.slices] = segment(region) & region.inside
        yield mask


def _region(volume: Volume, box: OrientedBox, margin: int) -> _Region | None:
    """The scan around a box, or ``None`` when the box holds no voxel centre."""
    window = box.index_window(volume.geometry)
    if window is None:
        return None
    slices = tuple(
        slice(max(part.start - margin, 0), min(part.stop + margin, length))
        for part, length in zip(window, volume.voxels.shape, strict=True)
    )
    k, j, i = np.meshgrid(*(np.arange(part.start, part.stop) for part in slices), indexing="ij")
    local = box.to_local(volume.geometry.index_to_lps(np.stack((i, j, k), axis=-1)))
    # Voxel centres that a box face passes through exactly must not be lost to rounding.
    inside = np.abs(local).max(-1) <= 1.0 + 1e-9
    if not inside.any():
        return None
    values = volume.voxels[slices].astype(np.float32)
    return _Region((slices[0], slices[1], slices[2]), values, np.sqrt((local**2).sum(-1)), inside)


def _otsu(region: _Region) -> np.ndarray:
    from skimage.filters import threshold_otsu

    values = region.values[region.inside]
    if np.ptp(values) == 0:
        return region.inside
    bright = (region.values > threshold_otsu(values)) & region.inside
    core = (region.radius < 0.5) & region.inside
    chosen = bright if not core.any() or bright[core].mean() > 0.5 else region.inside & ~bright
    return _solid(chosen)


def _walk(region: _Region, core: float, beta: float) -> np.ndarray:
    from skimage.segmentation import random_walker as walk

    seeds = np.where(region.inside, 0, 2)
    # At least the voxel nearest to the centre is foreground, however small the box is.
    seeds[region.inside & (region.radius <= max(core, float(region.radius[region.inside].min())))] = 1
    values = region.values[region.inside]
    low, high = np.percentile(values, (1, 99))
    if high <= low or not (seeds == 2).any() or not (seeds == 0).any():
        return region.radius <= 1.0
    image = np.clip((region.values - low) / (high - low), 0, 1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # advice on optional solvers, isolated seeds
        return walk(image, seeds, beta=beta, mode="cg_j", tol=1e-3) == 1


def _histogram_prior(region: _Region) -> np.ndarray:
    from scipy import ndimage

    core = region.inside & (region.radius < 0.6)
    around = region.radius > 1.1
    low, high = np.percentile(region.values, (0.5, 99.5))
    if not core.any() or not around.any() or high <= low:
        return region.radius <= 1.0
    bins = np.clip((region.values - low) / (high - low) * 63, 0, 63).astype(int)
    density = []
    for part in (core, around):
        counts = ndimage.gaussian_filter1d(np.bincount(bins[part], minlength=64).astype(float), 2.0)
        density.append((counts + 1e-3 * counts.sum()) / counts.sum())
    # Logistic fall-off around the ellipsoid: even odds on it, one to e at a tenth of the box's half size.
    log_odds = (1.0 - region.radius) / 0.1 + np.log(density[0] / density[1])[bins]
    return _solid((ndimage.gaussian_filter(log_odds, 0.7) > 0) & region.inside)


def _solid(mask: np.ndarray) -> np.ndarray:
    """Largest face-connected component with its holes filled."""
    from scipy import ndimage

    labels, count = ndimage.label(mask)
    if count == 0:
        return mask
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    return ndimage.binary_fill_holes(labels == sizes.argmax())
