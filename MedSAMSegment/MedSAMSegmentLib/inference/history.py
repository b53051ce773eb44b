"""The state of one object: its prompts in the order they were given, and what came of them.

Corrections are made to a mask the user saw, so the order matters: prompts are kept in *rounds*, one for each time the
object was segmented.  Segmenting an object runs the rounds that have not been run yet, which is why a session read from
a file arrives at the same mask by the same way.  States are never changed, only replaced: undoing is going back to an
earlier one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np

from ..prompts import MaskPrompt, PointPrompt
from .crop import CropFrame
from .result import Result
from .tracker import SliceOutcome

if TYPE_CHECKING:
    from ..volume import OrientedBox


@dataclass(frozen=True)
class Prompts:
    """What the user said about one object: in one round, or altogether.

    Attributes:
        points: clicks.
        masks: drawn cross-sections.
        accepted: slices that are locked, with their mask (rows, columns); in one round ``None`` unlocks a slice.
    """

    points: tuple[PointPrompt, ...] = ()
    masks: tuple[MaskPrompt, ...] = ()
    accepted: Mapping[int, np.ndarray | None] = field(default_factory=dict)

    def __add__(self, other: Prompts) -> Prompts:
        return Prompts(
            self.points + other.points, self.masks + other.masks, MappingProxyType({**self.accepted, **other.accepted})
        )

    def locked(self) -> dict[int, np.ndarray]:
        """The slices that are locked, with their masks."""
        return {index: mask for index, mask in self.accepted.items() if mask is not None}


@dataclass(frozen=True)
class Track:
    """What the tracker knows about an object.

    Attributes:
        frame: the crop the logits are in.
        key_slice: where tracking began.
        outcomes: by slice; those of a round the user cancelled are a mixture of the round before and this one.
        before: by slice, at the end of the last complete round: what the user saw when correcting.
    """

    frame: CropFrame
    key_slice: int
    outcomes: Mapping[int, SliceOutcome]
    before: Mapping[int, SliceOutcome]


@dataclass(frozen=True)
class ObjectState:
    """One object of a session.

    Attributes:
        box: as drawn.
        rounds: prompts given before the first, second ... time the object was segmented.
        closed: rounds that take no more prompts, because segmenting them has begun.
        done: rounds that are segmented.
        track, result: of the last one; ``None`` before the first.
    """

    box: OrientedBox
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

    def prompts(self, rounds: int | None = None) -> Prompts:
        """All prompts of the first ``rounds`` rounds together; of all rounds by default."""
        return sum(self.rounds[:rounds], Prompts())
