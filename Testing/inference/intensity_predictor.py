"""A slice predictor whose answer is known: the object is what is brighter than half.

It sees, remembers and is prompted like a network, so that everything around a network can be tested exactly: the way of
a voxel to the network and back, which slices are asked for, what is remembered.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from MedSAMSegmentLib.inference import BankEntry, SlicePrediction, SlicePrompt
from MedSAMSegmentLib.inference.crop import CropSettings


class IntensityPredictor:
    """Bright is object; a negative click makes the disc around it background, a positive one object.

    Args:
        sizes: crop sizes offered.
        stride: logits are coarser than the picture by this factor.
    """

    identity = "intensity:1"
    neighbours = 1
    memory_capacity = 3
    local_contrast = False
    revises = False
    key_candidates = 1
    understands: tuple[str, ...] = ("box", "points", "mask")
    needs_box = False

    def __init__(self, sizes: tuple[int, ...] = (64, 96, 128), stride: int = 1) -> None:
        self.crop = CropSettings(context=0.5, sizes=sizes, full_slice_size=sizes[-1])
        self.stride = stride
        self.encoded: list[int] = []
        self.predicted: list[int] = []
        self.remembered: list[int] = []
        self.banks: dict[int, tuple[BankEntry, ...]] = {}
        self.prompts: dict[int, SlicePrompt] = {}

    def encode(self, picture: np.ndarray) -> torch.Tensor:
        assert picture.dtype == np.float32 and picture.shape[0] == 3 and picture.min() >= 0 and picture.max() <= 1
        self.encoded.append(1)
        return torch.from_numpy(picture[1].copy())

    def predict(self, features: torch.Tensor, prompt: SlicePrompt, bank: Sequence[BankEntry]) -> SlicePrediction:
        self.predicted.append(prompt.slice_index)
        self.banks[prompt.slice_index] = tuple(bank)
        self.prompts[prompt.slice_index] = prompt
        picture = features if prompt.own is None else (prompt.own / 20 + 0.5)
        if prompt.mask is not None:
            picture = torch.from_numpy(prompt.mask)
        n = picture.shape[0]
        grid = torch.arange(n, dtype=torch.float32)
        scale = n / prompt.frame.size
        for (u, v), positive in zip(prompt.points, prompt.labels, strict=True):
            distance = (grid[None] - (u + 0.5) * scale + 0.5) ** 2 + (grid[:, None] - (v + 0.5) * scale + 0.5) ** 2
            picture = torch.where(distance < (4 * scale) ** 2, torch.tensor(float(positive)), picture)
        logits = (picture - 0.5) * 20
        if self.stride > 1 and prompt.own is None:
            logits = torch.nn.functional.avg_pool2d(logits[None, None], self.stride)[0, 0]
        return SlicePrediction(logits, 0.9, 5.0 if bool((logits > 0).any()) else -5.0)

    def remember(self, features: torch.Tensor, prompt: SlicePrompt, prediction: SlicePrediction) -> Any:
        self.remembered.append(prompt.slice_index)
        return prompt.slice_index

    def forget_calls(self) -> None:
        """Count from zero again."""
        self.encoded.clear()
        self.predicted.clear()
        self.remembered.clear()
