"""One scan, one model and the objects drawn on it: prompts in, masks out.

    session = Session(volume)
    session.add_object("liver", box)
    result = session.segment("liver")
    session.add_points("liver", [(12.0, -40.5, 88.0)], positive=False)
    result = session.segment("liver")              # only the slices this changes are tracked again
    session.undo()

Every front end (command line, Slicer, service) uses this class; none of them talks to a network.  The scan is read and
never changed.  A session starts no threads: whoever calls ``segment`` waits, is told about every slice and may cancel
between two.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, overload

import numpy as np
import torch
from numpy.typing import ArrayLike

from ..errors import CancelledError, InferenceError, InputError, UsageError
from ..prompts import MaskPrompt, PointPrompt, SlicePlan, SlicePlane, plan_slices
from .assembly import LogitBlock, finished_mask
from .cache import EmbeddingCache, SliceKey
from .crop import CropFrame
from .fingerprint import volume_fingerprint
from .history import ObjectState, Prompts, Track
from .predictor import SlicePredictor, make_predictor
from .provenance import ModelIdentity, provenance
from .result import Result
from .sampler import SliceSampler, local_window
from .settings import CleanupSettings, Settings, TrackingSettings
from .tracker import Tracker, confidence

if TYPE_CHECKING:
    from ..checkpoints import LoadedModel
    from ..volume import IntensityRange, OrientedBox, Volume, Window

Progress = Callable[[int, int, str], None]
"""Called as ``progress(slices done, slices of all, object)``."""

Cancel = Callable[[], bool]
"""Asked after every slice; ``True`` stops."""

OnSlice = Callable[[str, int, np.ndarray], None]
"""Called as ``on_slice(object, slice index, mask (rows, columns))`` with every slice's mask before clean-up."""


class Session:
    """See the module's text.

    Args:
        volume: the scan.
        model: a name of the catalog, a model loaded before, or any
            :class:`~MedSAMSegmentLib.inference.predictor.SlicePredictor`.
        device: where a model given by name runs: ``"auto"``, ``"cpu"``, ``"cuda"``, ``"mps"``.
        checkpoint: the user's own weights for a model given by name.
        window: grey values: ``"auto"``, a preset, ``"LEVEL/WIDTH"`` or a :class:`Window`.
        plane: the slices to segment: ``"auto"`` (acquired ones), ``"axial"``, ``"sagittal"``, ``"coronal"``.
        strategy: ``"propagate"``, ``"per-slice"``, ``"hybrid"``.
        full_slice: show whole slices instead of the box with context.
        cleanup: ``True`` (defaults), ``False`` (none), or which steps.
        settings: all of the above from ``window`` on in one, and more; then leave the others out.
        cache: encoded slices, to share between sessions.

    Raises:
        UsageError, CheckpointError: an unknown name, a missing or damaged checkpoint.
    """

    def __init__(
        self,
        volume: Volume,
        model: str | LoadedModel | SlicePredictor = "embedded",
        device: str = "auto",
        *,
        checkpoint: str | os.PathLike[str] | None = None,
        window: str | Window = "auto",
        plane: str = "auto",
        strategy: str = "propagate",
        full_slice: bool = False,
        cleanup: bool | CleanupSettings = True,
        settings: Settings | None = None,
        cache: EmbeddingCache | None = None,
    ) -> None:
        from ..volume import Window

        if settings is None:
            if isinstance(cleanup, bool):
                cleanup = CleanupSettings() if cleanup else CleanupSettings.none()
            settings = Settings(
                window=window if isinstance(window, str) else window.name,
                plane=plane,
                full_slice=full_slice,
                tracking=TrackingSettings(strategy=strategy),
                cleanup=cleanup,
            )
        self.volume = volume
        self.settings = settings
        self.intensities = Window.parse(settings.window).resolve(volume)
        self.plane = SlicePlane.of(volume.geometry, settings.plane)
        self.predictor, self.model = _predictor_and_identity(model, device, checkpoint)
        self.fingerprint = volume_fingerprint(volume)
        self._cache = EmbeddingCache() if cache is None else cache
        self._windows: dict[tuple[CropFrame, tuple[int, ...]], IntensityRange] = {}
        self._objects: dict[str, ObjectState] = {}
        self._past: list[dict[str, ObjectState]] = []
        self._future: list[dict[str, ObjectState]] = []

    # ---- what is there ---------------------------------------------------------------------------------------------

    @property
    def objects(self) -> tuple[str, ...]:
        """Names of all objects, in the order they were added."""
        return tuple(self._objects)

    @property
    def results(self) -> Mapping[str, Result]:
        """The latest result of every object that has one; also an incomplete one of a cancelled run."""
        return {name: state.result for name, state in self._objects.items() if state.result is not None}

    @property
    def states(self) -> Mapping[str, ObjectState]:
        """The state of every object; never changed, only replaced."""
        return MappingProxyType(self._objects)

    def box(self, name: str) -> OrientedBox:
        """The box of an object, as drawn."""
        return self._object(name).box

    def prompts(self, name: str) -> Prompts:
        """All clicks, drawn masks and accepted slices of an object."""
        return self._object(name).prompts()

    def needs_segmenting(self, name: str) -> bool:
        """Whether prompts were given, or a run cancelled, since the object's last complete result."""
        state = self._object(name)
        return state.done < len(state.rounds)

    # ---- prompts ---------------------------------------------------------------------------------------------------

    def add_object(self, name: str, box: OrientedBox) -> None:
        """Begin a new object from its box.

        Raises:
            UsageError: ``OBJECT_EXISTS``, ``BAD_NAME``.
            InputError: the box does not meet the scan.
        """
        if not name.strip():
            raise UsageError("BAD_NAME", "An object needs a name.", "Give it one.")
        if name in self._objects:
            raise UsageError("OBJECT_EXISTS", f"There is an object {name!r} already.", "Choose another name.")
        state = ObjectState(box)
        self._plan(state, 1)
        self._commit(name, state)

    def remove_object(self, name: str) -> None:
        """Forget an object and its result.  Raises ``UsageError`` (``UNKNOWN_OBJECT``)."""
        self._object(name)
        self._remember_state()
        del self._objects[name]

    def add_points(self, name: str, points_lps: ArrayLike, positive: bool = True) -> None:
        """Clicks on any slices: inside the object, or (``positive=False``) outside it.

        Args:
            name: the object.
            points_lps: LPS mm, (n, 3); or one point, (3,).
            positive: whether they lie inside the object.

        Raises:
            InputError: ``BAD_PROMPT``, or ``POINT_OUTSIDE_SCAN``.
            UsageError: ``UNKNOWN_OBJECT``, ``SLICE_ACCEPTED``.
        """
        try:
            places = np.atleast_2d(np.array(points_lps, dtype=np.float64))
        except (TypeError, ValueError):
            places = np.empty((0, 0))
        if places.ndim != 2 or places.shape[1] != 3:
            raise InputError("BAD_PROMPT", "Points need three numbers each.", "Give (n, 3) coordinates, LPS mm.")
        self._prompt(name, Prompts(points=tuple(PointPrompt((x, y, z), positive) for x, y, z in places.tolist())))

    def add_mask(self, name: str, slice_index: int, mask: np.ndarray) -> None:
        """Draw the object's whole cross-section on one slice; it is taken as it is.

        Args:
            name: the object.
            slice_index: slice of the session's plane.
            mask: (rows, columns) of the whole slice, > 0 is the object.

        Raises:
            InputError: the mask does not fit the scan.
            UsageError: ``UNKNOWN_OBJECT``, ``SLICE_ACCEPTED``.
        """
        drawn = MaskPrompt(self.plane.axis, int(slice_index), np.asarray(mask) > 0)
        self._prompt(name, Prompts(masks=(drawn,)))

    def accept(self, name: str, slices: Iterable[int] | None = None) -> None:
        """Lock slices: their mask stays as it is now, whatever is corrected elsewhere.

        Args:
            name: the object.
            slices: of the session's plane; by default all that hold a part of the mask.

        Raises:
            UsageError: ``UNKNOWN_OBJECT``, ``NOT_SEGMENTED``, ``NO_SUCH_SLICE``.
        """
        result = self._object(name).result
        if result is None:
            raise UsageError("NOT_SEGMENTED", f"The object {name!r} has no mask yet.", "Segment it first.")
        extent = result.extent[self.plane.axis]
        if slices is None:
            slices = [index for index in range(extent.start, extent.stop) if result.slice_mask(index).any()]
        masks = {self._slice(index): result.slice_mask(index).copy() for index in slices}
        self._commit(name, self._object(name).with_prompts(Prompts(accepted=MappingProxyType(masks))))

    def release(self, name: str, slices: Iterable[int] | None = None) -> None:
        """Unlock slices; by default all.  Raises ``UsageError`` (``UNKNOWN_OBJECT``, ``NO_SUCH_SLICE``)."""
        locked = self._object(name).prompts().locked()
        chosen = locked.keys() if slices is None else {self._slice(index) for index in slices} & locked.keys()
        unlocked = MappingProxyType(dict.fromkeys(sorted(chosen)))
        self._commit(name, self._object(name).with_prompts(Prompts(accepted=unlocked)))

    # ---- undo ------------------------------------------------------------------------------------------------------

    @property
    def can_undo(self) -> bool:
        return bool(self._past)

    @property
    def can_redo(self) -> bool:
        return bool(self._future)

    def undo(self) -> None:
        """Take back the last prompt (or object added or removed) with everything that was segmented since.

        Raises:
            UsageError: ``NOTHING_TO_UNDO``.
        """
        if not self._past:
            raise UsageError("NOTHING_TO_UNDO", "There is nothing to undo.")
        self._future.append(self._objects)
        self._objects = self._past.pop()

    def redo(self) -> None:
        """Take back an undo.  Raises ``UsageError`` (``NOTHING_TO_REDO``)."""
        if not self._future:
            raise UsageError("NOTHING_TO_REDO", "There is nothing to redo.")
        self._past.append(self._objects)
        self._objects = self._future.pop()

    # ---- segmentation ----------------------------------------------------------------------------------------------

    @overload
    def segment(
        self,
        name: str,
        progress: Progress | None = None,
        cancel: Cancel | None = None,
        on_slice: OnSlice | None = None,
    ) -> Result: ...

    @overload
    def segment(
        self,
        name: None = None,
        progress: Progress | None = None,
        cancel: Cancel | None = None,
        on_slice: OnSlice | None = None,
    ) -> dict[str, Result]: ...

    def segment(
        self,
        name: str | None = None,
        progress: Progress | None = None,
        cancel: Cancel | None = None,
        on_slice: OnSlice | None = None,
    ) -> Result | dict[str, Result]:
        """Segment one object, or all.

        Args:
            name: the object; ``None`` for all.
            progress: see :data:`Progress`.
            cancel: see :data:`Cancel`.
            on_slice: see :data:`OnSlice`; the key slice comes first.

        Returns:
            The object's result; for all objects a dictionary by name.

        Raises:
            CancelledError: ``cancel`` said so; what was done is in :attr:`results`; the next call goes on from there.
            InferenceError: ``OUT_OF_MEMORY``, ``NETWORK_FAILED``; what was done is kept, too.
            UsageError: ``UNKNOWN_OBJECT``, ``NO_OBJECTS``.
        """
        if name is not None:
            self._object(name)
        elif not self._objects:
            raise UsageError("NO_OBJECTS", "There is nothing to segment.", "Add an object first.")
        names = [name] if name is not None else list(self._objects)
        plans = {item: self._plans_to_run(self._object(item)) for item in names}
        total = sum(len(plan.slices) * self._passes(plan) for item in plans.values() for plan in item)
        done = 0
        for item in names:
            with closing(self._run(item, plans[item], on_slice)) as slices, _typed_failures():
                for _ in slices:
                    done += 1
                    if progress is not None:
                        progress(done, total, item)
                    if cancel is not None and cancel():
                        raise CancelledError(hint="What was done so far is kept.")
        if name is not None:
            return self.results[name]
        return dict(self.results)

    def refine(
        self,
        name: str,
        points_lps: ArrayLike,
        positive: bool = True,
        progress: Progress | None = None,
        cancel: Cancel | None = None,
        on_slice: OnSlice | None = None,
    ) -> Result:
        """:meth:`add_points`, then :meth:`segment`: only slices whose memories changed are tracked again."""
        self.add_points(name, points_lps, positive)
        return self.segment(name, progress, cancel, on_slice)

    # ---- files -----------------------------------------------------------------------------------------------------

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write prompts, settings and the identity of scan and model as JSON; no voxels and no masks but drawn ones.

        Raises:
            OutputError: the file cannot be written.
        """
        from .session_file import write_session

        write_session(path, self)

    @classmethod
    def load(
        cls,
        path: str | os.PathLike[str],
        volume: Volume,
        model: str | LoadedModel | SlicePredictor | None = None,
        device: str = "auto",
        checkpoint: str | os.PathLike[str] | None = None,
    ) -> Session:
        """Read a session file; :meth:`segment` then arrives at the same masks.

        Args:
            path: of the file.
            volume: the scan it was made on.
            model: by default the one named in the file; another one must have the same weights.
            device: see :class:`Session`.
            checkpoint: see :class:`Session`.

        Raises:
            InputError: ``BAD_SESSION_FILE``, or ``OTHER_SCAN`` when the scan's geometry or voxels differ.
            CheckpointError: ``OTHER_WEIGHTS``, or the model cannot be loaded.
        """
        from .session_file import read_session

        stored = read_session(path)
        stored.check_volume(volume_fingerprint(volume))
        session = cls(
            volume,
            stored.model.name if model is None else model,
            device,
            checkpoint=checkpoint,
            settings=stored.settings,
        )
        stored.check_model(session.model)
        for state in stored.objects.values():
            session._plan(state, len(state.rounds))
        session._objects = dict(stored.objects)
        return session

    # ---- inside ----------------------------------------------------------------------------------------------------

    def _object(self, name: str) -> ObjectState:
        if name not in self._objects:
            known = ", ".join(self._objects) or "none"
            raise UsageError("UNKNOWN_OBJECT", f"There is no object {name!r}.", f"Objects of this session: {known}.")
        return self._objects[name]

    def _slice(self, index: int) -> int:
        if not 0 <= int(index) < self.plane.slices:
            raise UsageError(
                "NO_SUCH_SLICE",
                f"There is no slice {index}.",
                f"The plane has the slices 0 to {self.plane.slices - 1}.",
            )
        return int(index)

    def _prompt(self, name: str, prompts: Prompts) -> None:
        """Add prompts if they fit the scan and touch no locked slice."""
        state = self._object(name)
        changed = state.with_prompts(prompts)
        locked = state.prompts().locked()
        own = plan_slices(self.volume.geometry, state.box, prompts.points, prompts.masks, self.settings.plane)
        touched = sorted((own.points.keys() | own.masks.keys()) & locked.keys())
        if touched:
            raise UsageError("SLICE_ACCEPTED", f"Slice {touched[0]} is accepted.", "Release it before correcting it.")
        self._commit(name, changed)

    def _commit(self, name: str, state: ObjectState) -> None:
        self._remember_state()
        self._objects[name] = state

    def _remember_state(self) -> None:
        self._past.append(dict(self._objects))
        del self._past[:-_UNDO_STEPS]
        self._future.clear()

    def _plan(self, state: ObjectState, rounds: int, key_slice: int | None = None) -> SlicePlan:
        prompts = state.prompts(rounds)
        return plan_slices(
            self.volume.geometry,
            state.box,
            prompts.points,
            prompts.masks,
            self.settings.plane,
            self.settings.slice_margin_mm,
            key_slice,
        )

    def _plans_to_run(self, state: ObjectState) -> list[SlicePlan]:
        """The plans of the rounds that are not segmented yet; at least the last one's."""
        key = state.track.key_slice if state.track is not None else self._plan(state, 1).key_slice
        first = min(state.done, len(state.rounds) - 1)
        return [self._plan(state, rounds + 1, key) for rounds in range(first, len(state.rounds))]

    def _run(self, name: str, plans: list[SlicePlan], on_slice: OnSlice | None) -> Generator[None, None, None]:
        """Segment the remaining rounds of one object, yielding after every slice.

        However the loop ends (done, cancelled, error), what is known by then is stored with the object.
        """
        started = time.perf_counter()
        timings: dict[str, float] = {}
        state = replace(self._object(name), closed=len(self._object(name).rounds))
        first = len(state.rounds) - len(plans)
        for number, plan in enumerate(plans, start=first):
            prompts = state.prompts(number + 1)
            last = number == len(state.rounds) - 1
            if state.track is None:
                plan = self._begun_where_surest(name, plan, on_slice if last else None, timings, started)
            else:
                plan = self._plan(state, number + 1, state.track.key_slice)
            track = self._track_for(plan, state.track)
            locked = prompts.locked()
            plan = _with_locked_masks(plan, {k: mask for k, mask in locked.items() if k not in track.outcomes})
            block = LogitBlock.empty(self.volume.geometry, plan, track.frame, self.settings.cleanup)
            tracker = self._tracker(plan, track, frozenset(locked))
            finished = False
            try:
                for step in tracker.steps():
                    if step.outcome is not None and last:
                        block.put(step.slice_index, step.outcome.shown)
                        timings.setdefault("first_mask", time.perf_counter() - started)
                        if on_slice is not None:
                            on_slice(name, step.slice_index, block.slice_mask(step.slice_index))
                    yield
                finished = True
            finally:
                kept = {} if finished else {k: v for k, v in track.outcomes.items() if k not in tracker.outcomes}
                outcomes = MappingProxyType({**kept, **tracker.outcomes})
                track = replace(track, outcomes=outcomes, before=outcomes if finished else track.before)
                state = replace(state, track=track, done=number + 1 if finished else number)
                if last or not finished:
                    for index in outcomes if not last else kept:
                        if index in plan.slices:
                            block.put(index, outcomes[index].shown)
                    state = replace(state, result=self._result(name, plan, state, block, timings, started, finished))
                self._objects[name] = state

    def _begun_where_surest(
        self, name: str, plan: SlicePlan, on_slice: OnSlice | None, timings: dict[str, float], started: float
    ) -> SlicePlan:
        """The plan, begun on the slice about the box's middle on which the network trusts its mask the most.

        The middle slice is shown at once. Where the user said something about a slice, or each slice stands for itself,
        the plan stays as it is.
        """
        candidates = _about(plan, self.predictor.key_candidates)
        if len(candidates) < 2 or plan.points or plan.masks or self.settings.tracking.strategy == "per-slice":
            return plan
        track = self._track_for(plan, None)
        best = (-1.0, plan.key_slice)
        for index, guess in self._tracker(plan, track, frozenset()).guesses(candidates):
            timings.setdefault("first_mask", time.perf_counter() - started)
            if index == plan.key_slice and on_slice is not None:
                block = LogitBlock.empty(self.volume.geometry, plan, track.frame, self.settings.cleanup)
                block.put(index, guess.logits)
                on_slice(name, index, block.slice_mask(index))
            best = max(best, (confidence(guess), index))
        return replace(plan, key_slice=best[1])

    def _passes(self, plan: SlicePlan) -> int:
        """How often every slice of a plan is worked on."""
        return 1 + self._tracker(plan, self._track_for(plan, None), frozenset()).sweeps

    def _track_for(self, plan: SlicePlan, track: Track | None) -> Track:
        """The object's track; a new one when the crop must move, because the box has outgrown it."""
        if track is not None and track.frame.holds(plan.bounds()):
            return track
        settings = self.predictor.crop
        if self.settings.full_slice:
            frame = CropFrame.whole(plan.plane, settings)
        else:
            frame = CropFrame.around(plan.bounds(), plan.plane, settings)
        return Track(frame, plan.key_slice, MappingProxyType({}), MappingProxyType({}))

    def _window(self, plan: SlicePlan, frame: CropFrame) -> IntensityRange:
        """The grey values shown of one object; a window the user chose is kept."""
        if not self.predictor.local_contrast or self.settings.window != "auto":
            return self.intensities
        key = (frame, plan.slices)
        if key not in self._windows:
            self._windows[key] = local_window(self.volume, plan.plane, frame, plan.slices, self.intensities)
        return self._windows[key]

    def _tracker(self, plan: SlicePlan, track: Track, locked: frozenset[int]) -> Tracker:
        predictor = self.predictor
        window = self._window(plan, track.frame)
        sampler = SliceSampler(self.volume, plan.plane, track.frame, window)
        low, high = window

        def features(index: int) -> Any:
            key = SliceKey(self.fingerprint, plan.plane.axis, index, (low, high), track.frame, predictor.identity)
            return self._cache.get(key, lambda: predictor.encode(sampler.picture(index, predictor.neighbours)))

        return Tracker(
            predictor,
            features,
            self.volume.geometry,
            plan,
            track.frame,
            self.settings.tracking,
            known=track.outcomes,
            before=track.before,
            locked=locked,
        )

    def _result(
        self,
        name: str,
        plan: SlicePlan,
        state: ObjectState,
        block: LogitBlock,
        timings: dict[str, float],
        started: float,
        complete: bool,
    ) -> Result:
        assert state.track is not None
        outcomes = state.track.outcomes
        prompts = state.prompts()
        begun = time.perf_counter()
        mask = finished_mask(block, plan, self.settings.cleanup, {**plan.masks, **prompts.locked()})
        timings["cleanup"] = time.perf_counter() - begun
        timings["total"] = time.perf_counter() - started
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
            timings=MappingProxyType(dict(timings)),
            provenance=MappingProxyType(provenance(self, name, self._window(plan, state.track.frame))),
        )


_UNDO_STEPS = 64


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


@contextmanager
def _typed_failures() -> Iterator[None]:
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


def _predictor_and_identity(
    model: str | LoadedModel | SlicePredictor, device: str, checkpoint: str | os.PathLike[str] | None
) -> tuple[SlicePredictor, ModelIdentity]:
    from ..checkpoints import LoadedModel, load_model

    if isinstance(model, str):
        model = load_model(model, checkpoint, device)
    if isinstance(model, LoadedModel):
        return make_predictor(model), ModelIdentity(model.spec.name, model.spec.architecture, model.weights_sha256)
    return model, ModelIdentity("", "", model.identity)
