"""SAM's mask decoder, with SAM 2's additions: high-resolution features and a score that the object is there at all.

Kirillov et al., "Segment Anything", 2023 (arXiv:2304.02643); Ravi et al., "SAM 2", 2024 (arXiv:2408.00714).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .layers import LayerNorm2d, MultilayerPerceptron, enlarge
from .two_way_transformer import TwoWayTransformer

_ALWAYS_PRESENT = 10.0
"""Object score logit of a decoder that has no such head."""

OBJECTS_AT_ONCE = 8
"""So many are decoded at once on a CPU."""


@dataclass(frozen=True)
class DecoderOutput:
    """Masks for ``B`` objects: M = 1, or all of the multimask candidates."""

    logits: Tensor
    """(B, M, 4h, 4w)."""
    ious: Tensor
    """(B, M)."""
    mask_tokens: Tensor
    """(B, M or 1, dim)."""
    object_score_logits: Tensor
    """(B, 1)."""


class MaskDecoder(nn.Module):
    """Image embedding + prompts -> mask logits at four times the embedding's resolution.

    Args:
        dim: channels of the image embedding.
        transformer: the two-way transformer.
        multimask_outputs: masks offered for an ambiguous prompt, beside the single mask.
        iou_head_depth, iou_head_dim: layers and width of the overlap head.
        iou_sigmoid: the overlap head ends in a sigmoid (SAM 2).
        high_resolution: add finer features of the image encoder while enlarging (SAM 2).
        object_score: predict whether the object is there (SAM 2).
        multimask_token_pointers: with multimask, hand out the token of every candidate, not only the single one's.
        stability: (margin, threshold) in logits and IoU: outside of training, a single mask whose outline moves too
            much with the cut-off gives way to the best of the candidates; None switches it off.
        widths: channels after the first and the second enlargement; dim / 4 and dim / 8 by default.
    """

    def __init__(
        self,
        dim: int,
        transformer: TwoWayTransformer,
        multimask_outputs: int = 3,
        iou_head_depth: int = 3,
        iou_head_dim: int = 256,
        iou_sigmoid: bool = True,
        high_resolution: bool = True,
        object_score: bool = True,
        multimask_token_pointers: bool = True,
        stability: tuple[float, float] | None = (0.05, 0.98),
        widths: tuple[int, int] | None = None,
    ) -> None:
        super().__init__()
        self.dim = dim
        middle, fine = widths or (dim // 4, dim // 8)
        self.transformer = transformer
        self.high_resolution = high_resolution
        self.object_score = object_score
        self.multimask_token_pointers = multimask_token_pointers
        self.stability = stability

        masks = multimask_outputs + 1
        self.iou_token = nn.Embedding(1, dim)
        self.mask_tokens = nn.Embedding(masks, dim)
        if object_score:
            self.obj_score_token = nn.Embedding(1, dim)
            self.pred_obj_score_head = MultilayerPerceptron(dim, dim, 1, layers=3)
        self.output_upscaling = nn.Sequential(
            nn.ConvTranspose2d(dim, middle, kernel_size=2, stride=2),
            LayerNorm2d(middle),
            nn.GELU(),
            nn.ConvTranspose2d(middle, fine, kernel_size=2, stride=2),
            nn.GELU(),
        )
        # A subclass works on the enlarged maps here.
        self.refine1: nn.Module = nn.Identity()
        self.refine2: nn.Module = nn.Identity()
        if high_resolution:
            self.conv_s0 = nn.Conv2d(dim, fine, kernel_size=1)
            self.conv_s1 = nn.Conv2d(dim, middle, kernel_size=1)
        self.output_hypernetworks_mlps = nn.ModuleList(
            MultilayerPerceptron(dim, dim, fine, layers=3) for _ in range(masks)
        )
        self.iou_prediction_head = MultilayerPerceptron(
            dim, iou_head_dim, masks, layers=iou_head_depth, sigmoid=iou_sigmoid
        )

    def project_high_resolution(self, levels: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Bring the encoder's two finer levels (stride 1/4 and 1/2 of the embedding's) to the decoder's widths."""
        if not self.high_resolution:
            return ()
        return self.conv_s0(levels[0]), self.conv_s1(levels[1])

    def forward(
        self,
        embedding: Tensor,
        position: Tensor,
        sparse_prompts: Tensor,
        dense_prompts: Tensor,
        high_resolution: Sequence[Tensor] = (),
        multimask: bool = False,
    ) -> DecoderOutput:
        """Predict masks.

        Args:
            embedding: (B or 1, dim, h, w).
            position: (1, dim, h, w), the encoding of the grid.
            sparse_prompts: (B, N, dim).
            dense_prompts: (B or 1, dim, h, w), added to the embedding.
            high_resolution: as :meth:`project_high_resolution` gives them, batch B or 1.
            multimask: all candidates, or the one mask.
        """
        everything = self.predict_masks(embedding, position, sparse_prompts, dense_prompts, high_resolution)
        if multimask:
            tokens = everything.mask_tokens[:, 1:] if self.multimask_token_pointers else everything.mask_tokens[:, :1]
            logits, ious = everything.logits[:, 1:], everything.ious[:, 1:]
        else:
            tokens = everything.mask_tokens[:, :1]
            logits, ious = everything.logits[:, :1], everything.ious[:, :1]
            if self.stability is not None and not self.training:
                logits, ious = self._stable_mask(everything, *self.stability)
        return DecoderOutput(logits, ious, tokens, everything.object_score_logits)

    def predict_masks(
        self,
        embedding: Tensor,
        position: Tensor,
        sparse_prompts: Tensor,
        dense_prompts: Tensor,
        high_resolution: Sequence[Tensor] = (),
    ) -> DecoderOutput:
        """All masks: the single one first, then the candidates."""
        # The enlarged maps of few objects stay in a processor's cache, those of many do not.
        objects = len(sparse_prompts)
        step = OBJECTS_AT_ONCE if sparse_prompts.device.type == "cpu" else objects
        given = (embedding, position, sparse_prompts, dense_prompts, *high_resolution)
        parts = [self.compute(*(_rows(one, first, step) for one in given)) for first in range(0, objects, step)]
        together = (torch.cat(values) if len(parts) > 1 else values[0] for values in zip(*parts, strict=True))
        return DecoderOutput(*together)

    def compute(
        self,
        embedding: Tensor,
        position: Tensor,
        sparse_prompts: Tensor,
        dense_prompts: Tensor,
        *high_resolution: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """What :class:`DecoderOutput` holds, as a function of tensors alone, so that another runtime can compute it."""
        batch = sparse_prompts.shape[0]
        high_resolution = tuple(level.contiguous(memory_format=torch.channels_last) for level in high_resolution)
        output_tokens = [self.iou_token.weight, self.mask_tokens.weight]
        if self.object_score:
            output_tokens.insert(0, self.obj_score_token.weight)
        own = torch.cat(output_tokens).unsqueeze(0).expand(batch, -1, -1)
        tokens = torch.cat([own, sparse_prompts], dim=1)

        source = embedding + dense_prompts
        height, width = source.shape[-2:]
        # Contiguous, so that the last bits do not depend on how features lay in memory (they may come from a disk).
        grids = (grid.flatten(2).transpose(1, 2).contiguous() for grid in (source, position))
        tokens, image = self.transformer(tokens, *grids)
        image = image.transpose(1, 2).reshape(batch, self.dim, height, width)

        first = int(self.object_score)
        iou_token = tokens[:, first]
        mask_tokens = tokens[:, first + 1 : first + 1 + self.mask_tokens.num_embeddings]
        upscaled = self.upscale(image, high_resolution)
        weights = torch.stack(
            [head(mask_tokens[:, index]) for index, head in enumerate(self.output_hypernetworks_mlps)], dim=1
        )
        logits = (weights @ upscaled.flatten(2)).unflatten(-1, upscaled.shape[-2:])
        if self.object_score:
            score = self.pred_obj_score_head(tokens[:, 0])
        else:
            score = iou_token.new_full((batch, 1), _ALWAYS_PRESENT)
        return logits, self.iou_prediction_head(iou_token), mask_tokens, score

    def upscale(self, image: Tensor, high_resolution: Sequence[Tensor]) -> Tensor:
        """(B, dim, h, w) -> (B, dim / 8, 4h, 4w), with finer image features added at each step where there are any."""
        if not self.high_resolution:
            return self.output_upscaling(image)
        up1, norm, act1, up2, act2 = self.output_upscaling
        fine, middle = (level.movedim(1, -1) for level in high_resolution)
        image = enlarge(image.movedim(1, -1), up1.weight, up1.bias) + middle
        image = act1(F.layer_norm(image, image.shape[-1:], norm.weight, norm.bias, norm.eps))
        image = self.refine1(image.movedim(-1, 1)).movedim(1, -1)
        return self.refine2(act2(enlarge(image, up2.weight, up2.bias) + fine).movedim(-1, 1))

    @staticmethod
    def _stable_mask(everything: DecoderOutput, margin: float, threshold: float) -> tuple[Tensor, Tensor]:
        """The single mask where it is stable, otherwise the candidate of highest estimated overlap."""
        single, single_iou = everything.logits[:, :1], everything.ious[:, :1]
        inner = (single > margin).flatten(2).sum(dim=-1)
        outer = (single > -margin).flatten(2).sum(dim=-1)
        stable = torch.where(outer > 0, inner / outer, 1.0) >= threshold  # (B, 1)
        best = everything.ious[:, 1:].argmax(dim=1) + 1
        rows = torch.arange(len(best), device=best.device)
        logits = torch.where(stable[..., None, None], single, everything.logits[rows, best].unsqueeze(1))
        return logits, torch.where(stable, single_iou, everything.ious[rows, best].unsqueeze(1))


def _rows(given: Tensor, first: int, count: int) -> Tensor:
    """The objects decoded at once; what is the same for all stays."""
    return given if len(given) == 1 else given[first : first + count]
