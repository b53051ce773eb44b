"""What a run tells whoever waits for it: steps, slices as they come, and when the first mask was there."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

OnSlice = Callable[[str, int, np.ndarray], None]
"""Called as ``on_slice(object, slice index, mask (rows, columns))`` with every slice's mask before clean-up."""


class Step(NamedTuple):
    """What was done since the step before.

    Attributes:
        slices: 0 after a look at the whole box: a caller may stop there, too, though no slice is done.
        more: so many slices more are to be done than was thought.
    """

    slices: int
    more: int = 0


@dataclass
class Stopwatch:
    """Seconds since it was made."""

    begun: float = field(default_factory=time.perf_counter)
    timings: dict[str, float] = field(default_factory=dict)

    def first_mask(self) -> None:
        """A mask is there; only the first one counts."""
        self.timings.setdefault("first_mask", time.perf_counter() - self.begun)
