"""The official programs of the SAM family on volumes, one object at a time, slice by slice.

* :func:`each_slice_alone`: the program for single images on every prompted slice (SAM, MobileSAM, MedicoSAM, and
  MedSAM's and LiteMedSAM's programs for images; Kirillov et al. 2023, Ma et al. 2024).
* :func:`box_to_box`: MedSAM and LiteMedSAM through a volume: a slice's box is the box about the mask of the slice
  before, or a box the user drew (``CVPR24_LiteMedSAM_infer.py``; MedSAM's extension for sparse markers).
* :func:`memory_both_ways`: SAM 2, MedSAM2, EfficientTAM: forward, forget, in reverse (Ravi et al. 2024; Ma et al.
  2025); from a diameter as MedSAM2's program for RECIST lines goes: clicks on it, and the mask they make as prompt.

Slices are (rows, columns) of 8 bits; coordinates are those of ``official.py``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..models.sam import SAM
from . import official_image
from .image_predictor import EncodedImage, ImagePredictor, MaskCandidates
from .official import OfficialPrompt, OfficialTracker
from .outcome import stability

Encoded = Callable[[int], EncodedImage]
"""Gives the encoded slice of an index."""

Box = tuple[float, float, float, float]

_CORNERS = [2, 3]

# A probability is a logit with a sign: kept away from 0 and 1, which have none.
_SURE = 1e-6


@dataclass(frozen=True)
class OfficialSlice:
    """One slice done.

    Attributes:
        index: the slice.
        mask: (rows, columns) bool.
        logits: (rows, columns) float32; above 0 is the object.
        score: estimated overlap x stability, or stability alone where the program has no estimate; 0..1.
        box: (4,) the box that prompted it, in pixels of the network's input, or none.
        low_res_logits: (1, 1, h, w) the network's answer at its own resolution, or none.
        estimate: (1, 1) the network's own estimate of the overlap, or none.
    """

    index: int
    mask: np.ndarray
    logits: np.ndarray
    score: float
    box: np.ndarray | None = None
    low_res_logits: Tensor | None = None
    estimate: Tensor | None = None


def each_slice_alone(
    predictor: ImagePredictor, encoded: Encoded, prompts: Mapping[int, OfficialPrompt]
) -> Iterator[OfficialSlice]:
    """Every prompted slice by itself.  A single click gets three masks, of which the best is taken."""
    for index, prompt in prompts.items():
        picture = encoded(index)
        given = [[*prompt.labels]] if len(prompt.points) else None
        found = predictor.predict(
            picture,
            points=None if given is None else np.array([prompt.points], np.float64),
            labels=None if given is None else np.array(given),
            boxes=None if prompt.box is None else np.array([prompt.box], np.float64),
            multimask=prompt.box is None and list(prompt.labels) == [1],
        )
        best = found.ious.argmax(dim=1, keepdim=True)
        chosen = MaskCandidates(found.logits[:, best[0]], found.ious[:, best[0]])
        yield _answer(predictor, index, picture, chosen)


@torch.inference_mode()
def box_to_box(
    predictor: ImagePredictor, encoded: Encoded, first: int, last: int, boxes: Mapping[int, Box]
) -> Iterator[OfficialSlice]:
    """From the slice with the largest box to the last slice, then from there to the first one.

    A slice with a box of its own is prompted with that; where the slice before is empty, the nearest box given serves.

    Args:
        predictor: MedSAM or LiteMedSAM.
        encoded: see :data:`Encoded`.
        first, last: slices, both inclusive.
        boxes: x0, y0, x1, y1 by slice, at least one.
    """
    network, spec = predictor.network, predictor.spec
    assert isinstance(network, SAM)
    key = max(boxes, key=lambda index: (_area(boxes[index]), -index))
    masks: dict[int, np.ndarray] = {}
    for index in [*range(key, last + 1), *range(key - 1, first - 1, -1)]:
        picture = encoded(index)
        before = masks.get(index - 1 if index > key else index + 1)
        if index not in boxes and before is not None and before.any():
            corners = official_image.box_around(before, spec)
        else:
            nearest = min(boxes, key=lambda other: (abs(other - index), other))
            places = np.array(boxes[nearest], np.float64).reshape(2, 2)
            corners = official_image.to_network(places, spec, picture.shape, box=True).reshape(4)
        points = torch.from_numpy(corners).float().reshape(1, 2, 2).to(predictor.device)
        assert isinstance(picture.features, Tensor)
        decoded = network.decode(picture.features, points, torch.tensor([_CORNERS], device=predictor.device))
        found = MaskCandidates(decoded.low_res_logits, decoded.iou)
        answer = _answer(predictor, index, picture, found, corners)
        masks[index] = answer.mask
        yield answer


def memory_both_ways(
    tracker: OfficialTracker, key_slice: int, prompts: Mapping[int, OfficialPrompt], mask_first: bool
) -> Iterator[OfficialSlice]:
    """From the key slice to the last one, and from the key slice to the first one.

    Args:
        tracker: with the whole volume.
        key_slice: where both passes begin; it has a prompt.
        prompts: by slice.
        mask_first: show the mask that the key slice's prompt makes, not the prompt itself, to both passes.
    """
    start = prompts[key_slice]
    if mask_first and start.mask is None:
        tracker.reset()
        start = OfficialPrompt(mask=tracker.prompt(key_slice, 0, start)[0] > 0)
    others = {index: prompt for index, prompt in prompts.items() if index != key_slice}
    for step in tracker.both_ways(key_slice, [start], others):
        logits = step.logits[0]
        yield OfficialSlice(step.index, logits > 0, logits, stability(torch.from_numpy(logits)))


def _answer(
    predictor: ImagePredictor,
    index: int,
    picture: EncodedImage,
    found: MaskCandidates,
    box: np.ndarray | None = None,
) -> OfficialSlice:
    """The first mask of the first prompt at the picture's size."""
    spec = predictor.spec
    values = predictor.at_image_size(found.logits[:, :1], picture.shape)
    mask = official_image.is_inside(values, spec)[0, 0].cpu().numpy()
    if spec.preprocessing.interpolated == "probabilities":
        values = values.clamp(_SURE, 1 - _SURE).logit()
    logits = values[0, 0].float().cpu()
    estimate = float(found.ious[0, 0].clamp(0, 1)) if spec.estimates_overlap else 1.0
    return OfficialSlice(
        index=index,
        mask=mask,
        logits=logits.numpy(),
        score=estimate * stability(found.logits[0, 0]),
        box=box,
        low_res_logits=found.logits,
        estimate=found.ious,
    )


def _area(box: Box) -> float:
    return (box[2] - box[0]) * (box[3] - box[1])
