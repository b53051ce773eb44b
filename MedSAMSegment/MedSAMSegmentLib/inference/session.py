"""One scan, one model and the objects drawn on it: prompts in, masks out.

    session = Session(volume)
    session.add_object("liver", box)
    result = session.segment("liver")
    session.add_points("liver", [(12.0, -40.5, 88.0)], positive=False)
    result = session.segment("liver")              # only the slices this changes are tracked again
    session.undo()

    session.add_object("lesion")                    # no box: its longest diameter says where it is
    session.add_line("lesion", (31.0, -12.5, 88.0), (47.0, -3.0, 88.0))
    session.segment("lesion")

Every front end (command line, Slicer, service) uses this class; none of them talks to a network.  The scan is read and
never changed.  A session starts no threads: whoever calls ``segment`` waits, is told about every slice and may cancel
between two.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from typing import TYPE_CHECKING, Literal, overload

from numpy.typing import ArrayLike

from ..errors import CancelledError, UsageError
from ..prompts import prompts_on_slices
from .cache import EmbeddingCache
from .fingerprint import volume_fingerprint
from .history import History, ObjectState
from .official_runner import OfficialRunner
from .predictor import SlicePredictor, open_predictor
from .prompting import PromptedObjects, check_sized, check_trained
from .result import Result
from .run_events import OnSlice
from .runner import Candidate, Runner, typed_failures
from .runtime_choice import RuntimeUse
from .settings import CleanupSettings, Settings, TrackingSettings

if TYPE_CHECKING:
    from ..checkpoints import LoadedModel
    from ..volume import OrientedBox, Volume, Window
    from .session_file import StoredSession

Progress = Callable[[int, int, str], None]
"""Called as ``progress(slices done, slices of all, object)``."""

Cancel = Callable[[], bool]
"""Asked after every slice and every look at a whole box; ``True`` stops."""

Reach = tuple[int, int] | Literal["all"] | None
"""First and last slice of the session's plane that may change: every other keeps what was found on it, if anything was.
``None`` is what was asked for before, or else all of them."""


class Session(PromptedObjects):
    """See the module's text.

    Args:
        volume: the scan.
        model: a name of the catalog, a model loaded before, or any
            :class:`~MedSAMSegmentLib.inference.predictor.SlicePredictor`.
        device: where a model given by name runs: ``"auto"``, ``"cpu"``, ``"cuda"``, ``"mps"``.
        checkpoint: the user's own weights for a model given by name.
        window: grey values: ``"auto"``, a preset, ``"LEVEL/WIDTH"`` or a :class:`Window`.
        plane: the slices to segment: ``"auto"`` (acquired ones), ``"axial"``, ``"sagittal"``, ``"coronal"``.
        strategy: ``"auto"``, ``"propagate"``, ``"per-slice"``, ``"hybrid"``.
        full_slice: show whole slices instead of the box with context.
        official: with ``full_slice``: do exactly what the official programs of the model do, see
            :mod:`~MedSAMSegmentLib.inference.official_runner`; ``strategy`` and ``cleanup`` are theirs, then.
        cleanup: ``True`` (defaults), ``False`` (none), or which steps.
        settings: all of the above from ``window`` on in one, and more; then leave the others out.
        cache: encoded slices, to share between sessions.
        runtime: what computes the heavy parts of large models: ``"auto"`` (the fastest that computes in single
            precision, measured once on this computer), or one of
            :data:`~MedSAMSegmentLib.inference.runtimes.RUNTIMES`.  What it says is in :attr:`runtime`.

    Raises:
        UsageError, CheckpointError: an unknown name, a missing or damaged checkpoint, a runtime that is not there.
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
        strategy: str = "auto",
        full_slice: bool = False,
        official: bool = False,
        cleanup: bool | CleanupSettings = True,
        settings: Settings | None = None,
        cache: EmbeddingCache | None = None,
        runtime: str = "auto",
    ) -> None:
        from ..volume import Window

        if settings is None:
            if isinstance(cleanup, bool):
                cleanup = CleanupSettings() if cleanup else CleanupSettings.none()
            settings = Settings(
                window=window if isinstance(window, str) else window.name,
                plane=plane,
                full_slice=full_slice,
                official=official,
                tracking=TrackingSettings(strategy=strategy),
                cleanup=cleanup,
            )
        self.intensities = Window.parse(settings.window).resolve(volume)
        self.fingerprint = volume_fingerprint(volume)
        predictor, identity, used = open_predictor(model, device, checkpoint, runtime)
        cache = EmbeddingCache() if cache is None else cache
        kind = OfficialRunner if settings.official else Runner
        super().__init__(kind(volume, self.fingerprint, self.intensities, predictor, settings, cache, used, identity))

    @property
    def runtime(self) -> RuntimeUse:
        """What computes the network's heavy parts, and what the user should be told about that."""
        return self._runner.runtime

    # ---- segmentation ----------------------------------------------------------------------------------------------

    @overload
    def segment(
        self,
        name: str,
        progress: Progress | None = None,
        cancel: Cancel | None = None,
        on_slice: OnSlice | None = None,
        reach: Reach = None,
    ) -> Result: ...

    @overload
    def segment(
        self,
        name: None = None,
        progress: Progress | None = None,
        cancel: Cancel | None = None,
        on_slice: OnSlice | None = None,
        reach: Reach = None,
    ) -> dict[str, Result]: ...

    def segment(
        self,
        name: str | None = None,
        progress: Progress | None = None,
        cancel: Cancel | None = None,
        on_slice: OnSlice | None = None,
        reach: Reach = None,
    ) -> Result | dict[str, Result]:
        """Segment one object, or all.

        Args:
            name: the object; ``None`` for all.
            progress: see :data:`Progress`.
            cancel: see :data:`Cancel`.
            on_slice: see :data:`OnSlice`; the key slice comes first.
            reach: see :data:`Reach`.

        Returns:
            The object's result; for all objects a dictionary by name.

        Raises:
            CancelledError: ``cancel`` said so; what was done is in :attr:`results`; the next call goes on from there.
            InferenceError: ``OUT_OF_MEMORY``, ``NETWORK_FAILED``; what was done is kept, too.
            UsageError: ``UNKNOWN_OBJECT``, ``NO_OBJECTS``, ``BOX_NEEDED``, ``EMPTY_RANGE``.
            InputError: ``NOTHING_PROMPTED`` for an object of which nothing is known.
        """
        if name is not None:
            self._object(name)
        elif not self._history.objects:
            raise UsageError("NO_OBJECTS", "There is nothing to segment.", "Add an object first.")
        names = [name] if name is not None else list(self._history.objects)
        for item in names:
            check_sized(self.predictor, self.model.name, item, self._object(item))
            if reach is not None:
                if self.settings.official and reach != "all":
                    raise UsageError(
                        "OPTION_CONFLICT", "The official programs segment all slices.", "Leave the range out."
                    )
                state = self._object(item).reaching(None if reach == "all" else reach)
                self._runner.remaining(state)
                self._keep(item, state)
        plans = {item: self._runner.remaining(self._object(item)) for item in names}
        total = sum(self._runner.steps(plan) for item in plans.values() for plan in item)
        done = 0
        for item in names:
            run = self._runner.run(item, self._object(item), plans[item], partial(self._keep, item), on_slice)
            with closing(run) as slices, typed_failures():
                for step in slices:
                    done, total = done + step.slices, total + step.more
                    if step.slices and progress is not None:
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

    def prepare(self, name: str | None = None, around: int | None = None) -> Iterator[int]:
        """Encode slices while nobody waits, one a step; stop whenever somebody does.

        A prompt on an encoded slice is answered at the speed of the decoder.  What is known already is passed over,
        and it ends when the cache is full.

        Args:
            name: the object whose slices are wanted, whether it was segmented or not.  Without one, whole slices are
                encoded; a session that shows crops must know the object first.
            around: slice of the session's plane to begin with, as the one the user looks at; by default the object's
                key slice, or the scan's middle.

        Yields:
            Slices that were encoded, from ``around`` outwards.

        Raises:
            UsageError: ``UNKNOWN_OBJECT``, ``NO_SUCH_SLICE``, ``BOX_NEEDED``.
            InferenceError: ``OUT_OF_MEMORY``, ``NETWORK_FAILED``.
        """
        state = None if name is None else self._object(name)
        if name is not None and state is not None:
            check_sized(self.predictor, self.model.name, name, state)
        middle = None if around is None else self._slice(around)
        if self.settings.official:
            return
        with typed_failures():
            yield from self._runner.prepare(state, middle)

    def preview(self, of: OrientedBox | str, slice_index: int | None = None) -> Candidate:
        """What the model would make of a box, or of what was said of an object, on one slice and at a glance.

        Nothing is kept but encoded slices.

        Args:
            of: a box that is not of any object yet, or the name of an object.
            slice_index: slice of the session's plane; by default the middle one of the box, or the key slice.

        Raises:
            InputError: the box does not meet the scan.
            UsageError: ``UNKNOWN_OBJECT``, ``NO_SUCH_SLICE``, ``BOX_NEEDED``.
            InferenceError: ``OUT_OF_MEMORY``, ``NETWORK_FAILED``.
        """
        with typed_failures():
            state = self._object(of) if isinstance(of, str) else ObjectState(of)
            if isinstance(of, str):
                check_sized(self.predictor, self.model.name, of, state)
            index = None if slice_index is None else self._slice(slice_index)
            return self._runner.candidates(state, index, at_a_glance=True)[0]

    def candidates(self, name: str, slice_index: int | None = None) -> tuple[Candidate, ...]:
        """All masks that the model offers for one slice, the one it is surest of first.

        One click can mean a part or the whole; SAM-like models answer with up to three masks and their estimated
        overlaps, others with one.  Nothing is kept: draw the one that is meant with :meth:`add_mask`.

        Args:
            name: the object.
            slice_index: slice of the session's plane; by default the key slice.

        Raises:
            UsageError: ``UNKNOWN_OBJECT``, ``NO_SUCH_SLICE``, ``BOX_NEEDED``.
            InputError: ``NOTHING_PROMPTED``.
            InferenceError: ``OUT_OF_MEMORY``, ``NETWORK_FAILED``.
        """
        state = self._object(name)
        check_sized(self.predictor, self.model.name, name, state)
        with typed_failures():
            return self._runner.candidates(state, None if slice_index is None else self._slice(slice_index))

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
        runtime: str = "auto",
        cache: EmbeddingCache | None = None,
    ) -> Session:
        """Read a session file; :meth:`segment` then arrives at the same masks.

        Args:
            path: of the file.
            volume: the scan it was made on.
            model: by default the one named in the file, with the same weights.  Another one by name does the same
                prompts over again in its own way.
            device: see :class:`Session`.
            checkpoint, runtime, cache: see :class:`Session`.

        Raises:
            InputError: ``BAD_SESSION_FILE``, or ``OTHER_SCAN`` when the scan's geometry or voxels differ.
            CheckpointError: ``OTHER_WEIGHTS``, or the model cannot be loaded.
            UsageError: ``PROMPT_NOT_TRAINED``: another model does not understand these prompts.
        """
        from .session_file import read_session

        return cls.restore(read_session(path), volume, model, device, checkpoint, cache=cache, runtime=runtime)

    @classmethod
    def restore(
        cls,
        stored: StoredSession,
        volume: Volume,
        model: str | LoadedModel | SlicePredictor | None = None,
        device: str = "auto",
        checkpoint: str | os.PathLike[str] | None = None,
        *,
        settings: Settings | None = None,
        cache: EmbeddingCache | None = None,
        runtime: str = "auto",
    ) -> Session:
        """As :meth:`load`, from what a session file says.

        Args:
            stored: see :func:`~MedSAMSegmentLib.inference.session_file.stored_session`.
            volume, model, device, checkpoint: see :meth:`load`.
            settings: instead of the stored ones.
            cache, runtime: see :class:`Session`.
        """
        stored.check_volume(volume_fingerprint(volume))
        session = cls(
            volume,
            stored.model.name if model is None else model,
            device,
            checkpoint=checkpoint,
            settings=stored.settings if settings is None else settings,
            cache=cache,
            runtime=runtime,
        )
        stored.check_model(session.model)
        for state in stored.objects.values():
            prompts = state.prompts()
            check_trained(session.predictor, session.model.name, state.box is not None, prompts)
            prompts_on_slices(volume.geometry, session.plane, **prompts.drawn)
            if state.box is not None:
                session._runner.plan(state, len(state.rounds))
        session._history = History(dict(stored.objects))
        return session

    # ---- inside ----------------------------------------------------------------------------------------------------

    def _keep(self, name: str, state: ObjectState) -> None:
        """What segmenting made of an object; no step to undo."""
        self._history.objects[name] = state
