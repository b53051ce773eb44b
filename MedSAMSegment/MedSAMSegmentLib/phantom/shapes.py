"""Signed distances (mm, negative inside, exact or close near the surface) of simple bodies.

Points are three float32 arrays x, y, z that broadcast together: on a grid along the patient's axes each varies along
one array axis only, which keeps most of the arithmetic one-dimensional.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

Vector = tuple[float, float, float]


class Points(NamedTuple):
    """Positions in mm: x to the patient's left, y to the back, z to the head."""

    x: np.ndarray
    y: np.ndarray
    z: np.ndarray


def ellipsoid(points: Points, centre: Vector, radii: Vector, tilt: float = 0.0, turn: float = 0.0) -> np.ndarray:
    """An ellipsoid, first tilted about the x axis, then turned about the z axis (degrees)."""
    x, y, z = (axis - origin for axis, origin in zip(points, centre, strict=True))
    if turn:
        x, y = _rotated(x, y, turn)
    if tilt:
        y, z = _rotated(y, z, tilt)
    a, b, c = (np.float32(1.0 / radius) for radius in radii)
    radius = np.sqrt((x * a) ** 2 + (y * b) ** 2 + (z * c) ** 2)
    return (radius - 1) * np.float32(float(np.prod(radii)) ** (1 / 3))


def cylinder_shell(points: Points, half_width: np.ndarray | float, half_depth: np.ndarray | float) -> np.ndarray:
    """A column along z whose cross-section is a superellipse: distance from its wall."""
    exponent = np.float32(2.4)
    # The powers are taken of each coordinate alone, which is a line of numbers on a grid along the patient's axes.
    across = np.abs(points.x) ** exponent / np.float32(half_width) ** exponent
    radius = (across + np.abs(points.y) ** exponent / np.float32(half_depth) ** exponent) ** (1 / exponent)
    return (radius - 1) * (half_width + half_depth) * np.float32(0.5)


def capsule(points: Points, start: Vector, end: Vector, radius: float, end_radius: float | None = None) -> np.ndarray:
    """A round rod between two points, its radius changing evenly to ``end_radius``."""
    direction = np.subtract(end, start).astype(np.float32)
    offsets = [axis - np.float32(origin) for axis, origin in zip(points, start, strict=True)]
    along = sum(offset * step for offset, step in zip(offsets, direction, strict=True))
    along = np.clip(along / np.float32(direction @ direction), 0, 1)
    squared = sum((offset - along * step) ** 2 for offset, step in zip(offsets, direction, strict=True))
    thickness = radius if end_radius is None else radius + along * np.float32(end_radius - radius)
    return np.sqrt(squared) - thickness


def tube(points: Points, path: Sequence[Vector], radii: Sequence[float]) -> np.ndarray:
    """A bent tube through the points of ``path`` with a radius at each."""
    pieces = zip(path[:-1], path[1:], radii[:-1], radii[1:], strict=True)
    return union(*(capsule(points, start, end, first, last) for start, end, first, last in pieces))


def union(*distances: np.ndarray) -> np.ndarray:
    return np.minimum.reduce(np.broadcast_arrays(*distances))


def blend(first: np.ndarray, second: np.ndarray, width: float) -> np.ndarray:
    """Union with a rounded joint of the given width, mm (polynomial smooth minimum)."""
    mix = np.clip(np.float32(0.5) + (second - first) * np.float32(0.5 / width), 0, 1)
    return second + (first - second) * mix - np.float32(width) * mix * (1 - mix)


def without(body: np.ndarray, hole: np.ndarray) -> np.ndarray:
    """``body`` minus ``hole``."""
    return np.maximum(body, -hole)


def rough(points: Points, distance: np.ndarray, amplitude: float, wavelength: float, phase: Vector) -> np.ndarray:
    """Bumps and dents on a surface."""
    step = np.float32(2 * np.pi / wavelength)
    bumps = np.sin(points.x * step + phase[0]) * np.sin(points.y * step + phase[1])
    return distance + np.float32(amplitude) * bumps * np.sin(points.z * step * np.float32(0.8) + phase[2])


def bounds_of(path: Sequence[Vector], margin: float) -> tuple[Vector, Vector]:
    """Lower and upper corner of a box around points."""
    low, high = np.min(path, axis=0) - margin, np.max(path, axis=0) + margin
    return (float(low[0]), float(low[1]), float(low[2])), (float(high[0]), float(high[1]), float(high[2]))


def _rotated(a: np.ndarray, b: np.ndarray, degrees: float) -> tuple[np.ndarray, np.ndarray]:
    cosine, sine = np.float32(np.cos(np.radians(degrees))), np.float32(np.sin(np.radians(degrees)))
    return a * cosine + b * sine, b * cosine - a * sine
