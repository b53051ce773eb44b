"""The prompts a user can give: a box, points, a drawn mask.

All of them read and write plain dictionaries, so that a session file or a service can carry them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import InputError
from .runs import decode_runs, encode_runs

if TYPE_CHECKING:
    from ..volume import OrientedBox


@dataclass(frozen=True)
class BoxPrompt:
    """A 3-D box around the object, possibly rotated, drawn as tightly as the user can."""

    box: OrientedBox

    def as_dict(self) -> dict[str, Any]:
        """Centre (LPS mm), axes (unit columns, row by row) and size (mm)."""
        return {
            "centre": [float(value) for value in self.box.centre],
            "axes": [[float(value) for value in row] for row in np.asarray(self.box.axes)],
            "size": [float(value) for value in self.box.size],
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> BoxPrompt:
        """Read :meth:`as_dict`'s form.  Raises ``InputError`` (``BAD_PROMPT``)."""
        from ..volume import OrientedBox

        try:
            centre, axes, size = (np.array(data[key], dtype=np.float64) for key in ("centre", "axes", "size"))
        except (KeyError, TypeError, ValueError):
            raise _bad("A box needs 'centre', 'axes' and 'size'.") from None
        if centre.shape != (3,) or axes.shape != (3, 3) or size.shape != (3,):
            raise _bad("A box needs a centre of 3, axes of 3 x 3 and a size of 3 numbers.")
        return cls(OrientedBox(centre=centre, axes=axes, size=size))


@dataclass(frozen=True)
class PointPrompt:
    """A click: ``position`` in LPS mm, ``positive`` when it lies inside the object."""

    position: tuple[float, float, float]
    positive: bool = True

    def __post_init__(self) -> None:
        values = tuple(float(value) for value in self.position)
        if len(values) != 3 or not all(np.isfinite(values)):
            raise _bad("A point needs three finite coordinates.")
        object.__setattr__(self, "position", values)
        object.__setattr__(self, "positive", bool(self.positive))

    def as_dict(self) -> dict[str, Any]:
        return {"position": list(self.position), "positive": self.positive}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> PointPrompt:
        """Read :meth:`as_dict`'s form.  Raises ``InputError`` (``BAD_PROMPT``)."""
        try:
            return cls(tuple(data["position"]), bool(data["positive"]))
        except (KeyError, TypeError, ValueError):
            raise _bad("A point needs 'position' and 'positive'.") from None


@dataclass(frozen=True, eq=False)
class MaskPrompt:
    """The object's whole cross-section on one slice, drawn or corrected by the user.

    Attributes:
        axis: array axis that counts the slices (see :class:`~MedSAMSegmentLib.prompts.plane.SlicePlane`).
        slice_index: the slice.
        mask: (rows, columns) bool of the whole slice.
    """

    axis: int
    slice_index: int
    mask: np.ndarray

    def __post_init__(self) -> None:
        mask = np.ascontiguousarray(self.mask, dtype=bool)
        if mask.ndim != 2 or self.axis not in (0, 1, 2):
            raise _bad("A mask prompt is a 2-D mask on a slice of array axis 0, 1 or 2.")
        if mask is self.mask:
            mask = mask.copy()
        mask.flags.writeable = False
        object.__setattr__(self, "mask", mask)

    def as_dict(self) -> dict[str, Any]:
        """The mask as run lengths, see :mod:`~MedSAMSegmentLib.prompts.runs`."""
        return {"axis": self.axis, "slice": self.slice_index, **encode_runs(self.mask)}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> MaskPrompt:
        """Read :meth:`as_dict`'s form.  Raises ``InputError`` (``BAD_PROMPT``)."""
        try:
            return cls(int(data["axis"]), int(data["slice"]), decode_runs(data))
        except (KeyError, TypeError, ValueError):
            raise _bad("A mask needs 'axis', 'slice', 'shape' and 'runs'.") from None


def _bad(message: str) -> InputError:
    return InputError("BAD_PROMPT", message, "Check the prompts.")
