"""A network that looks at the whole box first, for tests: it finds what is bright."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from intensity_predictor import IntensityPredictor
from MedSAMSegmentLib.inference.coarse import CoarseMask, CoarseView
from MedSAMSegmentLib.models.coarse import CoarseGrid


class BoxPredictor(IntensityPredictor):
    """Bright is object, in the whole box at once."""

    def __init__(self, cells: tuple[int, int, int] = (32, 56, 56)) -> None:
        super().__init__()
        self.grid: CoarseGrid | None = CoarseGrid(cells)
        self.views: list[CoarseView] = []

    def find(self, view: CoarseView) -> Iterator[CoarseMask]:
        assert self.grid is not None
        self.views.append(view)
        yield CoarseMask(torch.zeros(self.grid.cells) - 1.0, self.grid, view.axes, view.box)
        yield CoarseMask(torch.from_numpy((view.intensities - 0.5) * 20), self.grid, view.axes, view.box)
