"""The SAM network: an image encoder and a promptable mask decoder, without memory.

Kirillov et al., "Segment Anything", 2023 (arXiv:2304.02643).  SAM, MedSAM (Ma et al., 2024, Nature Communications 15,
654), MedicoSAM, MobileSAM and LiteMedSAM are this class with other image encoders; attribute names follow the official
checkpoints, so their state dictionaries load strictly and without conversion.

The network keeps no state between calls::

    embedding = network.encode_image(image)                                     # once an image
    decoded = network.decode(embedding, points, labels, multimask=True)         # once a prompt

Shapes: ``B`` objects (or images), ``C`` channels of the embedding, ``(h, w)`` = image size / ``stride``.  Point
coordinates are (x, y) in pixels of the network's input image; a pixel centre sits on the integer (half a pixel is
added inside).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .mask_decoder import MaskDecoder
from .prompt_encoder import FIRST_CORNER, PromptEncoder


@dataclass(frozen=True)
class SAMMask:
    """What the mask decoder makes of one set of prompts, for ``B`` objects."""

    low_res_logits: Tensor
    """(B, 1, 4h, 4w) the chosen mask: of several, the one of highest estimated overlap."""
    iou: Tensor
    """(B, 1) the network's estimate of its intersection over union; it is not confined to 0 .. 1."""
    candidate_logits: Tensor
    """(B, M, 4h, 4w) all masks offered: M = 1, or 3 with ``multimask``."""
    candidate_ious: Tensor
    """(B, M)."""


class SAM(nn.Module):
    """SAM put together from its parts.

    Args:
        image_encoder: any module that returns a list whose last map is the embedding, and says its ``strides``.
        prompt_encoder, mask_decoder: the two halves of the head.
    """

    def __init__(self, image_encoder: nn.Module, prompt_encoder: PromptEncoder, mask_decoder: MaskDecoder) -> None:
        super().__init__()
        self.image_encoder = image_encoder
        self.prompt_encoder = prompt_encoder
        self.mask_decoder = mask_decoder
        self.stride = int(image_encoder.strides[-1])
        """Input pixels a cell of the embedding."""

    def encode_image(self, image: Tensor) -> Tensor:
        """The embedding (B, C, h, w) of prepared images (B, 3, H, W); it depends on no prompt and can be cached."""
        return self.image_encoder(image)[-1]

    def decode(
        self,
        embedding: Tensor,
        points: Tensor | None = None,
        labels: Tensor | None = None,
        mask_input: Tensor | None = None,
        multimask: bool = False,
    ) -> SAMMask:
        """Turn prompts into one mask an object.

        Args:
            embedding: (B or 1, C, h, w) from :meth:`encode_image`.
            points: (B, N, 2) in input pixels; a box is its two corners, after the other points.
            labels: (B, N) 1 inside, 0 outside, 2 and 3 first and second box corner, -1 padding.
            mask_input: (B or 1, 1, *, *) logits of an earlier mask of the image.
            multimask: offer three masks and take the one of highest estimated overlap.
        """
        size = (int(embedding.shape[-2]) * self.stride, int(embedding.shape[-1]) * self.stride)
        sparse, dense = self.encode_prompts(points, labels, mask_input, size)
        output = self.mask_decoder(
            embedding=embedding,
            position=self.prompt_encoder.dense_position(embedding.shape[-2:]),
            sparse_prompts=sparse,
            dense_prompts=dense,
            multimask=multimask,
        )
        best = output.ious.argmax(dim=1)
        rows = torch.arange(len(best), device=best.device)
        return SAMMask(
            low_res_logits=output.logits[rows, best].unsqueeze(1),
            iou=output.ious[rows, best].unsqueeze(1),
            candidate_logits=output.logits,
            candidate_ious=output.ious,
        )

    def encode_prompts(
        self, points: Tensor | None, labels: Tensor | None, mask_input: Tensor | None, size: tuple[int, int]
    ) -> tuple[Tensor, Tensor]:
        """Sparse (B, N or N + 1, C) and dense (B or 1, C, h, w) embeddings; ``size`` is the input image's (H, W).

        Points without a box are followed by a padding point, as in training.
        """
        grid = (size[0] // self.stride, size[1] // self.stride)
        mask_size = (grid[0] * 4, grid[1] * 4)
        if mask_input is not None and tuple(mask_input.shape[-2:]) != mask_size:
            mask_input = F.interpolate(
                mask_input.float(), size=mask_size, mode="bilinear", align_corners=False, antialias=True
            )
        pad = labels is not None and not bool((labels >= FIRST_CORNER).any())
        return self.prompt_encoder(points, labels, mask_input, grid=grid, image_size=size, pad=pad)
