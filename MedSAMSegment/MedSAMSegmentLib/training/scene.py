"""A random anatomy: tissues that fill space, organs and vessels in it, and one target.

Space is divided into warped Voronoi cells (neighbouring organs that touch), some of them separated by a thin layer
(fat, cerebrospinal fluid). Solids lie in it as distractors, often beside the target and of its own kind. The target
is one of the solids or one of the cells.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from .fields import Axes, Randomness, SmoothField, grid_points
from .shapes import FAMILIES, Level, random_solid, random_tube

EXTENT = 3.4
"""Half-width of the cube in which a scene is defined; the target spans about [-1, 1]."""

SURVEY, SURVEY_EXTENT = 30, 1.9
"""Cells along every axis of the grid on which a target is looked for, and half its width."""

TARGET = 0
TARGET_INNER = 1
LAYER = 2
AIR = 3
FIRST_TISSUE = 4
"""Tissue numbers: the target, an inner part of it, the layer between organs, air outside the body, then all others."""


@dataclass(frozen=True)
class PlacedSolid:
    """A solid of its own frame, put at ``centre`` with ``scale``."""

    level: Level
    centre: Tensor
    scale: float

    def __call__(self, points: Tensor) -> Tensor:
        return self.level((points - self.centre.to(points)[:, None]).div_(self.scale)).mul_(self.scale)


@dataclass
class Scene:
    """Random anatomy with one target; a pure function of its random stream."""

    warp: SmoothField
    warp_strength: float
    roughness: SmoothField
    roughness_strength: float
    sites: Tensor
    site_weights: Tensor
    site_tissue: Tensor
    layer_thickness: float
    target_solid: Level | None
    target_site: int
    inner_level: float | None
    inner_pattern: SmoothField | None
    distractors: list[tuple[PlacedSolid, int]] = field(default_factory=list)
    body_plane: tuple[Tensor, float] | None = None
    tissues: int = FIRST_TISSUE

    @classmethod
    def random(cls, randomness: Randomness) -> Scene:
        site_count = randomness.integer(8, 40)
        sites = (randomness.rand(site_count, 3) * 2 - 1) * 2.6
        tissue_count = randomness.integer(3, 9)
        site_tissue = FIRST_TISSUE + torch.randint(0, tissue_count, (site_count,), generator=randomness.generator)
        is_cell = randomness.chance(0.2)
        family = randomness.pick(FAMILIES)
        if is_cell:
            # The cell grows until it is about as large as a solid would be.
            sites[0] = 0.0
            sites[1:] = sites[1:] + 0.35 * torch.nn.functional.normalize(sites[1:], dim=1)
        scene = cls(
            warp=SmoothField.random(randomness, 3, randomness.log_uniform(0.7, 2.5), EXTENT),
            warp_strength=randomness.uniform(0.0, 0.16),
            roughness=SmoothField.random(randomness, 1, randomness.log_uniform(0.2, 0.9), EXTENT),
            roughness_strength=randomness.uniform(0.0, 0.09) if randomness.chance(0.7) else 0.0,
            sites=sites,
            site_weights=randomness.uniform(0.0, 0.5) * randomness.rand(site_count),
            site_tissue=site_tissue,
            layer_thickness=randomness.uniform(0.02, 0.2) if randomness.chance(0.45) else 0.0,
            target_solid=None if is_cell else random_solid(randomness, family),
            target_site=0 if is_cell else -1,
            inner_level=randomness.uniform(0.05, 0.35) if randomness.chance(0.25) else None,
            inner_pattern=SmoothField.random(randomness, 1, randomness.log_uniform(0.25, 1.0), EXTENT)
            if randomness.chance(0.25)
            else None,
            tissues=FIRST_TISSUE + tissue_count,
        )
        scene._add_distractors(randomness, family)
        if randomness.chance(0.2):
            normal = torch.nn.functional.normalize(randomness.normal(3) * torch.tensor([1.0, 1.0, 0.3]), dim=0)
            scene.body_plane = (normal, randomness.uniform(0.8, 2.2))
        return scene

    def _add_distractors(self, randomness: Randomness, family: str) -> None:
        for _ in range(randomness.integer(0, 5)):
            near = randomness.chance(0.6)
            direction = torch.nn.functional.normalize(randomness.normal(3), dim=0)
            distance = randomness.uniform(0.8, 1.5) if near else randomness.uniform(1.2, 2.6)
            same_kind = randomness.chance(0.4)
            solid = random_solid(randomness, family if same_kind else None)
            self._place(solid, direction * distance, randomness.log_uniform(0.25, 1.1))
        if randomness.chance(0.35):
            for _ in range(randomness.integer(1, 3)):
                centre = (randomness.rand(3) * 2 - 1) * 1.2
                self._place(random_tube(randomness, 0.02, 0.1), centre, randomness.uniform(1.0, 2.5))

    def _place(self, solid: Level, centre: Tensor, scale: float) -> None:
        self.distractors.append((PlacedSolid(solid, centre, scale), self.tissues))
        self.tissues += 1

    def _points(self, axes: Axes) -> Tensor:
        points = grid_points(axes)
        if self.warp_strength:
            points = points.add_(self.warp.on_grid(axes).flatten(1), alpha=self.warp_strength)
        return points

    def _cells(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """Weighted squared distances (sites, n), up to a common term, of sites that can be nearest; their numbers."""
        centre = (points.amin(1) + points.amax(1)) / 2
        reach = float((points.amax(1) - centre).norm())
        sites, weights = self.sites.to(points), self.site_weights.to(points)
        distance = (sites - centre).norm(dim=1)
        # A site further off than the nearest one by more than the grid's diameter can win nowhere on the grid.
        nearest = float((distance.min() + reach) ** 2 + weights.max())
        keep = torch.nonzero(((distance - reach).clamp(min=0.0) ** 2 + weights) <= nearest)[:, 0]
        sites, weights = sites[keep], weights[keep]
        return torch.addmm((sites.square().sum(1) + weights)[:, None], sites, points, alpha=-2.0), keep

    def _target_level(self, points: Tensor, axes: Axes, cells: tuple[Tensor, Tensor] | None = None) -> Tensor:
        if self.target_solid is not None:
            level = self.target_solid(points)
        else:
            distances, keep = self._cells(points) if cells is None else cells
            own = keep == self.target_site
            if not bool(own.any()):
                level = torch.full_like(points[0], -1.0)
            else:
                level = (distances[~own].amin(0) - distances[own][0]) * 0.5 - self.layer_thickness / 2
        if self.roughness_strength:
            level = level.add_(self.roughness.on_grid(axes).flatten(), alpha=self.roughness_strength)
        return level

    def survey_axes(self, along_z: tuple[float, float] | None = None) -> Axes:
        """A grid (z, y, x) that holds the whole target, or the part of it between two z."""
        axis = torch.linspace(-SURVEY_EXTENT, SURVEY_EXTENT, SURVEY)
        return (axis if along_z is None else torch.linspace(*along_z, SURVEY // 2)), axis, axis

    def target_level(self, axes: Axes) -> Tensor:
        """Level function of the target alone on a grid (z, y, x): positive inside."""
        return self._target_level(self._points(axes), axes).unflatten(0, tuple(len(axis) for axis in axes))

    def tissue_map(self, axes: Axes) -> tuple[Tensor, Tensor]:
        """Tissue number (z, y, x) and the target's level function (z, y, x)."""
        shape = tuple(len(axis) for axis in axes)
        points = self._points(axes)
        cells = self._cells(points)
        distances, keep = cells
        nearest, winner = distances.min(0)
        tissue = self.site_tissue.to(points.device)[keep[winner]]
        if self.layer_thickness and len(keep) > 1:
            second = distances.scatter(0, winner[None], float("inf")).amin(0)
            tissue[(second - nearest) < 2.0 * self.layer_thickness] = LAYER
        for solid, number in self.distractors:
            tissue[solid(points) > 0] = number
        if self.body_plane is not None:
            normal, offset = self.body_plane
            tissue[normal.to(points) @ points > offset] = AIR
        level = self._target_level(points, axes, cells)
        tissue[level > 0] = TARGET
        if self.inner_level is not None:
            tissue[level > self.inner_level] = TARGET_INNER
        if self.inner_pattern is not None:
            tissue[(level > 0) & (self.inner_pattern.on_grid(axes).flatten() > 0.7)] = TARGET_INNER
        return tissue.unflatten(0, shape), level.unflatten(0, shape)
