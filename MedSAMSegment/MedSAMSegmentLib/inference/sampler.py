"""Cuts pictures for a network out of a scan: windowed, cropped, with neighbouring slices, one slice at a time."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from ..prompts.plane import SlicePlane
from .crop import CropFrame

if TYPE_CHECKING:
    from ..volume import IntensityRange, Volume

# Pictures of single slices kept: those that the next slice on either side of the key slice shows again.
_KEPT = 8


# Where an object's crop is looked at to find its contrast, and what may be cut off at either end.
_LOOKS = 9
_TAILS = (1.0, 99.0)

# A window that shows more than this part of a box as plain black or white is of no use.
_SATURATED = 0.6


def local_window(
    volume: Volume, plane: SlicePlane, frame: CropFrame, slices: Sequence[int], window: IntensityRange
) -> IntensityRange:
    """The part of ``window`` that an object and its surroundings fill.

    A window made for a whole abdomen leaves little contrast between two organs; what lies in the crop decides here,
    as it does in training.  Where most of the box lies beyond one end of the window (lung or bone in a soft-tissue
    window), the window would show nothing, and the crop's own values are taken instead.
    """
    chosen = {slices[round(at)] for at in np.linspace(0, len(slices) - 1, _LOOKS)}
    rows, columns = frame.source_window(plane.shape)
    step = max(1, max(rows.stop - rows.start, columns.stop - columns.start) // 64)
    shown = [volume.slice_array(plane.axis, index)[rows, columns][::step, ::step] for index in sorted(chosen)]
    values = np.concatenate([part.ravel() for part in shown])
    middle = np.concatenate([_middle(part).ravel() for part in shown])
    if max(np.mean(middle <= window.low), np.mean(middle >= window.high)) < _SATURATED:
        values = np.clip(values, window.low, window.high)
    low, high = np.percentile(values, _TAILS)
    # Noise in a nearly constant crop is not contrast.
    least = 0.1 * (window.high - window.low)
    if high - low < least:
        low, high = (low + high - least) / 2, (low + high + least) / 2
    return type(window)(float(low), float(high))


def _middle(part: np.ndarray) -> np.ndarray:
    """The middle half of a crop, which the box fills."""
    rows, columns = part.shape
    return part[rows // 4 : rows - rows // 4, columns // 4 : columns - columns // 4]


class SliceSampler:
    """Pictures of one frame.  The scan is read, never written, and never copied whole.

    Args:
        volume: the scan.
        plane: how it is cut.
        frame: which part of a slice is shown.
        window: the values shown as 0 and 1.
    """

    def __init__(self, volume: Volume, plane: SlicePlane, frame: CropFrame, window: IntensityRange) -> None:
        self.volume = volume
        self.plane = plane
        self.frame = frame
        self.window = window
        self._pictures: OrderedDict[int, np.ndarray] = OrderedDict()

    def picture(self, index: int, neighbours: int) -> np.ndarray:
        """(2 * neighbours + 1, size, size) float32 in 0..1; the first and last slice of the scan repeat."""
        around = range(index - neighbours, index + neighbours + 1)
        return np.stack([self._single(min(max(k, 0), self.plane.slices - 1)) for k in around])

    def _single(self, index: int) -> np.ndarray:
        if index in self._pictures:
            self._pictures.move_to_end(index)
            return self._pictures[index]
        rows, columns = self.frame.source_window(self.plane.shape)
        part = self.window.apply(self.volume.slice_array(self.plane.axis, index)[rows, columns])
        picture = self.frame.sample(part, rows, columns)
        self._pictures[index] = picture
        if len(self._pictures) > _KEPT:
            self._pictures.popitem(last=False)
        return picture
