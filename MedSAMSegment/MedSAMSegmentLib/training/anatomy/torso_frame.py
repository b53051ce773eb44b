"""The measures of a computed torso, and solids that its parts are made of.

All lengths are mm. What comes in pairs is described once, for the left side, and mirrored.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..shapes import Level, superellipsoid
from .structures import SIDES, Body, Layers, Vector, grown

TOP = 330.0
"""Where the torso ends, above and below, from its middle."""

BONE = ((0.0, "cortical bone"), (1.5, "spongy bone"))
Path = tuple[Sequence[Sequence[float]], Sequence[float]]
"""Places of a chain of pipes and its radius at each."""


def radial(x: Tensor, y: Tensor, width: Tensor, depth: Tensor) -> Tensor:
    """Level of a slightly boxy ellipse of half-axes ``width`` and ``depth``, measured along rays from its middle."""
    across, along = (x / width).square_(), (y / depth).square_()
    reach = (across.square() + along.square() + across * along).sqrt_().sqrt_().clamp_(min=0.05)
    return (1.0 / reach).sub_(1.0).mul_(torch.hypot(x, y).clamp_(min=1.0))


def chains(paths: Sequence[Path]) -> Level:
    """Chains of pipes as one solid; all segments at once, which is many times faster than `tube` on few points."""
    places = [torch.tensor([[float(value) for value in node] for node in nodes]) for nodes, _ in paths]
    middle = torch.cat(places).mean(0)
    starts = torch.cat([place[:-1] for place in places]) - middle
    axes = torch.cat([place[1:] - place[:-1] for place in places])
    radii = [torch.tensor([float(value) for value in thick]) for _, thick in paths]
    first, growth = (torch.cat(each)[:, None] for each in zip(*((r[:-1], r[1:] - r[:-1]) for r in radii), strict=True))
    length, base, foot = axes.square().sum(1)[:, None], starts.square().sum(1)[:, None], (axes * starts).sum(1)[:, None]

    def level(points: Tensor) -> Tensor:
        local = points - middle[:, None]
        along = torch.addmm(-foot, axes, local)
        share = (along / length).clamp_(0.0, 1.0)
        square = torch.addmm(base, starts, local, alpha=-2.0) + local.square().sum(0)
        square = square.addcmul_(share, share * length - 2.0 * along).clamp_(min=0.0)
        return torch.addcmul(first, share, growth).sub_(square.sqrt_()).amax(0)

    return level


def paint(body: Body, name: str, tissue: Layers, paths: Sequence[Path]) -> None:
    """Paint chains of pipes as one structure."""
    if paths:
        nodes, reach = torch.tensor([node for places, _ in paths for node in places]), max(max(r) for _, r in paths)
        low, high = nodes.amin(0) - reach, nodes.amax(0) + reach
        body.add(name, tissue, chains(paths), low.tolist(), high.tolist())


def dome_drop(outwards: Tensor, y: Tensor, inner: float) -> Tensor:
    """How far below its highest place a dome of the diaphragm lies.

    Args:
        outwards: mm from the dome's middle to the side of the body.
        inner: how far it reaches to the other side, in mm.
    """
    drop = (outwards / torch.where(outwards > 0.0, 78.0, inner)).square_().mul_(85.0)
    return drop.add_((y / 85.0).square_().mul_(torch.where(y > 0.0, 62.0, 38.0)))


@dataclass(frozen=True)
class Person:
    """The measures everything else hangs on.

    Attributes:
        width, depth: half-axes of the cavity at its widest.
        back: y of the cavity's back.
        wall, fat: how thick muscle wall and fat below the skin are.
        belly, hips: how much further belly and hips stand out.
        lordosis, kyphosis, sway: how far the spine bends to the front, to the back and sideways.
        domes: z of the diaphragm's right and left dome.
    """

    body: Body
    width: float
    depth: float
    back: float
    wall: float
    fat: float
    belly: float
    hips: float
    lordosis: float
    kyphosis: float
    sway: float
    domes: tuple[float, float]

    @classmethod
    def random(cls, body: Body) -> Person:
        draw = body.randomness
        obesity = draw.uniform(0.0, 1.0)
        return cls(
            body=body,
            width=draw.uniform(127.0, 137.0) + 8.0 * obesity,
            depth=draw.uniform(78.0, 86.0) + 12.0 * obesity,
            back=draw.uniform(78.0, 84.0),
            wall=draw.uniform(9.0, 16.0),
            fat=4.0 + 34.0 * obesity**1.5,
            belly=draw.uniform(0.0, 12.0) * obesity,
            hips=draw.uniform(8.0, 22.0),
            lordosis=draw.uniform(2.0, 8.0),
            kyphosis=draw.uniform(6.0, 14.0),
            sway=draw.uniform(-4.0, 4.0),
            domes=(draw.uniform(90.0, 108.0), draw.uniform(80.0, 98.0)),
        )

    def bend(self, z: Tensor) -> Tensor:
        """How far the spine, and the back with it, lies behind its mean."""
        wave = torch.sin((z - 40.0) / 95.0)
        return torch.where(wave > 0.0, self.kyphosis, self.lordosis) * wave

    def column(self, z: float) -> Vector:
        """Middle of the vertebral bodies at a height."""
        wave = math.sin((z - 40.0) / 95.0)
        return (self.sway * math.sin(z / 110.0), 60.0 + (self.kyphosis if wave > 0.0 else self.lordosis) * wave, z)

    def section(self, z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Half-width, half-depth and middle (y) of chest, belly and pelvis from within."""
        above, below = (z - 40.0).clamp(min=0.0) / 300.0, (-100.0 - z).clamp(min=0.0) / 185.0
        taper = (1.0 - above.square() - below.square()).clamp_(min=0.02).sqrt_()
        depth = (0.4 + 0.6 * taper).mul_(self.depth)
        return self.width * taper, depth, self.bend(z).add_(self.back).sub_(depth)

    def cavity(self, points: Tensor) -> Tensor:
        """Level of all within ribs, belly wall and pelvis."""
        width, depth, middle = self.section(points[2])
        return radial(points[0], points[1] - middle, width, depth)

    def outline(self, points: Tensor, fat: float) -> Tensor:
        """Level of the muscles' outside (``fat`` 0) or of the skin."""
        z = points[2]
        above = (z - 40.0).clamp(min=0.0) / 300.0
        taper = 1.0 - (1.0 - above.square()).clamp_(min=0.02).sqrt_()
        hips, belly = (-((z + 225.0) / 90.0).square()).exp_(), (-((z + 60.0) / 120.0).square()).exp_()
        width = (self.width + self.wall + fat) - 0.2 * self.width * taper + self.hips * hips
        back = self.bend(z) + (118.0 + 0.9 * fat) + 14.0 * hips
        front = self.bend(z) + (self.back - 2.0 * self.depth - self.wall) + 1.1 * self.depth * taper
        front -= (fat and self.belly + 0.4 * fat) * belly + 0.7 * fat
        return radial(points[0], points[1] - (front + back) / 2.0, width, (back - front) / 2.0)

    def on_wall(self, angle: float, z: float, outwards: float) -> Vector:
        """A place ``outwards`` of the cavity of the left side, ``angle`` from 0 at the back to pi in front."""
        width, depth, middle = (float(value) for value in self.section(torch.tensor(z)))
        sine, cosine = math.sin(angle), math.cos(angle)
        reach = (sine**4 + cosine**4 + sine**2 * cosine**2) ** -0.25
        return ((width + outwards) * sine * reach, middle + (depth + outwards) * cosine * reach, z)

    def diaphragm(self, points: Tensor) -> Tensor:
        """About how far a place is above the diaphragm."""
        x, y, z = points
        drop = dome_drop(x.abs() - 64.0, y, 150.0)
        left = (0.5 + x / 60.0).clamp_(0.0, 1.0)
        return (z + drop - self.domes[0] - (self.domes[1] - self.domes[0]) * left) * 0.6


def _on_side(level: Level, side: float) -> Level:
    """A level described for the left, on the left (1) or the right (-1)."""
    flip = torch.tensor([[side], [1.0], [1.0]])
    return level if side > 0.0 else lambda points: level(points * flip.to(points))


def pair(person: Person, name: str, tissue: Layers, level: Level, low: Vector, high: Vector, seam: float = 0.0) -> None:
    """Paint a solid of the left side on both, with a seam of fat about it where neighbours are of the same tissue."""
    for side_name, side in SIDES:
        own = _on_side(level, side)
        ends = sorted((side * low[0], side * high[0]))
        near, far = (ends[0], low[1], low[2]), (ends[1], high[1], high[2])
        if seam:
            wider = [value - seam for value in near], [value + seam for value in far]
            person.body.add("", "fat", grown(own, seam), *wider)
        person.body.add(f"{side_name} {name}" if name else "", tissue, own, near, far)


def pair_of_ellipsoids(
    person: Person, name: str, centre: Vector, radii: Vector, rotation: Tensor, exponent: float = 2.0
) -> None:
    """Muscles on both sides, within the outside of all muscles."""
    middle, half = torch.tensor(centre), torch.tensor([person.body.vary(radius, 0.1) for radius in radii])
    solid, reach = superellipsoid(middle, rotation, half, exponent), rotation.abs() @ half
    low, high = (middle - reach).tolist(), (middle + reach).tolist()
    pair(
        person,
        name,
        "muscle",
        lambda points: torch.minimum(solid(points), person.outline(points, 0.0) - 1.0),
        (low[0], low[1], low[2]),
        (high[0], high[1], high[2]),
        person.body.randomness.uniform(0.8, 2.0),
    )


def pipes(person: Person, name: str, tissue: Layers, nodes: list[Vector], radii: Sequence[float]) -> None:
    """A chain of pipes on both sides."""
    for side_name, side in SIDES:
        paint(person.body, f"{side_name} {name}", tissue, [([(side * x, y, z) for x, y, z in nodes], radii)])
