"""Slices to masks with SAM 2 and its kin: MedSAM2 and EfficientTAM.

Ravi et al. 2024, arXiv:2408.00714; Ma et al. 2025, arXiv:2504.03600; Xiong et al. 2024, arXiv:2411.18933.

The picture is shown as MedSAM2 was trained: grey as RGB, normalised by ImageNet's mean and standard deviation.  Prompts
follow SAM 2: a box is two corner tokens before the clicks, a corrected slice gets its earlier logits as mask prompt,
a drawn mask is the result itself and only makes the pointer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from ..models.prompt_encoder import FIRST_CORNER, SECOND_CORNER
from ..models.sam2 import SAM2, DecodedMask, ImageFeatures, Memory, RememberedPointer, RememberedSlice
from .crop import CropSettings
from .predictor import BankEntry, SlicePrediction, SlicePrompt
from .prompt_points import PROMPT_LOGIT_LIMIT, as_tensors, box_corners, clicks

if TYPE_CHECKING:
    from ..checkpoints import LoadedModel


@dataclass(frozen=True)
class RememberedObject:
    """Spatial memory and object pointer of one slice."""

    memory: Memory
    pointer: torch.Tensor


class Sam2Predictor:
    """A :class:`~MedSAMSegmentLib.inference.predictor.SlicePredictor` around a :class:`SAM2` network.

    A crop is shown at the smallest size that loses no resolution: Hiera is resolution-independent, and a small picture
    costs less.  EfficientTAM's plain transformer learned the positions of one size and is always shown that.

    Args:
        loaded: the model; its network decides the device.
    """

    neighbours = 0
    local_contrast = False
    revises = False
    key_candidates = 1

    def __init__(self, loaded: LoadedModel) -> None:
        network = loaded.network
        if not isinstance(network, SAM2):
            raise TypeError("Sam2Predictor needs a SAM2 network")
        self.loaded = loaded
        self.network = network.eval()
        self.identity = f"{loaded.spec.architecture}:{loaded.weights_sha256} {loaded.device.type}"
        self.memory_capacity = network.options.number_of_memories - 1
        size = int(loaded.spec.image_size)
        smaller = () if loaded.spec.architecture == "efficient-tam" else tuple(n for n in (256, 384, 512) if n < size)
        self.crop = CropSettings(context=0.5, sizes=(*smaller, size), full_slice_size=size)
        self.understands = loaded.spec.prompts
        self.needs_box = loaded.spec.needs_box
        self._device = loaded.device
        preprocessing = loaded.spec.preprocessing
        self._mean = torch.tensor(preprocessing.mean, device=self._device).reshape(1, 3, 1, 1)
        self._std = torch.tensor(preprocessing.std, device=self._device).reshape(1, 3, 1, 1)

    @torch.inference_mode()
    def encode(self, picture: np.ndarray) -> ImageFeatures:
        image = torch.from_numpy(np.ascontiguousarray(picture)).to(self._device)
        return self.network.encode_image((image.unsqueeze(0).expand(1, 3, -1, -1) - self._mean) / self._std)

    @torch.inference_mode()
    def predict(self, features: ImageFeatures, prompt: SlicePrompt, bank: Sequence[BankEntry]) -> SlicePrediction:
        if prompt.mask is not None:
            drawn = (torch.from_numpy(prompt.mask) >= 0.5).float().to(self._device)
            return _prediction(self.network.mask_as_output(features, drawn[None, None]))
        points, labels = self._points(prompt)
        count = 0 if labels is None else labels.shape[1]
        mask_input = None
        if prompt.own is not None:
            mask_input = prompt.own.to(self._device).clamp(-PROMPT_LOGIT_LIMIT, PROMPT_LOGIT_LIMIT)[None, None]
        decoded = self.network.decode(
            self._embedding(features, bank),
            features.high_resolution,
            points,
            labels,
            mask_input,
            multimask=prompt.all_candidates or self.network.use_multimask(count, tracked=not prompt.prompted),
        )
        return _prediction(decoded)

    @torch.inference_mode()
    def remember(self, features: ImageFeatures, prompt: SlicePrompt, prediction: SlicePrediction) -> RememberedObject:
        decoded: DecodedMask = prediction.state
        memory = self.network.encode_memory(
            features, decoded.high_res_logits, decoded.object_score_logits, prompted=prompt.prompted
        )
        return RememberedObject(memory, decoded.object_pointer)

    def _points(self, prompt: SlicePrompt) -> tuple[torch.Tensor | None, torch.Tensor | None]:
        """Box corners, then clicks: (1, n, 2) and (1, n).  A slice that is corrected keeps its mask, not the box."""
        corners = box_corners(prompt) if prompt.prompted and prompt.own is None else []
        places, labels = clicks(prompt)
        return as_tensors(corners + places, [FIRST_CORNER, SECOND_CORNER][: len(corners)] + labels, self._device)

    def _embedding(self, features: ImageFeatures, bank: Sequence[BankEntry]) -> torch.Tensor:
        """The slice in the light of what is remembered."""
        if not bank:
            return self.network.without_memory(features)
        slices = [RememberedSlice(entry.memory.memory, entry.rank) for entry in bank]
        pointers = [RememberedPointer(entry.memory.pointer, float(abs(entry.slices))) for entry in bank]
        return self.network.condition_on_memory(features, slices, pointers)


def _prediction(decoded: DecodedMask) -> SlicePrediction:
    return SlicePrediction(
        logits=decoded.low_res_logits[0, 0],
        predicted_iou=float(decoded.iou[0, 0]),
        object_score=float(decoded.object_score_logits[0, 0]),
        state=decoded,
        candidates=tuple(zip(decoded.candidate_logits[0], decoded.candidate_ious[0].tolist(), strict=True)),
    )
