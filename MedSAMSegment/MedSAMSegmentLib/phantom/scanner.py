"""Scanning the computed abdomen: grid, blur, noise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..volume import Geometry, Volume
from .body import ORGANS, PARTS, Body
from .frame import paint_frame
from .organs import paint_organs
from .scene import Scene

DEFAULT_SHAPE = (64, 256, 256)
DEFAULT_SPACING = (1.4, 1.4, 3.0)

_NOISE_HU = 13.0
_TEXTURE_HU = 5.0


@dataclass(frozen=True, eq=False)
class Phantom:
    """A computed scan and its truth.

    Attributes:
        volume: CT in HU, int16.
        labels: uint8 ``(k, j, i)``, values as in ``ORGANS``; the innermost structure where several apply.
    """

    volume: Volume
    labels: np.ndarray

    @property
    def names(self) -> tuple[str, ...]:
        """The structures that are in the field of view."""
        present = set(np.unique(self.labels).tolist())
        return tuple(name for name, label in ORGANS.items() if label in present)

    def mask(self, name: str) -> np.ndarray:
        """Truth of one structure, bool ``(k, j, i)``, with everything inside it (the liver holds its tumour).

        Raises:
            KeyError: there is no structure of that name.
        """
        return np.isin(self.labels, [ORGANS[item] for item in (name, *PARTS.get(name, ()))])


def phantom_geometry(
    shape: tuple[int, int, int] = DEFAULT_SHAPE,
    spacing: tuple[float, float, float] = DEFAULT_SPACING,
    rotation_degrees: tuple[float, float, float] = (0.0, 0.0, 0.0),
    left_handed: bool = False,
) -> Geometry:
    """A grid around the phantom's middle, which is the LPS origin.

    Args:
        shape: ``(k, j, i)``.
        spacing: along ``(i, j, k)``, mm.
        rotation_degrees: of the grid about the x, then the y, then the z axis: an oblique scan of the same person.
        left_handed: count slices from head to feet.
    """
    direction = np.eye(3)
    for axis, angle in enumerate(np.radians(rotation_degrees)):
        turn = np.eye(3)
        a, b = [other for other in range(3) if other != axis]
        turn[[a, a, b, b], [a, b, a, b]] = np.cos(angle), -np.sin(angle), np.sin(angle), np.cos(angle)
        direction = turn @ direction
    if left_handed:
        direction[:, 2] *= -1
    middle = (np.array(shape[::-1]) - 1) / 2
    origin = -direction @ (middle * spacing)
    return Geometry.from_parts(shape, spacing, origin, direction)


def make_phantom(seed: int = 0, geometry: Geometry | None = None) -> Phantom:
    """Compute a scan.

    Args:
        seed: decides anatomy and noise; the same seed and grid give the same voxels.
        geometry: any grid; default :func:`phantom_geometry`, 64 slices of 3 mm.
    """
    geometry = geometry or phantom_geometry()
    scene = Scene(geometry, np.zeros(3))
    body = Body.from_seed(seed)
    paint_frame(scene, body)
    paint_organs(scene, body)
    image = _scan(scene.attenuation, geometry, body.generator)
    volume = Volume(image, geometry, "CT", f"phantom-{seed}", ("Computed phantom, no patient.",))
    return Phantom(volume, scene.labels)


def _scan(attenuation: np.ndarray, geometry: Geometry, generator: np.random.Generator) -> np.ndarray:
    """Blur by the scanner's resolution, tissue texture and correlated noise, as whole HU."""
    from scipy import ndimage

    spacing = geometry.spacing_kji
    thickest = max(spacing)
    # 0.75 mm in the plane; across thick slices the beam's profile is part of a slice wide.
    sigma = [0.75 / step if step < thickest else 0.4 for step in spacing]
    image = ndimage.gaussian_filter(attenuation, sigma, truncate=3.0)
    tissue = image > -300.0
    noise = generator.standard_normal(image.shape, np.float32)
    noise = ndimage.gaussian_filter(noise, [0.0 if step >= thickest else 0.8 / step for step in spacing], truncate=2.5)
    noise *= np.float32(_NOISE_HU) / noise[:: max(1, image.shape[0] // 8)].std()
    image += noise * _noise_level(image.shape)
    image[tissue] += _texture(image.shape, spacing, generator)[tissue]
    return np.clip(np.rint(image), -1024, 3071).astype(np.int16)


def _noise_level(shape: Sequence[int]) -> np.ndarray:
    """Noise is strongest in the middle of the body, where the fewest photons arrive."""
    axes = [np.linspace(-1, 1, length, dtype=np.float32) for length in shape[1:]]
    distance = axes[0][:, None] ** 2 + axes[1][None, :] ** 2
    return (np.float32(0.45) + np.float32(0.75) * np.exp(-distance / np.float32(0.35)))[None]


def _texture(shape: Sequence[int], spacing: Sequence[float], generator: np.random.Generator) -> np.ndarray:
    """Slow variation of tissue, about 9 mm in size: random numbers on a coarse grid, joined by straight lines."""
    coarse = [max(2, round(length * step / 9.0) + 1) for length, step in zip(shape, spacing, strict=True)]
    field = generator.normal(0, _TEXTURE_HU, coarse).astype(np.float32)
    for axis, (length, size) in enumerate(zip(shape, coarse, strict=True)):
        places = np.linspace(0, size - 1, length, dtype=np.float32)
        # Weights of linear interpolation, (length, size): a hat around every coarse place.
        weights = np.clip(1 - np.abs(places[:, None] - np.arange(size, dtype=np.float32)), 0, None)
        field = np.moveaxis(np.tensordot(weights, field, axes=(1, axis)), 0, axis)
    return field
