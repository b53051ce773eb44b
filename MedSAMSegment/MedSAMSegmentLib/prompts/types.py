"""The prompts a user can give: a box, points, a drawn mask; a rectangle, a scribble or a diameter on a slice.

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


@dataclass(frozen=True)
class SliceBoxPrompt:
    """A rectangle around the object's cross-section on one slice.

    Attributes:
        axis: array axis that counts the slices (see :class:`~MedSAMSegmentLib.prompts.plane.SlicePlane`).
        slice_index: the slice.
        rectangle: (x0, y0, x1, y1) in continuous index coordinates of the slice; edges, not outermost pixel centres.
            Opposite corners may come in any order.
    """

    axis: int
    slice_index: int
    rectangle: tuple[float, float, float, float]

    def __post_init__(self) -> None:
        values = tuple(float(value) for value in self.rectangle)
        if len(values) != 4 or not all(np.isfinite(values)) or self.axis not in (0, 1, 2):
            raise _bad("A rectangle needs four finite numbers on a slice of array axis 0, 1 or 2.")
        x0, y0, x1, y1 = values
        if x0 == x1 or y0 == y1:
            raise _bad("A rectangle on a slice is empty.")
        object.__setattr__(self, "rectangle", (min(x0, x1), min(y0, y1), max(x0, x1), max(y0, y1)))

    def as_dict(self) -> dict[str, Any]:
        return {"axis": self.axis, "slice": self.slice_index, "rectangle": list(self.rectangle)}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> SliceBoxPrompt:
        """Read :meth:`as_dict`'s form.  Raises ``InputError`` (``BAD_PROMPT``)."""
        try:
            return cls(int(data["axis"]), int(data["slice"]), tuple(data["rectangle"]))
        except (KeyError, TypeError, ValueError):
            raise _bad("A rectangle needs 'axis', 'slice' and 'rectangle'.") from None


@dataclass(frozen=True)
class ScribblePrompt:
    """A stroke through the object, or (not ``positive``) through what does not belong to it.

    Attributes:
        path: its corners in LPS mm, (n, 3) as a tuple of points, n >= 1; it may cross slices.
        positive: whether it lies inside the object.
    """

    path: tuple[tuple[float, float, float], ...]
    positive: bool = True

    def __post_init__(self) -> None:
        path = points_lps(self.path)
        object.__setattr__(self, "path", tuple((x, y, z) for x, y, z in path.tolist()))
        object.__setattr__(self, "positive", bool(self.positive))

    def as_dict(self) -> dict[str, Any]:
        return {"path": [list(point) for point in self.path], "positive": self.positive}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> ScribblePrompt:
        """Read :meth:`as_dict`'s form.  Raises ``InputError`` (``BAD_PROMPT``)."""
        try:
            return cls(data["path"], bool(data["positive"]))
        except (KeyError, TypeError, ValueError):
            raise _bad("A scribble needs 'path' and 'positive'.") from None


@dataclass(frozen=True)
class LinePrompt:
    """The longest diameter of a lesion as radiologists measure it (RECIST 1.1, Eisenhauer et al. 2009).

    ``start`` and ``end`` in LPS mm; the line lies on one slice.
    """

    start: tuple[float, float, float]
    end: tuple[float, float, float]

    def __post_init__(self) -> None:
        ends = points_lps([self.start, self.end])
        if ends.shape != (2, 3) or np.array_equal(ends[0], ends[1]):
            raise _bad("A diameter needs two different ends.")
        for name, (x, y, z) in zip(("start", "end"), ends.tolist(), strict=True):
            object.__setattr__(self, name, (x, y, z))

    def as_dict(self) -> dict[str, Any]:
        return {"start": list(self.start), "end": list(self.end)}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> LinePrompt:
        """Read :meth:`as_dict`'s form.  Raises ``InputError`` (``BAD_PROMPT``)."""
        try:
            return cls(tuple(data["start"]), tuple(data["end"]))
        except (KeyError, TypeError, ValueError):
            raise _bad("A diameter needs 'start' and 'end'.") from None


def points_lps(points: Any) -> np.ndarray:
    """Points in LPS mm as (n, 3) float64, n >= 1; one point may be given as (3,).

    Raises:
        InputError: ``BAD_PROMPT`` if that is not what ``points`` are.
    """
    try:
        places = np.atleast_2d(np.array(points, dtype=np.float64))
    except (TypeError, ValueError):
        places = np.empty((0, 0))
    if places.ndim != 2 or places.shape[1] != 3 or len(places) == 0 or not np.isfinite(places).all():
        raise InputError("BAD_PROMPT", "Points need three finite numbers each.", "Give (n, 3) coordinates, LPS mm.")
    return places


def _bad(message: str) -> InputError:
    return InputError("BAD_PROMPT", message, "Check the prompts.")
