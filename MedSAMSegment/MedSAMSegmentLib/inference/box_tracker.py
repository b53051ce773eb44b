"""Segment the whole box at once, then slice by slice in detail, and let corrections spread from slice to slice.

For networks that see the box as a whole first (`coarse.py`).  Every slice starts from what was found there, which the
network then works out on the slice itself, knowing what was found on it and on its neighbours.  Where a correction has
changed that, the slice is worked out anew; where it has not, the slice is as it was.  Slices that the user said
something about are then asked for on their own, and what changed on them is carried on to their neighbours, until the
first slice that needs no change.  Of an object of rectangles, what lies in these stands for what was found.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable, Iterator
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from scipy import ndimage

from .coarse import CoarseMask
from .crop_prompts import CropPrompts, array_key, prompt_key
from .outcome import SliceOutcome, expected_overlap, stability
from .predictor import PredictsTogether, SeesRectangles, SlicePrediction, SlicePrompt
from .tracker import Tracker, next_version

# A correction is carried on this far beyond the pixels that changed on the slice before, as a part of the crop.
_SPREAD = 1 / 24

# A click stands for this disc about it (radius as a part of the crop), whatever the network makes of it.
_CLICKED = 1 / 64
_CLICKED_LOGIT = 4.0

# Masks from the whole box that are kept for slices of a batch, on either side of the key slice.
_FOUNDS_KEPT = 72


class FoundOnSlices:
    """A mask of the whole box on single slices, as logits (s, s) over the frame; the latest are kept."""

    def __init__(self, found: CoarseMask, prompts: CropPrompts) -> None:
        self._key_slice = prompts.plan.key_slice
        self._on_slice = found.on_slices(prompts.geometry, prompts.plan, prompts.frame)
        self._kept: OrderedDict[int, torch.Tensor] = OrderedDict()

    def __call__(self, index: int) -> torch.Tensor:
        if index not in self._kept:
            self._kept[index] = self._on_slice(index - self._key_slice)
            if len(self._kept) > _FOUNDS_KEPT:
                self._kept.popitem(last=False)
        return self._kept[index]


class BoxTracker(Tracker):
    """A :class:`Tracker` that starts from a mask of the whole box.

    Args:
        found: that mask.
        found_before: what it was when the user saw ``before``.
        pictures: gives a slice as the predictor is shown it.
    """

    def __init__(
        self,
        *given: Any,
        found: CoarseMask,
        found_before: CoarseMask | None = None,
        pictures: Callable[[int], np.ndarray],
        **options: Any,
    ) -> None:
        super().__init__(*given, **options)
        self._found, self._found_before = found, found_before
        self._pictures = pictures
        self._digests: dict[int, Hashable] = {}
        self._in_rectangle: OrderedDict[int, torch.Tensor] = OrderedDict()
        self._ahead: dict[int, SlicePrediction] = {}
        self._waiting: list[int] = []

    @property
    def revises(self) -> bool:
        """No sweep follows: what is on both neighbours is known from the beginning."""
        return False

    def offered(self, index: int) -> tuple[tuple[torch.Tensor, float], ...]:
        """The one mask of a slice: what was found in the whole box, worked out, and corrected by its own prompts."""
        outcome = self._prompted(index) if self._is_source(index) else self._as_found(index)
        return ((outcome.logits, outcome.predicted_iou),)

    def said_anew(self) -> Iterator[tuple[int, torch.Tensor]]:
        """Slices of which the user has said something new, with their mask, (s, s) logits, by that alone."""
        for index in self.plan.outward():
            if self._is_source(index):
                outcome = self._prompted(index)
                if outcome is not self._known.get(index):
                    yield index, outcome.shown

    def in_rectangle(self, index: int) -> np.ndarray:
        """(s, s) bool, over the crop: what the network makes of a rectangle drawn on a slice."""
        return (_sized(self._begun_afresh(index).logits, self._prompts.frame.size) > 0).cpu().numpy()

    def _is_source(self, index: int) -> bool:
        plan = self.plan
        is_drawn = plan.drawn_rectangle(index) is not None and not self._by_rectangles
        return index in plan.points or index in plan.masks or is_drawn

    def _order(self) -> list[tuple[int, int | None]]:
        order = super()._order()
        if not order:
            order = [(index, None) for index in self.plan.outward()]
        self._waiting = [index for index, _ in order]
        return order

    def _has_ended(self, parent: int | None) -> bool:
        return False

    def _tracked(self, index: int) -> SliceOutcome:
        parent = self._parents.get(index)
        before = None if parent is None else self.outcomes[parent]
        if before is None or before.changed is None:
            return self._as_found(index)
        made_from = ("carried", self._found_key(index), before.version)
        known = self._known.get(index)
        if known is not None and known.made_from == made_from:
            return known
        start = self._as_found(index)
        around = {k: self.outcomes[k].shown if k in self.outcomes else self._on(k) for k in (index - 1, index + 1)}
        prompt = self._prompts.prompt(index, False, around[index - 1], around[index + 1], own=start.logits)
        prediction = self.predictor.predict(self._features(index), prompt, [])
        # What was wrong on the slice before is looked at again here; the rest was right and stays.
        where = _sized(_grown(before.changed, _SPREAD), start.logits.shape[-1])
        corrected = _blended(start.logits, prediction.logits, where)
        if not bool(((corrected > 0) != (start.logits > 0)).any()):
            return replace(start, made_from=made_from)
        return self._as_corrected(start, corrected, prediction, made_from)

    def _prompted(self, index: int) -> SliceOutcome:
        made_from = ("prompted", self._found_key(index), prompt_key(self.plan, index))
        known = self._known.get(index)
        if known is not None and known.made_from == made_from:
            return known
        start = self._as_found(index)
        if self._begins_afresh(index):
            prediction = self._begun_afresh(index)
            return self._as_corrected(start, prediction.logits, prediction, made_from)
        shown = self._shown(index, start)
        prompt = self._prompts.prompt(index, True, self._on(index - 1), self._on(index + 1), own=shown)
        prediction = self.predictor.predict(self._features(index), prompt, [])
        # A click says more than a rectangle between drawn ones, and less than one drawn here.
        drawn = index in self.plan.masks or index in self.plan.boxes
        corrected = prediction.logits if drawn else _corrected(shown, prediction, prompt)
        return self._as_corrected(start, corrected, prediction, made_from)

    # ---- slices with a rectangle -----------------------------------------------------------------------------------

    @cached_property
    def _sees_rectangles(self) -> SeesRectangles | None:
        """The predictor, where it has a part for rectangles."""
        predictor = self.predictor
        return predictor if isinstance(predictor, SeesRectangles) and predictor.sees_rectangles else None

    @property
    def _by_rectangles(self) -> bool:
        """Whether rectangles, in place of a box, say where the object is on slice after slice."""
        return self._sees_rectangles is not None and bool(self.plan.between)

    def _is_found_in_rectangle(self, index: int) -> bool:
        """Whether what lies in a rectangle stands for what was found in the whole box."""
        return self._by_rectangles and self.plan.drawn_rectangle(index) is not None

    def _begins_afresh(self, index: int) -> bool:
        """Whether a rectangle was drawn because what was found on a slice is wrong."""
        plan = self.plan
        return not self._by_rectangles and plan.drawn_rectangle(index) is not None and index not in plan.points

    def _look_into_rectangles(self, indices: Iterable[int]) -> None:
        """What lies in the rectangles of some slices, on all cores."""
        missing = [k for k in dict.fromkeys(indices) if self._is_found_in_rectangle(k) and k not in self._in_rectangle]
        if missing and self._sees_rectangles is not None:
            pictures, prompts = zip(*((self._pictures(k), self._prompts.prompt(k, True)) for k in missing), strict=True)
            for k, found in zip(missing, self._sees_rectangles.in_rectangles(pictures, prompts), strict=True):
                self._in_rectangle[k] = _sized(found.logits, self._prompts.frame.size)
        while len(self._in_rectangle) > _FOUNDS_KEPT:
            self._in_rectangle.popitem(last=False)

    def _begun_afresh(self, index: int) -> SlicePrediction:
        """A slice from its rectangle, whatever was found there."""
        prompt = self._prompts.prompt(index, True)
        if self._sees_rectangles is not None and self.plan.is_rectangle_alone(index):
            return self._sees_rectangles.in_rectangles([self._pictures(index)], [prompt])[0]
        return self.predictor.predict(self._features(index), prompt, [])

    # ---- what was found --------------------------------------------------------------------------------------------

    @cached_property
    def _coarse(self) -> FoundOnSlices:
        return FoundOnSlices(self._found, self._prompts)

    def _on(self, index: int) -> torch.Tensor:
        """(size, size) logits over the frame: what was found on a slice before anybody looked at it alone."""
        if not self._is_found_in_rectangle(index):
            return self._coarse(index)
        self._look_into_rectangles([index])
        return self._in_rectangle[index]

    @cached_property
    def _on_before(self) -> FoundOnSlices | None:
        """As ``_on`` was when the user saw ``before``; ``None`` where it was the same."""
        before = self._found_before
        return None if before is None or before is self._found else FoundOnSlices(before, self._prompts)

    def _found_key(self, index: int) -> Hashable:
        """What was found on a slice and its neighbours, in a form that can be compared."""
        for k in (index - 1, index, index + 1):
            if k not in self._digests and self._is_found_in_rectangle(k):
                self._digests[k] = self.plan.drawn_rectangle(k)
            elif k not in self._digests:
                self._digests[k] = array_key(self._coarse(k).detach().to("cpu", torch.float32).numpy())
        return self._box, *(self._digests[k] for k in (index - 1, index, index + 1))

    def _shown(self, index: int, start: SliceOutcome) -> torch.Tensor:
        """The mask that a slice's clicks correct: the one shown, but where the whole box is now seen otherwise."""
        before = self._before.get(index)
        if before is None:
            return start.logits
        if self._on_before is None or self._is_found_in_rectangle(index):
            return before.shown
        differs = (self._on(index) > 0) != (self._on_before(index) > 0)
        return _blended(before.shown, start.logits, _sized(_grown(differs, _SPREAD), before.shown.shape[-1]))

    def _as_found(self, index: int) -> SliceOutcome:
        known = self._known.get(index)
        made_from: Hashable = ("found", self._found_key(index))
        if known is not None and known.made_from == made_from:
            return known
        if self.predictor.revises:
            prediction = self._revised(index)
            logits, overlap = prediction.logits, prediction.predicted_iou
        else:
            logits = self._on(index)
            overlap = expected_overlap(logits)
        return _outcome(logits, overlap, float(logits.max()), made_from)

    def _revised(self, index: int) -> SlicePrediction:
        """What the network makes of a slice, knowing what was found on it and its neighbours.

        No slice depends on another, so the next ones are asked for along with it; the first one alone, as somebody
        waits for it.
        """
        if index in self._ahead:
            return self._ahead.pop(index)
        self._look_into_rectangles((index - 1, index, index + 1))
        alone = self._revising_prompt(index)
        if len(alone.points) or alone.mask is not None or not isinstance(self.predictor, PredictsTogether):
            return self.predictor.predict(self._features(index), alone, [])
        following = self._following(index, self.predictor.slices_at_once) if self.outcomes else []
        self._look_into_rectangles(k + around for k in (index, *following) for around in (-1, 0, 1))
        self._prepare([index, *following])
        features = [self._features(k) for k in (index, *following)]
        prompts = [alone, *(self._revising_prompt(k) for k in following)]
        first, *others = self.predictor.predict_batch(features, prompts)
        self._ahead.update(zip(following, others, strict=True))
        return first

    def _following(self, index: int, count: int) -> list[int]:
        """Of the ``count`` slices that begin with one, those after it that the network is yet to be asked for."""
        if index not in self._waiting:
            return []
        at = self._waiting.index(index)
        return [
            k
            for k in self._waiting[at + 1 : at + count]
            if not self._is_source(k)
            and k not in self._locked
            and not (k in self._known and self._known[k].made_from == ("found", self._found_key(k)))
        ]

    def _revising_prompt(self, index: int) -> SlicePrompt:
        return self._in_box.prompt(index, False, self._on(index - 1), self._on(index + 1), own=self._on(index))

    @cached_property
    def _in_box(self) -> CropPrompts:
        """Rectangles say what is found; where a slice lies is told by the box about them, as anywhere."""
        prompts = self._prompts
        return replace(prompts, plan=replace(self.plan, boxes={}, between={})) if self._by_rectangles else prompts

    def _as_corrected(
        self, start: SliceOutcome, corrected: torch.Tensor, prediction: SlicePrediction, made_from: Hashable
    ) -> SliceOutcome:
        changed = (corrected > 0) != (_sized(start.logits, corrected.shape[-1]) > 0)
        return _outcome(corrected, prediction.predicted_iou, prediction.object_score, made_from, changed)


def _outcome(
    logits: torch.Tensor,
    overlap: float,
    object_score: float,
    made_from: Hashable,
    changed: torch.Tensor | None = None,
) -> SliceOutcome:
    """Of a slice that is not remembered."""
    return SliceOutcome(
        logits=logits,
        predicted_iou=overlap,
        object_score=object_score,
        stability=stability(logits),
        memory=None,
        empty_run=0,
        made_from=made_from,
        version=next_version(),
        changed=changed,
    )


def _corrected(shown: torch.Tensor, prediction: SlicePrediction, prompt: SlicePrompt) -> torch.Tensor:
    """The mask shown, changed where the clicks ask for it.

    Of what the network would change, only the regions that hold a click or touch one are taken.
    """
    logits = _sized(prediction.logits, shown.shape[-1])
    size = shown.shape[-1]
    scale = size / prompt.frame.size
    centres = torch.arange(size, dtype=torch.float32, device=shown.device)
    discs = torch.zeros(size, size, dtype=torch.bool, device=shown.device)
    held = shown.clone()
    for (u, v), positive in zip(prompt.points, prompt.labels, strict=True):
        x, y = (float(u) + 0.5) * scale - 0.5, (float(v) + 0.5) * scale - 0.5
        disc = ((centres[None, :] - x) ** 2 + (centres[:, None] - y) ** 2) <= max(1.0, _CLICKED * size) ** 2
        wrong = disc & ((logits > 0) != bool(positive))
        logits = torch.where(wrong, torch.full_like(logits, _CLICKED_LOGIT if positive else -_CLICKED_LOGIT), logits)
        discs |= disc
    differs = ((logits > 0) != (shown > 0)).cpu().numpy()
    regions, _ = ndimage.label(differs)
    asked = np.unique(regions[discs.cpu().numpy() & differs])
    wanted = torch.from_numpy(np.isin(regions, asked[asked > 0])).to(shown.device)
    return _blended(held, logits, _grown(wanted, 1 / size))


def _sized(logits: torch.Tensor, size: int) -> torch.Tensor:
    if logits.shape[-1] == size:
        return logits
    return F.interpolate(logits[None, None], size=(size, size), mode="bilinear", align_corners=False)[0, 0]


def _grown(region: torch.Tensor, share: float) -> torch.Tensor:
    """A region (s, s) bool grown by a share of the crop's side, as a weight 0..1 that falls off at its edge."""
    radius = max(1, round(share * region.shape[-1]))
    weight = F.max_pool2d(region.float()[None, None], 2 * radius + 1, stride=1, padding=radius)
    return F.avg_pool2d(weight, 3, stride=1, padding=1)[0, 0]


def _blended(old: torch.Tensor, new: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    return torch.lerp(old, _sized(new, old.shape[-1]), weight)
