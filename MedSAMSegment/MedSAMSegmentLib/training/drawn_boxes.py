"""The box that a user draws about a target, and the slices of the scan that it lies on."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .anatomy.bodies import random_anatomy
from .anatomy.scene import AnatomyScene
from .fields import Randomness
from .samples import random_target, survey, truncate
from .scene import Scene

# How often a box is drawn carelessly, and by how much of the target's half-size its sides are off then.
_CARELESS, _OFF = 0.4, (0.02, 0.25)

# How wide a part of a computed body is at least, half its length being 1.
_THINNEST = 0.04

# Targets that fill more of their box than this are taken the less often the more they fill, but at least so often.
_LITTLE, _LEAST_CHANCE, _SURVEY = 0.2, 0.6, 16


@dataclass(frozen=True)
class DrawnBox:
    """A target on the slices of a scan, and the box about it; places are those of the scene, in the order x, y, z.

    Attributes:
        scene: that holds the target.
        target: (low, high), the part of the target that is labelled.
        truncated: the scan, or the label, ends before the target does.
        scan_ends: it is the scan: beyond the labelled part its last slices repeat.
        depth: so many slices cover the labelled part.
        step: distance of slices.
        first: z of the first of them, number 0.
        faces: (low, high) of the box along x, y and z.
    """

    scene: Scene | AnatomyScene
    target: tuple[Tensor, Tensor]
    truncated: bool
    scan_ends: bool
    depth: int
    step: float
    first: float
    faces: tuple[tuple[float, float], tuple[float, float], tuple[float, float]]

    def centre(self, axis: int) -> float:
        low, high = self.faces[axis]
        return (low + high) / 2

    def half(self, axis: int) -> float:
        low, high = self.faces[axis]
        return (high - low) / 2

    def along(self, axis: int, count: int, reach: float) -> Tensor:
        """Places of ``count`` cells across the box along an axis, and beyond its faces, which ``reach`` is 1 for."""
        fraction = (torch.arange(count) + 0.5) / count * 2.0 - 1.0
        return self.centre(axis) + fraction * reach * self.half(axis)

    def heights(self, numbers: Tensor) -> Tensor:
        """z of what slices show; numbers may lie between slices."""
        return self.first + (numbers.clamp(0, self.depth - 1) if self.scan_ends else numbers) * self.step

    def labelled(self, mask: Tensor, numbers: Tensor) -> Tensor:
        """The mask (slices, rows, columns) of slices with these numbers, empty where the label has ended."""
        if not self.truncated:
            return mask
        valid = (numbers > -0.5) & (numbers < self.depth - 0.5)
        return mask * valid.to(mask.device)[:, None, None]

    @property
    def slice_step(self) -> float:
        """Distance of slices over the half-depth of the box."""
        return self.step / max(self.half(2), 1e-3)


def draw_box(
    randomness: Randomness, device: torch.device, bodies: float, most_slices: float, careless_ends: float
) -> DrawnBox:
    """A random target, on slices of a random distance, and the box about it: tight, or drawn carelessly.

    Args:
        bodies: how often the target is part of a computed body instead of a random shape.
        most_slices: that the target covers, usually.
        careless_ends: how often a careless box also begins or ends on a wrong slice.
    """
    scene, bounds = _target(randomness, device, bodies)
    truncated = randomness.chance(_truncation(scene, bounds))
    low, high = truncate(scene, bounds, randomness, device) if truncated else bounds
    z_low, z_high = float(low[2]), float(high[2])
    scan_ends = truncated and randomness.chance(0.6)

    # The object covers `depth` slices; a tight box ends at their outer faces.
    depth = round(randomness.log_uniform(3.0, most_slices)) if randomness.chance(0.95) else randomness.integer(1, 3)
    step = (z_high - z_low) / depth

    careless = randomness.uniform(*_OFF) if randomness.chance(_CARELESS) else 0.0
    pixel = float((high - low)[:2].max()) / randomness.log_uniform(8.0, 128.0)
    across = _side(float(low[0]), float(high[0]), pixel, randomness, careless)
    down = _side(float(low[1]), float(high[1]), pixel, randomness, careless)
    through = (z_low, z_high)
    if careless and randomness.chance(careless_ends):
        ends = _side(z_low, z_high, 0.0, randomness, careless)
        moved = (z_low + round((ends[0] - z_low) / step) * step, z_high + round((ends[1] - z_high) / step) * step)
        if moved[1] - moved[0] >= 0.5 * step:
            through = moved
    return DrawnBox(scene, (low, high), truncated, scan_ends, depth, step, z_low + 0.5 * step, (across, down, through))


def _side(low: float, high: float, snap: float, randomness: Randomness, careless: float) -> tuple[float, float]:
    """One axis of the box as drawn: at most ``snap`` beyond the object, or off by a share of its half-size."""
    half = (high - low) / 2
    if careless:
        return (
            low + randomness.uniform(-1.0, 1.0) * careless * half,
            high + randomness.uniform(-1.0, 1.0) * careless * half,
        )
    return low - snap * randomness.uniform(0.0, 1.0), high + snap * randomness.uniform(0.0, 1.0)


def _target(
    randomness: Randomness, device: torch.device, bodies: float
) -> tuple[Scene | AnatomyScene, tuple[Tensor, Tensor]]:
    """A computed body or random shapes with the target's bounding box; of targets that fill it, some are passed over.

    Round solids are easily learned; thin, bent or branched objects are not.
    """
    while randomness.chance(bodies):
        body = random_anatomy(randomness)
        bounds = survey(body, device)
        if bounds is not None and float((bounds[1] - bounds[0]).min()) > _THINNEST:
            return body, bounds
    while True:
        scene, (low, high) = random_target(randomness, device)
        x, y, z = (low[axis] + (high[axis] - low[axis]) * (torch.arange(_SURVEY) + 0.5) / _SURVEY for axis in range(3))
        level = scene.target_level((z.to(device), y.to(device), x.to(device)))
        filled = float((level > 0).float().mean())
        if randomness.chance(max(_LEAST_CHANCE, min(1.0, _LITTLE / max(filled, 1e-3)))):
            return scene, (low, high)


def _truncation(scene: Scene | AnatomyScene, bounds: tuple[Tensor, Tensor]) -> float:
    """How often a scan, or a label, ends before the target does: long vessels, cords and muscles mostly."""
    if isinstance(scene, Scene):
        return 0.25
    across, along = float((bounds[1] - bounds[0])[:2].max()), float((bounds[1] - bounds[0])[2])
    return 0.7 if along > 2.5 * across else 0.3
