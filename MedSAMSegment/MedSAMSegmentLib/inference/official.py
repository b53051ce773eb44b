"""MedSAM2's own way through a volume, slice by slice, exactly as its authors' program goes it.

Ma et al., "MedSAM2: Segment Anything in 3D Medical Images and Videos", 2025 (arXiv:2504.03600), on the SAM 2 video
predictor (Ravi et al., 2024, arXiv:2408.00714).  Whole slices are stretched to the network's square; the object is
tracked from the key slice to the last one; everything but the encoded slices is forgotten; it is tracked from the key
slice to the first one; the union of both passes is the mask, of which the largest component is kept.  Given the same
weights the results are those of the official program, which the parity tests show.

This is what ``--full-slice --official`` runs, for comparison with published results; ``tracker.Tracker`` is what the
project recommends.

Usage::

    tracker = OfficialTracker(load_model("medsam2"), slices)         # slices: (n, rows, columns) uint8, window applied
    mask = np.zeros(slices.shape, bool)
    for step in tracker.both_ways(key_slice, [OfficialPrompt(box=(30, 40, 90, 110))]):
        mask[step.index] |= step.logits[0] > 0
    mask = largest_component(mask)

Coordinates are (x, y) in pixels as the official programs take them, a box being the first and the last column and row
of the object: a rectangle of the project, whose edges lie half a pixel further out, loses half a pixel on each side.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import InputError, UsageError
from ..models.sam2 import (
    NO_OBJECT_LOGIT,
    SAM2,
    DecodedMask,
    ImageFeatures,
    Memory,
    RememberedPointer,
    RememberedSlice,
)
from .cache import EmbeddingCache

if TYPE_CHECKING:
    from ..checkpoints import LoadedModel

_FIRST_CORNER, _SECOND_CORNER = 2, 3
_PROMPT_LOGIT_LIMIT = 32.0
"""Earlier logits are clamped to this range before they are a mask prompt."""
_PRESENT_SCORE = 10.0
"""Object score logit the official program assumes for an object nothing is known of on a slice."""


@dataclass(frozen=True)
class OfficialPrompt:
    """What the user says about one object on one slice: a box and / or points, or a mask."""

    box: tuple[float, float, float, float] | None = None
    """x0, y0, x1, y1."""
    points: Sequence[tuple[float, float]] = ()
    labels: Sequence[int] = ()
    """1 inside, 0 outside, one a point."""
    mask: np.ndarray | None = None
    """(rows, columns), non-zero inside."""


@dataclass(frozen=True)
class OfficialStep:
    """One slice done."""

    index: int
    logits: np.ndarray
    """(objects, rows, columns) float32; above 0 is the object."""
    done: int
    total: int
    """Slices visited so far and altogether, the key slice once a pass."""


@dataclass(frozen=True)
class SliceState:
    """What is known of all O objects on one slice."""

    low_res_logits: Tensor
    """(O, 1, 4h, 4w)."""
    object_pointer: Tensor
    """(O, C)."""
    object_score_logits: Tensor
    """(O, 1)."""
    memory: Memory | None = None

    def only(self, position: int) -> SliceState:
        """The state of one object, as a batch of one."""
        here = slice(position, position + 1)
        memory = None if self.memory is None else Memory(self.memory.features[here], self.memory.position)
        return SliceState(self.low_res_logits[here], self.object_pointer[here], self.object_score_logits[here], memory)


class OfficialTracker:
    """Prompts in, masks out, in the order of the official video predictor.

    Objects are tracked together and must all be prompted before tracking starts.

    Args:
        loaded: a SAM 2 family model.
        slices: (n, rows, columns) uint8, windowed to 0..255; not copied.
        cache_bytes: encoded slices kept for the other direction and for corrections.

    Raises:
        InputError: ``WRONG_SLICES`` if that is not what ``slices`` is.
    """

    def __init__(self, loaded: LoadedModel, slices: np.ndarray, cache_bytes: int = 512 * 2**20) -> None:
        if not isinstance(loaded.network, SAM2):
            raise UsageError("NO_MEMORY_MODEL", f"The model '{loaded.spec.name}' cannot track as SAM 2 does.")
        if slices.ndim != 3 or slices.dtype != np.uint8 or 0 in slices.shape:
            raise InputError("WRONG_SLICES", "The official tracker needs slices as (n, rows, columns) of 8 bits.")
        self.network = loaded.network
        self.slices = slices
        self.image_size = loaded.spec.image_size
        self._device = loaded.device
        self._mean = torch.tensor(loaded.spec.preprocessing.mean, device=self._device).view(1, -1, 1, 1)
        self._std = torch.tensor(loaded.spec.preprocessing.std, device=self._device).view(1, -1, 1, 1)
        self._cache = EmbeddingCache(cache_bytes)
        self.reset()

    def reset(self) -> None:
        """Forget prompts, masks and memories; keep the encoded slices."""
        self._objects: list[int] = []
        self._prompted: dict[int, SliceState] = {}
        self._tracked: dict[int, SliceState] = {}
        self._corrected: set[int] = set()
        self._pending_prompted: dict[int, dict[int, SliceState]] = {}
        self._pending_corrections: dict[int, dict[int, SliceState]] = {}
        self._directions: dict[int, bool] = {}

    def both_ways(
        self,
        key_slice: int,
        prompts: Sequence[OfficialPrompt],
        elsewhere: Mapping[int, OfficialPrompt] | None = None,
    ) -> Iterator[OfficialStep]:
        """Track the prompted objects (one prompt each) forward, start afresh, and track them in reverse.

        The key slice is yielded once a pass.  Stop iterating to cancel.

        Args:
            key_slice: where both passes begin.
            prompts: one an object.
            elsewhere: of the first object on further slices; both passes are told all of them.
        """
        total = len(self.slices) + (key_slice > 0)  # from slice 0 there is no reverse pass
        done = 0
        for reverse in (False, True):
            self.reset()
            for number, prompt in enumerate(prompts):
                self.prompt(key_slice, number, prompt)
            for index, prompt in (elsewhere or {}).items():
                self.prompt(index, 0, prompt)
            for index, logits in self.propagate(key_slice, reverse):
                done += 1
                yield OfficialStep(index, logits, done, total)

    # ---- prompts -----------------------------------------------------------------------------------------------

    @torch.inference_mode()
    def prompt(self, index: int, object_id: int, prompt: OfficialPrompt) -> np.ndarray:
        """Prompt one object on one slice.

        On a slice that was tracked already this corrects it: what was tracked there is shown to the network again.

        Returns:
            (objects, rows, columns) logits of all objects on this slice.

        Raises:
            UsageError: ``TRACKING_STARTED`` for a new object after tracking, ``EMPTY_PROMPT``.
        """
        position = self._position(object_id)
        correction = index in self._directions
        pending = (self._pending_corrections if correction else self._pending_prompted).setdefault(index, {})
        features = self._features(index)
        if prompt.mask is not None:
            decoded = self.network.mask_as_output(features, self._network_mask(prompt.mask))
        else:
            decoded = self._decode_points(features, index, position, prompt, pending.get(position))
        pending[position] = _state(decoded)
        size = self.slices.shape[1:]
        logits = torch.full((len(self._objects), 1, *size), NO_OBJECT_LOGIT, device=self._device)
        for other in range(len(self._objects)):
            state = self._known(index, other, pending)
            if state is not None:
                logits[other] = _resized(state.low_res_logits, size)[0]
        return _as_array(logits)

    def _decode_points(
        self, features: ImageFeatures, index: int, position: int, prompt: OfficialPrompt, earlier: SliceState | None
    ) -> DecodedMask:
        points, labels = self._network_points(prompt)
        earlier = earlier or self._recorded(index, position)
        mask_input = None
        if earlier is not None:
            mask_input = earlier.low_res_logits.clamp(-_PROMPT_LOGIT_LIMIT, _PROMPT_LOGIT_LIMIT)
        tracked = index in self._directions
        if tracked:
            embedding = self._conditioned(features, index, self._directions[index], position)
        else:
            embedding = self.network.without_memory(features)
        multimask = self.network.use_multimask(labels.shape[1], tracked)
        return self.network.decode(embedding, features.high_resolution, points, labels, mask_input, multimask)

    def _position(self, object_id: int) -> int:
        if object_id not in self._objects:
            if self._directions or self._prompted:
                raise UsageError(
                    "TRACKING_STARTED", "A new object cannot join after tracking has started.", "Reset first."
                )
            self._objects.append(object_id)
        return self._objects.index(object_id)

    def _network_points(self, prompt: OfficialPrompt) -> tuple[Tensor, Tensor]:
        """(1, N, 2) in network pixels and (1, N): box corners first, then points."""
        places = list(prompt.points)
        labels = list(prompt.labels)
        if prompt.box is not None:
            x0, y0, x1, y1 = prompt.box
            places = [(x0, y0), (x1, y1), *places]
            labels = [_FIRST_CORNER, _SECOND_CORNER, *labels]
        if not places or len(places) != len(labels):
            raise UsageError("EMPTY_PROMPT", "A prompt needs a box, a mask, or points with one label each.")
        rows, columns = self.slices.shape[1:]
        scale = torch.tensor([columns, rows], dtype=torch.float32)
        points = torch.tensor([places], dtype=torch.float32) / scale * self.image_size
        return points.to(self._device), torch.tensor([labels], device=self._device)

    def _network_mask(self, mask: np.ndarray) -> Tensor:
        """(1, 1, S, S) of 0 and 1."""
        given = torch.from_numpy(np.asarray(mask) != 0).float()[None, None].to(self._device)
        size = (self.image_size, self.image_size)
        if tuple(given.shape[-2:]) == size:
            return given
        return (_resized(given, size, antialias=True) >= 0.5).float()

    # ---- tracking ----------------------------------------------------------------------------------------------

    @torch.inference_mode()
    def propagate(self, start: int | None = None, reverse: bool = False) -> Iterator[tuple[int, np.ndarray]]:
        """Track all objects to the last slice, or in reverse to the first one.

        Args:
            start: first slice; default the first one prompted.  In reverse nothing is tracked from slice 0.

        Yields:
            Slice and (objects, rows, columns) logits.

        Raises:
            UsageError: ``NOTHING_PROMPTED``.
        """
        self._settle()
        if not self._prompted:
            raise UsageError("NOTHING_PROMPTED", "There is nothing to track.", "Prompt an object first.")
        first = min(self._prompted) if start is None else start
        order = range(first, -1, -1) if reverse else range(first, len(self.slices))
        for index in order if first > 0 or not reverse else ():
            state = self._prompted.get(index)
            if state is None and index in self._corrected:
                state = self._tracked[index]
            if state is None:
                state = self._tracked[index] = self._track(index, reverse)
            self._directions[index] = reverse
            yield index, _as_array(_resized(state.low_res_logits, self.slices.shape[1:]))

    def state(self, index: int) -> SliceState:
        """What is known of a slice that was prompted or tracked."""
        return self._prompted[index] if index in self._prompted else self._tracked[index]

    def _track(self, index: int, reverse: bool) -> SliceState:
        features = self._features(index)
        embedding = self._conditioned(features, index, reverse, None)
        multimask = self.network.use_multimask(0, tracked=True)
        decoded = self.network.decode(embedding, features.high_resolution, multimask=multimask)
        memory = self.network.encode_memory(
            features, decoded.high_res_logits, decoded.object_score_logits, prompted=False
        )
        return _state(decoded, memory)

    def _conditioned(self, features: ImageFeatures, index: int, reverse: bool, position: int | None) -> Tensor:
        """The slice in the light of memory: of all objects, or of the one at ``position``.

        Every prompted slice is recalled, and the six slices tracked last; pointers of prompted slices already passed
        and of up to fifteen slices tracked last.
        """
        step = 1 if reverse else -1
        options = self.network.options
        prompted = self._states(self._prompted, position)
        tracked = self._states(self._tracked, position)

        slices = [RememberedSlice(_memory(state), 0) for state in prompted.values()]
        for steps in range(options.number_of_memories - 1, 0, -1):
            if (state := tracked.get(index + step * steps)) is not None:
                slices.append(RememberedSlice(_memory(state), steps))

        span = min(len(self.slices), options.maximum_pointers)
        pointers = [
            RememberedPointer(state.object_pointer, (other - index) * step)
            for other, state in prompted.items()
            if (other - index) * step >= 0
        ]
        for steps in range(1, span):
            if (state := tracked.get(index + step * steps)) is not None:
                pointers.append(RememberedPointer(state.object_pointer, steps))
        return self.network.condition_on_memory(features, slices, pointers, span)

    def _settle(self) -> None:
        """Turn the prompts given since the last tracking into states of all objects, with memories."""
        for pending, states in (
            (self._pending_corrections, self._tracked),
            (self._pending_prompted, self._prompted),
        ):
            for index, answers in pending.items():
                states[index] = self._merge(index, answers)
        self._corrected |= set(self._pending_corrections)
        # As in the official program, a prompted slice wins over a later correction of it.
        for index in self._prompted:
            self._tracked.pop(index, None)
        self._pending_corrections, self._pending_prompted = {}, {}

    def _merge(self, index: int, answers: dict[int, SliceState]) -> SliceState:
        """One state of all objects; one that was not prompted here keeps what it had, or counts as unseen."""
        features = self._features(index)
        states = [
            self._known(index, position, answers) or self._unseen(features) for position in range(len(self._objects))
        ]
        logits = torch.cat([state.low_res_logits for state in states])
        scores = torch.cat([state.object_score_logits for state in states])
        pointers = torch.cat([state.object_pointer for state in states])
        memory = self.network.encode_memory(features, logits, scores, prompted=True)
        return SliceState(logits, pointers, scores, memory)

    def _unseen(self, features: ImageFeatures) -> SliceState:
        """An object that is prompted on another slice only: no mask, the pointer "no object"."""
        rows, columns = features.embedding.shape[-2:]
        return SliceState(
            features.embedding.new_full((1, 1, 4 * rows, 4 * columns), NO_OBJECT_LOGIT),
            self.network.no_obj_ptr,
            features.embedding.new_full((1, 1), _PRESENT_SCORE),
        )

    def _known(self, index: int, position: int, answers: dict[int, SliceState]) -> SliceState | None:
        return answers.get(position) or self._recorded(index, position)

    def _recorded(self, index: int, position: int) -> SliceState | None:
        """What was settled or tracked for one object on one slice."""
        state = self._prompted.get(index) or self._tracked.get(index)
        return None if state is None else state.only(position)

    @staticmethod
    def _states(states: dict[int, SliceState], position: int | None) -> dict[int, SliceState]:
        return states if position is None else {index: state.only(position) for index, state in states.items()}

    # ---- pictures ----------------------------------------------------------------------------------------------

    def _features(self, index: int) -> ImageFeatures:
        return self._cache.get(index, lambda: self._encode(index))

    def _encode(self, index: int) -> ImageFeatures:
        picture = torch.from_numpy(network_picture(self.slices[index], self.image_size)).to(self._device)
        image = (picture.expand(1, self._mean.shape[1], -1, -1) - self._mean) / self._std
        return self.network.encode_image(image)


def network_picture(image: np.ndarray, size: int) -> np.ndarray:
    """A slice of 8-bit grey values stretched to (size, size) float32 in [0, 1], by Pillow's bicubic filter."""
    from PIL import Image

    if image.shape != (size, size):
        image = np.asarray(Image.fromarray(np.ascontiguousarray(image)).resize((size, size), Image.Resampling.BICUBIC))
    return image.astype(np.float32) / np.float32(255)


def largest_component(mask: np.ndarray) -> np.ndarray:
    """The largest set of voxels of a 3-D mask that touch by a face, an edge or a corner; empty stays empty."""
    from scipy import ndimage

    result = np.zeros_like(mask, dtype=bool)
    boxes = ndimage.find_objects(mask.astype(np.uint8))
    if not boxes:
        return result
    labels, count = ndimage.label(mask[boxes[0]], structure=np.ones((3, 3, 3)))
    sizes = np.bincount(labels.ravel(), minlength=count + 1)
    result[boxes[0]] = labels == int(np.argmax(sizes[1:])) + 1
    return result


def _state(decoded: DecodedMask, memory: Memory | None = None) -> SliceState:
    return SliceState(decoded.low_res_logits, decoded.object_pointer, decoded.object_score_logits, memory)


def _memory(state: SliceState) -> Memory:
    assert state.memory is not None, "only settled and tracked slices are recalled"
    return state.memory


def _as_array(logits: Tensor) -> np.ndarray:
    return logits[:, 0].float().cpu().numpy()


def _resized(image: Tensor, size: Sequence[int], antialias: bool = False) -> Tensor:
    return F.interpolate(image, size=tuple(size), mode="bilinear", align_corners=False, antialias=antialias)
