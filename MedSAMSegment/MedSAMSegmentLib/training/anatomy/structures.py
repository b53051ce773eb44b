"""What a computed body is made of: structures, painted one over the other.

Positions are millimetres in the body's own frame: x to the patient's left, y to the back, z to the head. Points are
tensors (3, n) with rows x, y, z; a level is positive inside, in mm to the surface.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ..fields import Randomness
from ..shapes import Level, superellipsoid, tube
from .tissues import TISSUES

SIDES = (("left", 1.0), ("right", -1.0))
"""Names of the sides, and the sign of x there."""

Layers = str | Sequence[tuple[float, str]]
"""A tissue, or several with the depth below the surface at which each begins, in mm."""

Vector = tuple[float, float, float]
"""A place or a direction in mm: x to the left, y to the back, z to the head."""


@dataclass(frozen=True)
class Structure:
    """One solid of one or several layers.

    Attributes:
        name: whose part it is; empty for what nobody would draw a box round. Several structures may share a name.
        level: positive inside.
        layers: (depth below the surface in mm, tissue), the first at 0; deeper ones cover it.
        low, high: (3,) a box that holds all of it, in mm.
        weight: how often a box is drawn round what has this name, compared with others.
    """

    name: str
    level: Level
    layers: tuple[tuple[float, str], ...]
    low: Tensor
    high: Tensor
    weight: float = 1.0


@dataclass
class Body:
    """Structures in the order in which they are painted, for one random person."""

    randomness: Randomness
    structures: list[Structure] = field(default_factory=list)

    def add(
        self,
        name: str,
        tissue: Layers,
        level: Level,
        low: Sequence[float],
        high: Sequence[float],
        weight: float = 1.0,
    ) -> Level:
        """Paint a solid over everything before it.

        Args:
            name: whose part it is, or empty.
            tissue: a key of `TISSUES`, or layers as :class:`Structure` has them.
            level: positive inside; may be wrong outside of ``low`` and ``high`` (mm), where it is never asked for.
        """
        layers = ((0.0, tissue),) if isinstance(tissue, str) else tuple(tissue)
        unknown = [each for _, each in layers if each not in TISSUES]
        if unknown:
            raise KeyError(f"no such tissue: {unknown[0]}")
        self.structures.append(Structure(name, level, layers, _tensor(low), _tensor(high), weight))
        return level

    def solid(
        self,
        name: str,
        tissue: Layers,
        centre: Sequence[float],
        radii: Sequence[float],
        rotation: Tensor | None = None,
        exponent: float = 2.0,
        weight: float = 1.0,
    ) -> Level:
        """Paint an ellipsoid (or a boxier one, see `superellipsoid`); mm."""
        middle, half = _tensor(centre), _tensor(radii)
        # A turned box about it, whatever its exponent.
        reach = half if rotation is None else rotation.abs() @ half
        level = superellipsoid(middle, torch.eye(3) if rotation is None else rotation, half, exponent)
        return self.add(name, tissue, level, (middle - reach).tolist(), (middle + reach).tolist(), weight)

    def pipe(
        self,
        name: str,
        tissue: Layers,
        nodes: Sequence[Sequence[float]],
        radii: float | Sequence[float],
        weight: float = 1.0,
    ) -> Level:
        """Paint a chain of segments through places with a radius (mm) at each, or one for all."""
        path = torch.stack([_tensor(node) for node in nodes])
        thick = torch.full((len(path),), float(radii)) if isinstance(radii, (int, float)) else _tensor(radii)
        reach = float(thick.max())
        low, high = path.amin(0) - reach, path.amax(0) + reach
        return self.add(name, tissue, tube(path, thick), low.tolist(), high.tolist(), weight)

    def vary(self, value: float, share: float = 0.12) -> float:
        """A length that differs from person to person by about ``share`` of it."""
        return value * (1.0 + share * float(self.randomness.normal(1).clamp(-2.0, 2.0)))

    def near(self, x: float, y: float, z: float, spread: float = 4.0) -> Vector:
        """A place that differs from person to person by about ``spread`` mm along every axis."""
        moved = torch.tensor([x, y, z]) + spread * self.randomness.normal(3).clamp(-2.0, 2.0)
        return (float(moved[0]), float(moved[1]), float(moved[2]))


def _tensor(values: Sequence[float]) -> Tensor:
    return torch.tensor([float(value) for value in values])


def tilted(x: float = 0.0, y: float = 0.0, z: float = 0.0) -> Tensor:
    """Rotation (3, 3) by degrees about the x, then the y, then the z axis; its columns are a solid's own axes."""
    result = torch.eye(3)
    for axis, degrees in enumerate((x, y, z)):
        angle = torch.deg2rad(torch.tensor(float(degrees)))
        sine, cosine = float(angle.sin()), float(angle.cos())
        turn = torch.eye(3)
        first, second = (axis + 1) % 3, (axis + 2) % 3
        turn[first, first] = turn[second, second] = cosine
        turn[first, second], turn[second, first] = -sine, sine
        result = turn @ result
    return result


def grown(level: Level, by: float) -> Level:
    """A solid that reaches ``by`` further on all sides."""
    return lambda points: level(points) + by


def common(first: Level, second: Level) -> Level:
    """What two solids have in common."""
    return lambda points: torch.minimum(first(points), second(points))


def smooth_union(first: Tensor, second: Tensor, width: float) -> Tensor:
    """Levels of two solids (n,) as one, with a seam rounded over ``width`` mm."""
    mixed = (0.5 + 0.5 * (first - second) / width).clamp(0.0, 1.0)
    return torch.lerp(second, first, mixed) + width * mixed * (1.0 - mixed)
