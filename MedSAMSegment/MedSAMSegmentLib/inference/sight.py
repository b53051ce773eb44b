"""What a network is shown of a scan: the crop, its grey values, encoded slices, and the box as a whole."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from ..prompts import SlicePlan, SlicePlane
from .box_clicks import new_clicks, told_in_box
from .cache import EmbeddingCache
from .coarse import CoarseMask, CorrectsBox, SeesBox, view_box
from .crop import CropFrame
from .encoded_ahead import EncodedAhead
from .encoded_slices import EncodedSlices
from .history import Track
from .predictor import PredictsTogether, SlicePredictor
from .runtime_choice import RuntimeUse
from .sampler import SliceSampler, local_window
from .settings import Settings

if TYPE_CHECKING:
    from ..volume import IntensityRange, Volume


@dataclass(frozen=True)
class Sight:
    """One scan as one network sees it.

    Attributes:
        volume, fingerprint: the scan.
        intensities: the grey values the user's window shows.
        predictor: the network.
        settings: how.
        cache: encoded slices.
        runtime: what computes the network's heavy parts.
    """

    volume: Volume
    fingerprint: str
    intensities: IntensityRange
    predictor: SlicePredictor
    settings: Settings
    cache: EmbeddingCache
    runtime: RuntimeUse

    def _begin(
        self, plan: SlicePlan, track: Track | None, groups: Iterable[Sequence[int]]
    ) -> tuple[Track, EncodedAhead]:
        """The track known so far, or a new one where there is none that holds all prompts, and its encoded slices.

        Args:
            groups: slices that a new track will ask for, as they will be encoded.
        """
        if track is not None and track.frame.holds(plan.bounds()):
            groups = ()
        else:
            region = None if track is None else track.region
            track = replace(self._frame_and_window(plan), region=region)
        workers = self.predictor.idle_cores if isinstance(self.predictor, PredictsTogether) else 0
        return track, EncodedAhead(self._encoded_slices(plan.plane, track), groups, workers)

    def _groups(self, plan: SlicePlan) -> Iterator[Sequence[int]]:
        """The slices of a box that is looked at as a whole, in the order and the groups in which they are asked for."""
        asked_alone = plan.points or plan.masks or plan.boxes
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

    def _corrected(self, plan: SlicePlan, track: Track) -> Track:
        """A track whose mask of the whole box takes account of all clicks and drawn slices; itself where it does."""
        found, sees_box = track.found, self._sees_box(plan)
        if found is None or not isinstance(sees_box, CorrectsBox) or sees_box.grid is None or not sees_box.corrects:
            return track
        told = told_in_box(plan)
        if told <= found.told:
            return track
        view = view_box(self.volume, plan, track.window, sees_box.grid)
        new = new_clicks(plan, found, self.volume.geometry, track.frame)
        found = found.about(view.box)
        places, inside = found.places((*found.clicks, *new))
        if new and len(places):
            found = found.corrected(sees_box.correct(view, found, places, inside), new)
        return replace(track, found=replace(found, told=told))

    def _frame_and_window(self, plan: SlicePlan) -> Track:
        """A track that knows no slice yet: the crop about all that is prompted, and the grey values shown in it.

        A window the user chose is kept.
        """
        settings = self.predictor.crop
        if self.settings.full_slice or _is_whole(plan):
            frame = CropFrame.whole(plan.plane, settings)
        else:
            frame = CropFrame.around(plan.bounds(), plan.plane, settings)
        window = self.intensities
        if self.predictor.local_contrast and self.settings.window == "auto":
            window = local_window(self.volume, plan.plane, frame, plan.slices, window)
        return Track(frame, window, plan.key_slice)

    def _sees_box(self, plan: SlicePlan) -> SeesBox | None:
        """The network, where it is to look at the whole box before single slices."""
        automatic = self.settings.tracking.strategy == "auto" and not self.settings.full_slice
        predictor = self.predictor
        if automatic and plan.is_sized and isinstance(predictor, SeesBox) and predictor.grid is not None:
            return predictor
        return None

    def _encoded_slices(self, plane: SlicePlane, track: Track) -> EncodedSlices:
        identity = f"{self.predictor.identity} {self.runtime.name}"
        sampler = SliceSampler(self.volume, plane, track.frame, track.window)
        return EncodedSlices(self.predictor, sampler, self.cache, self.fingerprint, identity)


def _is_whole(plan: SlicePlan) -> bool:
    """Whether the object may lie anywhere on the slices: there is nothing to crop."""
    rows, columns = plan.plane.shape
    return bool(np.allclose(plan.bounds(), (-0.5, -0.5, columns - 0.5, rows - 0.5), atol=1e-6))
