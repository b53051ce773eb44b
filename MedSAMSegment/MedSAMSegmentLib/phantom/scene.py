"""The canvas of the phantom: attenuation and truth on one grid, painted structure by structure."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..volume import Geometry
from .shapes import Points, Vector

#: Width of the soft edge between two materials, mm; the scanner's blur comes on top.
_EDGE_MM = 1.2


class Scene:
    """An empty field of air on a grid.

    Args:
        geometry: of the scan.
        centre: LPS mm of the body's middle, the origin of all structures.

    Attributes:
        attenuation: float32 ``(k, j, i)``, HU.
        labels: uint8 ``(k, j, i)``, 0 where no structure with a truth is.
    """

    def __init__(self, geometry: Geometry, centre: np.ndarray) -> None:
        self.geometry = geometry
        self.centre = np.asarray(centre, dtype=np.float64)
        self.attenuation = np.full(geometry.shape, -1000.0, np.float32)
        self.labels = np.zeros(geometry.shape, np.uint8)

    def paint(
        self,
        distance: Callable[[Points], np.ndarray],
        bounds: tuple[Vector, Vector],
        value: float,
        label: int | None = None,
    ) -> np.ndarray:
        """Fill a body with one attenuation.

        Args:
            distance: signed distance at points, mm, negative inside.
            bounds: a box that holds the body, mm from the centre.  The same bounds give arrays of the same shape.
            value: HU.
            label: truth of the body; ``None`` leaves the labels as they are.

        Returns:
            The distances in the window of ``bounds``, to build further structures on.
        """
        window = self._window(bounds)
        shape = self.labels[window].shape
        if 0 in shape:
            return np.ones(shape, np.float32)
        distances = np.broadcast_to(distance(self._points(window)), shape).astype(np.float32, copy=False)
        # Most of a window is far from the body: blend only where it shows.
        near = distances < _EDGE_MM / 2
        share = np.clip(np.float32(0.5) - distances[near] * np.float32(1.0 / _EDGE_MM), 0, 1)
        part = self.attenuation[window]
        part[near] += share * (np.float32(value) - part[near])
        if label is not None:
            self.labels[window][distances < 0] = label
        return distances

    def _window(self, bounds: tuple[Vector, Vector]) -> tuple[slice, slice, slice]:
        low, high = bounds
        corners = np.array([[(low, high)[b >> a & 1][a] for a in range(3)] for b in range(8)]) + self.centre
        indices = self.geometry.lps_to_index(corners)[:, ::-1]
        first = np.clip(np.floor(indices.min(0)), 0, self.geometry.shape).astype(int)
        last = np.clip(np.ceil(indices.max(0)) + 1, first, self.geometry.shape).astype(int)
        k, j, i = (slice(int(a), int(b)) for a, b in zip(first, last, strict=True))
        return k, j, i

    def _points(self, window: tuple[slice, slice, slice]) -> Points:
        """Voxel centres of a window; along the patient's axes each coordinate varies along one array axis only."""
        steps = self.geometry.affine[:3, :3].T[::-1]  # one LPS step for each array axis k, j, i
        coordinates = []
        for component in range(3):
            total = np.full((1, 1, 1), self.geometry.affine[component, 3] - self.centre[component])
            for axis, part in enumerate(window):
                if abs(steps[axis][component]) > 1e-9:
                    shape = [1, 1, 1]
                    shape[axis] = -1
                    total = total + (np.arange(part.start, part.stop) * steps[axis][component]).reshape(shape)
            coordinates.append(total.astype(np.float32))
        return Points(*coordinates)
