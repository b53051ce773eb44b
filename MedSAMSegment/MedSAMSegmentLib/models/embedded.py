"""The network this project trains itself: SAM 2's parts, a light trunk, and a prompt that knows the 3-D box.

SAM tells its network a box by two corner tokens. A 3-D box says more: how far every pixel of every slice lies from
each of its six faces, and so where a slice is between the box's ends. That, the masks of the neighbouring slices and
the clicks are given as maps (``DENSE_CHANNELS``), encoded by a few convolutions and added to the image features at
three scales, so the mask decoder sees them as finely as the image. Slices are shown with their neighbours as the
three image channels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .coarse import CoarseNetwork
from .conv_trunk import ConvTrunk, ResidualBlock, norm_relu
from .corrector import CorrectingNetwork
from .fpn_neck import FPNNeck
from .image_encoder import ImageEncoder
from .mask_decoder import MaskDecoder
from .memory_attention import MemoryAttention
from .memory_encoder import MemoryEncoder
from .prompt_encoder import PromptEncoder
from .rectangle_unet import RectangleUNet
from .sam2 import SAM2, ImageFeatures, Memory, SAM2Options
from .two_way_transformer import TwoWayTransformer

DENSE_CHANNELS = 16
"""Six distances to the faces, inside, slice step, (mask, known) below, above and here, positive, negative clicks."""

IMAGE_MEAN, IMAGE_SCALE = 0.45, 0.27
"""Typical mean and standard deviation of a windowed crop in [0, 1]."""


@dataclass(frozen=True)
class SlicePrompts:
    """Everything known about B objects on one slice, as maps of the size of the low-resolution mask, (4h, 4w).

    Attributes:
        box_coordinates: (B, 3, 4h, 4w) place of every pixel in the box; -1 and 1 are faces.
        slice_step: (B,) distance between slices over half the box's depth.
        below, above: (B, 1, 4h, 4w) mask logits of the slices before and after, or None.
        own: (B, 1, 4h, 4w) mask logits of this very slice before a correction, or None.
        points: (B, N, 2) clicks (x, y) in input pixels; N may be 0.
        labels: (B, N) 1 inside, 0 outside, -1 none.
    """

    box_coordinates: Tensor
    slice_step: Tensor
    below: Tensor | None = None
    above: Tensor | None = None
    own: Tensor | None = None
    points: Tensor | None = None
    labels: Tensor | None = None


@dataclass(frozen=True)
class SliceMask:
    """The network's answer for B objects on one slice.

    Attributes:
        logits: (B, 1, 4h, 4w) mask logits.
        iou: (B, 1) estimated intersection over union, 0..1.
        object_score_logits: (B, 1) above 0: the object is on this slice.
        object_pointer: (B, C) summary of the object for later slices.
    """

    logits: Tensor
    iou: Tensor
    object_score_logits: Tensor
    object_pointer: Tensor


class DensePromptEncoder(nn.Module):
    """Prompt maps (B, 16, 4h, 4w) -> what to add to the features at 4, 2 and 1 times the embedding's resolution."""

    def __init__(self, fine: int, middle: int, coarse: int) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(DENSE_CHANNELS, fine, 3, padding=1), *norm_relu(fine))
        self.fine = nn.Conv2d(fine, fine, 3, padding=1)
        self.reduce1 = nn.Sequential(nn.Conv2d(fine, middle, 3, stride=2, padding=1), *norm_relu(middle))
        self.middle = nn.Conv2d(middle, middle, 1)
        self.reduce2 = nn.Sequential(nn.Conv2d(middle, coarse, 3, stride=2, padding=1), *norm_relu(coarse))
        self.coarse = nn.Conv2d(coarse, coarse, 1)

    def forward(self, maps: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        fine = self.stem(maps)
        middle = self.reduce1(fine)
        return self.fine(fine), self.middle(middle), self.coarse(self.reduce2(middle))


class ConvolutionalMaskDecoder(MaskDecoder):
    """SAM 2's mask decoder with a residual block after each enlargement: it refines where the prompt says to look."""

    def __init__(self, dim: int, widths: tuple[int, int], transformer: TwoWayTransformer, **options: object) -> None:
        super().__init__(dim, transformer, widths=widths, **options)
        self.refine1 = ResidualBlock(widths[0])
        self.refine2 = ResidualBlock(widths[1])


class EmbeddedNetwork(SAM2):
    """SAM 2 with dense prompts; see the module's text. Pictures are (B, 3, S, S) in [0, 1], S a multiple of 16.

    Args:
        coarse: looks at the whole box first; None where weights have no such part.
        corrector: looks at it again when somebody has clicked; None where weights have no such part.
        rectangle_unet: segments slices from a rectangle alone; None where weights have no such part.
    """

    def __init__(
        self,
        dense_prompt_encoder: DensePromptEncoder,
        coarse: CoarseNetwork | None,
        corrector: CorrectingNetwork | None,
        rectangle_unet: RectangleUNet | None,
        **parts: object,
    ) -> None:
        super().__init__(**parts)
        self.dense_prompt_encoder = dense_prompt_encoder
        self.coarse = coarse
        self.corrector = corrector
        self.rectangle_unet = rectangle_unet

    def encode_slices(self, pictures: Tensor) -> ImageFeatures:
        """Features of pictures (B, 3, S, S) in [0, 1]: the slices before, itself, after."""
        decoder = self.sam_mask_decoder
        shown = (pictures - IMAGE_MEAN) / IMAGE_SCALE
        fine, middle, embedding = self.image_encoder(shown, narrow=(decoder.conv_s0, decoder.conv_s1))
        position = self.image_encoder.position_encoding(embedding)
        return ImageFeatures(embedding, position, (fine, middle))

    def segment_slice(self, embedding: Tensor, high_resolution: Sequence[Tensor], prompts: SlicePrompts) -> SliceMask:
        """The mask of B objects on one slice.

        Args:
            embedding: (B, C, h, w) from :meth:`without_memory` or :meth:`condition_on_memory`.
            high_resolution: of the slice's features.
        """
        fine, middle, coarse = self.dense_prompt_encoder(self._maps(prompts))
        size = (int(embedding.shape[-2]) * self.stride, int(embedding.shape[-1]) * self.stride)
        points, labels = self._tokens(prompts, size)
        sparse, dense = self.encode_prompts(points, labels, None, size)
        output = self.sam_mask_decoder.predict_masks(
            embedding + coarse,
            self.sam_prompt_encoder.dense_position(embedding.shape[-2:]),
            sparse,
            dense,
            (high_resolution[0] + fine, high_resolution[1] + middle),
        )
        pointer = self.obj_ptr_proj(output.mask_tokens[:, 0])
        return SliceMask(output.logits[:, :1], output.ious[:, :1], output.object_score_logits, pointer)

    def remember(self, features: ImageFeatures, mask: SliceMask) -> Memory:
        """What later slices should know of this one."""
        return self.encode_memory(features, mask.logits, mask.object_score_logits, prompted=False)

    def _tokens(self, prompts: SlicePrompts, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """Clicks as SAM's tokens; the box is told by the maps alone, which hold it on every slice and at any angle."""
        if prompts.points is not None and prompts.labels is not None:
            return prompts.points, prompts.labels
        batch = prompts.box_coordinates.shape[0]
        return prompts.box_coordinates.new_zeros(batch, 0, 2), prompts.slice_step.new_zeros(batch, 0, dtype=torch.long)

    def _maps(self, prompts: SlicePrompts) -> Tensor:
        place = prompts.box_coordinates
        faces = torch.cat([1.0 - place, 1.0 + place], dim=1).clamp(-1.0, 2.0)
        inside = (place.abs().amax(dim=1, keepdim=True) <= 1.0).to(place.dtype)
        step = prompts.slice_step.clamp(0.0, 2.0).view(-1, 1, 1, 1).expand_as(inside)
        known = [_known(mask, inside) for mask in (prompts.below, prompts.above, prompts.own)]
        return torch.cat([faces, inside, step, *known, self._clicks(prompts, inside)], dim=1)

    def _clicks(self, prompts: SlicePrompts, like: Tensor) -> Tensor:
        """(B, 2, 4h, 4w): a soft disc at every positive and at every negative click."""
        maps = like.new_zeros(like.shape[0], 2, *like.shape[-2:])
        if prompts.points is None or prompts.labels is None or prompts.points.shape[1] == 0:
            return maps
        scale = self.stride // 4
        rows = torch.arange(like.shape[-2], device=like.device) * scale + (scale - 1) / 2
        columns = torch.arange(like.shape[-1], device=like.device) * scale + (scale - 1) / 2
        x, y = prompts.points[..., 0, None, None], prompts.points[..., 1, None, None]
        discs = torch.exp(-((columns[None, None, None] - x) ** 2 + (rows[None, None, :, None] - y) ** 2) / (2 * 3.0**2))
        for channel, label in enumerate((1, 0)):
            chosen = (prompts.labels == label).to(discs.dtype)[..., None, None]
            maps[:, channel] = (discs * chosen).amax(dim=1)
        return maps


def _known(logits: Tensor | None, like: Tensor) -> Tensor:
    """(B, 2, 4h, 4w): probability of a mask, and ones; zeros where no mask is known."""
    if logits is None:
        return torch.zeros_like(like).expand(-1, 2, -1, -1)
    if logits.shape[-2:] != like.shape[-2:]:
        logits = F.interpolate(logits, size=like.shape[-2:], mode="bilinear", align_corners=False)
    return torch.cat([logits.sigmoid(), torch.ones_like(logits)], dim=1)


def build_embedded(
    channels: Sequence[int] = (32, 64, 128, 192),
    blocks: Sequence[int] = (1, 1, 2, 1),
    dim: int = 128,
    decoder_widths: Sequence[int] = (64, 32),
    memory_dim: int = 64,
    memory_layers: int = 1,
    number_of_memories: int = 4,
    maximum_pointers: int = 4,
    coarse_channels: Sequence[int] | None = None,
    coarse_regions: bool = False,
    coarse_looks_again: bool = False,
    coarse_corrects: bool = False,
    rectangle_unet: bool = False,
) -> EmbeddedNetwork:
    """The embedded network from its hyper-parameters (in the catalog; these are the defaults)."""
    trunk = ConvTrunk(channels, blocks)
    levels = len(trunk.channels)
    middle, fine = decoder_widths
    neck = FPNNeck(dim, trunk.channels, top_down_levels=range(levels - 1))
    encoder = ImageEncoder(trunk, neck, dim, discard=levels - 3)
    coarse = corrector = None
    if coarse_channels:
        coarse = CoarseNetwork(coarse_channels, regions=coarse_regions, looks_again=coarse_looks_again)
        corrector = CorrectingNetwork(coarse_channels) if coarse_corrects else None
    return EmbeddedNetwork(
        dense_prompt_encoder=DensePromptEncoder(fine, middle, dim),
        coarse=coarse,
        corrector=corrector,
        rectangle_unet=RectangleUNet() if rectangle_unet else None,
        image_encoder=encoder,
        prompt_encoder=PromptEncoder(dim),
        mask_decoder=ConvolutionalMaskDecoder(
            dim,
            (middle, fine),
            TwoWayTransformer(dim, heads=8, depth=2, mlp_dim=4 * dim),
            multimask_outputs=0,
            iou_head_dim=dim,
            stability=None,
        ),
        memory_attention=MemoryAttention(dim, memory_dim, layers=memory_layers, mlp_dim=4 * dim, dropout=0.0),
        memory_encoder=MemoryEncoder(dim, memory_dim, stride=encoder.stride, fuser_layers=1),
        options=SAM2Options(
            number_of_memories=number_of_memories,
            maximum_pointers=maximum_pointers,
            multimask_while_tracking=False,
        ),
    )
