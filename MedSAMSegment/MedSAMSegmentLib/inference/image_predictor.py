"""One picture, many prompts: what the official image programs of SAM and SAM 2 do, for every model that has one.

A picture is encoded once, as the authors of the model prepare it (see ``official_image``); then any number of prompts,
many at a time, are turned into masks of the picture's own size::

    predictor = ImagePredictor(load_model("sam-vit-b"))
    encoded = predictor.encode(image)                                          # (H, W) or (H, W, 3) uint8
    found = predictor.predict(encoded, boxes=np.array([[30, 40, 90, 110]]))
    mask = predictor.masks(encoded, found)[0, 0]                               # (H, W) bool

Coordinates are (x, y) in pixels of the picture, pixel centres on integers; a box is the first and the last column and
row of the object.  This is the two-dimensional door: colour is kept, nothing is cropped or cleaned up, nothing is
remembered from one picture to the next.  Volumes go through a ``Session``.

Kirillov et al., "Segment Anything", 2023 (arXiv:2304.02643); Ravi et al., "SAM 2", 2024 (arXiv:2408.00714); Ma et al.,
"Segment anything in medical images", 2024, Nature Communications 15, 654.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from ..errors import UsageError
from ..models.sam import SAM
from ..models.sam2 import SAM2, ImageFeatures
from . import official_image

if TYPE_CHECKING:
    from ..checkpoints import LoadedModel
    from ..models.specification import ModelSpec

IMAGE_ARCHITECTURES = ("sam", "sam-tiny-vit", "sam2", "efficient-tam")
"""Architectures with an official image program."""

_FIRST_CORNER, _SECOND_CORNER = 2, 3


def check_takes_points(spec: ModelSpec) -> None:
    """Refuse a model that cannot be asked with points alone.

    Raises:
        UsageError: ``NO_IMAGE_MODEL``, or ``PROMPT_NOT_TRAINED`` for weights that were trained with boxes.
    """
    from ..checkpoints import list_models

    if spec.architecture not in IMAGE_ARCHITECTURES:
        raise _no_image_model(spec)
    if not _takes_points(spec):
        # One model of each architecture is hint enough.
        others = {item.architecture: item.name for item in reversed(list_models()) if _takes_points(item)}
        names = ", ".join(others[name] for name in IMAGE_ARCHITECTURES if name in others)
        raise UsageError(
            "PROMPT_NOT_TRAINED",
            f"The model '{spec.name}' was not trained with points.",
            f"Choose another one, for example {names}.",
        )


@dataclass(frozen=True)
class EncodedImage:
    """What the image encoder says about one picture, and the picture's (rows, columns)."""

    features: Tensor | ImageFeatures
    shape: tuple[int, int]


@dataclass(frozen=True)
class MaskCandidates:
    """The answers to B prompts, M masks each."""

    logits: Tensor
    """(B, M, h, w) at the network's own low resolution."""
    ious: Tensor
    """(B, M) the network's estimates of each mask's overlap with the truth; SAM does not confine them to 0..1."""


class ImagePredictor:
    """See the module's text.

    Args:
        loaded: the model; its network decides the device.

    Raises:
        UsageError: ``NO_IMAGE_MODEL`` for a model that segments nothing but volumes.
    """

    def __init__(self, loaded: LoadedModel) -> None:
        if loaded.spec.architecture not in IMAGE_ARCHITECTURES:
            raise _no_image_model(loaded.spec)
        assert isinstance(loaded.network, SAM | SAM2)
        self.spec: ModelSpec = loaded.spec
        self.network: SAM | SAM2 = loaded.network
        self.device = loaded.device

    @torch.inference_mode()
    def encode(self, image: np.ndarray) -> EncodedImage:
        """Prepare and encode a picture (H, W) or (H, W, 3) of 8 bits.

        Raises:
            InputError: ``WRONG_IMAGE`` if that is not what ``image`` is.
        """
        prepared = torch.from_numpy(official_image.network_input(image, self.spec)).to(self.device)
        rows, columns = image.shape[:2]
        return EncodedImage(self.network.encode_image(prepared), (int(rows), int(columns)))

    @torch.inference_mode()
    def predict(
        self,
        encoded: EncodedImage,
        points: np.ndarray | None = None,
        labels: np.ndarray | None = None,
        boxes: np.ndarray | None = None,
        mask_logits: Tensor | None = None,
        multimask: bool = False,
    ) -> MaskCandidates:
        """The masks of B objects.

        Args:
            encoded: the picture.
            points: (B, N, 2), clicks.
            labels: (B, N), 1 inside, 0 outside.
            boxes: (B, 4) as x0, y0, x1, y1.
            mask_logits: (B, 1, h, w) logits of an earlier answer.
            multimask: three masks for each prompt, from part to whole; otherwise the one the network settles on.

        Raises:
            UsageError: ``EMPTY_PROMPT`` when there is neither a point nor a box nor a mask; ``PROMPT_NOT_TRAINED`` for
                a model that was trained with scribbles only.
        """
        if "box" not in self.spec.prompts:
            raise only_scribbles(self.spec)
        return self._decoded(encoded, *self._tokens(encoded.shape, points, labels, boxes), mask_logits, multimask)

    @torch.inference_mode()
    def predict_from_scribble(self, encoded: EncodedImage, scribble: np.ndarray) -> MaskCandidates:
        """The mask of one object of which strokes are known, (rows, columns) bool of the picture.

        Raises:
            UsageError: ``PROMPT_NOT_TRAINED`` for a model that was not trained with scribbles.
        """
        if "scribble" not in self.spec.prompts:
            raise UsageError(
                "PROMPT_NOT_TRAINED",
                f"The model '{self.spec.name}' was not trained with scribbles.",
                "Choose lite-medsam-scribble, or give boxes.",
            )
        drawn = torch.from_numpy(official_image.scribble_input(scribble, self.spec))
        return self._decoded(encoded, None, None, drawn, multimask=False)

    def _decoded(
        self,
        encoded: EncodedImage,
        tokens: Tensor | None,
        kinds: Tensor | None,
        mask_logits: Tensor | None,
        multimask: bool,
    ) -> MaskCandidates:
        if tokens is None and mask_logits is None:
            raise UsageError("EMPTY_PROMPT", "There is no prompt.", "Give points, a box or an earlier mask.")
        if mask_logits is not None:
            mask_logits = mask_logits.to(self.device)
        if isinstance(self.network, SAM2):
            assert isinstance(encoded.features, ImageFeatures)
            decoded = self.network.decode(
                self.network.without_memory(encoded.features),
                encoded.features.high_resolution,
                tokens,
                kinds,
                mask_logits,
                multimask,
            )
            return MaskCandidates(decoded.candidate_logits, decoded.candidate_ious)
        assert isinstance(self.network, SAM) and isinstance(encoded.features, Tensor)
        answer = self.network.decode(encoded.features, tokens, kinds, mask_logits, multimask)
        return MaskCandidates(answer.candidate_logits, answer.candidate_ious)

    @torch.inference_mode()
    def at_image_size(self, logits: Tensor, shape: tuple[int, int]) -> Tensor:
        """(B, M, h, w) low-resolution logits as (B, M, rows, columns): logits, or probabilities for a model whose
        official program interpolates these.
        """
        return official_image.at_image_size(logits, self.spec, shape)

    def masks(self, encoded: EncodedImage, candidates: MaskCandidates) -> np.ndarray:
        """(B, M, rows, columns) bool at the picture's size."""
        values = self.at_image_size(candidates.logits, encoded.shape)
        return official_image.is_inside(values, self.spec).cpu().numpy()

    def scores(self, candidates: MaskCandidates) -> np.ndarray:
        """(B, M) how far each mask can be trusted, 0..1: estimated overlap x stability; stability alone for weights
        whose estimate was never trained.
        """
        inner = (candidates.logits > 1).flatten(2).sum(dim=2)
        outer = (candidates.logits > -1).flatten(2).sum(dim=2)
        stability = torch.where(outer > 0, inner / outer.clamp(min=1), 1.0)
        if self.spec.estimates_overlap:
            stability = stability * candidates.ious.float().clamp(0, 1)
        return stability.cpu().numpy()

    def _tokens(
        self,
        shape: tuple[int, int],
        points: np.ndarray | None,
        labels: np.ndarray | None,
        boxes: np.ndarray | None,
    ) -> tuple[Tensor | None, Tensor | None]:
        """(B, n, 2) places in the network's input and (B, n) kinds; SAM wants points first, SAM 2 the box."""
        parts: list[tuple[np.ndarray, np.ndarray]] = []
        if points is not None and labels is not None:
            parts.append((official_image.to_network(points, self.spec, shape), np.asarray(labels, np.int64)))
        if boxes is not None:
            corners = np.asarray(boxes, np.float64).reshape(-1, 2, 2)
            kinds = np.tile([_FIRST_CORNER, _SECOND_CORNER], (len(corners), 1))
            parts.append((official_image.to_network(corners, self.spec, shape, box=True), kinds))
        if not parts:
            return None, None
        if isinstance(self.network, SAM2):
            parts.reverse()
        places, found = (np.concatenate(items, axis=1) for items in zip(*parts, strict=True))
        return torch.from_numpy(places).float().to(self.device), torch.from_numpy(found).to(self.device)


def _takes_points(spec: ModelSpec) -> bool:
    return "points" in spec.prompts and not spec.needs_box


def only_scribbles(spec: ModelSpec) -> UsageError:
    """For everything but scribbles on pictures."""
    return UsageError(
        "PROMPT_NOT_TRAINED",
        f"The model '{spec.name}' was trained with scribbles on pictures only.",
        "Run medsamsegment challenge on pictures with 'scribbles', or choose another model.",
    )


def _no_image_model(spec: ModelSpec) -> UsageError:
    return UsageError(
        "NO_IMAGE_MODEL",
        f"The model '{spec.name}' has no way of its own with a single picture.",
        "Choose a model of the SAM family: medsamsegment models list.",
    )
