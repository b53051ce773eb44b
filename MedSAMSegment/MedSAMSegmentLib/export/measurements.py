"""Numbers a report needs of every object: volume, diameters and intensities, as CSV and JSON.

Diameters follow RECIST 1.1 (Eisenhauer et al., Eur J Cancer 2009) and the WHO handbook (1979): the longest diameter in
any acquired slice, and the longest one perpendicular to it in the same slice.  Edges are taken half-way between pixels
inside and outside, as outlines are drawn, so a square of n pixels is n pixels wide.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..volume import Geometry, Volume
from .atomic import atomic_path
from .contours import outlines
from .objects import ExportedObject, check_objects
from .options import Algorithm

#: Percentiles of the intensities that are reported.
PERCENTILES = (5, 25, 50, 75, 95)

_UNITS = {"CT": "HU"}


@dataclass(frozen=True)
class Intensities:
    """Values of the voxels inside a mask, in the scan's own units.

    Attributes:
        mean, deviation, minimum, maximum: ``deviation`` is the standard deviation of all voxels (not of a sample).
        percentiles: by percent, linearly interpolated.
    """

    mean: float
    deviation: float
    minimum: float
    maximum: float
    percentiles: dict[int, float]


@dataclass(frozen=True)
class Measurement:
    """What was measured of one object; everything but the name and the voxels is ``None`` for an empty mask.

    Attributes:
        name: of the object.
        voxels: number of voxels.
        volume_mm3: voxels times the volume of one.
        long_axis_mm: longest diameter in any slice (RECIST).
        short_axis_mm: longest diameter perpendicular to it in the same slice (RECIST short axis, WHO width).
        axis_slice: number of that slice.
        who_product_mm2: long times short axis.
        diameter_3d_mm: largest distance of two surface points.
        centroid_lps: centre of mass, LPS mm.
        intensities: ``None`` for an empty mask.
    """

    name: str
    voxels: int
    volume_mm3: float = 0.0
    long_axis_mm: float | None = None
    short_axis_mm: float | None = None
    axis_slice: int | None = None
    who_product_mm2: float | None = None
    diameter_3d_mm: float | None = None
    centroid_lps: tuple[float, float, float] | None = None
    intensities: Intensities | None = None

    def as_dict(self) -> dict[str, Any]:
        """One flat record, rounded to a thousandth; units are in the names, of intensities they are the scan's."""
        values = self.intensities
        record: dict[str, Any] = {
            "name": self.name,
            "voxels": self.voxels,
            "volume_ml": self.volume_mm3 / 1000,
            "long_axis_mm": self.long_axis_mm,
            "short_axis_mm": self.short_axis_mm,
            "axis_slice": self.axis_slice,
            "who_product_mm2": self.who_product_mm2,
            "diameter_3d_mm": self.diameter_3d_mm,
        }
        centroid = self.centroid_lps or (None, None, None)
        record |= dict(zip(("centroid_l_mm", "centroid_p_mm", "centroid_s_mm"), centroid, strict=True))
        record |= {
            "intensity_mean": values.mean if values else None,
            "intensity_sd": values.deviation if values else None,
            "intensity_min": values.minimum if values else None,
            "intensity_max": values.maximum if values else None,
        }
        record |= {f"intensity_p{n:02d}": values.percentiles[n] if values else None for n in PERCENTILES}
        return {key: round(value, 3) if isinstance(value, float) else value for key, value in record.items()}


def measure(volume: Volume, item: ExportedObject, axis: int | None = None) -> Measurement:
    """Measure one object.

    Args:
        volume: the scan.
        item: the object, its mask on the scan's grid.
        axis: array axis across the slices that diameters are taken in; default the acquired slices.
    """
    if not item.mask.any():
        return Measurement(item.name, 0)
    geometry = volume.geometry
    if axis is None:
        axis = 0 if volume.source is not None else geometry.slice_axis
    used = [np.flatnonzero(item.mask.any(axis=tuple(other for other in range(3) if other != a))) for a in range(3)]
    first = np.array([int(places[0]) for places in used])
    k, j, i = (slice(int(places[0]), int(places[-1]) + 1) for places in used)
    mask = item.mask[k, j, i]
    values = volume.voxels[k, j, i][mask].astype(np.float64)
    long, short, number = _axes(mask, first, axis, geometry)
    centre = geometry.index_to_lps((np.argwhere(mask).mean(axis=0) + first)[::-1])
    return Measurement(
        item.name,
        int(values.size),
        values.size * geometry.voxel_volume,
        long,
        short,
        number,
        long * short,
        _diameter_3d(mask, geometry),
        (float(centre[0]), float(centre[1]), float(centre[2])),
        Intensities(
            float(values.mean()),
            float(values.std()),
            float(values.min()),
            float(values.max()),
            {n: float(np.percentile(values, n)) for n in PERCENTILES},
        ),
    )


def intensity_unit(volume: Volume) -> str:
    """Unit of the scan's values; empty where they are arbitrary."""
    return _UNITS.get(volume.modality, "")


def write_measurements(
    path: str | Path, volume: Volume, objects: Sequence[ExportedObject], algorithm: Algorithm | None = None
) -> None:
    """Measure the objects and write one record each.  The file holds nothing about the patient.

    Args:
        path: ``.csv`` (one line an object, names of the columns first) or ``.json``.
        volume: the scan.
        objects: what to measure.
        algorithm: what made the masks, for the JSON file.

    Raises:
        UsageError: nothing to write, or a mask of another grid.
        OutputError: the file cannot be written; nothing is left behind.
    """
    check_objects(volume, objects)
    path = Path(path)
    records = [measure(volume, item).as_dict() for item in objects]
    with atomic_path(path) as temporary:
        if path.suffix.lower() == ".csv":
            with open(temporary, "w", encoding="utf-8", newline="") as stream:
                table = csv.DictWriter(stream, list(records[0]))
                table.writeheader()
                table.writerows(records)
        else:
            made_by = algorithm or Algorithm()
            content = {
                "software": {"name": "medsamsegment", "version": made_by.version},
                "model": {"name": made_by.name, "weights": made_by.weights},
                "modality": volume.modality,
                "intensity_unit": intensity_unit(volume),
                "objects": records,
            }
            temporary.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _axes(mask: np.ndarray, first: np.ndarray, axis: int, geometry: Geometry) -> tuple[float, float, int]:
    """Long and short axis in mm and the number of their slice.

    Args:
        mask: the occupied block (k, j, i).
        first: its first voxel in the scan.
        axis: array axis across the slices.
        geometry: of the scan.
    """
    rows, columns = (other for other in range(3) if other != axis)
    # Orthonormal coordinates in the slice, mm: sheared voxels keep their true distances.
    down, along = geometry.affine[:3, 2 - rows], geometry.affine[:3, 2 - columns]
    x = along / np.linalg.norm(along)
    y = down - (down @ x) * x
    y /= np.linalg.norm(y)
    basis = np.array([[down @ x, down @ y], [along @ x, along @ y]])
    best = (0.0, 0.0, int(first[axis]))
    for number in range(mask.shape[axis]):
        for outer, _ in outlines(np.take(mask, number, axis)):
            long, short = _diameters(outer @ basis)
            if long > best[0]:
                best = (long, short, int(first[axis]) + number)
    return best


def _diameters(points: np.ndarray) -> tuple[float, float]:
    """Longest diameter of a ring of points (n, 2), and the longest chord of its convex hull perpendicular to it."""
    from scipy.spatial import ConvexHull

    hull = points[ConvexHull(points).vertices]
    start, end = furthest_apart(hull)
    long = float(np.linalg.norm(end - start))
    direction = (end - start) / long
    place = hull @ direction
    height = hull @ np.array([-direction[1], direction[0]])
    # The chord's length is piecewise linear along the axis and largest at a corner of the hull.
    chords = [_chord(place, height, at) for at in place]
    return long, max(chords)


def furthest_apart(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The two of some points (n, d), in mm, that lie furthest from each other."""
    distances = np.linalg.norm(points[:, None] - points[None], axis=-1)
    start, end = np.unravel_index(int(distances.argmax()), distances.shape)
    return points[start], points[end]


def _chord(place: np.ndarray, height: np.ndarray, at: float) -> float:
    """Length of the line across a convex polygon at one place of its axis."""
    next_place, next_height = np.roll(place, -1), np.roll(height, -1)
    crossing = (np.minimum(place, next_place) <= at) & (at <= np.maximum(place, next_place))
    a, b = place[crossing], next_place[crossing]
    low, high = height[crossing], next_height[crossing]
    flat = np.abs(b - a) < 1e-12
    share = np.where(flat, 0.0, (at - a) / np.where(flat, 1.0, b - a))
    found = np.concatenate((low + share * (high - low), high[flat]))
    return float(found.max() - found.min())


def _diameter_3d(mask: np.ndarray, geometry: Geometry) -> float:
    """Largest distance of two points half-way between voxels inside and outside, mm."""
    from scipy.spatial import ConvexHull
    from scipy.spatial.distance import pdist

    points = []
    for axis in range(3):
        # Only the outermost points of every line of voxels can be corners of the hull.
        lines = np.argwhere(mask.any(axis=axis))
        length = mask.shape[axis]
        low = mask.argmax(axis=axis)[tuple(lines.T)]
        high = length - 1 - np.flip(mask, axis).argmax(axis=axis)[tuple(lines.T)]
        for ends in (low - 0.5, high + 0.5):
            points.append(np.insert(lines.astype(np.float64), axis, ends, axis=1))
    surface = geometry.index_to_lps(np.concatenate(points)[:, ::-1])
    return float(pdist(surface[ConvexHull(surface).vertices]).max())
