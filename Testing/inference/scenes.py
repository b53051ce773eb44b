"""Scans with one ellipsoid whose surface is known exactly, on grids of any orientation."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from MedSAMSegmentLib import Geometry, OrientedBox, Volume

# The grey values rise from 0 to 1000 over so many mm across the surface, where they are 500.
RAMP_MM = 8.0

WINDOW = "500/1000"


def rotation(seed: int) -> np.ndarray:
    """A random right-handed rotation."""
    q, r = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))
    q = q * np.sign(np.diag(r))
    return q * np.sign(np.linalg.det(q))


@dataclass(frozen=True)
class Scene:
    """``distance`` is the signed distance (mm, to first order) of every voxel centre to the surface, > 0 inside."""

    volume: Volume
    box: OrientedBox
    distance: np.ndarray

    @property
    def truth(self) -> np.ndarray:
        return self.distance > 0


def ellipsoid(
    seed: int = 0,
    shape: tuple[int, int, int] = (24, 72, 80),
    spacing: tuple[float, float, float] = (0.9, 0.9, 2.5),
    half_axes: tuple[float, float, float] = (15.0, 11.0, 19.0),
    left_handed: bool = False,
    oblique: bool = True,
) -> Scene:
    """An ellipsoid in a tight box with the same (rotated) axes, on an oblique grid."""
    direction = rotation(seed) if oblique else np.eye(3)
    if left_handed:
        direction = direction * [1, 1, -1]
    geometry = Geometry.from_parts(shape, spacing, (13.0, -48.0, 77.0), direction)
    middle = (np.array(shape[::-1]) - 1) / 2 + [1.3, -0.6, 0.2]
    centre = geometry.index_to_lps(middle)
    axes = rotation(seed + 1000) if oblique else np.eye(3)
    half = np.array(half_axes)
    points = np.stack([geometry.voxel_centres_lps(0, k) for k in range(shape[0])]) - centre
    local = points @ axes / half
    radius = np.linalg.norm(local, axis=-1)
    gradient = np.linalg.norm(local / half, axis=-1) / np.maximum(radius, 1e-9)
    distance = (1.0 - radius) / np.maximum(gradient, 1e-9)
    voxels = np.round(np.clip(distance / RAMP_MM + 0.5, 0, 1) * 1000).astype(np.int16)
    return Scene(Volume(voxels, geometry, modality="CT"), OrientedBox(centre, axes, 2 * half), distance)
