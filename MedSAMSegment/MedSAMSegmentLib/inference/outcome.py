"""What is known about a slice once the network has seen it, and how far it can be trusted."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any

import torch

from .predictor import SlicePrediction


@dataclass(frozen=True, eq=False)
class SliceOutcome:
    """What is known about one slice after the network saw it.

    Attributes:
        logits: (s, s) low-resolution logits over the frame.
        predicted_iou, object_score: see :class:`~MedSAMSegmentLib.inference.predictor.SlicePrediction`.
        stability: overlap of the masks at logit +1 and -1 (the stability score of SAM).
        memory: what later slices may recall, or ``None`` when it was not good enough.
        empty_run: number of empty slices in a row that end here.
        made_from: everything the outcome depends on; equal means that computing it again would change nothing.
        version: unique to this outcome.
        revised: logits after the sweep over all slices, or ``None`` before it.
        revised_from: everything ``revised`` depends on.
        changed: (s, s) bool, where a correction changed what was found in the whole box (`box_tracker.py`); ``None``
            where nothing was corrected.
    """

    logits: torch.Tensor
    predicted_iou: float
    object_score: float
    stability: float
    memory: Any
    empty_run: int
    made_from: Hashable
    version: int
    revised: torch.Tensor | None = None
    revised_from: Hashable = None
    changed: torch.Tensor | None = None

    @property
    def shown(self) -> torch.Tensor:
        """(s, s) logits the user sees."""
        return self.logits if self.revised is None else self.revised

    @property
    def confidence(self) -> float:
        """Estimated overlap x stability, the slice's score."""
        return self.predicted_iou * self.stability


@dataclass(frozen=True)
class TrackStep:
    """One slice done.  ``outcome`` is ``None`` where the object had ended before."""

    slice_index: int
    outcome: SliceOutcome | None
    reused: bool


def stability(logits: torch.Tensor) -> float:
    """Overlap of the masks at logit +1 and -1; 1 for an empty mask nothing comes near to."""
    wide = int((logits > -1.0).sum())
    return int((logits > 1.0).sum()) / wide if wide else 1.0


def confidence(prediction: SlicePrediction) -> float:
    """Estimated overlap x stability."""
    return prediction.predicted_iou * stability(prediction.logits)


def is_empty(prediction: SlicePrediction) -> bool:
    return not bool((prediction.logits > 0).any())


def expected_overlap(logits: torch.Tensor) -> float:
    """Intersection over union to be expected if the logits' probabilities are true; 1 for a surely empty slice.

    Args:
        logits: (s, s).
    """
    probability = logits.sigmoid()
    inside = logits > 0
    union = float(inside.sum()) + float(probability[~inside].sum())
    return float(probability[inside].sum()) / union if bool(inside.any()) else 1.0 - float(probability.max())
