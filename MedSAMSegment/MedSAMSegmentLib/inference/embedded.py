"""Slices to masks with this project's own network (`models/embedded.py`).

The picture is a slice between its neighbours; the prompt tells, for every pixel, where it lies in the 3-D box, what was
found on the neighbouring slices and where the user clicked. A drawn mask is taken as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import wraps
from typing import TYPE_CHECKING, ParamSpec, TypeVar

import numpy as np
import torch
import torch.nn.functional as F

from ..models.embedded import EmbeddedNetwork, SliceMask, SlicePrompts
from ..models.layers import channels_last
from ..models.sam2 import ImageFeatures, Memory, RememberedPointer, RememberedSlice
from .coarse import CoarseMask, CoarseView
from .crop import CropSettings
from .predictor import BankEntry, SlicePrediction, SlicePrompt

if TYPE_CHECKING:
    from ..checkpoints import LoadedModel

_Given = ParamSpec("_Given")
_Made = TypeVar("_Made")

# A drawn mask is as sure as the network ever is.
_DRAWN_LOGIT = 8.0

# Axes (1 slices, 2 rows, 3 columns) along which the box is mirrored to look at it again.
_MIRRORED: tuple[tuple[int, ...], ...] = ((), (1, 2), (1, 3), (2, 3))


@dataclass(frozen=True)
class _Recalled:
    memory: Memory
    pointer: torch.Tensor


def _alone(method: Callable[_Given, _Made]) -> Callable[_Given, _Made]:
    """Run on one CPU thread.

    The network's layers are so small that a second thread gains little on an idle machine, and where another program
    holds a core every layer waits for it: one box then took 17 to 70 s instead of 5 s.
    """

    @wraps(method)
    def run(*given: _Given.args, **options: _Given.kwargs) -> _Made:
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            return method(*given, **options)
        finally:
            torch.set_num_threads(threads)

    return run


class EmbeddedPredictor:
    """A :class:`~MedSAMSegmentLib.inference.predictor.SlicePredictor` around an :class:`EmbeddedNetwork`.

    Args:
        loaded: the model; its network decides the device.
    """

    neighbours = 1
    local_contrast = True
    revises = True
    key_candidates = 7

    # As in training (`training/samples.py`): the box fills between half and three quarters of the crop.
    crop = CropSettings(context=0.3, sizes=(96, 128), largest_magnification=12.0, full_slice_size=256)

    def __init__(self, loaded: LoadedModel) -> None:
        network = loaded.network
        if not isinstance(network, EmbeddedNetwork):
            raise TypeError("EmbeddedPredictor needs an EmbeddedNetwork")
        self.network = network.eval()
        channels_last(self.network)
        self.identity = f"{loaded.spec.architecture}:{loaded.weights_sha256}"
        self.memory_capacity = network.options.number_of_memories - 1
        self.understands = loaded.spec.prompts
        self.needs_box = loaded.spec.needs_box
        self.grid = None if network.coarse is None else network.coarse.grid
        self._device = loaded.device

    def find(self, view: CoarseView) -> Iterator[CoarseMask]:
        """Where in the box the object is: the mean over the box and more and more of its mirror images."""
        assert self.grid is not None
        total = torch.zeros_like(self._intensities(view))
        for count, axes in enumerate(_MIRRORED, start=1):
            total = total + self._mirrored(view, axes)
            yield CoarseMask(total[0] / count, self.grid, view.axes)

    @_alone
    @torch.inference_mode()
    def _mirrored(self, view: CoarseView, axes: tuple[int, ...]) -> torch.Tensor:
        coarse = self.network.coarse
        assert coarse is not None
        step = torch.tensor([view.slice_step], device=self._device, dtype=torch.float32)
        return coarse(self._intensities(view).flip(axes), step).flip(axes)

    def _intensities(self, view: CoarseView) -> torch.Tensor:
        return torch.from_numpy(view.intensities)[None].to(self._device)

    @_alone
    @torch.inference_mode()
    def encode(self, picture: np.ndarray) -> ImageFeatures:
        image = torch.from_numpy(np.ascontiguousarray(picture)).to(self._device).unsqueeze(0)
        return self.network.encode_slices(image.contiguous(memory_format=torch.channels_last))

    @_alone
    @torch.inference_mode()
    def predict(self, features: ImageFeatures, prompt: SlicePrompt, bank: Sequence[BankEntry]) -> SlicePrediction:
        prompts = self._prompts(features, prompt)
        output = self.network.segment_slice(self._embedding(features, bank), features.high_resolution, prompts)
        if prompt.mask is not None:
            output = self._drawn(output, prompt.mask)
        return SlicePrediction(
            logits=output.logits[0, 0],
            predicted_iou=float(output.iou[0, 0]),
            object_score=float(output.object_score_logits[0, 0]),
            state=output,
        )

    @_alone
    @torch.inference_mode()
    def remember(self, features: ImageFeatures, prompt: SlicePrompt, prediction: SlicePrediction) -> _Recalled:
        output: SliceMask = prediction.state
        return _Recalled(self.network.remember(features, output), output.object_pointer)

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
