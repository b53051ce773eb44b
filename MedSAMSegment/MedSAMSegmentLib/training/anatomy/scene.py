"""A computed body about one of its structures, in the manner of `training/scene.py`: something to draw a box round.

A scene has coordinates of its own: its middle is the target's, the target spans about [-1, 1], and its axes are those
of the scan, which need not be the body's.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import torch
from torch import Tensor

from ..fields import Axes, Randomness, SmoothField, grid_points
from ..scene import EXTENT
from .structures import Body, Structure
from .tissues import Contrast, any_contrast, computed_tomography, magnetic_resonance

_FAR = 0.3
"""How far outside the target its level is told, in scene units."""

# Cells along every axis of the grid on which a target is looked for, and how many must show it.
_SURVEY, _LEAST_SEEN = 32, 24

# How often a scan is not axial, and by how much its axes may be off the body's.
_REFORMATTED, _OBLIQUE, _MOST_DEGREES = 0.3, 0.4, 20.0


@dataclass
class AnatomyScene:
    """One body about one target; a pure function of its random stream."""

    structures: list[Structure]
    target: str
    to_body: Tensor
    low: Tensor
    high: Tensor
    scale: float
    coarse_warp: SmoothField
    fine_warp: SmoothField
    warp_strengths: tuple[float, float]
    tissue_names: list[str]
    brain: bool

    @classmethod
    def of(cls, body: Body, target: str, randomness: Randomness, brain: bool = False) -> AnatomyScene | None:
        """The scene about what has a name in a body; None if nothing of it can be seen."""
        ends = _visible(body.structures, target)
        if ends is None:
            return None
        low, high = ends
        scale = float((high - low).max()) / 2.0
        to_body = randomness.rotation(randomness.uniform(0.0, _MOST_DEGREES) if randomness.chance(_OBLIQUE) else 0.0)
        if randomness.chance(_REFORMATTED):
            orders = list(itertools.permutations(range(3)))[1:]
            to_body = to_body[:, list(orders[randomness.integer(0, len(orders) - 1)])]
        # Bends of some centimetres and of some millimetres, whatever the target's size.
        coarse, fine = randomness.log_uniform(60.0, 200.0), randomness.log_uniform(8.0, 30.0)
        return cls(
            structures=body.structures,
            target=target,
            to_body=to_body,
            low=low,
            high=high,
            scale=scale,
            coarse_warp=SmoothField.random(randomness, 3, coarse / scale, EXTENT),
            fine_warp=SmoothField.random(randomness, 3, fine / scale, EXTENT),
            warp_strengths=(
                randomness.uniform(0.0, 0.07) * coarse / scale,
                randomness.uniform(0.0, 0.08) * fine / scale,
            ),
            tissue_names=sorted({tissue for structure in body.structures for _, tissue in structure.layers} | {"air"}),
            brain=brain,
        )

    @property
    def middle(self) -> Tensor:
        """(3,) where the scene's origin lies in the body, in mm."""
        return (self.low + self.high) / 2.0

    @property
    def tissues(self) -> int:
        """How many tissues :meth:`tissue_map` tells apart."""
        return len(self.tissue_names)

    def contrast(self, randomness: Randomness) -> Contrast:
        """How a scanner would show the tissues."""
        kind = randomness.pick({"ct": 0.2, "mr": 0.6, "any": 0.2} if self.brain else {"ct": 0.5, "mr": 0.3, "any": 0.2})
        if kind == "ct":
            return computed_tomography(self.tissue_names, randomness, self.brain)
        return (magnetic_resonance if kind == "mr" else any_contrast)(self.tissue_names, randomness)

    def survey_axes(self, along_z: tuple[float, float] | None = None) -> Axes:
        """A grid (z, y, x) that holds the whole target, or the part of it between two z."""
        corners = torch.tensor(list(itertools.product((0, 1), repeat=3)))
        placed = torch.where(corners.bool(), self.high, self.low).sub(self.middle) @ self.to_body / self.scale
        slack = 2.5 * sum(self.warp_strengths) + 0.05
        low, high = placed.amin(0) - slack, placed.amax(0) + slack
        x, y, z = ((float(low[axis]), float(high[axis])) for axis in range(3))
        grid = [torch.linspace(*ends, _SURVEY) for ends in (along_z or z, y, x)]
        return grid[0], grid[1], grid[2]

    def target_level(self, axes: Axes) -> Tensor:
        """Level function of the target alone on a grid (z, y, x): positive inside."""
        _, level = self._painted(axes, only_target=True)
        return level.unflatten(0, tuple(len(axis) for axis in axes))

    def tissue_map(self, axes: Axes) -> tuple[Tensor, Tensor]:
        """Tissue number (z, y, x) and the target's level function (z, y, x)."""
        shape = tuple(len(axis) for axis in axes)
        tissue, level = self._painted(axes, only_target=False)
        return tissue.unflatten(0, shape), level.unflatten(0, shape)

    def _painted(self, axes: Axes, only_target: bool) -> tuple[Tensor, Tensor]:
        """Tissue numbers (n,) (all 0 where only the target is asked for) and the target's level (n,)."""
        points = grid_points(axes)
        for warp, strength in zip((self.coarse_warp, self.fine_warp), self.warp_strengths, strict=True):
            points = points.add_(warp.on_grid(axes).flatten(1), alpha=strength)
        points = (self.to_body.to(points) @ points).mul_(self.scale).add_(self.middle.to(points)[:, None])
        numbers = {} if only_target else {name: number for number, name in enumerate(self.tissue_names)}
        tissue, level = _paint(self.structures, self.target, points, _FAR * self.scale, numbers)
        return tissue, level.div_(self.scale)


def _paint(
    structures: list[Structure], target: str, points: Tensor, far: float, numbers: dict[str, int]
) -> tuple[Tensor, Tensor]:
    """Structures over one another.

    Args:
        points: (3, n) in mm.
        far: how deep below the target's surface or above it its level goes, in mm.
        numbers: of the tissues; empty where only the target is asked for.

    Returns:
        tissue numbers (n,) and the level of what can be seen of the target (n,), in mm.
    """
    lowest, highest = points.amin(1), points.amax(1)
    tissue = torch.full_like(points[0], numbers.get("air", 0), dtype=torch.long)
    level = torch.full_like(points[0], -far)
    begun = False
    for structure in structures:
        own = structure.name == target
        if not numbers and not (own or begun):
            continue
        # A little beyond the box that holds it, the target's level still says where the surface is.
        slack = 0.5 * far if own else 0.0
        low, high = structure.low.to(points) - slack, structure.high.to(points) + slack
        if bool((high < lowest).any() or (low > highest).any()):
            continue
        rows = _rows_between(points, low, high)
        if not numbers and not own:
            # What lies well outside of the target is not changed by what covers it.
            rows = rows[level[rows] > -0.25 * far]
        if not len(rows):
            continue
        depth = structure.level(points[:, rows])
        if own or begun:
            level[rows] = torch.maximum(level[rows], depth) if own else torch.minimum(level[rows], -depth)
            begun = True
        for start, name in structure.layers if numbers else ():
            tissue[rows[depth > start]] = numbers[name]
    return tissue, level.clamp_(-far, far)


def _rows_between(points: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """(m,) which of the points (3, n) lie in a box; axis by axis, as most structures hold few of them."""
    rows = torch.nonzero((points[0] >= low[0]).logical_and_(points[0] <= high[0]))[:, 0]
    for axis in (1, 2):
        along = points[axis, rows]
        rows = rows[(along >= low[axis]).logical_and_(along <= high[axis])]
    return rows


def _visible(structures: list[Structure], target: str) -> tuple[Tensor, Tensor] | None:
    """The corners (3,), (3,) of a box in mm that holds what can be seen of the target; None if that is too little."""
    own = [structure for structure in structures if structure.name == target]
    low = torch.stack([structure.low for structure in own]).amin(0)
    high = torch.stack([structure.high for structure in own]).amax(0)
    axes = [torch.linspace(float(low[axis]), float(high[axis]), _SURVEY) for axis in range(3)]
    points = grid_points((axes[2], axes[1], axes[0]))
    _, level = _paint(structures, target, points, float((high - low).max()), {})
    seen = points[:, level > 0]
    if seen.shape[1] < _LEAST_SEEN:
        return None
    step = (high - low) / (_SURVEY - 1)
    return seen.amin(1) - step, seen.amax(1) + step
