"""One training step of the network that corrects a whole box (`models/corrector.py`): clicks on its own errors.

Somebody who corrects a mask clicks into the middle of what is wrong, mostly where much is.  The network answers, is
clicked on again, and learns from its last answer.  What it begins with is what the coarse network finds, or one of the
regions that fit the box: on real scans that network is sometimes as wrong as that.
"""

from __future__ import annotations

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from ..errors import UsageError
from ..models.box_regions import RegionBatch
from ..models.coarse import CoarseGrid, CoarseNetwork
from ..models.corrector import BoxClicks
from ..models.embedded import EmbeddedNetwork
from .fields import Randomness
from .steps import StepResult
from .volume_samples import VolumeBatch, volume_loss

# How often it begins with a region in place of what was found, and how sure of it.
_BEGINS_ELSEWHERE, _SURE = 0.4, 3.0

_MOST_LOOKS = 3

# How often so many clicks come one after another.
_CLICKS = {"1": 0.45, "2": 0.25, "3": 0.15, "5": 0.15}

# A click lies in the half of an error that is furthest from its border.
_DEEP = 0.5

# How often a click only confirms: strokes and diameters hold such ones.
_CONFIRMS = 0.15

# How often what was missed is clicked on first, however large other errors are.
_MISSED_FIRST = 0.3


def begin_correcting(*networks: EmbeddedNetwork) -> None:
    """Where the part that corrects has learned nothing yet, it begins as the network that it corrects."""
    for network in networks:
        coarse, corrector = network.coarse, network.corrector
        if coarse is not None and corrector is not None and not bool(corrector.click_stem.weight.any()):
            corrector.load_state_dict(coarse.state_dict(), strict=False)


def correction_step(network: EmbeddedNetwork, batch: VolumeBatch, randomness: Randomness) -> StepResult:
    """A few clicks, one after another, on what was found in every box; the last answer counts."""
    coarse, corrector = network.coarse, network.corrector
    if coarse is None or corrector is None:
        raise UsageError(
            "BAD_STAGE", "This network has no part that corrects.", "Give it coarse_corrects, or leave clicks out."
        )
    grid = coarse.grid_of(batch.masks)
    with torch.no_grad():
        believed = _first_belief(coarse, batch, randomness)
        before = volume_loss(believed, batch.masks)[1]
    places = batch.masks.new_zeros(len(batch.masks), 0, 3)
    labels = torch.zeros(len(batch.masks), 0, dtype=torch.long, device=batch.masks.device)
    count = int(randomness.pick(_CLICKS))
    for number in range(count):
        place, label = clicks_on_errors(believed, batch.masks, grid, randomness)
        places, labels = torch.cat([places, place], dim=1), torch.cat([labels, label], dim=1)
        with torch.set_grad_enabled(number == count - 1):
            believed = corrector.correct(
                coarse,
                batch.intensities,
                batch.slice_step,
                batch.regions,
                believed,
                BoxClicks(places, labels),
            )
    loss, after = volume_loss(believed, batch.masks)
    return StepResult(loss, {"found": float(before.mean()), "corrected": float(after.mean())})


def _first_belief(coarse: CoarseNetwork, batch: VolumeBatch, randomness: Randomness) -> Tensor:
    """(B, *cells) logits to begin with."""
    seen = coarse.see(batch.intensities, batch.slice_step, batch.regions)
    believed = coarse.look(seen)
    for number in range(len(believed)):
        if randomness.chance(_BEGINS_ELSEWHERE):
            believed[number] = _any_region(batch.regions, number, randomness, believed[number])
    for _ in range(randomness.integer(0, _MOST_LOOKS - 1)):
        believed = coarse.look(seen, believed)
    return believed


def _any_region(regions: RegionBatch, box: int, randomness: Randomness, otherwise: Tensor) -> Tensor:
    known = torch.nonzero(regions.known[box])[:, 0]
    if not len(known):
        return otherwise
    row = int(known[randomness.integer(0, len(known) - 1)])
    return (regions.masks[box, row].to(otherwise.dtype) * 2.0 - 1.0) * _SURE


def clicks_on_errors(logits: Tensor, masks: Tensor, grid: CoarseGrid, randomness: Randomness) -> tuple[Tensor, Tensor]:
    """One click a box, well inside one of its errors (seldom: of what is right); large ones are clicked on more often.

    Args:
        logits, masks: (B, *cells), what was found and the truth (0..1).
        grid: with these cells.

    Returns:
        (B, 1, 3) places and (B, 1) labels as in :class:`BoxClicks`; label -1 where nothing is wrong.
    """
    found, truth = (logits > 0).cpu().numpy(), (masks > 0.5).cpu().numpy()
    places = torch.zeros(len(found), 1, 3)
    labels = torch.full((len(found), 1), -1, dtype=torch.long)
    for box in range(len(found)):
        confirms = randomness.chance(_CONFIRMS)
        missed, missed_count = ndimage.label(truth[box] & (found[box] if confirms else ~found[box]))
        extra, extra_count = ndimage.label(found[box] & ~truth[box])
        if missed_count and randomness.chance(_MISSED_FIRST):
            extra, extra_count = np.zeros_like(extra), 0
        sizes = np.concatenate([np.bincount(missed.ravel())[1:], np.bincount(extra.ravel())[1:]])
        if missed_count + extra_count == 0:
            continue
        number = int(torch.multinomial(torch.from_numpy(sizes.astype(np.float64)), 1, generator=randomness.generator))
        inside = number < missed_count
        region = missed == number + 1 if inside else extra == number + 1 - missed_count
        depth = ndimage.distance_transform_edt(np.pad(region, 1))[1:-1, 1:-1, 1:-1]
        deep = np.argwhere(depth >= max(_DEEP * depth.max(), 1e-6))
        cell = torch.from_numpy(deep[randomness.integer(0, len(deep) - 1)])
        within = (cell + randomness.rand(3)) / torch.tensor(grid.cells)
        places[box, 0] = (within * 2.0 - 1.0) * grid.reach
        labels[box, 0] = int(inside)
    return places.to(logits.device), labels.to(logits.device)
