"""The objects of a session and everything the user says about them, with the way back.

A prompt that the scan or the model has no use for is refused when it is given, and leaves everything as it was.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from ..errors import UsageError
from ..prompts import LinePrompt, MaskPrompt, ScribblePrompt, SliceBoxPrompt, SlicePlane, prompts_on_slices
from .history import History, ObjectState, Prompts
from .result import Result
from .runner import Runner

if TYPE_CHECKING:
    from ..volume import OrientedBox, Volume
    from .predictor import SlicePredictor
    from .provenance import ModelIdentity
    from .settings import Settings


class PromptedObjects:
    """Names, prompts and results of all objects; :class:`~MedSAMSegmentLib.inference.session.Session` segments them.

    Args:
        runner: the scan, the network and the settings that the prompts must fit.
    """

    def __init__(self, runner: Runner) -> None:
        self._runner = runner
        self._history = History()
        self.volume: Volume = runner.volume
        self.settings: Settings = runner.settings
        self.predictor: SlicePredictor = runner.predictor
        self.model: ModelIdentity = runner.model
        self.plane = SlicePlane.of(runner.volume.geometry, runner.settings.plane)

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
        """The box of an object, as drawn; without one, the box that follows from the other prompts.

        Raises:
            UsageError: ``UNKNOWN_OBJECT``.
            InputError: ``NOTHING_PROMPTED``.
        """
        state = self._object(name)
        return state.box if state.box is not None else self._runner.plan(state, len(state.rounds), state.track).box

    def prompts(self, name: str) -> Prompts:
        """All clicks, drawn masks, rectangles, scribbles, diameters and accepted slices of an object."""
        return self._object(name).prompts()

    def needs_segmenting(self, name: str) -> bool:
        """Whether prompts were given, or a run cancelled, since the object's last complete result."""
        state = self._object(name)
        return state.done < len(state.rounds)

    # ---- prompts ---------------------------------------------------------------------------------------------------

    def add_object(
        self,
        name: str,
        box: OrientedBox | None = None,
        line: tuple[ArrayLike, ArrayLike] | None = None,
        slice_box: tuple[int, tuple[float, float, float, float]] | None = None,
    ) -> None:
        """Begin a new object, with its 3-D box or without.

        Without a box, a diameter, a rectangle or a drawn mask tells where the object is and how large; for models that
        were trained with clicks, clicks alone will do, and the whole scan is searched from there.  Objects may be added
        at any time, also when others are segmented.

        Args:
            name: of the object.
            box: around it.
            line: its longest diameter, see :meth:`add_line`; one step to undo with the object.
            slice_box: the slice and the rectangle of :meth:`add_slice_box`; likewise.

        Raises:
            UsageError: ``OBJECT_EXISTS``, ``BAD_NAME``; what :meth:`add_line` raises.
            InputError: the box does not meet the scan; what :meth:`add_line` and :meth:`add_slice_box` raise.
        """
        if not name.strip():
            raise UsageError("BAD_NAME", "An object needs a name.", "Give it one.")
        if name in self._history.objects:
            raise UsageError("OBJECT_EXISTS", f"There is an object {name!r} already.", "Choose another name.")
        state = ObjectState(box)
        if box is not None:
            self._runner.plan(state, 1)
        if line is not None:
            state = self._with_prompts(state, Prompts(lines=(LinePrompt(*line),)))  # type: ignore[arg-type]
        if slice_box is not None:
            state = self._with_prompts(state, self._slice_box(*slice_box))
        self._history.commit(name, state)

    def move_object(self, name: str, box: OrientedBox) -> None:
        """Give an object another box; everything else that was said about it stays, and it is segmented anew.

        Raises:
            UsageError: ``UNKNOWN_OBJECT``.
            InputError: the box does not meet the scan.
        """
        state = self._object(name).moved(box)
        self._runner.plan(state, len(state.rounds))
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
            UsageError: ``UNKNOWN_OBJECT``, ``SLICE_ACCEPTED``, ``PROMPT_NOT_TRAINED``.
        """
        self._prompt(name, Prompts.of_points(points_lps, positive))

    def add_scribble(self, name: str, path_lps: ArrayLike, positive: bool = True) -> None:
        """A stroke through the object, or (``positive=False``) through what does not belong to it.

        It stands for up to eight clicks along it on each slice that it visits.

        Args:
            name: the object.
            path_lps: its corners in order, LPS mm, (n, 3); it may cross slices.
            positive: whether it lies inside the object.

        Raises:
            InputError: ``BAD_PROMPT``, or ``POINT_OUTSIDE_SCAN``.
            UsageError: ``UNKNOWN_OBJECT``, ``SLICE_ACCEPTED``, ``PROMPT_NOT_TRAINED``.
        """
        self._prompt(name, Prompts(scribbles=(ScribblePrompt(path_lps, positive),)))  # type: ignore[arg-type]

    def add_line(self, name: str, start_lps: ArrayLike, end_lps: ArrayLike) -> None:
        """The longest diameter of a lesion on one slice (RECIST), from end to end.

        For an object without a box it gives the box: a cube about its middle, as large as the diameter, and the square
        on its own slice (as MedSAM2's program for RECIST lines has it).  Models trained with clicks also get five along
        it.

        Args:
            name: the object.
            start_lps, end_lps: its ends, (3,) LPS mm, on one slice of the session's plane.

        Raises:
            InputError: ``BAD_PROMPT``, ``LINE_ACROSS_SLICES``, ``POINT_OUTSIDE_SCAN``.
            UsageError: ``UNKNOWN_OBJECT``, ``SLICE_ACCEPTED``, ``PROMPT_NOT_TRAINED`` (clicks on an object that has a
                box already, for a model trained with boxes only).
        """
        self._prompt(name, Prompts(lines=(LinePrompt(start_lps, end_lps),)))  # type: ignore[arg-type]

    def add_slice_box(self, name: str, slice_index: int, rectangle: tuple[float, float, float, float]) -> None:
        """A rectangle around the object's cross-section on one slice.

        It prompts that slice in place of the 3-D box's rectangle, and corrects a slice that was segmented wrongly; for
        an object without a 3-D box it says where the object is.  Rectangles on several slices, given before such an
        object's first mask, also say where it begins and ends, and three or more where it lies on the slices between.

        Args:
            name: the object.
            slice_index: slice of the session's plane.
            rectangle: (x0, y0, x1, y1) in continuous index coordinates of the slice; edges, so that pixel columns 10
                to 19 are 9.5 to 19.5.

        Raises:
            InputError: ``BAD_PROMPT``, ``BOX_OUTSIDE``.
            UsageError: ``UNKNOWN_OBJECT``, ``SLICE_ACCEPTED``.
        """
        self._prompt(name, self._slice_box(slice_index, rectangle))

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

    def _slice_box(self, slice_index: int, rectangle: tuple[float, float, float, float]) -> Prompts:
        return Prompts(boxes=(SliceBoxPrompt(self.plane.axis, int(slice_index), rectangle),))

    def _prompt(self, name: str, prompts: Prompts) -> None:
        """A step that can be undone: more prompts."""
        self._history.commit(name, self._with_prompts(self._object(name), prompts))

    def _with_prompts(self, state: ObjectState, prompts: Prompts) -> ObjectState:
        """An object with more prompts, if scan and model have a use for them and they touch no locked slice."""
        check_trained(self.predictor, self.model.name, state.box is not None, prompts)
        touched = prompts_on_slices(self.volume.geometry, self.plane, **prompts.drawn).slices
        locked = state.prompts().locked()
        refused = next((index for index in touched if index in locked), None)
        if refused is not None:
            raise UsageError("SLICE_ACCEPTED", f"Slice {refused} is accepted.", "Release it before correcting it.")
        return state.with_prompts(prompts)


def check_trained(predictor: SlicePredictor, model: str, has_box: bool, prompts: Prompts) -> None:
    """Refuse prompts that the weights were never trained to understand: their answer would be noise.

    Args:
        predictor: the network.
        model: its name, for the message.
        has_box: whether the object has a 3-D box.
        prompts: the new ones.

    Raises:
        UsageError: ``PROMPT_NOT_TRAINED``.
    """
    if "points" in predictor.understands:
        return
    if prompts.points or prompts.scribbles or (prompts.lines and has_box):
        raise UsageError(
            "PROMPT_NOT_TRAINED",
            f"{_named(model)} was trained with boxes only: it does not understand clicks, scribbles and lines.",
            "Draw a rectangle or the mask on the slice instead, or choose a model that was trained with clicks.",
        )


def check_sized(predictor: SlicePredictor, model: str, name: str, state: ObjectState) -> None:
    """Refuse an object of which only clicks are known, for a model that needs its size.

    Args:
        predictor: the network.
        model: its name, for the message.
        name: of the object.
        state: of the object.

    Raises:
        UsageError: ``BOX_NEEDED``.
    """
    prompts = state.prompts()
    sized = state.box is not None or prompts.boxes or prompts.masks or prompts.lines
    if predictor.needs_box and not sized:
        raise UsageError(
            "BOX_NEEDED",
            f"{_named(model)} needs to know how large {name!r} is; clicks do not say it.",
            "Draw a box, a diameter, a rectangle or a mask, or choose another model.",
        )


def _named(model: str) -> str:
    return f"The model {model!r}" if model else "This model"
