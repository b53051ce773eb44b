"""One training step of the slice network on what the coarse network finds in whole boxes.

Rough masks made from the truth (`training/steps.py`) err a little everywhere. What a coarse network finds is mostly
right, and sometimes wholly wrong: only its own masks teach how far they can be trusted.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import UsageError
from ..models.coarse import GLANCE_CELLS, CoarseNetwork, read_at, resampled
from ..models.embedded import EmbeddedNetwork, SlicePrompts
from .detail_samples import DetailBatch
from .fields import Randomness
from .losses import overlaps
from .steps import StepResult, neighbouring, roughly_known, work_out

# How often slices are worked out from what was found; else from rough masks, or none.
_FOUND = 0.75

_LOOKS = (2, 3)


def detail_step(network: EmbeddedNetwork, batch: DetailBatch, randomness: Randomness) -> StepResult:
    """Slices of every box, given what was found on them and on their neighbours."""
    if network.coarse is None:
        raise UsageError(
            "BAD_STAGE",
            "This network has no coarse part to learn from.",
            "Give it coarse_channels, or leave details out.",
        )
    pictures, truth = batch.pictures.flatten(0, 1), batch.masks[:, :, 1].flatten(0, 1)
    found = randomness.chance(_FOUND)
    if found:
        masks = neighbouring(found_on_slices(network.coarse, batch, randomness.integer(*_LOOKS)))
    else:
        masks = roughly_known(batch.masks.flatten(0, 1), randomness)
    step = batch.slice_step.repeat_interleave(batch.pictures.shape[1])
    prompts = SlicePrompts(batch.box_coordinates.flatten(0, 1), step, **masks)
    result = work_out(network, pictures, truth, prompts, randomness)
    if not found:
        return result
    dice = {"found": float(_overlap(masks["own"], truth).mean()), "corrected": result.dice.pop("guided")}
    return StepResult(result.loss, {**dice, **result.dice})


def _overlap(logits: Tensor, truth: Tensor) -> Tensor:
    """(B,) Dice of logits (B, 1, h, w) and the truth (B, S, S); 1 where both are empty."""
    found = F.interpolate(logits, size=truth.shape[-2:], mode="bilinear", align_corners=False)[:, 0] > 0
    return overlaps(found, truth)[1]


@torch.no_grad()
def found_on_slices(coarse: CoarseNetwork, batch: DetailBatch, looks: int) -> Tensor:
    """What the coarse network finds, at a glance and with some looks, on the slices before, here and after.

    Returns:
        (B * T, 3, S/2, S/2) logits.
    """
    believed = coarse(resampled(batch.intensities, GLANCE_CELLS), batch.slice_step, batch.glance_regions)
    believed = resampled(believed, coarse.grid_of(batch.intensities).cells)
    seen = coarse.see(batch.intensities, batch.slice_step, batch.regions)
    for _ in range(looks):
        believed = coarse.look(seen, believed)
    return on_slices(believed, batch, coarse.grid.reach)


def on_slices(logits: Tensor, batch: DetailBatch, reach: float) -> Tensor:
    """Logits (B, *cells) of whole boxes on their slices, as `inference/coarse.py` reads them: (B * T, 3, S/2, S/2)."""
    place = batch.box_coordinates.movedim(2, -1) / reach
    upwards = batch.slice_step.view(-1, 1, 1, 1) / reach
    around = []
    for slices_up in (-1.0, 0.0, 1.0):
        at = torch.stack([place[..., 0], place[..., 1], place[..., 2] + slices_up * upwards], dim=-1)
        around.append(read_at(logits, at))
    return torch.stack(around, dim=2).flatten(0, 1)
