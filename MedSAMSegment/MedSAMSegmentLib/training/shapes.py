"""Random solids as level functions: positive inside, about minus the distance to the surface outside.

Points are scene coordinates, tensors of shape (3, n) with rows x, y, z (components first: twice as fast on a CPU). A
level function is any callable from points to a tensor of shape (n,). Families: ellipsoids and lobulated unions of
them, bent tubes, branched ones, shells, crescents, bodies with processes (as a vertebra has), plates; together they
cover what radiologists draw boxes around.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from .fields import Randomness

Level = Callable[[Tensor], Tensor]

FAMILIES = {
    "lobulated": 0.27,
    "ellipsoid": 0.15,
    "tube": 0.20,
    "crescent": 0.10,
    "branches": 0.07,
    "processes": 0.11,
    "shell": 0.05,
    "plate": 0.05,
}


def squared_norm(local: Tensor) -> Tensor:
    """(3, n) to (n,)."""
    return torch.addcmul(torch.addcmul(local[0].square(), local[1], local[1]), local[2], local[2])


def superellipsoid(centre: Tensor, rotation: Tensor, radii: Tensor, exponent: float = 2.0) -> Level:
    """Solid with |x/a|^e + |y/b|^e + |z/c|^e < 1 in its own frame; e = 2 is an ellipsoid, larger is boxier."""
    to_local = (rotation / radii).T.contiguous()
    offset = -to_local @ centre
    smallest = float(radii.min())

    def level(points: Tensor) -> Tensor:
        local = torch.addmm(offset[:, None].to(points), to_local.to(points), points)
        if exponent == 2.0:
            norm = squared_norm(local).sqrt_()
        else:
            norm = local.abs_().clamp_(min=1e-6).pow_(exponent).sum(0).pow_(1.0 / exponent)
        return norm.neg_().add_(1.0).mul_(smallest)

    return level


def tube(nodes: Tensor, radii: Tensor) -> Level:
    """Chain of segments through ``nodes`` (n, 3) with a radius at every node (n,)."""
    axes = nodes[1:] - nodes[:-1]
    inverse_length = 1.0 / axes.square().sum(1).clamp(min=1e-8)
    growth = radii[1:] - radii[:-1]

    def level(points: Tensor) -> Tensor:
        best: Tensor | None = None
        for index in range(len(axes)):
            axis = axes[index].to(points)
            offset = points - nodes[index].to(points)[:, None]
            along = (axis @ offset).mul_(float(inverse_length[index])).clamp_(0.0, 1.0)
            offset.addcmul_(axis[:, None], along[None], value=-1.0)
            inside = along.mul_(float(growth[index])).add_(float(radii[index])).sub_(squared_norm(offset).sqrt_())
            best = inside if best is None else torch.maximum(best, inside, out=best)
        assert best is not None
        return best

    return level


def union(parts: list[Level], sharpness: float = 12.0) -> Level:
    """Union with rounded seams (log-sum-exp)."""

    def level(points: Tensor) -> Tensor:
        return torch.logsumexp(torch.stack([part(points) for part in parts]) * sharpness, dim=0) / sharpness

    return level


def difference(solid: Level, hole: Level) -> Level:
    """The solid without the hole."""
    return lambda points: torch.minimum(solid(points), -hole(points))


def random_curve(randomness: Randomness, nodes: int, bend: float) -> Tensor:
    """Smooth random curve of unit half-length through the origin: (nodes, 3)."""
    direction = torch.nn.functional.normalize(randomness.normal(3), dim=0)
    steps = [direction]
    turn = randomness.normal(3) * bend
    for _ in range(nodes - 2):
        turn = 0.7 * turn + 0.5 * bend * randomness.normal(3)
        direction = torch.nn.functional.normalize(direction + turn / (nodes - 1), dim=0)
        steps.append(direction)
    curve = torch.cat([torch.zeros(1, 3), torch.stack(steps).cumsum(0)])
    curve = curve - (curve.amin(0) + curve.amax(0)) / 2.0
    return curve / curve.norm(dim=1).max()


def random_ellipsoid(randomness: Randomness, spread: float = 0.0, smallest: float = 0.35) -> Level:
    """Ellipsoid or boxy ellipsoid about the origin, moved by up to ``spread``."""
    radii = torch.tensor([randomness.log_uniform(smallest, 1.0) for _ in range(3)])
    exponent = 2.0 if randomness.chance(0.75) else randomness.uniform(2.3, 5.0)
    return superellipsoid((randomness.rand(3) * 2 - 1) * spread, randomness.rotation(), radii, exponent)


def random_tube(randomness: Randomness, thin: float = 0.08, thick: float = 0.4) -> Level:
    """Bent tube of varying calibre: vessels, cord, gut, hippocampus-like bodies."""
    nodes = randomness.integer(5, 9)
    calibre = randomness.log_uniform(thin, thick)
    radii = calibre * (1.0 + randomness.uniform(0.0, 0.5) * randomness.normal(nodes).clamp(-1.5, 1.5) * 0.6).clamp(
        min=0.3
    )
    return tube(random_curve(randomness, nodes, randomness.uniform(0.0, 2.5)), radii)


def _random_branches(randomness: Randomness) -> Level:
    """Bent tubes that meet in one place: ventricles, vessels where they divide, ducts."""
    calibre = randomness.log_uniform(0.08, 0.25)
    arms = []
    for _ in range(randomness.integer(2, 4)):
        nodes = randomness.integer(4, 6)
        curve = random_curve(randomness, nodes, randomness.uniform(0.0, 2.0))
        arm = (curve - curve[0]) * randomness.uniform(0.5, 1.0)
        radii = calibre * torch.linspace(1.0, randomness.uniform(0.4, 1.2), nodes)
        arms.append(tube(arm, radii))
    return union(arms, sharpness=30.0)


def random_solid(randomness: Randomness, family: str | None = None) -> Level:
    """One random solid, roughly of unit half-size, centred near the origin."""
    family = family or randomness.pick(FAMILIES)
    if family == "ellipsoid":
        return random_ellipsoid(randomness)
    if family == "tube":
        return random_tube(randomness)
    if family == "branches":
        return _random_branches(randomness)
    if family == "plate":
        radii = torch.tensor(
            [randomness.log_uniform(0.08, 0.25), randomness.uniform(0.5, 1.0), randomness.uniform(0.5, 1.0)]
        )
        return superellipsoid(torch.zeros(3), randomness.rotation(), radii)
    if family == "shell":
        outer = random_ellipsoid(randomness, smallest=0.6)
        wall = randomness.uniform(0.12, 0.3)
        return lambda points: wall / 2 - (outer(points) - wall / 2).abs()
    if family == "crescent":
        body = random_ellipsoid(randomness, smallest=0.5)
        direction = torch.nn.functional.normalize(randomness.normal(3), dim=0)
        bite_radii = torch.tensor([randomness.uniform(0.3, 0.9) for _ in range(3)])
        return difference(
            body, superellipsoid(direction * randomness.uniform(0.5, 1.1), randomness.rotation(), bite_radii)
        )
    if family == "processes":
        parts = [superellipsoid(torch.zeros(3), randomness.rotation(), 0.35 + 0.3 * randomness.rand(3), 2.0)]
        for _ in range(randomness.integer(1, 4)):
            direction = torch.nn.functional.normalize(randomness.normal(3), dim=0)
            tip = direction * randomness.uniform(0.7, 1.2)
            bend = direction * 0.5 + 0.25 * randomness.normal(3)
            calibre = randomness.uniform(0.08, 0.22)
            parts.append(tube(torch.stack([direction * 0.2, bend, tip]), torch.tensor([1.3, 1.0, 0.7]) * calibre))
        solid = union(parts)
        if randomness.chance(0.4):
            hole = tube(random_curve(randomness, 3, 0.2) * 1.5, torch.full((3,), randomness.uniform(0.1, 0.22)))
            return difference(solid, hole)
        return solid
    parts = [random_ellipsoid(randomness, spread=0.55, smallest=0.25) for _ in range(randomness.integer(2, 5))]
    return union(parts, sharpness=randomness.log_uniform(6.0, 30.0))
