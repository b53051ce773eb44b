"""Samples and training step of the network for rectangles on slices (`models/rectangle_unet.py`)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import UsageError
from ..models.coarse import CoarseGrid
from ..models.embedded import EmbeddedNetwork
from .detail_samples import make_samples
from .fields import Randomness
from .losses import overlaps, soft_dice_loss
from .options import BODIES
from .samples import stacked
from .steps import StepResult

# Slices with fewer pixels of the object are left out.
_LEAST_PIXELS = 12.0

# How often a rectangle is drawn carelessly, and how far a side is off then, as a part of the rectangle's.
_CARELESS, _FURTHEST_OFF = 0.4, 0.15

# Side of the crop over the longer side of the rectangle, and how far it lies off the middle.
_CROP, _OFF_MIDDLE = (1.3, 2.0), 0.06

_CROSS_ENTROPY = 2.0


@dataclass(frozen=True)
class RectangleBatch:
    """N slices, S pixels.

    Attributes:
        pictures: (N, 3, S, S) in [0, 1], every slice between its neighbours.
        masks: (N, S, S) 0 or 1.
        places: (N, 2, S, S) of the pixels in the rectangle, -1 and 1 being its edges.
        slice_step: (N,) distance of slices over half the depth of the object's box.
    """

    pictures: Tensor
    masks: Tensor
    places: Tensor
    slice_step: Tensor


def make_rectangle_batch(
    seed: int,
    step: int,
    count: int,
    slices: int,
    size: int,
    device: torch.device | str = "cpu",
    looks: int = 2,
    bodies: float = BODIES,
) -> RectangleBatch:
    """Batch number ``step`` of the endless stream of a seed; the same on every run and on any machine.

    Args:
        count, slices, size: boxes; slices of each, those that hold hardly anything of the object falling out; pixels.
        looks: boxes made of one anatomy; contrast, texture and noise differ.
        bodies: how often the object is part of a computed body instead of a random shape.
    """
    device, randomness = torch.device(device), Randomness.from_seed(seed, step, count)
    cut: list[tuple[Tensor, Tensor, Tensor, Tensor]] = []
    while not cut:
        boxes = stacked(
            seed,
            step,
            count,
            looks,
            lambda stream: make_samples(stream, CoarseGrid(), slices, size, looks, device, bodies),
        )
        for pictures, masks, slice_step in zip(boxes["pictures"], boxes["masks"], boxes["slice_step"], strict=True):
            for picture, mask in zip(pictures, masks[:, 1], strict=True):
                if float(mask.sum()) >= _LEAST_PIXELS:
                    cut.append((*about_rectangle(picture, mask, randomness), slice_step))
        step += 1 << 40
    return _mirrored(RectangleBatch(*(torch.stack(list(parts)) for parts in zip(*cut, strict=True))), randomness)


def rectangle_step(network: EmbeddedNetwork, batch: RectangleBatch) -> StepResult:
    """Outline what lies in rectangles.

    Raises:
        UsageError: ``BAD_STAGE``.
    """
    if network.rectangle_unet is None:
        raise UsageError("BAD_STAGE", "This network has no part for rectangles.", "Leave that stage out.")
    logits = network.rectangle_unet(batch.pictures, batch.places, batch.slice_step)
    cross_entropy = F.binary_cross_entropy_with_logits(logits, batch.masks)
    loss = _CROSS_ENTROPY * cross_entropy + soft_dice_loss(logits, batch.masks).mean()
    return StepResult(loss, {"rectangle": float(overlaps(logits.detach() > 0, batch.masks)[1].mean())})


def about_rectangle(picture: Tensor, mask: Tensor, randomness: Randomness) -> tuple[Tensor, Tensor, Tensor]:
    """A slice cut out anew about a rectangle that somebody might draw.

    Args:
        picture, mask: (3, S, S) and (S, S), not empty.

    Returns:
        a picture (3, S, S), its mask (S, S), and its places (2, S, S) in the rectangle.
    """
    size = mask.shape[-1]
    careless = randomness.uniform(0.0, _FURTHEST_OFF) if randomness.chance(_CARELESS) else None
    sides = []
    for axis in (0, 1):
        there = torch.nonzero(mask.amax(dim=axis) > 0.5)[:, 0]
        low, high = float(there[0]), float(there[-1]) + 1.0
        # A tight rectangle on pixels ends at their edges just outside the object.
        off, least = (1.0, 0.0) if careless is None else (careless * (high - low), -1.0)
        sides.append((low - off * randomness.uniform(least, 1.0), high + off * randomness.uniform(least, 1.0)))
    side = max(high - low for low, high in sides) * randomness.uniform(*_CROP)
    offsets = (torch.arange(size, device=mask.device) - (size - 1) / 2.0) / size * side
    lines, places = [], []
    for low, high in sides:
        middle = (low + high) / 2.0
        line = middle + randomness.uniform(-_OFF_MIDDLE, _OFF_MIDDLE) * side + offsets
        lines.append(line / size * 2.0 - 1.0)
        places.append((line - middle) / ((high - low) / 2.0))
    at, in_rectangle = (torch.stack(torch.meshgrid(*axes, indexing="xy")) for axes in (lines, places))
    both = torch.cat([picture, mask[None]])[None]
    both = F.grid_sample(both, at.movedim(0, -1)[None], padding_mode="border", align_corners=False)[0]
    return both[:3], (both[3] > 0.5).to(mask.dtype), in_rectangle


def _mirrored(batch: RectangleBatch, randomness: Randomness) -> RectangleBatch:
    """Left and right, up and down, before and after may each be exchanged."""
    pictures, masks, places = batch.pictures, batch.masks, batch.places
    for axis in (0, 1):
        if randomness.chance(0.5):
            pictures, masks, places = (values.flip(-1 - axis) for values in (pictures, masks, places))
            turned = torch.ones(2, 1, 1, device=places.device)
            turned[axis] = -1.0
            places = places * turned
    if randomness.chance(0.5):
        pictures = pictures.flip(1)
    return RectangleBatch(pictures, masks, places, batch.slice_step)
