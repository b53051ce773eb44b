"""What a network that looks at whole boxes finds in one before it is asked for single slices.

How far an object without a drawn box reaches is looked at first (`extent.py`), then where it is (`coarse.py`), and once
somebody has clicked, what that changes (`box_clicks.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice

from ..prompts import SlicePlan
from .assembly import LogitBlock
from .box_clicks import new_clicks, told_in_box
from .box_tracker import BoxTracker
from .coarse import CoarseMask, CorrectsBox, SeesBox, view_box
from .encoded_ahead import EncodedAhead
from .extent import region_found
from .history import ObjectState, Track
from .predictor import PredictsTogether
from .run_events import OnSlice, Step, Stopwatch
from .sight import Sight
from .tracker import Tracker

# Of so many slices at the most what was said of them is shown before the whole box is looked at again.
_SHOWN_AT_ONCE = 3


@dataclass(frozen=True)
class WholeBox(Sight):
    """See the module's text; the attributes are those of :class:`Sight`."""

    def _sees_box(self, plan: SlicePlan) -> SeesBox | None:
        """The network, where it is to look at the whole box before single slices."""
        automatic = self.settings.tracking.strategy == "auto" and not self.settings.full_slice
        predictor = self.predictor
        if automatic and plan.is_sized and isinstance(predictor, SeesBox) and predictor.grid is not None:
            return predictor
        return None

    def _groups(self, plan: SlicePlan) -> Iterator[Sequence[int]]:
        """The slices of a box that is looked at as a whole, in the order and the groups in which they are asked for."""
        asked_alone = plan.points or plan.masks or (plan.boxes and not plan.between)
        if isinstance(self.predictor, PredictsTogether) and self._sees_box(plan) is not None and not asked_alone:
            # The key slice is waited for.
            key, *others = plan.outward()
            yield [key]
            size = self.predictor.slices_in_piece
            yield from (others[first : first + size] for first in range(0, len(others), size))

    def _looks(self, plan: SlicePlan, track: Track) -> Iterator[CoarseMask]:
        """What the network finds where it looks at the whole box, once a look: the last one counts."""
        sees_box = self._sees_box(plan)
        if sees_box is not None and sees_box.grid is not None:
            yield from sees_box.find(view_box(self.volume, plan, track.window, sees_box.grid))

    def _look_at_box(
        self,
        name: str,
        state: ObjectState,
        number: int,
        plan: SlicePlan,
        track: Track,
        encoded: EncodedAhead,
        on_slice: OnSlice | None,
        watch: Stopwatch,
    ) -> Generator[Step, None, tuple[SlicePlan, Track]]:
        """Everything that is looked at in the whole box in a round, where the network does so.

        Args:
            name, state: the object.
            number: of the round.
            plan: of the round.
            track: what is known; not that of ``state`` where the box has to be looked at.
            encoded: slices.
            on_slice: is shown what is found first.
            watch: the run's.

        Returns:
            The plan, which may reach over other slices now, and the track with what was found.
        """
        first, reach = state.track is None, state.rounds[number].reach
        if first and reach is None and not plan.ends_are_told:
            for found in islice(self._looks(plan, track), 1):
                track = replace(track, found=found, region=region_found(found, self.volume.geometry, plan))
                self._show_found(name, plan, track, on_slice)
                watch.first_mask()
                known = len(plan.slices)
                plan = self.plan(state, number + 1, track)
                yield Step(0, more=len(plan.slices) - known)
        if track is not state.track:
            for found in self._looks(plan, track):
                track = replace(track, found=found)
                if first and "first_mask" not in watch.timings:
                    self._show_found(name, plan, track, on_slice)
                    watch.first_mask()
                yield Step(0)
        if on_slice is not None and not first:
            self._show_said(name, plan, reach, track, encoded, on_slice, watch)
        corrected = self._corrected(plan, track, encoded)
        if corrected is not track:
            track = corrected
            yield Step(0)
        return plan, track

    def _corrected(self, plan: SlicePlan, track: Track, encoded: EncodedAhead) -> Track:
        """A track whose mask of the whole box takes account of all clicks, drawn slices and rectangles; itself where
        it does.
        """
        found, sees_box = track.found, self._sees_box(plan)
        if found is None or not isinstance(sees_box, CorrectsBox) or sees_box.grid is None or not sees_box.corrects:
            return track
        told = told_in_box(plan)
        # Where rectangles lead from slice to slice, nothing of the box is asked.
        by_rectangles = plan.between and all(plan.drawn_rectangle(index) is not None for index in plan.slices)
        if told <= found.told or by_rectangles:
            return track
        view = view_box(self.volume, plan, track.window, sees_box.grid)
        tracker = self._tracker(plan, track, encoded)
        assert isinstance(tracker, BoxTracker)
        new = new_clicks(plan, found, self.volume.geometry, track.frame, tracker.in_rectangle)
        found = found.about(view.box)
        places, inside = found.places((*found.clicks, *new))
        if new and len(places):
            found = found.corrected(sees_box.correct(view, found, places, inside), new)
        return replace(track, found=replace(found, told=told))

    def _tracker(
        self, plan: SlicePlan, track: Track, encoded: EncodedAhead, locked: frozenset[int] = frozenset()
    ) -> Tracker:
        kind: Callable[..., Tracker] = Tracker
        if track.found is not None:
            kind = partial(BoxTracker, found=track.found, found_before=track.found_before, pictures=encoded.picture)
        return kind(
            self.predictor,
            encoded.features,
            self.volume.geometry,
            plan,
            track.frame,
            self.settings.tracking,
            known=track.outcomes,
            before=track.before,
            locked=locked,
            prepare=encoded.together,
        )

    def _show_found(self, name: str, plan: SlicePlan, track: Track, on_slice: OnSlice | None) -> None:
        """Shows the key slice of what was found in the whole box."""
        if on_slice is None or track.found is None:
            return
        key = plan.key_slice
        block = LogitBlock.empty(self.volume.geometry, plan, track.frame, self.settings.cleanup)
        block.put(key, track.found.on_slices(self.volume.geometry, plan, track.frame)(0))
        on_slice(name, key, block.slice_mask(key))

    def _show_said(
        self,
        name: str,
        plan: SlicePlan,
        reach: tuple[int, int] | None,
        track: Track,
        encoded: EncodedAhead,
        on_slice: OnSlice,
        watch: Stopwatch,
    ) -> None:
        """Shows what a click changes on its own slice, before the whole box is looked at again with it in mind."""
        if track.found is None or told_in_box(plan) <= track.found.told:
            return
        tracker = self._tracker(plan, track, encoded)
        assert isinstance(tracker, BoxTracker)
        block = LogitBlock.empty(self.volume.geometry, plan, track.frame, self.settings.cleanup)
        said = ((k, mask) for k, mask in tracker.said_anew() if reach is None or reach[0] <= k <= reach[1])
        for index, logits in islice(said, _SHOWN_AT_ONCE):
            block.put(index, logits)
            on_slice(name, index, block.slice_mask(index))
            watch.first_mask()
