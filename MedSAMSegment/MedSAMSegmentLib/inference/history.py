"""The state of one object: its prompts in the order they were given, and what came of them.

Corrections are made to a mask the user saw, so the order matters: prompts are kept in *rounds*, one for each time the
object was segmented.  Segmenting an object runs the rounds that have not been run yet, which is why a session read from
a file arrives at the same mask by the same way.  States are never changed, only replaced: undoing is going back to an
earlier one, which is what :class:`History` does.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from ..errors import UsageError
from ..prompts import LinePrompt, MaskPrompt, PointPrompt, ScribblePrompt, SliceBoxPrompt
from ..prompts.types import points_lps
from .coarse import CoarseMask
from .crop import CropFrame
from .outcome import SliceOutcome
from .result import Result

if TYPE_CHECKING:
    from ..volume import IntensityRange, OrientedBox


@dataclass(frozen=True)
class Prompts:
    """What the user said about one object: in one round, or altogether.

    Attributes:
        points: clicks.
        masks: drawn cross-sections.
        boxes: rectangles on single slices.
        scribbles: strokes inside or outside the object.
        lines: longest diameters.
        accepted: slices that are locked, with their mask (rows, columns); in one round ``None`` unlocks a slice.
        reach: first and last slice that the round may change; ``None`` for all.
    """

    points: tuple[PointPrompt, ...] = ()
    masks: tuple[MaskPrompt, ...] = ()
    boxes: tuple[SliceBoxPrompt, ...] = ()
    scribbles: tuple[ScribblePrompt, ...] = ()
    lines: tuple[LinePrompt, ...] = ()
    accepted: Mapping[int, np.ndarray | None] = field(default_factory=dict)
    reach: tuple[int, int] | None = None

    @classmethod
    def of_points(cls, points: ArrayLike, positive: bool) -> Prompts:
        """Clicks, LPS mm, (n, 3) or one point (3,).  Raises ``InputError`` (``BAD_PROMPT``)."""
        return cls(points=tuple(PointPrompt((x, y, z), positive) for x, y, z in points_lps(points).tolist()))

    def __add__(self, other: Prompts) -> Prompts:
        return Prompts(
            self.points + other.points,
            self.masks + other.masks,
            self.boxes + other.boxes,
            self.scribbles + other.scribbles,
            self.lines + other.lines,
            MappingProxyType({**self.accepted, **other.accepted}),
            other.reach,
        )

    @property
    def drawn(self) -> dict[str, Any]:
        """Everything that goes into a plan, by its name in ``plan_slices``."""
        return {
            "points": self.points,
            "masks": self.masks,
            "boxes": self.boxes,
            "scribbles": self.scribbles,
            "lines": self.lines,
        }

    def locked(self) -> dict[int, np.ndarray]:
        """The slices that are locked, with their masks."""
        return {index: mask for index, mask in self.accepted.items() if mask is not None}


@dataclass(frozen=True)
class Track:
    """What the tracker knows about an object.

    Attributes:
        frame: the crop the logits are in.
        window: the grey values the network saw as black and white on every slice: those of the user's window, or the
            part of them that the crop fills.  They stay when corrections reach further slices.
        key_slice: where tracking began.
        outcomes: by slice; those of a round the user cancelled are a mixture of the round before and this one.
        before: by slice, at the end of the last complete round: what the user saw when correcting.
        found: what was found in the box as a whole, where the network looks at that first.
        found_before: the same at the end of the last complete round.
        region: stands for the box of an object that has none, as far across the slices as the object was found to
            reach; ``None`` where that was not looked for.
    """

    frame: CropFrame
    window: IntensityRange
    key_slice: int
    outcomes: Mapping[int, SliceOutcome] = field(default_factory=dict)
    before: Mapping[int, SliceOutcome] = field(default_factory=dict)
    found: CoarseMask | None = None
    found_before: CoarseMask | None = None
    region: OrientedBox | None = None


@dataclass(frozen=True)
class ObjectState:
    """One object of a session.

    Attributes:
        box: as drawn; ``None`` where the other prompts say where the object is.
        rounds: prompts given before the first, second ... time the object was segmented.
        closed: rounds that take no more prompts, because segmenting them has begun.
        done: rounds that are segmented.
        track, result: of the last one; ``None`` before the first.
    """

    box: OrientedBox | None
    rounds: tuple[Prompts, ...] = (Prompts(),)
    closed: int = 0
    done: int = 0
    track: Track | None = None
    result: Result | None = None

    def with_prompts(self, prompts: Prompts) -> ObjectState:
        """The object with more prompts: in the open round, or in a new one."""
        if self.closed < len(self.rounds):
            return replace(self, rounds=(*self.rounds[:-1], self.rounds[-1] + prompts))
        return replace(self, rounds=(*self.rounds, prompts))

    def reaching(self, reach: tuple[int, int] | None) -> ObjectState:
        """The object whose next round may change the slices of ``reach`` only; itself where nothing is new."""
        if self.closed < len(self.rounds):
            return replace(self, rounds=(*self.rounds[:-1], replace(self.rounds[-1], reach=reach)))
        if self.done < len(self.rounds) or reach == self.rounds[-1].reach:
            return self
        return replace(self, rounds=(*self.rounds, Prompts(reach=reach)))

    def moved(self, box: OrientedBox) -> ObjectState:
        """The object with another box and all its prompts; nothing of it is segmented yet."""
        return ObjectState(box, self.rounds, closed=self.closed)

    def prompts(self, rounds: int | None = None) -> Prompts:
        """All prompts of the first ``rounds`` rounds together; of all rounds by default."""
        return sum(self.rounds[:rounds], Prompts())


_UNDO_STEPS = 64


@dataclass
class History:
    """All objects by name, in the order they were added, and the way there and back.

    Attributes:
        objects: as they are now.
        past, future: as they were before every step, and before every step taken back; the latest last.
    """

    objects: dict[str, ObjectState] = field(default_factory=dict)
    past: list[dict[str, ObjectState]] = field(default_factory=list)
    future: list[dict[str, ObjectState]] = field(default_factory=list)

    def commit(self, name: str, state: ObjectState | None) -> None:
        """A step that can be undone: give an object a new state, or with ``None`` forget it."""
        self.past.append(dict(self.objects))
        del self.past[:-_UNDO_STEPS]
        self.future.clear()
        if state is None:
            del self.objects[name]
        else:
            self.objects[name] = state

    def undo(self) -> None:
        """Raises ``UsageError`` (``NOTHING_TO_UNDO``)."""
        if not self.past:
            raise UsageError("NOTHING_TO_UNDO", "There is nothing to undo.")
        self.future.append(self.objects)
        self.objects = self.past.pop()

    def redo(self) -> None:
        """Raises ``UsageError`` (``NOTHING_TO_REDO``)."""
        if not self.future:
            raise UsageError("NOTHING_TO_REDO", "There is nothing to redo.")
        self.past.append(self.objects)
        self.objects = self.future.pop()
