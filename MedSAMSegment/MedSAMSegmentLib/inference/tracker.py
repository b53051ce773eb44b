"""Follow one object from its prompted slices outwards, with a memory of the slices already segmented.

The idea is SAM 2's memory (Ravi et al. 2024), with a bank chosen for scans instead of videos:

* Tracking starts from every slice the user prompted; the others follow outwards, the nearest first, so that the first
  mask appears at once.  A slice follows its neighbour towards the nearest prompted slice.
* The bank of a slice holds the key slice, the nearest prompted slice on either side, and the latest good slices on its
  own way from its prompted slice, at least ``memory_stride_mm`` apart and not beyond ``memory_reach_mm``.
* Only slices with a good estimated overlap and object score are remembered.
* A direction ends at the plan's last slice or after several empty ones.
* Networks that can use it then revise every slice once more (`sweep.py`).

What a slice's mask was made from is kept with it.  When the user corrects a slice and tracks again, a slice whose
prompt, neighbour and bank are unchanged keeps its mask, and the network is not asked.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import count
from typing import TYPE_CHECKING, Any

import torch

from ..prompts.plan import SlicePlan
from .crop import CropFrame
from .crop_prompts import CropPrompts, box_key, prompt_key
from .outcome import SliceOutcome, TrackStep, confidence, is_empty, stability
from .predictor import BankEntry, SlicePrediction, SlicePredictor, SlicePrompt
from .settings import TrackingSettings
from .sweep import is_revised, sweep

if TYPE_CHECKING:
    from ..volume import Geometry

_versions = count()

# Networks that recall no more tracked slices than this follow the last mask, and have no memory proper.
_ONLY_THE_LAST = 1


def next_version() -> int:
    """A number no outcome of this process has had."""
    return next(_versions)


class Tracker:
    """Runs one plan.

    Args:
        predictor: the network.
        features: gives the encoded slice of an index (from the cache, if it can).
        geometry: of the scan.
        plan: what to do.
        frame: the crop; that of ``known`` and ``before``, too.
        settings: how.
        known: outcomes of an earlier run; reused where nothing they were made from has changed.
        before: outcomes as the user saw them when making the last corrections.
        locked: slices whose outcome in ``known`` stays, whatever changes around them.
        prepare: told which slices will be asked for next, where several are quicker together.
    """

    def __init__(
        self,
        predictor: SlicePredictor,
        features: Callable[[int], Any],
        geometry: Geometry,
        plan: SlicePlan,
        frame: CropFrame,
        settings: TrackingSettings,
        known: Mapping[int, SliceOutcome] | None = None,
        before: Mapping[int, SliceOutcome] | None = None,
        locked: frozenset[int] = frozenset(),
        prepare: Callable[[Sequence[int]], None] = lambda indices: None,
    ) -> None:
        self.predictor = predictor
        self.plan = plan
        self.settings = settings
        self.outcomes: dict[int, SliceOutcome] = {}
        self._features = features
        self._prepare = prepare
        self._prompts = CropPrompts(geometry, plan, frame)
        self._known = dict(known or {})
        self._before = dict(before or {})
        self._locked = locked & self._known.keys()
        self._parents: dict[int, int] = {}
        self._ended: set[int] = set()
        self._box = box_key(plan)

    def steps(self) -> Iterator[TrackStep]:
        """Work slice by slice: stop asking and everything done so far is in ``outcomes``."""
        for index, parent in self._order():
            if parent is not None:
                self._parents[index] = parent
            known = self._known.get(index)
            if known is not None and index in self._locked:
                outcome: SliceOutcome | None = known
            elif self._is_source(index):
                outcome = self._prompted(index)
            elif self._has_ended(parent):
                self._ended.add(index)
                outcome = None
            else:
                outcome = self._tracked(index)
            if outcome is not None:
                self.outcomes[index] = outcome
            yield TrackStep(index, outcome, reused=outcome is not None and outcome is known)
        if self.revises:
            yield from sweep(self.predictor, self._features, self._prompts, self.outcomes, self._known, self._locked)

    @property
    def revises(self) -> bool:
        """Whether the steps end with a sweep over all slices."""
        return is_revised(self.predictor, self.plan, self.settings)

    def guesses(self, candidates: Iterable[int]) -> Iterator[tuple[int, SlicePrediction]]:
        """What the network makes of single slices from the box alone; nothing is remembered."""
        for index in candidates:
            yield index, self.predictor.predict(self._features(index), self._prompt(index, prompted=True), [])

    def offered(self, index: int) -> tuple[tuple[torch.Tensor, float], ...]:
        """All masks the network offers for one slice from its own prompts, (s, s) logits with estimated overlap."""
        prompt = self._prompt(index, prompted=True, own=self._corrected(index))
        prediction = self.predictor.predict(self._features(index), replace(prompt, all_candidates=True), [])
        return prediction.candidates or ((prediction.logits, prediction.predicted_iou),)

    # ---- the order of slices ---------------------------------------------------------------------------------------

    def _is_source(self, index: int) -> bool:
        """Whether a slice is segmented from its own prompts."""
        if self.settings.strategy == "per-slice" and self.plan.rectangle(index) is not None:
            return True
        # What lies between rectangles says more than the mask next to it.
        if self.predictor.memory_capacity <= _ONLY_THE_LAST and self.plan.drawn_rectangle(index) is not None:
            return True
        return self.plan.is_prompted(index)

    def _order(self) -> list[tuple[int, int | None]]:
        """All slices with the neighbour each one follows: prompted ones first, then outwards from all of them."""
        sources = [index for index in self.plan.outward() if self._is_source(index)]
        order: list[tuple[int, int | None]] = [(index, None) for index in sources]
        seen, waiting = set(sources), deque(sources)
        inside = set(self.plan.slices)
        while waiting:
            index = waiting.popleft()
            for neighbour in (index + 1, index - 1):
                if neighbour in inside and neighbour not in seen:
                    seen.add(neighbour)
                    waiting.append(neighbour)
                    order.append((neighbour, index))
        return order

    def _has_ended(self, parent: int | None) -> bool:
        if parent is None:
            return False
        if parent in self._ended:
            return True
        run = self.outcomes[parent].empty_run
        settings = self.settings
        return run >= settings.stop_empty_slices and run * self.plan.plane.slice_spacing >= settings.stop_empty_mm

    # ---- one slice -------------------------------------------------------------------------------------------------

    def _prompted(self, index: int) -> SliceOutcome:
        """A slice with prompts of its own: made from these alone, so that a correction elsewhere leaves it alone."""
        made_from = ("prompted", self.settings, self._box, prompt_key(self.plan, index))
        known = self._known.get(index)
        if known is not None and known.made_from == made_from:
            return known
        bank = self._recall(index, None)
        prompt = self._prompt(index, prompted=True, own=self._corrected(index))
        features = self._features(index)
        prediction = self.predictor.predict(features, prompt, [entry for entry, _ in bank])
        return self._outcome(features, prompt, prediction, made_from, parent=None)

    def _corrected(self, index: int) -> torch.Tensor | None:
        """The mask that clicks on a slice correct: the one that was shown.

        A rectangle drawn on the slice begins it afresh; where there are neither clicks nor a rectangle, the mask shown
        is all there is to go by.
        """
        before = self._before.get(index)
        begins_afresh = self.plan.rectangle(index) is not None and index not in self.plan.points
        return None if before is None or begins_afresh or index in self.plan.boxes else before.shown

    def _tracked(self, index: int) -> SliceOutcome:
        parent = self._parents[index]
        bank = self._recall(index, parent)
        made_from = (
            "tracked",
            self.settings,
            self._box,
            tuple(self.outcomes[k].version for k in (index - 1, index + 1) if k in self.outcomes),
            tuple((entry.slices, version) for entry, version in bank),
        )
        known = self._known.get(index)
        if known is not None and known.made_from == made_from:
            return known
        entries = [entry for entry, _ in bank]
        features = self._features(index)
        prompt = self._prompt(index, prompted=False)
        prediction = self.predictor.predict(features, prompt, entries)
        if self.settings.strategy == "hybrid" and prompt.rectangle is not None and self._is_doubtful(prediction):
            again = self._prompt(index, prompted=True)
            second = self.predictor.predict(features, again, entries)
            if confidence(second) > confidence(prediction) or is_empty(prediction):
                prompt, prediction = again, second
        return self._outcome(features, prompt, prediction, made_from, parent)

    def _is_doubtful(self, prediction: SlicePrediction) -> bool:
        return is_empty(prediction) or confidence(prediction) < self.settings.reprompt_below

    def _outcome(
        self, features: Any, prompt: SlicePrompt, prediction: SlicePrediction, made_from: Hashable, parent: int | None
    ) -> SliceOutcome:
        empty = is_empty(prediction)
        admitted = self._is_source(prompt.slice_index) or (
            not empty
            and prediction.predicted_iou >= self.settings.minimum_iou
            and prediction.object_score > self.settings.minimum_object_score
        )
        remembers = self.predictor.memory_capacity > 0 and self.settings.strategy != "per-slice"
        before = self.outcomes[parent].empty_run if parent is not None else 0
        return SliceOutcome(
            logits=prediction.logits,
            predicted_iou=prediction.predicted_iou,
            object_score=prediction.object_score,
            stability=stability(prediction.logits),
            memory=self.predictor.remember(features, prompt, prediction) if admitted and remembers else None,
            empty_run=before + 1 if empty else 0,
            made_from=made_from,
            version=next_version(),
        )

    # ---- the memory bank -------------------------------------------------------------------------------------------

    def _recall(self, index: int, parent: int | None) -> list[tuple[BankEntry, int]]:
        """The bank of a slice, each entry with its outcome's version; prompted slices first, then nearest first."""
        if self.settings.strategy == "per-slice" or self.predictor.memory_capacity == 0:
            return []
        bank = [self._entry(index, source, rank=0) for source in self._recalled_sources(index)]
        spacing = self.plan.plane.slice_spacing
        last = None
        rank = 0
        while parent is not None and rank < self.predictor.memory_capacity and not self._is_source(parent):
            distance = abs(parent - index) * spacing
            if distance > self.settings.memory_reach_mm and rank > 0:
                break
            if self.outcomes[parent].memory is not None and (
                last is None or distance - last >= self.settings.memory_stride_mm
            ):
                rank += 1
                last = distance
                bank.append(self._entry(index, parent, rank))
            parent = self._parents.get(parent)
        return bank

    def _recalled_sources(self, index: int) -> list[int]:
        """The key slice and the nearest prompted slice on either side, of those done already; nearest first."""
        done = [s for s in self.outcomes if s != index and self._is_source(s) and self.outcomes[s].memory is not None]
        below, above = [s for s in done if s < index], [s for s in done if s > index]
        chosen = {s for s in (max(below, default=None), min(above, default=None)) if s is not None}
        if self.plan.key_slice in done:
            chosen.add(self.plan.key_slice)
        return sorted(chosen, key=lambda s: (abs(s - index), s))

    def _entry(self, index: int, remembered: int, rank: int) -> tuple[BankEntry, int]:
        outcome = self.outcomes[remembered]
        slices = remembered - index
        entry = BankEntry(
            memory=outcome.memory,
            slices=slices,
            millimetres=slices * self.plan.plane.slice_spacing,
            rank=rank,
            conditioning=rank == 0,
        )
        return entry, outcome.version

    # ---- prompts ---------------------------------------------------------------------------------------------------

    def _prompt(self, index: int, prompted: bool, own: torch.Tensor | None = None) -> SlicePrompt:
        """Everything known about a slice while tracking."""
        below, above = (self._logits(k) for k in (index - 1, index + 1))
        return self._prompts.prompt(index, prompted, below, above, own)

    def _logits(self, index: int) -> torch.Tensor | None:
        outcome = None if self.settings.strategy == "per-slice" else self.outcomes.get(index)
        return None if outcome is None else outcome.logits
