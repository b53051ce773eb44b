"""The SAM 2 network: one image encoder, a promptable mask decoder and a memory of slices already segmented.

Ravi et al., "SAM 2: Segment Anything in Images and Videos", 2024 (arXiv:2408.00714).  SAM 2.0, SAM 2.1, MedSAM2 and
this project's embedded network are this class with other parts and other options; attribute names follow the
official checkpoints, so their state dictionaries load strictly and without conversion.

The network keeps no state between calls.  It says what one slice looks like, what a prompt or a memory makes of it
and what is worth remembering; *which* slices are remembered is for the tracker (``inference``) to decide::

    features = network.encode_image(image)                            # once a slice
    decoded = network.decode(network.without_memory(features), features.high_resolution, points, labels)
    memory = network.encode_memory(features, decoded.high_res_logits, decoded.object_score_logits, prompted=True)
    ...                                                               # the next slice
    embedding = network.condition_on_memory(features, [RememberedSlice(memory, 0)],
                                            [RememberedPointer(decoded.object_pointer, 1)])
    decoded = network.decode(embedding, features.high_resolution, multimask=True)

Shapes: ``B`` objects (or images), ``C`` = ``hidden_dim``, ``(h, w)`` = image size / ``stride``.  Point coordinates are
(x, y) in pixels of the network's input image; a pixel centre sits on the integer (half a pixel is added inside).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .image_encoder import ImageEncoder
from .layers import MultilayerPerceptron
from .mask_decoder import MaskDecoder
from .memory_attention import MemoryAttention
from .memory_encoder import MemoryEncoder
from .position_encoding import sine_encoding_1d
from .prompt_encoder import NOT_A_POINT, PromptEncoder

NO_OBJECT_LOGIT = -1024.0
"""Value of every mask logit where the object score says that the object is not on the slice."""


@dataclass(frozen=True)
class ImageFeatures:
    """What the image encoder says about ``B`` images; it depends on no prompt and can be cached."""

    embedding: Tensor
    """(B, C, h, w), the coarsest level, before any memory was added."""
    position: Tensor
    """(1, C, h, w) sine position encoding of ``embedding``."""
    high_resolution: tuple[Tensor, ...]
    """Finest first: (B, C/8, 4h, 4w) and (B, C/4, 2h, 2w); empty where the decoder takes none."""
    picture: Tensor | None = None
    """(B, channels, H, W) in [0, 1] what was encoded, where another network is to see it, too."""


@dataclass(frozen=True)
class DecodedMask:
    """What the mask decoder makes of one slice and one set of prompts, for ``B`` objects."""

    low_res_logits: Tensor
    """(B, 1, 4h, 4w) the chosen mask; ``NO_OBJECT_LOGIT`` throughout where the object is absent."""
    size: tuple[int, int]
    """(H, W) of the network's input."""
    iou: Tensor
    """(B, 1) the network's estimate of the chosen mask's intersection over union."""
    object_pointer: Tensor
    """(B, C) a summary of the object for later slices."""
    object_score_logits: Tensor
    """(B, 1) above 0: the object is on this slice."""
    candidate_logits: Tensor
    """(B, M, 4h, 4w) all masks offered: M = 1, or 3 with ``multimask``."""
    candidate_ious: Tensor
    """(B, M)."""
    drawn_logits: Tensor | None = None
    """(B, 1, H, W) the chosen mask where it was given at that size."""

    @cached_property
    def high_res_logits(self) -> Tensor:
        """(B, 1, H, W) the chosen mask at the size of the network's input; made when somebody asks for it."""
        return _resize(self.low_res_logits, self.size) if self.drawn_logits is None else self.drawn_logits


@dataclass(frozen=True)
class Memory:
    """One slice as the memory encoder stores it."""

    features: Tensor
    """(B, memory_dim, h, w), bfloat16 as in the official tracker."""
    position: Tensor
    """(1, memory_dim, h, w) sine position encoding, without the part that depends on the distance."""


@dataclass(frozen=True)
class RememberedSlice:
    """A memory as one slice recalls it.

    ``steps`` is 0 for a slice the user prompted (at any distance), otherwise the number of steps the tracker has made
    since: 1 .. ``number_of_memories`` - 1.
    """

    memory: Memory
    steps: int


@dataclass(frozen=True)
class RememberedPointer:
    """An object pointer (B, C) as one slice recalls it: ``steps`` is signed, positive against tracking direction."""

    pointer: Tensor
    steps: float


@dataclass(frozen=True)
class SAM2Options:
    """Choices of one family member; the defaults are SAM 2.1's."""

    number_of_memories: int = 7
    """Slices that have their own time encoding, the prompted one included."""
    maximum_pointers: int = 16
    mask_logit_scale: float = 20.0
    mask_logit_bias: float = -10.0
    binarize_prompted_memory: bool = True
    """A prompted slice is remembered by its mask, not by its probabilities."""
    encode_pointer_time: bool = True
    """Pointers carry their distance (SAM 2.1) or none (SAM 2.0, EfficientTAM)."""
    absent_object_embedding: bool = True
    """Memories of slices without the object are marked (SAM 2.1)."""
    multimask_maximum_points: int = 1
    """Up to so many prompt points, several candidate masks are made and the best is taken."""
    multimask_while_tracking: bool = True


class SAM2(nn.Module):
    """SAM 2 put together from its parts.

    Args:
        image_encoder: trunk and neck.
        prompt_encoder, mask_decoder: the two halves of SAM's head.
        memory_attention, memory_encoder: how memories are read and written.
        options: choices of the family member.
    """

    def __init__(
        self,
        image_encoder: ImageEncoder,
        prompt_encoder: PromptEncoder,
        mask_decoder: MaskDecoder,
        memory_attention: MemoryAttention,
        memory_encoder: MemoryEncoder,
        options: SAM2Options | None = None,
    ) -> None:
        super().__init__()
        self.options = options = options or SAM2Options()
        self.image_encoder = image_encoder
        self.sam_prompt_encoder = prompt_encoder
        self.sam_mask_decoder = mask_decoder
        self.memory_attention = memory_attention
        self.memory_encoder = memory_encoder

        self.stride = stride = image_encoder.stride
        self.hidden_dim = hidden_dim = mask_decoder.dim
        self.memory_dim = memory_dim = memory_encoder.out_dim

        self.maskmem_tpos_enc = _learned(options.number_of_memories, 1, 1, memory_dim)
        self.no_mem_embed = _learned(1, 1, hidden_dim)
        # Present in every official checkpoint, used by none of the published configurations.
        self.no_mem_pos_enc = _learned(1, 1, hidden_dim)
        self.no_obj_ptr = _learned(1, hidden_dim)
        self.mask_downsample = nn.Conv2d(1, 1, kernel_size=stride // 4, stride=stride // 4)
        self.obj_ptr_proj = MultilayerPerceptron(hidden_dim, hidden_dim, hidden_dim, layers=3)
        if options.absent_object_embedding:
            self.no_obj_embed_spatial = _learned(1, memory_dim)
        if options.encode_pointer_time:
            self.obj_ptr_tpos_proj = nn.Linear(hidden_dim, memory_dim)

    # ---- one slice, without memory -----------------------------------------------------------------------------

    def encode_image(self, image: Tensor) -> ImageFeatures:
        """Encode normalised images (B, 3, H, W); H and W are multiples of the trunk's coarsest stride."""
        levels = self.image_encoder(image)
        embedding = levels[-1]
        return ImageFeatures(
            embedding=embedding,
            position=self.image_encoder.position_encoding(embedding),
            high_resolution=self.sam_mask_decoder.project_high_resolution(levels[:-1]),
        )

    def without_memory(self, features: ImageFeatures) -> Tensor:
        """The embedding (B, C, h, w) of a slice that is prompted before anything was tracked."""
        return features.embedding + self.no_mem_embed.reshape(1, -1, 1, 1)

    def decode(
        self,
        embedding: Tensor,
        high_resolution: Sequence[Tensor] = (),
        points: Tensor | None = None,
        labels: Tensor | None = None,
        mask_input: Tensor | None = None,
        multimask: bool = False,
    ) -> DecodedMask:
        """Turn prompts (or none, while tracking) into one mask an object.

        Args:
            embedding: (B or 1, C, h, w) from :meth:`without_memory` or :meth:`condition_on_memory`.
            high_resolution: ``ImageFeatures.high_resolution`` of the same slice (batch B or 1).
            points: (B, N, 2) in input pixels; a box is its two corners.
            labels: (B, N) 1 inside, 0 outside, 2 and 3 first and second box corner, -1 padding.
            mask_input: (B, 1, *, *) logits of an earlier mask of the slice.
            multimask: offer three masks and take the one of highest estimated overlap.
        """
        size = (int(embedding.shape[-2]) * self.stride, int(embedding.shape[-1]) * self.stride)
        if points is None or labels is None:
            count = mask_input.shape[0] if mask_input is not None else embedding.shape[0]
            points = embedding.new_zeros(count, 1, 2)
            labels = torch.full((count, 1), NOT_A_POINT, dtype=torch.long, device=embedding.device)
        sparse, dense = self.encode_prompts(points, labels, mask_input, size)
        output = self.sam_mask_decoder(
            embedding=embedding,
            position=self.sam_prompt_encoder.dense_position(embedding.shape[-2:]),
            sparse_prompts=sparse,
            dense_prompts=dense,
            high_resolution=high_resolution,
            multimask=multimask,
        )
        present = output.object_score_logits > 0
        candidates = torch.where(present[..., None, None], output.logits, NO_OBJECT_LOGIT).float()
        best = output.ious.argmax(dim=1)
        rows = torch.arange(len(best), device=best.device)
        low_res = candidates[rows, best].unsqueeze(1)
        # Without multimask there is one token, whichever mask was chosen.
        token = output.mask_tokens[rows, best] if output.mask_tokens.shape[1] > 1 else output.mask_tokens[:, 0]
        return DecodedMask(
            low_res_logits=low_res,
            size=size,
            iou=output.ious[rows, best].unsqueeze(1),
            object_pointer=self._pointer_or_absent(self.obj_ptr_proj(token), present),
            object_score_logits=output.object_score_logits,
            candidate_logits=candidates,
            candidate_ious=output.ious,
        )

    def encode_prompts(
        self, points: Tensor, labels: Tensor, mask_input: Tensor | None, size: tuple[int, int]
    ) -> tuple[Tensor, Tensor]:
        """Sparse (B, N + 1, C) and dense (B, C, h, w) prompt embeddings; ``size`` is the input image's (H, W).

        A subclass adds further dense prompts here.
        """
        grid = (size[0] // self.stride, size[1] // self.stride)
        if mask_input is not None:
            mask_size = (grid[0] * 4, grid[1] * 4)
            if tuple(mask_input.shape[-2:]) != mask_size:
                mask_input = _resize(mask_input.float(), mask_size, antialias=True)
        return self.sam_prompt_encoder(points, labels, mask_input, grid=grid, image_size=size, pad=True)

    def use_multimask(self, number_of_points: int, tracked: bool) -> bool:
        """Whether SAM 2 offers several masks: few points, and on tracked slices only where configured."""
        allowed = self.options.multimask_while_tracking or not tracked
        return allowed and number_of_points <= self.options.multimask_maximum_points

    def mask_as_output(self, features: ImageFeatures, mask: Tensor) -> DecodedMask:
        """Take a given mask (B, 1, H, W) of 0 and 1 at input size as the result itself; the decoder only points."""
        mask = mask.float()
        high_res = mask * self.options.mask_logit_scale + self.options.mask_logit_bias
        grid = features.embedding.shape[-2:]
        low_res = _resize(high_res, (grid[0] * 4, grid[1] * 4), antialias=True)
        pointer = self.decode(
            features.embedding,
            features.high_resolution,
            mask_input=self.mask_downsample(mask.to(features.embedding.dtype)),
        ).object_pointer
        present = mask.flatten(1).amax(dim=1, keepdim=True) > 0
        iou = torch.ones_like(present, dtype=mask.dtype)
        return DecodedMask(
            low_res_logits=low_res,
            size=(int(mask.shape[-2]), int(mask.shape[-1])),
            iou=iou,
            object_pointer=self._pointer_or_absent(pointer, present),
            object_score_logits=present * self.options.mask_logit_scale + self.options.mask_logit_bias,
            candidate_logits=low_res,
            candidate_ious=iou,
            drawn_logits=high_res,
        )

    # ---- memory ------------------------------------------------------------------------------------------------

    def encode_memory(
        self, features: ImageFeatures, mask_logits: Tensor, object_score_logits: Tensor, prompted: bool
    ) -> Memory:
        """Remember a slice.

        Args:
            features: of the slice, batch 1 or B.
            mask_logits: (B, 1, H, W) at input size, or smaller (resized bilinearly).
            object_score_logits: (B, 1).
            prompted: the mask comes from the user's prompts, so it is taken as it is drawn, not as a probability.
        """
        grid = features.embedding.shape[-2:]
        size = (grid[0] * self.stride, grid[1] * self.stride)
        if tuple(mask_logits.shape[-2:]) != size:
            mask_logits = _resize(mask_logits, size)
        if prompted and self.options.binarize_prompted_memory:
            mask = (mask_logits > 0).to(mask_logits.dtype)
        else:
            mask = mask_logits.sigmoid()
        mask = mask * self.options.mask_logit_scale + self.options.mask_logit_bias
        encoded = self.memory_encoder(features.embedding, mask.to(features.embedding.dtype))
        if self.options.absent_object_embedding:
            absent = (object_score_logits <= 0).to(encoded.dtype)
            encoded = encoded + (absent * self.no_obj_embed_spatial)[..., None, None]
        return Memory(encoded.to(torch.bfloat16), self.memory_encoder.position_encoding(encoded))

    def condition_on_memory(
        self,
        features: ImageFeatures,
        slices: Sequence[RememberedSlice],
        pointers: Sequence[RememberedPointer] = (),
        pointer_span: int | None = None,
    ) -> Tensor:
        """The embedding (B, C, h, w) of a slice that is tracked: what it looks like, in the light of memories.

        Args:
            features: of the slice, batch 1 (shared by all objects) or B.
            slices: memories of the same B objects; at least one.
            pointers: object pointers of the same objects; may be empty.
            pointer_span: number of pointers the scan can fill, min(slices of the scan, ``maximum_pointers``); it
                scales the pointers' distances. Default ``maximum_pointers``.
        """
        tokens, positions = self._memory_tokens(slices)
        pointer_tokens = 0
        if pointers:
            pointer_memory, pointer_position = self._pointer_tokens(pointers, pointer_span)
            pointer_tokens = pointer_memory.shape[1]
            tokens = torch.cat([tokens, pointer_memory.to(tokens.dtype)], dim=1)
            positions = torch.cat([positions.expand(pointer_position.shape[0], -1, -1), pointer_position], dim=1)
        objects = tokens.shape[0]
        batch, channels, height, width = features.embedding.shape
        current = features.embedding.expand(objects, -1, -1, -1) if batch != objects else features.embedding
        conditioned = self.memory_attention(
            current.flatten(2).transpose(1, 2),
            features.position.flatten(2).transpose(1, 2),
            tokens,
            positions,
            grid=(height, width),
            pointer_tokens=pointer_tokens,
        )
        return conditioned.transpose(1, 2).reshape(objects, channels, height, width)

    def _memory_tokens(self, slices: Sequence[RememberedSlice]) -> tuple[Tensor, Tensor]:
        """Spatial memories as tokens (B, M h w, memory_dim) and their positions (1, M h w, memory_dim).

        The time encoding's last row belongs to prompted slices, row ``steps - 1`` to the others.
        """
        dtype = self.maskmem_tpos_enc.dtype
        tokens = torch.cat([item.memory.features.flatten(2).transpose(1, 2) for item in slices], dim=1).to(dtype)
        positions = [
            item.memory.position.flatten(2).transpose(1, 2) + self.maskmem_tpos_enc[item.steps - 1] for item in slices
        ]
        return tokens, torch.cat(positions, dim=1)

    def _pointer_tokens(self, pointers: Sequence[RememberedPointer], span: int | None) -> tuple[Tensor, Tensor]:
        """Pointers as memory tokens (B, P C/memory_dim, memory_dim): each is split into C/memory_dim tokens."""
        split = self.hidden_dim // self.memory_dim
        values = torch.stack([item.pointer for item in pointers], dim=1)  # (B, P, C)
        tokens = values.reshape(values.shape[0], -1, self.memory_dim)
        if not self.options.encode_pointer_time:
            return tokens, torch.zeros_like(tokens)
        steps = torch.tensor([float(item.steps) for item in pointers], device=values.device)
        furthest = max((span or self.options.maximum_pointers) - 1, 1)
        position = self.obj_ptr_tpos_proj(sine_encoding_1d(steps / furthest, self.hidden_dim))
        return tokens, position.repeat_interleave(split, dim=0).unsqueeze(0).expand(values.shape[0], -1, -1)

    def _pointer_or_absent(self, pointer: Tensor, present: Tensor) -> Tensor:
        """``pointer`` (B, C) where the object is on the slice, the learned "no object" pointer elsewhere."""
        return torch.where(present, pointer, self.no_obj_ptr)


def _learned(*shape: int) -> nn.Parameter:
    parameter = nn.Parameter(torch.zeros(*shape))
    nn.init.trunc_normal_(parameter, std=0.02)
    return parameter


def _resize(image: Tensor, size: tuple[int, int], antialias: bool = False) -> Tensor:
    return F.interpolate(image, size=size, mode="bilinear", align_corners=False, antialias=antialias)
