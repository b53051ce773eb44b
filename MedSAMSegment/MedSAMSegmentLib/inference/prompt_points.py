"""A slice's prompts as the points that SAM and its kin take, in pixels of the crop."""

from __future__ import annotations

import torch

from .predictor import SlicePrompt

PROMPT_LOGIT_LIMIT = 32.0
"""Logits that are shown to a network again are clamped to this range, as the official programs do."""

Places = list[tuple[float, float]]


def box_corners(prompt: SlicePrompt) -> Places:
    """First and last corner of the slice's rectangle, or nothing where it has none.

    SAM's boxes end at the centres of an object's outermost pixels, a rectangle at their edges.
    """
    if prompt.rectangle is None:
        return []
    u0, v0, u1, v1 = prompt.rectangle
    frame = prompt.frame
    u, v = 0.5 * frame.size / (frame.x1 - frame.x0), 0.5 * frame.size / (frame.y1 - frame.y0)
    return [(u0 + u, v0 + v), (u1 - u, v1 - v)]


def clicks(prompt: SlicePrompt) -> tuple[Places, list[int]]:
    """Clicked places and their labels."""
    return [(float(u), float(v)) for u, v in prompt.points], [int(positive) for positive in prompt.labels]


def as_tensors(
    places: Places, labels: list[int], device: torch.device
) -> tuple[torch.Tensor | None, torch.Tensor | None]:
    """(1, n, 2) and (1, n), or nothing."""
    if not places:
        return None, None
    return (
        torch.tensor([places], dtype=torch.float32, device=device),
        torch.tensor([labels], dtype=torch.long, device=device),
    )
