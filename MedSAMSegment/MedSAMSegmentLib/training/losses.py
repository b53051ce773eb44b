"""What the network is asked to get right on one slice."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ..models.embedded import SliceMask


@dataclass(frozen=True)
class SliceLoss:
    """Sum of the parts for a batch, and what was reached.

    Attributes:
        total: scalar to be minimised.
        dice: (B,) Dice overlap of the thresholded mask with the truth; 1 where both are empty.
    """

    total: Tensor
    dice: Tensor


def overlaps(found: Tensor, truth: Tensor) -> tuple[Tensor, Tensor]:
    """(B,) intersection over union and (B,) Dice of masks (B, S, S), bool and 0 or 1; 1 where both are empty."""
    both = (found & (truth > 0.5)).sum(dim=(1, 2)).to(truth.dtype)
    areas = found.sum(dim=(1, 2)) + truth.sum(dim=(1, 2))
    union = areas - both
    iou = torch.where(union > 0, both / union.clamp(min=1.0), torch.ones_like(union))
    return iou, torch.where(areas > 0, 2.0 * both / areas.clamp(min=1.0), torch.ones_like(areas))


def soft_dice_loss(logits: Tensor, truth: Tensor) -> Tensor:
    """(B,) one minus the Dice overlap of probabilities and the truth, (B, ...) 0..1 both (Milletari et al., 2016)."""
    probability, inner = logits.sigmoid(), tuple(range(1, truth.ndim))
    overlap = (probability * truth).sum(dim=inner)
    return 1.0 - (2.0 * overlap + 1.0) / (probability.sum(dim=inner) + truth.sum(dim=inner) + 1.0)


def slice_loss(output: SliceMask, truth: Tensor) -> SliceLoss:
    """Cross-entropy + soft Dice of the mask, error of the predicted overlap, presence of the object.

    Args:
        truth: (B, S, S) 0 or 1 at the size of the input picture; the logits are enlarged to it, so the border is
        learned
            finer than the network's own output grid.
    """
    logits = F.interpolate(output.logits, size=truth.shape[-2:], mode="bilinear", align_corners=False)[:, 0]
    cross_entropy = F.binary_cross_entropy_with_logits(logits, truth, reduction="none").mean(dim=(1, 2))
    present = (truth.sum(dim=(1, 2)) > 0).to(truth.dtype)
    soft_dice = soft_dice_loss(logits, truth)
    with torch.no_grad():
        true_iou, dice = overlaps(logits > 0, truth)
    # Empty slices give no useful Dice gradient: cross-entropy alone keeps them empty.
    mask_loss = 4.0 * cross_entropy.mean() + (soft_dice * present).sum() / present.sum().clamp(min=1.0)
    overlap_loss = F.mse_loss(output.iou[:, 0], true_iou)
    presence_loss = F.binary_cross_entropy_with_logits(output.object_score_logits[:, 0], present)
    total = mask_loss + 0.3 * overlap_loss + 0.05 * presence_loss
    return SliceLoss(total, dice)
