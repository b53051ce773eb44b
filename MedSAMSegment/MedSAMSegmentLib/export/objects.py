"""What every export format writes: named masks on the grid of one scan."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from ..errors import UsageError
from ..volume import OrientedBox, Volume
from .terminology import Colour, Terminology, terminology_for

#: Colours of objects whose name says nothing, in turn.
PALETTE: tuple[Colour, ...] = (
    (76, 194, 176),
    (240, 163, 94),
    (127, 157, 245),
    (229, 115, 138),
    (181, 211, 106),
    (199, 155, 232),
    (120, 200, 235),
    (232, 212, 110),
)


@dataclass(frozen=True)
class ExportedObject:
    """One segmented object.

    Attributes:
        name: as the user gave it.
        mask: boolean ``(k, j, i)`` on the scan's grid.
        box: the prompt, for pictures.
        scores: confidence 0..1 by slice number, for pictures.
        colour: 8-bit red, green, blue; default by name, see :func:`coloured`.
        probabilities: (k, j, i), 0..1, for fractional segmentations; ``None`` where only the mask is known.
        tracking_uid: identity of the object over time, kept from the segment it continues; empty for a new one.
        codes: standard codes; default by name.
    """

    name: str
    mask: np.ndarray
    box: OrientedBox | None = None
    scores: Mapping[int, float] = field(default_factory=dict)
    colour: Colour | None = None
    probabilities: np.ndarray | None = None
    tracking_uid: str = ""
    codes: Terminology | None = None

    @property
    def terminology(self) -> Terminology | None:
        """Standard codes of what the object is; ``None`` for a name that is no known structure."""
        return self.codes or terminology_for(self.name)


def coloured(objects: Sequence[ExportedObject]) -> list[Colour]:
    """A colour for every object: its own, else the usual one of its structure, else the next of the palette.

    No colour is given twice as long as the palette lasts.
    """
    colours: list[Colour] = []
    for item in objects:
        known = item.colour or (item.terminology.colour if item.terminology else None)
        if known is None or (known in colours and item.colour is None):
            free = [colour for colour in PALETTE if colour not in colours]
            known = free[0] if free else PALETTE[len(colours) % len(PALETTE)]
        colours.append(known)
    return colours


def check_objects(volume: Volume, objects: Sequence[ExportedObject]) -> None:
    """Refuse what cannot be written.

    Raises:
        UsageError: ``NO_RESULTS`` for an empty list, ``MASK_SHAPE`` when a mask is not boolean on the scan's grid.
    """
    if not objects:
        raise UsageError("NO_RESULTS", "There is nothing to write.", "Segment an object first.")
    for item in objects:
        if item.mask.shape != volume.voxels.shape or item.mask.dtype != np.bool_:
            raise UsageError("MASK_SHAPE", f"The mask of {item.name!r} is not a boolean mask on the scan's grid.")


def label_map(objects: Sequence[ExportedObject]) -> np.ndarray:
    """All objects in one array ``(k, j, i)``: background 0, the first object 1, the next 2 ...

    A voxel of several objects belongs to the smallest of them, so that a lesion is not lost in its organ.
    ``uint8``, or ``uint16`` for more than 255 objects.
    """
    labels = np.zeros(objects[0].mask.shape, np.uint8 if len(objects) < 256 else np.uint16)
    sizes = [int(np.count_nonzero(item.mask)) for item in objects]
    for number in sorted(range(len(objects)), key=lambda index: -sizes[index]):
        labels[objects[number].mask] = number + 1
    return labels
