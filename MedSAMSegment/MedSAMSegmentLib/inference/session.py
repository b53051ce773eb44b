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
from collections.abc import Callable, Iterable, Mapping
from contextlib import closing
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, overload

import numpy as np
from numpy.typing import ArrayLike

from ..errors import CancelledError, UsageError
from ..prompts import MaskPrompt, SlicePlane, plan_slices
from .cache import EmbeddingCache
from .fingerprint import volume_fingerprint
from .history import History, ObjectState, Prompts
from .predictor import SlicePredictor, open_predictor
from .result import Result
from .runner import OnSlice, Runner, typed_failures
from .settings import CleanupSettings, Settings, TrackingSettings

if TYPE_CHECKING:
    from ..checkpoints import LoadedModel
    from ..volume import OrientedBox, Volume, Window

Progress = Callable[[int, int, str], None]
"""Called as ``progress(slices done, slices of all, object)``."""

Cancel = Callable[[], bool]
"""Asked after every slice; ``True`` stops."""


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
        self.predictor, self.model = open_predictor(model, device, checkpoint)
        self.fingerprint = volume_fingerprint(volume)
        cache = EmbeddingCache() if cache is None else cache
        self._runner = Runner(volume, self.fingerprint, self.intensities, self.predictor, self.model, settings, cache)
        self._history = History()

    # ---- what is there ---------------------------------------------------------------------------------------------

    @property
    def objects(self) -> tuple[str, ...]:
        """Names of all objects, in the order they were added."""
        return tuple(self._history.objects)

    @property
    def results(self) -> Mapping[str, Result]:
        """The latest result of every object that has one; also an incomplete one of a cancelled run."""
        return {name: state.result for name, state in self._history.objects.items() if state.result is not None}

    @property
    def states(self) -> Mapping[str, ObjectState]:
        """The state of every object; never changed, only replaced."""
        return MappingProxyType(self._history.objects)

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
        if name in self._history.objects:
            raise UsageError("OBJECT_EXISTS", f"There is an object {name!r} already.", "Choose another name.")
        state = ObjectState(box)
        self._runner.plan(state, 1)
        self._history.commit(name, state)

    def remove_object(self, name: str) -> None:
        """Forget an object and its result.  Raises ``UsageError`` (``UNKNOWN_OBJECT``)."""
        self._object(name)
        self._history.commit(name, None)

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
        self._prompt(name, Prompts.of_points(points_lps, positive))

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
        self._history.commit(name, self._object(name).with_prompts(Prompts(accepted=MappingProxyType(masks))))

    def release(self, name: str, slices: Iterable[int] | None = None) -> None:
        """Unlock slices; by default all.  Raises ``UsageError`` (``UNKNOWN_OBJECT``, ``NO_SUCH_SLICE``)."""
        locked = self._object(name).prompts().locked()
        chosen = locked.keys() if slices is None else {self._slice(index) for index in slices} & locked.keys()
        unlocked = MappingProxyType(dict.fromkeys(sorted(chosen)))
        self._history.commit(name, self._object(name).with_prompts(Prompts(accepted=unlocked)))

    # ---- undo ------------------------------------------------------------------------------------------------------

    @property
    def can_undo(self) -> bool:
        return bool(self._history.past)

    @property
    def can_redo(self) -> bool:
        return bool(self._history.future)

    def undo(self) -> None:
        """Take back the last prompt (or object added or removed) with everything that was segmented since.

        Raises:
            UsageError: ``NOTHING_TO_UNDO``.
        """
        self._history.undo()

    def redo(self) -> None:
        """Take back an undo.  Raises ``UsageError`` (``NOTHING_TO_REDO``)."""
        self._history.redo()

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
        elif not self._history.objects:
            raise UsageError("NO_OBJECTS", "There is nothing to segment.", "Add an object first.")
        names = [name] if name is not None else list(self._history.objects)
        plans = {item: self._runner.remaining(self._object(item)) for item in names}
        total = sum(self._runner.steps(plan) for item in plans.values() for plan in item)
        done = 0
        for item in names:
            run = self._runner.run(item, self._object(item), plans[item], partial(self._keep, item), on_slice)
            with closing(run) as slices, typed_failures():
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
            session._runner.plan(state, len(state.rounds))
        session._history = History(dict(stored.objects))
        return session

    # ---- inside ----------------------------------------------------------------------------------------------------

    def _object(self, name: str) -> ObjectState:
        if name not in self._history.objects:
            known = ", ".join(self._history.objects) or "none"
            raise UsageError("UNKNOWN_OBJECT", f"There is no object {name!r}.", f"Objects of this session: {known}.")
        return self._history.objects[name]

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
        self._history.commit(name, changed)

    def _keep(self, name: str, state: ObjectState) -> None:
        """What segmenting made of an object; no step to undo."""
        self._history.objects[name] = state
