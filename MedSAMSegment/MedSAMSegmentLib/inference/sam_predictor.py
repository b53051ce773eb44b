"""Slices to masks with the networks that remember nothing: SAM, MedSAM, LiteMedSAM, MobileSAM, MedicoSAM.

Kirillov et al. 2023, arXiv:2304.02643; Ma et al. 2024, Nature Communications 15, 654; Zhang et al. 2023,
arXiv:2306.14289; Archit et al. 2025, arXiv:2501.11734.

A slice with prompts is segmented from these alone.  Any other slice follows the last good slice: the box around that
slice's mask is the prompt, together with the mask itself where the network was trained with mask prompts.  The
embedding decides whether what was found is still the object (`appearance.py`); where it is not, the slice is empty, so
that tracking ends there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F

from ..models.prompt_encoder import FIRST_CORNER, SECOND_CORNER
from ..models.sam import SAM
from .appearance import Appearance, appearance_of, coverage, likeness
from .crop import CropSettings
from .outcome import stability
from .predictor import BankEntry, SlicePrediction, SlicePrompt
from .prompt_points import PROMPT_LOGIT_LIMIT, Places, as_tensors, box_corners, clicks

if TYPE_CHECKING:
    from ..checkpoints import LoadedModel

# The next slice's box is wider than the mask on each side by this part of the picture, so that the object may move and
# grow; the boxes MedSAM was trained with were wider by up to as much (20 of 1024 pixels).
_BOX_MARGIN = 20 / 1024

# Where less than half of a mask looks like the object, it is no longer the object.
_LEAST_LIKENESS = 0.5

# Logits of a slice without the object, and of a mask that was drawn.
_SURE_LOGIT = 10.0


@dataclass(frozen=True)
class FollowedSlice:
    """What the next slices need to know of a segmented one: (s, s) logits, and what the object looked like."""

    logits: torch.Tensor
    appearance: Appearance | None


class SamPredictor:
    """A :class:`~MedSAMSegmentLib.inference.predictor.SlicePredictor` around a :class:`SAM` network.

    The picture always has the size that the network was trained with: its position embedding knows no other.  A model
    whose program stretches each picture's grey values from the lowest to the highest sees those of the crop stretched,
    by the same amount on every slice.

    Args:
        loaded: the model; its network decides the device.
    """

    neighbours = 0
    revises = False
    key_candidates = 1
    memory_capacity = 1

    def __init__(self, loaded: LoadedModel) -> None:
        network, spec = loaded.network, loaded.spec
        if not isinstance(network, SAM):
            raise TypeError("SamPredictor needs a SAM network")
        self.loaded = loaded
        self.network = network.eval()
        self.identity = f"{spec.architecture}:{loaded.weights_sha256} {loaded.device.type}"
        self.understands = spec.prompts
        self.needs_box = spec.needs_box or "points" not in spec.prompts
        rules, size = spec.preprocessing, int(spec.image_size)
        self.local_contrast = rules.intensities == "min-max"
        self.crop = CropSettings(
            context=0.5,
            sizes=(size,),
            largest_magnification=4.0,
            full_slice_size=size,
            keeps_aspect=rules.resize == "longest-side",
        )
        self._estimates_overlap = spec.estimates_overlap
        self._device = loaded.device
        self._mean = torch.tensor(rules.mean, device=self._device).reshape(1, -1, 1, 1)
        self._std = torch.tensor(rules.std, device=self._device).reshape(1, -1, 1, 1)

    @torch.inference_mode()
    def encode(self, picture: np.ndarray) -> torch.Tensor:
        image = torch.from_numpy(np.ascontiguousarray(picture)).to(self._device).unsqueeze(0)
        return self.network.encode_image((image.expand(1, self._mean.shape[1], -1, -1) - self._mean) / self._std)

    @torch.inference_mode()
    def predict(self, features: torch.Tensor, prompt: SlicePrompt, bank: Sequence[BankEntry]) -> SlicePrediction:
        if prompt.mask is not None:
            return self._drawn(features, prompt.mask)
        if prompt.prompted:
            return self._prompted(features, prompt)
        return self._followed(features, prompt, bank)

    @torch.inference_mode()
    def remember(self, features: torch.Tensor, prompt: SlicePrompt, prediction: SlicePrediction) -> FollowedSlice:
        covered = coverage(prediction.logits, _grid(features))
        return FollowedSlice(prediction.logits, appearance_of(features[0], covered))

    # ---- three kinds of slices -------------------------------------------------------------------------------------

    def _prompted(self, features: torch.Tensor, prompt: SlicePrompt) -> SlicePrediction:
        """From the user's prompts: clicks, then the box.  A slice that is corrected keeps its mask, not the box."""
        places, labels = clicks(prompt) if "points" in self.understands else ([], [])
        own = prompt.own if "mask" in self.understands and places else None
        corners = box_corners(prompt) if own is None else []
        # One click may mean a part or the whole; three masks are offered for it and the best is taken.
        ambiguous = labels == [1] and not corners and own is None
        multimask = ambiguous or (prompt.all_candidates and "points" in self.understands)
        return self._decoded(features, places, labels, corners, own, multimask)

    def _followed(self, features: torch.Tensor, prompt: SlicePrompt, bank: Sequence[BankEntry]) -> SlicePrediction:
        """From the mask of the last good slice; from the 3-D box's rectangle where that is empty."""
        nearest = min(bank, key=lambda entry: abs(entry.slices), default=None)
        followed: FollowedSlice | None = None if nearest is None else nearest.memory
        corners = [] if nearest is None else self._box_about(nearest.memory.logits, prompt, abs(nearest.slices))
        if followed is None or not corners:
            return self._decoded(features, [], [], box_corners(prompt), None, multimask=False)
        shown = followed.logits if "mask" in self.understands else None
        found = self._decoded(features, [], [], corners, shown, multimask=False)
        remembered = [entry.memory.appearance for entry in bank if entry.memory.appearance is not None]
        if not remembered:
            return found
        alike = likeness(features[0], coverage(found.logits, _grid(features)), remembered)
        return SlicePrediction(
            logits=found.logits if alike >= _LEAST_LIKENESS else torch.full_like(found.logits, -_SURE_LOGIT),
            predicted_iou=found.predicted_iou * alike,
            object_score=(alike - _LEAST_LIKENESS) * 2 * _SURE_LOGIT,
        )

    def _drawn(self, features: torch.Tensor, mask: np.ndarray) -> SlicePrediction:
        """The user's mask as the answer."""
        size = [4 * side for side in _grid(features)]
        drawn = torch.from_numpy(np.ascontiguousarray(mask, dtype=np.float32)).to(self._device)[None, None]
        logits = (F.interpolate(drawn, size=size, mode="area")[0, 0] * 2 - 1) * _SURE_LOGIT
        return SlicePrediction(logits, 1.0, _SURE_LOGIT if bool((logits > 0).any()) else -_SURE_LOGIT)

    # ---- the network -----------------------------------------------------------------------------------------------

    def _decoded(
        self,
        features: torch.Tensor,
        places: Places,
        labels: list[int],
        corners: Places,
        earlier: torch.Tensor | None,
        multimask: bool,
    ) -> SlicePrediction:
        """One answer of the mask decoder; an empty mask where there is nothing to ask."""
        if not places and not corners and earlier is None:
            empty = features.new_full([4 * side for side in _grid(features)], -_SURE_LOGIT)
            return SlicePrediction(empty, 0.0, -_SURE_LOGIT)
        kinds = [*labels, *[FIRST_CORNER, SECOND_CORNER][: len(corners)]]
        points, point_labels = as_tensors(places + corners, kinds, self._device)
        if earlier is not None:
            earlier = earlier.to(self._device).clamp(-PROMPT_LOGIT_LIMIT, PROMPT_LOGIT_LIMIT)[None, None]
        decoded = self.network.decode(features, points, point_labels, earlier, multimask)
        logits = decoded.low_res_logits[0, 0].float()
        candidates = [
            (one.float(), self._overlap(one, float(iou)))
            for one, iou in zip(decoded.candidate_logits[0], decoded.candidate_ious[0], strict=True)
        ]
        present = bool((logits > 0).any())
        return SlicePrediction(
            logits=logits,
            predicted_iou=self._overlap(logits, float(decoded.iou[0, 0])),
            object_score=_SURE_LOGIT if present else -_SURE_LOGIT,
            candidates=tuple(candidates),
        )

    def _overlap(self, logits: torch.Tensor, estimate: float) -> float:
        """The network's estimate, 0..1; the mask's stability stands in where the estimate was not trained."""
        return min(max(estimate, 0.0), 1.0) if self._estimates_overlap else stability(logits)

    def _box_about(self, logits: torch.Tensor, prompt: SlicePrompt, slices: int) -> Places:
        """Two corners around the mask of a slice so many slices away, a little wider; nothing around an empty one.

        What the user's 3-D box leaves no room for is left out.
        """
        found = torch.nonzero(logits > 0)
        if len(found) == 0:
            return []
        size = prompt.frame.size
        scale, margin = size / logits.shape[-1], _BOX_MARGIN * size * slices
        (top, left), (bottom, right) = found.amin(0).tolist(), found.amax(0).tolist()
        low = np.array([left, top]) * scale - margin
        high = (np.array([right, bottom]) + 1) * scale - 1 + margin
        low, high = np.maximum(low, 0.0), np.minimum(high, size - 1.0)
        allowed = box_corners(prompt)
        if allowed:
            first, last = np.array(allowed[0]) - margin, np.array(allowed[1]) + margin
            if (np.maximum(low, first) < np.minimum(high, last)).all():
                low, high = np.maximum(low, first), np.minimum(high, last)
        return [(float(low[0]), float(low[1])), (float(high[0]), float(high[1]))]


def _grid(features: torch.Tensor) -> tuple[int, int]:
    return int(features.shape[-2]), int(features.shape[-1])
