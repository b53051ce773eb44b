"""What a file of segments holds, whatever its format."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

Code = tuple[str, str, str]
"""Code value, coding scheme designator and code meaning (PS3.3 section 8)."""

Colour = tuple[int, int, int]


@dataclass(frozen=True)
class SegmentCodes:
    """What a segment is, by codes.

    Attributes:
        category, type: of the segmented property.
        type_modifier: usually its side.
        region, region_modifier: where it is.
    """

    category: Code | None = None
    type: Code | None = None
    type_modifier: Code | None = None
    region: Code | None = None
    region_modifier: Code | None = None


@dataclass(frozen=True, eq=False)
class StoredSegment:
    """One segment of a file, on the grid of the scan it was read for.

    Attributes:
        name: its label.
        mask: bool (k, j, i).
        number: segment or ROI number in the file.
        probabilities: float32 (k, j, i), 0..1, of a fractional segmentation; the mask is where it is at least a half.
        colour: recommended display colour, 8-bit red, green, blue.
        codes: what it is.
        tracking_uid: identity of the object over time; empty when the file has none.
    """

    name: str
    mask: NDArray[Any]
    number: int
    probabilities: NDArray[Any] | None = None
    colour: Colour | None = None
    codes: SegmentCodes = SegmentCodes()
    tracking_uid: str = ""


@dataclass(frozen=True, eq=False)
class StoredSegments:
    """All segments of a file.

    Attributes:
        segments: in the order of the file.
        notes: remarks for the user, one sentence each.
        named: whether the names are the file's; a label map has none, and its segments are called by their numbers.
    """

    segments: tuple[StoredSegment, ...]
    notes: tuple[str, ...] = ()
    named: bool = True
