"""Runs the rounds of one object: where to begin, which slices to ask the network for, and what to make of its answers.

A :class:`Runner` serves one scan and one network and keeps no object: it is given an object's state and hands back the
next one, however far it came.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from itertools import islice
from types import MappingProxyType

import numpy as np
import torch

from ..allocator import return_freed_memory
from ..errors import InferenceError, UsageError
from ..prompts import SlicePlan, SlicePlane
from .assembly import LogitBlock, finished_mask
from .crop import CropFrame
from .encoded_ahead import EncodedAhead
from .history import ObjectState, Track
from .outcome import confidence, stability
from .provenance import ModelIdentity, provenance
from .result import Result
from .run_events import OnSlice, Step, Stopwatch
from .settings import CleanupSettings
from .sweep import is_revised
from .whole_box import WholeBox

_STEPS_BETWEEN_TIDYING = 32


@dataclass(frozen=True, eq=False)
class Candidate:
    """One of the masks that a model offers for a slice.

    Attributes:
        slice_index: the slice.
        mask: (rows, columns) bool of the whole slice, before clean-up.
        score: estimated overlap x stability, 0..1.
    """

    slice_index: int
    mask: np.ndarray
    score: float


Keep = Callable[[ObjectState], None]
"""Called with an object's new state at the end of every round, also of one that was stopped."""


@dataclass(frozen=True)
class Runner(WholeBox):
    """See the module's text.

    Attributes:
        model: who the network is.
    """

    model: ModelIdentity

    def remaining(self, state: ObjectState) -> list[SlicePlan]:
        """The plans of the rounds that are not segmented yet; at least the last one's."""
        track = state.track
        key, region = (self.plan(state, 1).key_slice, None) if track is None else (track.key_slice, track.region)
        first = min(state.done, len(state.rounds) - 1)
        known = () if track is None else tuple(track.outcomes)
        plans = [self._plan(state, rounds + 1, key, region) for rounds in range(first, len(state.rounds))]
        return [
            _reaching(plan, prompts.reach, known)[0] for plan, prompts in zip(plans, state.rounds[first:], strict=True)
        ]

    def steps(self, plan: SlicePlan) -> int:
        """How often :meth:`run` yields for a plan."""
        if self._sees_box(plan) is not None:
            return len(plan.slices)
        return len(plan.slices) * (2 if is_revised(self.predictor, plan, self.settings.tracking) else 1)

    def run(
        self, name: str, state: ObjectState, plans: list[SlicePlan], keep: Keep, on_slice: OnSlice | None
    ) -> Generator[Step, None, None]:
        """Segment the remaining rounds of one object, yielding after every slice and every look at the whole box.

        However the loop ends (done, cancelled, error), what is known by then is kept.

        Args:
            name: of the object.
            state: of the object.
            plans: :meth:`remaining` of it.
            keep: see :data:`Keep`.
            on_slice: see :data:`OnSlice`.
        """
        watch = Stopwatch()
        state = replace(state, closed=len(state.rounds))
        first = len(state.rounds) - len(plans)
        for number, plan in enumerate(plans, start=first):
            state = yield from self._round(name, state, number, plan, keep, on_slice, watch)

    def _round(
        self,
        name: str,
        state: ObjectState,
        number: int,
        plan: SlicePlan,
        keep: Keep,
        on_slice: OnSlice | None,
        watch: Stopwatch,
    ) -> Generator[Step, None, ObjectState]:
        """One round of :meth:`run`."""
        prompts, earlier = state.prompts(number + 1), state.track
        last = number == len(state.rounds) - 1
        held: frozenset[int] = frozenset()
        if earlier is not None:
            # The round before may have begun elsewhere than was thought when the plans were made.
            plan = self.plan(state, number + 1, earlier)
        track, encoded = self._begin(plan, earlier, self._groups(plan))
        with closing(encoded):
            looking = self._look_at_box(name, state, number, plan, track, encoded, on_slice if last else None, watch)
            plan, track = yield from looking
            if earlier is None:
                key = self._surest_slice(name, plan, track, encoded, on_slice if last else None, watch)
                plan, track = replace(plan, key_slice=key), replace(track, key_slice=key)
            else:
                plan, held = _reaching(plan, state.rounds[number].reach, track.outcomes)
            locked = prompts.locked()
            plan = _with_locked_masks(plan, {k: mask for k, mask in locked.items() if k not in track.outcomes})
            block = LogitBlock.empty(self.volume.geometry, plan, track.frame, self.settings.cleanup)
            tracker = self._tracker(plan, track, encoded, held | locked.keys())
            finished = False
            try:
                for number_of_steps, step in enumerate(tracker.steps(), start=1):
                    if number_of_steps % _STEPS_BETWEEN_TIDYING == 0:
                        return_freed_memory()
                    if step.outcome is not None and last:
                        block.put(step.slice_index, step.outcome.shown)
                        watch.first_mask()
                        if on_slice is not None:
                            on_slice(name, step.slice_index, block.slice_mask(step.slice_index))
                    yield Step(1)
                finished = True
            finally:
                kept = {} if finished else {k: v for k, v in track.outcomes.items() if k not in tracker.outcomes}
                outcomes = MappingProxyType({**kept, **tracker.outcomes})
                track = replace(track, outcomes=outcomes)
                if finished:
                    track = replace(track, before=outcomes, found_before=track.found)
                state = replace(state, track=track, done=number + 1 if finished else number)
                if last or not finished:
                    for index in outcomes if not last else kept:
                        if index in plan.slices:
                            block.put(index, outcomes[index].shown)
                    state = replace(state, result=self._result(name, plan, state, track, block, watch, finished))
                keep(state)
        return state

    def candidates(
        self, state: ObjectState, slice_index: int | None, at_a_glance: bool = False
    ) -> tuple[Candidate, ...]:
        """Every mask the network offers for one slice (default the key slice) from its prompts, the surest first.

        ``at_a_glance``: the first look at the whole box is enough, where the box is looked at.
        """
        plan = self.plan(state, len(state.rounds), state.track)
        index = plan.key_slice if slice_index is None else slice_index
        track, encoded = self._begin(plan, state.track, [[index]])
        with closing(encoded):
            is_new = track is not state.track
            if is_new:
                for found in islice(self._looks(plan, track), 1 if at_a_glance else None):
                    track = replace(track, found=found)
            if not (is_new and at_a_glance):
                track = self._corrected(plan, track, encoded)
            offered = self._tracker(plan, track, encoded).offered(index)
        block = LogitBlock.empty(self.volume.geometry, plan, track.frame, CleanupSettings.none())
        candidates = []
        for logits, overlap in offered:
            mask = np.zeros(plan.plane.shape, dtype=bool)
            picture = logits.detach().to("cpu", torch.float32).numpy()
            mask[block.rows, block.columns] = track.frame.paste(picture, block.rows, block.columns) > 0
            candidates.append(Candidate(index, mask, overlap * stability(logits)))
        return tuple(sorted(candidates, key=lambda candidate: -candidate.score))

    def _surest_slice(
        self,
        name: str,
        plan: SlicePlan,
        track: Track,
        encoded: EncodedAhead,
        on_slice: OnSlice | None,
        watch: Stopwatch,
    ) -> int:
        """The slice about the box's middle on which the network trusts its mask the most.

        The middle slice is shown at once. Where the user said something about a slice, or each slice stands for itself,
        the plan's own key slice stays.
        """
        candidates = _about(plan, self.predictor.key_candidates)
        told = plan.points or plan.masks or plan.boxes or not plan.box_is_drawn or track.found is not None
        if len(candidates) < 2 or told or self.settings.tracking.strategy == "per-slice":
            return plan.key_slice
        best = (-1.0, plan.key_slice)
        for index, guess in self._tracker(plan, track, encoded).guesses(candidates):
            watch.first_mask()
            if index == plan.key_slice and on_slice is not None:
                block = LogitBlock.empty(self.volume.geometry, plan, track.frame, self.settings.cleanup)
                block.put(index, guess.logits)
                on_slice(name, index, block.slice_mask(index))
            best = max(best, (confidence(guess), index))
        return best[1]

    def prepare(self, state: ObjectState | None, around: int | None) -> Iterator[int]:
        """Encode slices before they are asked for, one a step, as long as the cache has room.

        Args:
            state: of the object whose slices will be asked for; without one, whole slices are encoded where the
                session shows those, and nothing where it shows a crop about a box that is not known yet.
            around: the slice to begin with; by default the object's key slice, or the middle of the scan.

        Yields:
            The slice that was encoded.
        """
        plane = SlicePlane.of(self.volume.geometry, self.settings.plane)
        if state is not None:
            plan = self.plan(state, len(state.rounds), state.track)
            track = state.track
            if track is None or not track.frame.holds(plan.bounds()):
                track = self._frame_and_window(plan)
            slices, first = plan.slices, plan.key_slice
        elif self.settings.full_slice and not (self.predictor.local_contrast and self.settings.window == "auto"):
            slices, first = tuple(range(plane.slices)), plane.slices // 2
            track = Track(CropFrame.whole(plane, self.predictor.crop), self.intensities, first)
        else:
            return
        encoded = self._encoded_slices(plane, track)
        middle = first if around is None else around
        for index in sorted(slices, key=lambda k: (abs(k - middle), k)):
            if not encoded.knows(index):
                before = self.cache.bytes
                encoded.features(index)
                yield index
                if self.cache.bytes + max(self.cache.bytes - before, 0) > self.cache.limit_bytes:
                    return

    def _result(
        self,
        name: str,
        plan: SlicePlan,
        state: ObjectState,
        track: Track,
        block: LogitBlock,
        watch: Stopwatch,
        complete: bool,
    ) -> Result:
        outcomes, prompts = track.outcomes, state.prompts()
        begun = time.perf_counter()
        mask = finished_mask(block, plan, self.settings.cleanup, {**plan.masks, **prompts.locked()})
        ended = time.perf_counter()
        return Result(
            name=name,
            geometry=self.volume.geometry,
            extent=block.extent,
            extent_mask=block.to_scan_axes(mask),
            logits=block.to_scan_axes(block.logits),
            axis=plan.plane.axis,
            key_slice=plan.key_slice,
            scores=MappingProxyType({k: float(outcomes[k].confidence) for k in plan.slices if k in outcomes}),
            complete=complete,
            timings=MappingProxyType({**watch.timings, "cleanup": ended - begun, "total": ended - watch.begun}),
            provenance=MappingProxyType(
                provenance(
                    self.model, self.fingerprint, self.settings, state.box, prompts, track.window, self.runtime.name
                )
            ),
        )


@contextmanager
def typed_failures() -> Iterator[None]:
    """What a network can fail with, as this project's errors."""
    try:
        yield
    except (MemoryError, torch.OutOfMemoryError) as error:
        raise InferenceError(
            "OUT_OF_MEMORY", "There is not enough memory for this model.", "Use --device cpu or a smaller model."
        ) from error
    except RuntimeError as error:
        raise InferenceError(
            "NETWORK_FAILED", f"The network failed: {str(error).splitlines()[0]}", "Try --device cpu."
        ) from error


def _about(plan: SlicePlan, count: int) -> list[int]:
    """Up to ``count`` slices spread over the middle half of the box, its very middle first."""
    inside = [index for index in plan.rectangles if index in plan.slices]
    middle = inside.index(plan.key_slice) if plan.key_slice in inside else len(inside) // 2
    reach = len(inside) // 4
    offsets = sorted({round(step) for step in np.linspace(-reach, reach, count)}, key=lambda step: (abs(step), step))
    return [inside[middle + step] for step in offsets if 0 <= middle + step < len(inside)]


def _with_locked_masks(plan: SlicePlan, masks: Mapping[int, np.ndarray]) -> SlicePlan:
    """Accepted slices that the tracker knows nothing of (the crop has moved) count as drawn."""
    inside = {index: mask for index, mask in masks.items() if index in plan.slices}
    return replace(plan, masks=MappingProxyType({**plan.masks, **inside})) if inside else plan


def _reaching(plan: SlicePlan, reach: tuple[int, int] | None, known: Iterable[int]) -> tuple[SlicePlan, frozenset[int]]:
    """A plan that changes the slices of ``reach`` only, and the slices that are held as they are ``known``.

    Raises:
        UsageError: ``EMPTY_RANGE``: the object has no slice there.
    """
    if reach is None:
        return plan, frozenset()
    wanted = [index for index in plan.slices if reach[0] <= index <= reach[1]]
    if not wanted:
        raise UsageError(
            "EMPTY_RANGE",
            f"The object lies on the slices {plan.slices[0]} to {plan.slices[-1]}, none of which is to be segmented.",
            "Choose a range of slices that meets the box.",
        )
    held = frozenset(plan.slices).intersection(known).difference(wanted)
    slices = tuple(sorted(held.union(wanted)))
    key = plan.key_slice if plan.key_slice in slices else min(wanted, key=lambda index: abs(index - plan.key_slice))
    return replace(plan, slices=slices, key_slice=key), held
