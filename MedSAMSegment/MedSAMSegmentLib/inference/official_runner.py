"""Objects of a session, segmented exactly as the official programs of the model do it.

Whole slices of 8 bits, the authors' own order of slices and their own last step, for results that shall be comparable
with published ones:

* SAM 2, MedSAM2, EfficientTAM: all slices of the scan, with memory, forward and in reverse from the key slice; MedSAM2
  then keeps the largest component.  An object of which only its diameter is known goes the way of the programs for
  RECIST lines: what the diameter makes of its slice is the mask that both passes are shown (EfficientTAM's program also
  cuts the scan along z, by a rule that is off by the ratio of the spacings; that is left out).
* MedSAM, LiteMedSAM: the slices of the box, from box to box; with the strategy ``"per-slice"`` the program for single
  images on every slice of the box.
* SAM, MobileSAM, MedicoSAM: the program for single images on every slice of the box; their authors have no other.

The grey values are those of the window, cut to 8 bits; a scan that has 8 bits already, as the .npz files of the
challenges, is taken as it is unless a window was chosen.  All prompts given so far count from the beginning: the
programs know no rounds of corrections.  Clean-up and tracking settings have no say.  Accepted slices stay as they are,
and so do drawn ones where the program takes no masks.
"""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from types import MappingProxyType

import numpy as np

from ..checkpoints import LoadedModel
from ..errors import UsageError
from ..prompts import LinePrompt, SlicePlan, SlicePlane
from ..prompts.strokes import line_on_slice
from ..volume import IntensityRange
from .cleanup import EMPTY_LOGIT
from .history import ObjectState
from .image_predictor import EncodedImage, ImagePredictor
from .official import OfficialPrompt, OfficialTracker, largest_component
from .official_volume import OfficialSlice, box_to_box, each_slice_alone, memory_both_ways
from .provenance import provenance
from .result import Extent, Result
from .run_events import OnSlice, Step, Stopwatch
from .runner import Keep, Runner


@dataclass
class _Collected:
    """What the programs said so far, by slice; a slice that was visited twice is the union of both."""

    masks: dict[int, np.ndarray] = field(default_factory=dict)
    logits: dict[int, np.ndarray] = field(default_factory=dict)
    scores: dict[int, float] = field(default_factory=dict)

    def add(self, found: OfficialSlice) -> np.ndarray:
        """Keep a slice; its mask (rows, columns) so far."""
        index = found.index
        known = index in self.masks
        self.masks[index] = self.masks[index] | found.mask if known else found.mask
        logits = found.logits.clip(EMPTY_LOGIT, -EMPTY_LOGIT).astype(np.float16)
        self.logits[index] = np.maximum(self.logits[index], logits) if known else logits
        self.scores.setdefault(index, found.score)
        return self.masks[index]


@dataclass(frozen=True)
class OfficialRunner(Runner):
    """See the module's text; the attributes are those of :class:`Runner`."""

    @cached_property
    def loaded(self) -> LoadedModel:
        """The model.

        Raises:
            UsageError: ``NO_OFFICIAL_PROGRAM`` for a model that has none.
        """
        loaded = getattr(self.predictor, "loaded", None)
        if loaded is None:
            raise UsageError(
                "NO_OFFICIAL_PROGRAM",
                f"There is no official program for the model {self.model.name!r}.",
                "Leave --official out, or choose a published model.",
            )
        return loaded

    def __post_init__(self) -> None:
        _ = self.loaded  # refused at once

    @property
    def margin_mm(self) -> float:
        """The programs with memory know no box in 3-D: they go through the whole scan."""
        if self._remembers:
            return self._plane.slices * self._plane.slice_spacing
        return super().margin_mm

    def remaining(self, state: ObjectState) -> list[SlicePlan]:
        """The plan of all prompts, unless they are segmented already."""
        if state.done == len(state.rounds) and state.result is not None:
            return []
        return [self.plan(state, len(state.rounds))]

    def steps(self, plan: SlicePlan) -> int:
        """How often :meth:`run` yields for a plan."""
        if self._remembers:
            return len(plan.slices) + (plan.key_slice > 0)
        return len(plan.slices if self._follows_boxes else self._prompts(plan))

    def run(
        self, name: str, state: ObjectState, plans: list[SlicePlan], keep: Keep, on_slice: OnSlice | None
    ) -> Generator[Step, None, None]:
        """Segment one object from all its prompts, yielding after every slice; what is known by then is kept.

        Args:
            name: of the object.
            state: of the object.
            plans: :meth:`remaining` of it.
            keep: called with the new state at the end, however the loop ends.
            on_slice: called with every slice's mask.
        """
        if not plans:
            return
        plan, watch, collected = plans[0], Stopwatch(), _Collected()
        state = replace(state, closed=len(state.rounds))
        finished = False
        try:
            for found in self._slices(state, plan):
                mask = collected.add(found)
                watch.first_mask()
                if on_slice is not None:
                    on_slice(name, found.index, mask)
                yield Step(1)
            finished = True
        finally:
            done = len(state.rounds) if finished else min(state.done, len(state.rounds) - 1)
            result = self._official_result(name, state, plan, collected, watch, finished)
            keep(replace(state, done=done, result=result))

    # ---- which program ---------------------------------------------------------------------------------------------

    @property
    def _remembers(self) -> bool:
        """Whether the object is tracked with memory; a single picture, or each slice by itself, is not."""
        alone = self._plane.slices == 1 or self.settings.tracking.strategy == "per-slice"
        return self.loaded.spec.architecture in ("sam2", "efficient-tam") and not alone

    @property
    def _follows_boxes(self) -> bool:
        margin = self.loaded.spec.preprocessing.next_box_margin
        return margin is not None and self.settings.tracking.strategy != "per-slice"

    def _slices(self, state: ObjectState, plan: SlicePlan) -> Iterator[OfficialSlice]:
        prompts = self._prompts(plan)
        if self._remembers:
            key, lines = plan.key_slice, state.prompts().lines
            by_diameter = state.box is None and bool(lines)
            if by_diameter and prompts[key].mask is None:
                prompts[key] = self._of_diameter(prompts[key], key, lines)
            return memory_both_ways(self._tracker_of_scan, key, prompts, mask_first=by_diameter)
        if self._follows_boxes:
            given = {*plan.boxes}
            if plan.box_is_drawn:
                given.add((min(plan.rectangles) + max(plan.rectangles)) // 2)
            elif not given:
                given.add(plan.key_slice)
            boxes = {k: box for k in sorted(given) if (box := prompts[k].box) is not None}
            return box_to_box(self._images, self._encoded, plan.slices[0], plan.slices[-1], boxes)
        return each_slice_alone(self._images, self._encoded, prompts)

    def _prompts(self, plan: SlicePlan) -> dict[int, OfficialPrompt]:
        """What the programs are told, by slice: of the box all slices where each stands for itself."""
        if self._remembers:
            told = [k for k in plan.slices if plan.is_prompted(k)]
        else:
            told = [k for k in plan.slices if plan.rectangle(k) is not None or k in plan.points]
        return {index: self._prompt(plan, index) for index in told}

    def _prompt(self, plan: SlicePlan, index: int) -> OfficialPrompt:
        """A rectangle ends at the edges of pixels, the programs' boxes at the centres of the first and the last."""
        mask = plan.masks.get(index) if self._remembers else None
        if mask is not None:
            return OfficialPrompt(mask=mask)
        clicks = plan.points.get(index, ()) if "points" in self.predictor.understands else ()
        rectangle = plan.rectangle(index)
        box = None
        if rectangle is not None:
            x0, y0, x1, y1 = rectangle
            box = (x0 + 0.5, y0 + 0.5, x1 - 0.5, y1 - 0.5)
        return OfficialPrompt(box, [(p.x, p.y) for p in clicks], [int(p.positive) for p in clicks])

    def _of_diameter(self, prompt: OfficialPrompt, index: int, lines: Sequence[LinePrompt]) -> OfficialPrompt:
        """What the programs for RECIST lines are told on a slice: MedSAM2's the clicks alone, EfficientTAM's a square.

        The square about the middle of the last diameter there reaches half its length, in whole pixels.
        """
        if self.loaded.spec.architecture != "efficient-tam":
            return replace(prompt, box=None)
        on_slices = [line_on_slice(self.volume.geometry, self._plane, line) for line in lines]
        ends = next((found for slice_index, found in reversed(on_slices) if slice_index == index), None)
        if ends is None:
            return prompt
        half = int(round(float(np.linalg.norm(ends[1] - ends[0])) / 2, 6))  # millimetres cost a last bit
        rows, columns = self._plane.shape
        (x0, y0), (x1, y1) = ends.mean(axis=0) - half, ends.mean(axis=0) + half
        box = (max(0.0, x0), max(0.0, y0), min(columns - 1.0, x1), min(rows - 1.0, y1))
        return OfficialPrompt(box=box)

    # ---- pictures --------------------------------------------------------------------------------------------------

    @cached_property
    def _images(self) -> ImagePredictor:
        return ImagePredictor(self.loaded)

    @cached_property
    def _plane(self) -> SlicePlane:
        return SlicePlane.of(self.volume.geometry, self.settings.plane)

    @cached_property
    def _tracker_of_scan(self) -> OfficialTracker:
        """One for all objects, so that each slice is encoded once."""
        slices = np.stack([self._eight_bits(k) for k in range(self._plane.slices)])
        return OfficialTracker(self.loaded, slices, self.cache.limit_bytes)

    def _encoded(self, index: int) -> EncodedImage:
        key = ("official", self.fingerprint, self._plane.axis, index, self._window, self.predictor.identity)
        return self.cache.get(key, lambda: self._images.encode(self._eight_bits(index)))

    @property
    def _window(self) -> IntensityRange:
        """The values shown as 0 and 255."""
        if self.volume.voxels.dtype == np.uint8 and self.settings.window == "auto":
            return IntensityRange(0.0, 255.0)
        return self.intensities

    def _eight_bits(self, index: int) -> np.ndarray:
        """(rows, columns) uint8 of one slice; digits behind the point are cut off, as in the authors' preparation."""
        values = self.volume.slice_array(self._plane.axis, index)
        if values.dtype == np.uint8 and self._window == (0.0, 255.0):
            return np.ascontiguousarray(values)
        return (self._window.apply(values) * 255.0).astype(np.uint8)

    # ---- the result ------------------------------------------------------------------------------------------------

    def _official_result(
        self,
        name: str,
        state: ObjectState,
        plan: SlicePlan,
        collected: _Collected,
        watch: Stopwatch,
        complete: bool,
    ) -> Result:
        plane, prompts = plan.plane, state.prompts()
        known = sorted({*collected.masks, *plan.masks, *prompts.locked(), plan.key_slice})
        first, last = known[0], known[-1]
        mask = np.zeros((last - first + 1, *plane.shape), dtype=bool)
        logits = np.full(mask.shape, EMPTY_LOGIT, dtype=np.float16)
        for index, found in collected.masks.items():
            mask[index - first], logits[index - first] = found, collected.logits[index]
        begun = time.perf_counter()
        if self.loaded.spec.preprocessing.largest_component and self._remembers and state.box is not None:
            mask = largest_component(mask)
        given = {**({} if self._remembers else plan.masks), **prompts.locked()}
        for index, one in given.items():
            mask[index - first] = one
        ended = time.perf_counter()
        extent = [slice(0, plane.shape[0]), slice(0, plane.shape[1])]
        extent.insert(plane.axis, slice(first, last + 1))
        block: Extent = (extent[0], extent[1], extent[2])
        return Result(
            name=name,
            geometry=self.volume.geometry,
            extent=block,
            extent_mask=np.ascontiguousarray(np.moveaxis(mask, 0, plane.axis)),
            logits=np.ascontiguousarray(np.moveaxis(logits, 0, plane.axis)),
            axis=plane.axis,
            key_slice=plan.key_slice,
            scores=MappingProxyType(dict(sorted(collected.scores.items()))),
            complete=complete,
            timings=MappingProxyType({**watch.timings, "cleanup": ended - begun, "total": ended - watch.begun}),
            provenance=MappingProxyType(
                provenance(
                    self.model, self.fingerprint, self.settings, state.box, prompts, self._window, self.runtime.name
                )
            ),
        )
