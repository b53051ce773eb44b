"""Revise a tracked object: every slice once more, now that what is on it and on both its neighbours is known.

Tracking sees a slice from one side only.  Slices are revised from the tracked masks, not from one another, so their
order does not matter.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import torch

from ..prompts.plan import SlicePlan
from .crop_prompts import CropPrompts, prompt_key
from .outcome import SliceOutcome, TrackStep, stability
from .predictor import SlicePredictor
from .settings import TrackingSettings

# Beyond the box, and where tracking has ended, there is nothing: that is known, too.
_NOTHING_LOGIT = -8.0


def is_revised(predictor: SlicePredictor, plan: SlicePlan, settings: TrackingSettings) -> bool:
    """Whether a plan ends with a sweep; a single slice has no neighbours to learn from."""
    return predictor.revises and settings.strategy != "per-slice" and len(plan.slices) > 1


def sweep(
    predictor: SlicePredictor,
    features: Callable[[int], Any],
    prompts: CropPrompts,
    outcomes: dict[int, SliceOutcome],
    known: Mapping[int, SliceOutcome],
    locked: frozenset[int],
) -> Iterator[TrackStep]:
    """Revise slice by slice, in ``outcomes``; one step for every slice of the plan.

    Args:
        predictor: the network.
        features: gives the encoded slice of an index.
        prompts: the plan and the crop.
        outcomes: of all slices with the object; revised ones take their places.
        known: outcomes of an earlier run; reused where nothing they were revised from has changed.
        locked: slices that stay as they are; so do drawn ones.
    """
    plan = prompts.plan
    tracked = {index: outcome.logits for index, outcome in outcomes.items()}
    for index in plan.slices:
        outcome = outcomes.get(index)
        if outcome is None:
            yield TrackStep(index, None, reused=False)
            continue
        before = known.get(index)
        if index not in locked and index not in plan.masks:
            around = (outcomes.get(k) for k in (index - 1, index, index + 1))
            versions = tuple(None if near is None else near.version for near in around)
            made_from = (versions, prompt_key(plan, index))
            if before is not None and before.revised_from == made_from:
                outcome = before
            else:
                nothing = torch.full_like(outcome.logits, _NOTHING_LOGIT)
                below, above = (tracked.get(k, nothing) for k in (index - 1, index + 1))
                prompt = prompts.prompt(index, plan.is_prompted(index), below, above, own=outcome.logits)
                prediction = predictor.predict(features(index), prompt, [])
                outcome = replace(
                    outcome,
                    revised=prediction.logits,
                    revised_from=made_from,
                    predicted_iou=prediction.predicted_iou,
                    object_score=prediction.object_score,
                    stability=stability(prediction.logits),
                )
            outcomes[index] = outcome
        yield TrackStep(index, outcome, reused=outcome is before)
