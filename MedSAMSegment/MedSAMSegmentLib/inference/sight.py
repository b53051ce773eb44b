"""What a network is shown of a scan: which slices, the crop, its grey values, and encoded slices."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from ..prompts import SlicePlan, SlicePlane, plan_slices
from .cache import EmbeddingCache
from .crop import CropFrame
from .encoded_ahead import EncodedAhead
from .encoded_slices import EncodedSlices
from .history import ObjectState, Track
from .predictor import PredictsTogether, SlicePredictor
from .runtime_choice import RuntimeUse
from .sampler import SliceSampler, local_window
from .settings import Settings

if TYPE_CHECKING:
    from ..volume import IntensityRange, OrientedBox, Volume


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

    @property
    def margin_mm(self) -> float:
        """How far beyond the box slices are looked at."""
        return self.settings.slice_margin_mm

    def plan(self, state: ObjectState, rounds: int, track: Track | None = None) -> SlicePlan:
        """What the prompts of the first ``rounds`` rounds ask for, given what is known of the object by then.

        Raises:
            InputError: box or prompts do not meet the scan.
        """
        return self._plan(state, rounds, *(track.key_slice, track.region) if track is not None else (None, None))

    def _plan(self, state: ObjectState, rounds: int, key_slice: int | None, region: OrientedBox | None) -> SlicePlan:
        return plan_slices(
            self.volume.geometry,
            state.box,
            plane=self.settings.plane,
            margin_mm=self.margin_mm,
            key_slice=key_slice,
            region=region,
            **state.prompts(rounds).drawn,
        )

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

    def _encoded_slices(self, plane: SlicePlane, track: Track) -> EncodedSlices:
        identity = f"{self.predictor.identity} {self.runtime.name}"
        sampler = SliceSampler(self.volume, plane, track.frame, track.window)
        return EncodedSlices(self.predictor, sampler, self.cache, self.fingerprint, identity)


def _is_whole(plan: SlicePlan) -> bool:
    """Whether the object may lie anywhere on the slices: there is nothing to crop."""
    rows, columns = plan.plane.shape
    return bool(np.allclose(plan.bounds(), (-0.5, -0.5, columns - 0.5, rows - 0.5), atol=1e-6))
