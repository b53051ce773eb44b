"""Smooth random fields on axis-aligned grids, as tensor products of cubic B-splines.

A field is fixed by its coefficients, so the very same field can be evaluated on a coarse grid (to find where an object
ends) and on the fine grid of a crop. Coordinates are the scene's own, without unit: the target spans roughly [-1, 1].
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

Axes = tuple[Tensor, Tensor, Tensor]
"""Coordinates along z, y and x of a rectilinear grid, each of shape (n,)."""


@dataclass(frozen=True)
class Randomness:
    """Random numbers drawn on the CPU, so that a seed gives the same scene on every device."""

    generator: torch.Generator

    @classmethod
    def from_seed(cls, *parts: int) -> Randomness:
        """Independent stream for a tuple of integers, e.g. (seed, step, index in the batch)."""
        state = 0x9E3779B97F4A7C15
        for part in parts:
            state = (state ^ (part & 0xFFFFFFFFFFFFFFFF)) * 0xBF58476D1CE4E5B9 & 0xFFFFFFFFFFFFFFFF
            state ^= state >> 31
        return cls(torch.Generator().manual_seed(state >> 1))

    def uniform(self, low: float, high: float) -> float:
        return low + (high - low) * float(torch.rand((), generator=self.generator))

    def log_uniform(self, low: float, high: float) -> float:
        return low * (high / low) ** self.uniform(0.0, 1.0)

    def integer(self, low: int, high: int) -> int:
        """Integer in [low, high], both ends included."""
        return int(torch.randint(low, high + 1, (), generator=self.generator))

    def chance(self, probability: float) -> bool:
        return self.uniform(0.0, 1.0) < probability

    def pick(self, weights: dict[str, float]) -> str:
        names = list(weights)
        index = torch.multinomial(torch.tensor([weights[name] for name in names]), 1, generator=self.generator)
        return names[int(index)]

    def normal(self, *shape: int) -> Tensor:
        return torch.randn(shape, generator=self.generator)

    def rand(self, *shape: int) -> Tensor:
        return torch.rand(shape, generator=self.generator)

    def rotation(self, maximum_degrees: float = 180.0) -> Tensor:
        """Random 3x3 rotation: uniform over all at 180 degrees, else about a random axis by a smaller angle."""
        if maximum_degrees >= 180.0:
            matrix, upper = torch.linalg.qr(self.normal(3, 3))
            matrix = matrix * torch.sign(torch.diagonal(upper))
            if torch.det(matrix) < 0:
                matrix[:, 0] = -matrix[:, 0]
            return matrix
        axis = torch.nn.functional.normalize(self.normal(3), dim=0)
        angle = torch.deg2rad(torch.tensor(self.uniform(-maximum_degrees, maximum_degrees)))
        x, y, z = axis.tolist()
        cross = torch.tensor([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])
        return torch.eye(3) + torch.sin(angle) * cross + (1 - torch.cos(angle)) * cross @ cross


def bspline_weights(coordinates: Tensor, count: int, low: float, high: float) -> Tensor:
    """Cubic B-spline weights of ``count`` coefficients spread over [low, high].

    Args:
        coordinates: shape (n,); values outside the interval are clamped to it.

    Returns:
        shape (n, count); every row sums to 1.
    """
    position = ((coordinates - low) / (high - low)).clamp(0.0, 1.0) * (count - 3) + 1.0
    distance = (position[:, None] - torch.arange(count, device=coordinates.device, dtype=coordinates.dtype)).abs()
    inner = 2.0 / 3.0 - distance**2 + distance**3 / 2.0
    outer = (2.0 - distance).clamp(min=0.0) ** 3 / 6.0
    return torch.where(distance < 1.0, inner, outer)


@dataclass(frozen=True)
class SmoothField:
    """Random field with ``channels`` components over the cube [-extent, extent]^3, unit variance on average."""

    coefficients: Tensor  # (channels, count, count, count)
    extent: float

    @classmethod
    def random(cls, randomness: Randomness, channels: int, wavelength: float, extent: float) -> SmoothField:
        """Field whose features are about ``wavelength`` long."""
        count = max(4, min(round(2.0 * extent / wavelength * 2.0) + 3, 40))
        # Interpolating independent coefficients with cubic B-splines shrinks the variance to 0.479 along every axis.
        return cls(randomness.normal(channels, count, count, count) / 0.479**1.5, extent)

    def on_grid(self, axes: Axes) -> Tensor:
        """Values on a rectilinear grid: (channels, len(z), len(y), len(x))."""
        values = self.coefficients.to(axes[0].device)
        count = values.shape[1]
        wz, wy, wx = (bspline_weights(axis, count, -self.extent, self.extent) for axis in axes)
        values = torch.einsum("za,cabd->czbd", wz, values)
        values = torch.einsum("yb,czbd->czyd", wy, values)
        return values @ wx.T


def grid_points(axes: Axes) -> Tensor:
    """Points of a rectilinear grid (z, y, x), flattened in that order: (3, n) with rows x, y, z."""
    z, y, x = torch.meshgrid(*axes, indexing="ij")
    return torch.stack([x.reshape(-1), y.reshape(-1), z.reshape(-1)])
