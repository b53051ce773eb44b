"""Slices to masks with this project's own network (`models/embedded.py`).

The picture is a slice between its neighbours; the prompt tells, for every pixel, where it lies in the 3-D box, what was
found on the neighbouring slices and where the user clicked. A drawn mask is taken as it is. A slice of which no more is
known than a rectangle has a network of its own (`models/rectangle_unet.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import torch
import torch.nn.functional as F

from ..models.box_regions import RegionBatch
from ..models.coarse import GLANCE_CELLS, CoarseNetwork, SeenBox, resampled
from ..models.corrector import BoxClicks, obeying
from ..models.embedded import EmbeddedNetwork, SliceMask, SlicePrompts
from ..models.layers import channels_last
from ..models.sam2 import ImageFeatures, Memory, RememberedPointer, RememberedSlice
from .coarse import CoarseMask, CoarseView
from .crop import CropSettings
from .outcome import expected_overlap
from .predictor import BankEntry, SlicePrediction, SlicePrompt
from .side_by_side import cores, side_by_side

if TYPE_CHECKING:
    from ..checkpoints import LoadedModel

_Item = TypeVar("_Item")

# A drawn mask is as sure as the network ever is.
_DRAWN_LOGIT = 8.0

# A box is looked at after the glance until a look changes no more than this part of the mask, so often at the most:
# most objects change little after the second time, thin ones still do.
_SETTLED, _MOST_LOOKS = 0.05, 6


@dataclass(frozen=True)
class _Recalled:
    memory: Memory
    pointer: torch.Tensor


class EmbeddedPredictor:
    """A :class:`~MedSAMSegmentLib.inference.predictor.SlicePredictor` around an :class:`EmbeddedNetwork`.

    Args:
        loaded: the model; its network decides the device.
    """

    neighbours = 1
    local_contrast = True
    revises = True
    key_candidates = 7
    # More in one piece of work are not quicker, and all of a piece are in memory at once.
    slices_in_piece = 4

    # As in training (`training/samples.py`): the box fills between half and three quarters of the crop.
    crop = CropSettings(context=0.3, sizes=(96, 128), largest_magnification=12.0, full_slice_size=256)

    def __init__(self, loaded: LoadedModel) -> None:
        network = loaded.network
        if not isinstance(network, EmbeddedNetwork):
            raise TypeError("EmbeddedPredictor needs an EmbeddedNetwork")
        self.network = network.eval()
        channels_last(self.network)
        self.identity = f"{loaded.spec.architecture}:{loaded.weights_sha256} {loaded.device.type}"
        self.memory_capacity = network.options.number_of_memories - 1
        self.understands = loaded.spec.prompts
        self.needs_box = loaded.spec.needs_box
        self.grid = None if network.coarse is None else network.coarse.grid
        self.corrects = network.corrector is not None
        self._device = loaded.device

    def find(self, view: CoarseView) -> Iterator[CoarseMask]:
        """Where in the box the object is: at a glance, and then looking again and again with that in mind."""
        coarse = self.network.coarse
        assert coarse is not None
        assert self.grid is not None
        intensities, step = self._on_device(view)
        believed: torch.Tensor | None = None
        for cells, looks in ((GLANCE_CELLS, 1), (self.grid.cells, _MOST_LOOKS)):
            shown = resampled(intensities, cells)
            seen = self._alone(partial(_seen, coarse, shown, step))
            believed = None if believed is None else resampled(believed, cells)
            for number in range(looks):
                before, believed = believed, self._alone(partial(coarse.look, seen, believed))
                yield CoarseMask(believed[0], coarse.grid_of(shown), view.axes, view.box)
                # The first look of a grid improves on a coarser one, or on none.
                if number and before is not None and _settled(before > 0, believed > 0):
                    break

    def correct(self, view: CoarseView, found: CoarseMask, places: np.ndarray, inside: np.ndarray) -> torch.Tensor:
        """See :class:`~MedSAMSegmentLib.inference.coarse.CorrectsBox`."""
        coarse, corrector = self.network.coarse, self.network.corrector
        assert coarse is not None
        assert corrector is not None
        intensities, step = self._on_device(view)
        clicks = BoxClicks(
            torch.from_numpy(places.astype(np.float32))[None].to(self._device),
            torch.from_numpy(inside.astype(np.int64))[None].to(self._device),
        )
        grid = coarse.grid_of(intensities)
        believed = resampled(found.logits[None], grid.cells)

        def look() -> torch.Tensor:
            regions = RegionBatch.of([intensities[0]], grid)
            answer = corrector.correct(coarse, intensities, step, regions, believed, clicks)
            return obeying(answer, intensities, believed, clicks, grid)[0]

        return self._alone(look)

    def _on_device(self, view: CoarseView) -> tuple[torch.Tensor, torch.Tensor]:
        """(1, *cells) intensities and (1,) slice step."""
        step = torch.tensor([view.slice_step], device=self._device, dtype=torch.float32)
        return torch.from_numpy(view.intensities)[None].to(self._device), step

    def _alone(self, work: Callable[[], _Item]) -> _Item:
        """What ``work`` gives, computed on one core: the last bits must not depend on how many there are."""
        return side_by_side(lambda piece: piece(), [work], self._device)[0]

    @property
    def slices_at_once(self) -> int:
        return self.slices_in_piece * cores()

    @property
    def idle_cores(self) -> int:
        return cores() - 1 if self._device.type == "cpu" else 0

    def encode(self, picture: np.ndarray) -> ImageFeatures:
        return self.encode_batch([picture])[0]

    def encode_batch(self, pictures: Sequence[np.ndarray]) -> list[ImageFeatures]:
        """:meth:`encode` of several pictures of one size; quicker together than one by one."""
        pieces = side_by_side(self._encoded, _groups(pictures, self.slices_in_piece), self._device)
        return [features for piece in pieces for features in piece]

    def _encoded(self, pictures: Sequence[np.ndarray]) -> list[ImageFeatures]:
        images = torch.from_numpy(np.stack(pictures)).to(self._device)
        features = self.network.encode_slices(images.contiguous(memory_format=torch.channels_last))
        # Copies: a slice that the cache drops must not be kept alive by the others of its batch.
        return [
            ImageFeatures(
                features.embedding[row : row + 1].clone(),
                features.position,
                tuple(level[row : row + 1].clone() for level in features.high_resolution),
                images[row : row + 1].clone() if self.sees_rectangles else None,
            )
            for row in range(len(pictures))
        ]

    def predict(self, features: ImageFeatures, prompt: SlicePrompt, bank: Sequence[BankEntry]) -> SlicePrediction:
        if self.sees_rectangles and features.picture is not None and _is_rectangle_alone(prompt):
            return side_by_side(partial(self._in_rectangle, features.picture), [prompt], self._device)[0]
        return side_by_side(lambda recalled: self._predicted(features, prompt, recalled), [bank], self._device)[0]

    def _predicted(self, features: ImageFeatures, prompt: SlicePrompt, bank: Sequence[BankEntry]) -> SlicePrediction:
        output = self._answer(features, prompt, bank)
        return SlicePrediction(
            logits=output.logits[0, 0],
            predicted_iou=float(output.iou[0, 0]),
            object_score=float(output.object_score_logits[0, 0]),
            state=output,
        )

    def _answer(self, features: ImageFeatures, prompt: SlicePrompt, bank: Sequence[BankEntry]) -> SliceMask:
        """What the promptable network says of a slice."""
        prompts = self._prompts(features, prompt)
        output = self.network.segment_slice(self._embedding(features, bank), features.high_resolution, prompts)
        return output if prompt.mask is None else self._drawn(output, prompt.mask)

    def predict_batch(self, features: Sequence[ImageFeatures], prompts: Sequence[SlicePrompt]) -> list[SlicePrediction]:
        """:meth:`predict` of several slices without memories, none of them clicked on or drawn."""
        if any(len(prompt.points) or prompt.mask is not None for prompt in prompts):
            raise ValueError("slices with prompts of their own are predicted one by one")
        slices = list(zip(features, prompts, strict=True))
        pieces = side_by_side(self._predicted_together, _groups(slices, self.slices_in_piece), self._device)
        return [prediction for piece in pieces for prediction in piece]

    @property
    def sees_rectangles(self) -> bool:
        return self.network.rectangle_unet is not None

    def in_rectangles(self, pictures: Sequence[np.ndarray], prompts: Sequence[SlicePrompt]) -> list[SlicePrediction]:
        """See :class:`~MedSAMSegmentLib.inference.predictor.SeesRectangles`."""

        def one(given: tuple[np.ndarray, SlicePrompt]) -> SlicePrediction:
            picture, prompt = given
            return self._in_rectangle(torch.from_numpy(picture)[None].to(self._device), prompt)

        return side_by_side(one, list(zip(pictures, prompts, strict=True)), self._device)

    def _in_rectangle(self, picture: torch.Tensor, prompt: SlicePrompt) -> SlicePrediction:
        """The mask, at the picture's own resolution (1, 3, S, S), of what lies in a rectangle."""
        unet = self.network.rectangle_unet
        assert unet is not None
        coordinates = prompt.box_coordinates
        places = torch.from_numpy(coordinates.grid(picture.shape[-1])[..., :2]).to(self._device)
        step = torch.tensor([float(np.linalg.norm(coordinates.per_slice))], device=self._device)
        logits = unet(picture, places.movedim(-1, 0)[None], step)[0]
        return SlicePrediction(logits, expected_overlap(logits), float(logits.max()))

    def _predicted_together(self, slices: Sequence[tuple[ImageFeatures, SlicePrompt]]) -> list[SlicePrediction]:
        told = [self._prompts(features, prompt) for features, prompt in slices]
        output = self.network.segment_slice(
            torch.cat([self.network.without_memory(features) for features, _ in slices]),
            [torch.cat(levels) for levels in zip(*(features.high_resolution for features, _ in slices), strict=True)],
            SlicePrompts(
                torch.cat([one.box_coordinates for one in told]),
                torch.cat([one.slice_step for one in told]),
                *(_stacked([getattr(one, name) for one in told]) for name in ("below", "above", "own")),
            ),
        )
        # What later slices would recall is made of single slices only.
        return [
            SlicePrediction(logits[0].clone(), float(iou), float(score))
            for logits, iou, score in zip(output.logits, output.iou, output.object_score_logits, strict=True)
        ]

    def remember(self, features: ImageFeatures, prompt: SlicePrompt, prediction: SlicePrediction) -> _Recalled:
        def recalled(mask: SliceMask | None) -> _Recalled:
            if mask is None:
                mask = self._answer(features, prompt, [])
                logits = F.interpolate(prediction.logits[None, None], size=mask.logits.shape[-2:], mode="area")
                mask = replace(mask, logits=logits)
            return _Recalled(self.network.remember(features, mask), mask.object_pointer)

        return side_by_side(recalled, [prediction.state], self._device)[0]

    def _prompts(self, features: ImageFeatures, prompt: SlicePrompt) -> SlicePrompts:
        coordinates = prompt.box_coordinates
        place = torch.from_numpy(coordinates.grid(features.high_resolution[0].shape[-1])).to(self._device)
        step = torch.tensor([float(np.linalg.norm(coordinates.per_slice))], device=self._device)
        points = labels = None
        if len(prompt.points):
            points = torch.from_numpy(np.asarray(prompt.points, dtype=np.float32))[None].to(self._device)
            labels = torch.from_numpy(np.asarray(prompt.labels, dtype=np.int64))[None].to(self._device)
        below, above, own = (
            None if mask is None else mask.to(self._device)[None, None]
            for mask in (prompt.below, prompt.above, prompt.own)
        )
        return SlicePrompts(place.permute(2, 0, 1)[None], step, below, above, own, points, labels)

    def _embedding(self, features: ImageFeatures, bank: Sequence[BankEntry]) -> torch.Tensor:
        """The slice in the light of what is remembered."""
        if not bank:
            return self.network.without_memory(features)
        slices = [RememberedSlice(entry.memory.memory, entry.rank) for entry in bank]
        # Training sequences are short: further away is as far as the network knows.
        furthest = self.network.options.maximum_pointers
        pointers = [RememberedPointer(entry.memory.pointer, float(min(abs(entry.slices), furthest))) for entry in bank]
        pointers = pointers[:furthest]
        return self.network.condition_on_memory(features, slices, pointers)

    def _drawn(self, output: SliceMask, mask: np.ndarray) -> SliceMask:
        """The user's mask as the answer; the network only summarises the object."""
        drawn = torch.from_numpy(np.ascontiguousarray(mask, dtype=np.float32)).to(self._device)[None, None]
        drawn = F.interpolate(drawn, size=output.logits.shape[-2:], mode="area")
        present = bool((drawn > 0.5).any())
        score = torch.full_like(output.object_score_logits, _DRAWN_LOGIT if present else -_DRAWN_LOGIT)
        return SliceMask((drawn * 2.0 - 1.0) * _DRAWN_LOGIT, torch.ones_like(output.iou), score, output.object_pointer)


def _settled(before: torch.Tensor, after: torch.Tensor) -> bool:
    return int((before != after).sum()) <= _SETTLED * int(after.sum())


def _seen(coarse: CoarseNetwork, intensities: torch.Tensor, step: torch.Tensor) -> SeenBox:
    return coarse.see(intensities, step, coarse.find_regions(intensities))


def _is_rectangle_alone(prompt: SlicePrompt) -> bool:
    """Whether all that is known of a slice is a rectangle drawn about the cross-section."""
    around = (prompt.below, prompt.above, prompt.own, prompt.mask)
    return prompt.rectangle_is_drawn and not len(prompt.points) and all(one is None for one in around)


def _groups(items: Sequence[_Item], size: int) -> list[Sequence[_Item]]:
    """Up to ``size`` neighbours at a time."""
    return [items[first : first + size] for first in range(0, len(items), size)]


def _stacked(masks: Sequence[torch.Tensor | None]) -> torch.Tensor | None:
    """(n, 1, s, s) of n masks (1, 1, s, s) that are all known, or none."""
    known = [mask for mask in masks if mask is not None]
    if len(known) not in (0, len(masks)):
        raise ValueError("slices predicted together know the same neighbours")
    return torch.cat(known) if known else None
