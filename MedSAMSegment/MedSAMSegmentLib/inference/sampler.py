"""Cuts pictures for a network out of a scan: windowed, cropped, with neighbouring slices, one slice at a time."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

import numpy as np

from ..prompts.plane import SlicePlane
from .crop import CropFrame

if TYPE_CHECKING:
    from ..volume import IntensityRange, Volume

# Pictures of single slices kept: those that the next slice on either side of the key slice shows again.
_KEPT = 8


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
