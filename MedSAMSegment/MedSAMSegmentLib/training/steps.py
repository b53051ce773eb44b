"""One training step: slices on their own first, then sequences with the network's own memory.

Slices learn what an object in a box looks like; the masks of the neighbouring slices are given roughly, as a tracker
that errs would give them. Sequences are segmented as at inference: a first slice from the box alone, the following
ones from memory, then one sweep in which every slice sees what was found on both of its neighbours. Some slices get a
corrective click where they are wrong.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import UsageError
from ..models.coarse import box_prior
from ..models.embedded import EmbeddedNetwork, SliceMask, SlicePrompts
from ..models.sam2 import ImageFeatures, RememberedPointer, RememberedSlice
from .fields import Randomness
from .losses import SliceLoss, slice_loss
from .samples import Batch
from .volume_samples import VolumeBatch, region_loss, volume_loss

CONFIDENT = 6.0

KNOWN_MASKS = {"none": 0.25, "below": 0.08, "above": 0.08, "neighbours": 0.12, "own": 0.1, "all": 0.37}
"""How often which rough masks are given with a slice."""


@dataclass
class StepResult:
    """Loss to be minimised and what the log shows: Dice of first, tracked, swept and clicked slices."""

    loss: Tensor
    dice: dict[str, float]


def _pictures(batch: Batch) -> Tensor:
    """(B, T, 3, S, S): every slice between its neighbours."""
    return torch.stack([batch.images[:, :-2], batch.images[:, 1:-1], batch.images[:, 2:]], dim=2)


def _pick(features: ImageFeatures, rows: Tensor) -> ImageFeatures:
    return ImageFeatures(
        features.embedding[rows], features.position, tuple(level[rows] for level in features.high_resolution)
    )


def rough_masks(masks: Tensor, randomness: Randomness) -> Tensor:
    """Logits of masks as an erring network would hand them on: shifted, swollen or shrunk, ragged.

    Args:
        masks: (B, C, S, S) 0 or 1, neighbouring slices as channels: they err alike.

    Returns:
        (B, C, S/2, S/2).
    """
    small = F.avg_pool2d(masks, 2)
    size = small.shape[-1]
    batch = small.shape[0]
    strength = 1.5 * randomness.rand(batch).to(small.device)
    shift = 0.04 * randomness.normal(batch, 2).to(small.device) * strength[:, None]
    scale = 1.0 + 0.06 * randomness.normal(batch).to(small.device) * strength
    theta = torch.zeros(batch, 2, 3, device=small.device)
    theta[:, 0, 0] = theta[:, 1, 1] = 1.0
    theta[:, :, 2] = shift
    centre = _centre_of_mass(small.amax(dim=1, keepdim=True))
    theta[:, :, :2] *= scale[:, None, None]
    theta[:, :, 2] += centre * (1.0 - scale[:, None])
    moved = F.grid_sample(small, F.affine_grid(theta, list(small.shape), align_corners=False), align_corners=False)
    coarse = F.interpolate(
        randomness.normal(batch, 1, 9, 9).to(small.device), size=(size, size), mode="bilinear", align_corners=False
    )
    softness = 1.0 + 3.0 * randomness.rand(batch).to(small.device).view(-1, 1, 1, 1)
    ragged = F.avg_pool2d(moved, 3, stride=1, padding=1) - 0.5 + 0.18 * coarse * strength.view(-1, 1, 1, 1)
    return (ragged * 2.0 * CONFIDENT / softness).clamp(-CONFIDENT, CONFIDENT)


def _centre_of_mass(mask: Tensor) -> Tensor:
    """(B, 2) in the [-1, 1] coordinates of `grid_sample`; the middle for empty masks."""
    size = mask.shape[-1]
    axis = (torch.arange(size, device=mask.device) + 0.5) / size * 2 - 1
    weight = mask[:, 0].sum(dim=(1, 2)).clamp(min=1e-3)
    x = (mask[:, 0].sum(dim=1) * axis).sum(dim=1) / weight
    y = (mask[:, 0].sum(dim=2) * axis).sum(dim=1) / weight
    return torch.stack([x, y], dim=1)


def corrective_clicks(logits: Tensor, truth: Tensor, randomness: Randomness) -> tuple[Tensor, Tensor]:
    """One click a sample in the larger error region, at a random pixel well inside it: (B, 1, 2) and (B, 1).

    Samples without error get no click (label -1).
    """
    wrong = (F.interpolate(logits, size=truth.shape[-2:], mode="bilinear", align_corners=False)[:, 0] > 0) != (
        truth > 0.5
    )
    depth = wrong.float()[:, None]
    interior = depth
    for _ in range(4):
        depth = -F.max_pool2d(-depth, 3, stride=1, padding=1)
        interior = interior + depth
    # The deepest pixels are where a user would click; noise picks one of them.
    noise = randomness.rand(*interior.shape).to(interior.device)
    choice = (interior + noise * (interior > 0)).flatten(1).argmax(dim=1)
    size = truth.shape[-1]
    points = torch.stack([choice % size, choice // size], dim=1)[:, None].to(truth.dtype)
    inside = truth.flatten(1).gather(1, choice[:, None]) > 0.5
    any_error = wrong.flatten(1).any(dim=1, keepdim=True)
    return points, torch.where(any_error, inside.long(), torch.full_like(inside, -1, dtype=torch.long))


def volume_step(network: EmbeddedNetwork, batch: VolumeBatch) -> StepResult:
    """The coarse network on whole boxes: half of them at first sight, the others when it has looked before."""
    coarse = network.coarse
    if coarse is None:
        raise UsageError(
            "BAD_STAGE", "This network has no coarse part to train.", "Give it coarse_channels, or leave volumes out."
        )
    again = batch.masks.shape[0] // 2
    believed = box_prior(coarse.grid_of(batch.masks)).to(batch.masks).repeat(len(batch.masks), 1, 1, 1)
    if again:
        with torch.no_grad():
            seen = batch.intensities[:again], batch.slice_step[:again], batch.regions.part(slice(again))
            believed[:again] = coarse(*seen)
    logits = coarse(batch.intensities, batch.slice_step, batch.regions, believed)
    loss, overlaps = volume_loss(logits, batch.masks)
    scorer = coarse.region_scorer
    if scorer is not None:
        loss = loss + region_loss(scorer(batch.regions), batch.regions, batch.masks)
    dice = {"coarse": float(overlaps[again:].mean())}
    if again:
        dice["again"] = float(overlaps[:again].mean())
    return StepResult(loss, dice)


def slice_step(network: EmbeddedNetwork, batch: Batch, randomness: Randomness) -> StepResult:
    """All slices of the batch on their own, with or without rough masks of themselves and of their neighbours."""
    pictures = _pictures(batch)
    around = torch.stack([batch.masks[:, :-2], batch.masks[:, 1:-1], batch.masks[:, 2:]], dim=2).flatten(0, 1)
    masks = roughly_known(around, randomness)
    step = batch.slice_step.repeat_interleave(pictures.shape[1])
    prompts = SlicePrompts(batch.box_coordinates.flatten(0, 1), step, **masks)
    return work_out(network, pictures.flatten(0, 1), batch.masks[:, 1:-1].flatten(0, 1), prompts, randomness)


def neighbouring(around: Tensor) -> dict[str, Tensor]:
    """Logits (B, 3, h, w) of the slices before, here and after, named as in `SlicePrompts`."""
    return {"below": around[:, :1], "own": around[:, 1:2], "above": around[:, 2:]}


def roughly_known(masks: Tensor, randomness: Randomness) -> dict[str, Tensor]:
    """Rough masks of the slices before, here and after, or of some of them, or none; masks (B, 3, S, S) 0 or 1."""
    known = randomness.pick(KNOWN_MASKS)
    if known == "none":
        return {}
    rough = neighbouring(rough_masks(masks, randomness))
    names = {"neighbours": ("below", "above"), "all": tuple(rough)}.get(known, (known,))
    return {name: rough[name] for name in names}


def work_out(
    network: EmbeddedNetwork, pictures: Tensor, truth: Tensor, prompts: SlicePrompts, randomness: Randomness
) -> StepResult:
    """Slices on their own, and sometimes once more with a click where they are wrong.

    Args:
        pictures: (B, 3, S, S) every slice between its neighbours.
        truth: (B, S, S) 0 or 1.
    """
    features = network.encode_slices(pictures)
    embedding = network.without_memory(features)
    output = network.segment_slice(embedding, features.high_resolution, prompts)
    result = slice_loss(output, truth)
    given = (prompts.below, prompts.own, prompts.above)
    dice = {"first" if all(mask is None for mask in given) else "guided": float(result.dice.mean())}
    loss = result.total
    if randomness.chance(0.25):
        clicked = _click(network, embedding, features, prompts, output, truth, randomness)
        loss = loss + 0.5 * clicked.total
        dice["clicked"] = float(clicked.dice.mean())
    return StepResult(loss, dice)


def _click(
    network: EmbeddedNetwork,
    embedding: Tensor,
    features: ImageFeatures,
    prompts: SlicePrompts,
    output: SliceMask,
    truth: Tensor,
    randomness: Randomness,
) -> SliceLoss:
    points, labels = corrective_clicks(output.logits.detach(), truth, randomness)
    corrected = SlicePrompts(
        prompts.box_coordinates,
        prompts.slice_step,
        prompts.below,
        prompts.above,
        output.logits.detach(),
        points,
        labels,
    )
    return slice_loss(network.segment_slice(embedding, features.high_resolution, corrected), truth)


def sequence_step(network: EmbeddedNetwork, batch: Batch, randomness: Randomness) -> StepResult:
    """Track through the slices of every sample, upwards or downwards, then sweep once with both neighbours known."""
    pictures = _pictures(batch)
    count, slices = pictures.shape[:2]
    features = network.encode_slices(pictures.flatten(0, 1))
    rows = torch.arange(count, device=pictures.device) * slices
    upwards = randomness.chance(0.5)
    order = list(range(slices)) if upwards else list(range(slices - 1, -1, -1))
    memories: list[tuple[int, RememberedSlice]] = []
    pointers: list[tuple[int, Tensor]] = []
    recent = network.options.number_of_memories - 1
    outputs: dict[int, SliceMask] = {}
    losses: list[SliceLoss] = []
    for done, index in enumerate(order):
        own = _pick(features, rows + index)
        previous = outputs[order[done - 1]].logits.detach() if done else None
        prompts = SlicePrompts(
            batch.box_coordinates[:, index],
            batch.slice_step,
            below=previous if upwards else None,
            above=None if upwards else previous,
        )
        if done == 0:
            embedding = network.without_memory(own)
        else:
            first = [RememberedSlice(memories[0][1].memory, 0)]
            later = [RememberedSlice(item.memory, done - when) for when, item in memories[1:] if done - when <= recent]
            hands = [RememberedPointer(pointer, float(done - when)) for when, pointer in pointers]
            hands = hands[:1] + hands[1:][-(network.options.maximum_pointers - 1) :]
            embedding = network.condition_on_memory(own, first + later, hands)
        output = network.segment_slice(embedding, own.high_resolution, prompts)
        outputs[index] = output
        losses.append(slice_loss(output, batch.masks[:, index + 1]))
        memories.append((done, RememberedSlice(network.remember(own, output), 0)))
        pointers.append((done, output.object_pointer))
    loss = torch.stack([item.total for item in losses]).mean()
    dice = {
        "first": float(losses[0].dice.mean()),
        "tracked": float(torch.stack([item.dice for item in losses[1:]]).mean()),
    }
    swept = _sweep(network, batch, features, outputs, randomness)
    loss = loss + 0.7 * swept.total
    dice["swept"] = float(swept.dice.mean())
    return StepResult(loss, dice)


def _sweep(
    network: EmbeddedNetwork,
    batch: Batch,
    features: ImageFeatures,
    outputs: dict[int, SliceMask],
    randomness: Randomness,
) -> SliceLoss:
    """Every inner slice again, from the masks found on both of its neighbours and on itself, sometimes with a click."""
    slices = len(outputs)
    logits = torch.stack([outputs[index].logits.detach() for index in range(slices)], dim=1)
    inner = slices - 2
    rows = torch.arange(logits.shape[0], device=logits.device)[:, None] * slices + torch.arange(
        1, slices - 1, device=logits.device
    )
    own = _pick(features, rows.flatten())
    points = labels = None
    truth = batch.masks[:, 2:-2].flatten(0, 1)
    if randomness.chance(0.2):
        points, labels = corrective_clicks(logits[:, 1:-1].flatten(0, 1), truth, randomness)
    prompts = SlicePrompts(
        batch.box_coordinates[:, 1:-1].flatten(0, 1),
        batch.slice_step.repeat_interleave(inner),
        below=logits[:, :-2].flatten(0, 1),
        above=logits[:, 2:].flatten(0, 1),
        own=logits[:, 1:-1].flatten(0, 1) if randomness.chance(0.7) or points is not None else None,
        points=points,
        labels=labels,
    )
    return slice_loss(network.segment_slice(network.without_memory(own), own.high_resolution, prompts), truth)
