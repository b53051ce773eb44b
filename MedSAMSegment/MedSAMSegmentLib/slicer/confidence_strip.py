"""The strip under the object list: one column for every slice, coloured by how sure the network is of it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

import qt

_HEIGHT = 14
_ACCEPTED = (70, 110, 220)
_SHOWN = (0, 0, 0)


class ConfidenceStrip(qt.QLabel):
    """A label that paints scores and tells which slice was clicked.

    Args:
        clicked: called with the slice.
    """

    def __init__(self, clicked: Callable[[int], None]) -> None:
        qt.QLabel.__init__(self)
        self._clicked = clicked
        self._slices: list[int] = []
        self.setScaledContents(True)
        self.setFixedHeight(_HEIGHT)
        self.setMinimumWidth(80)

    def show_scores(self, scores: Mapping[int, float], accepted: Collection[int], shown: int | None) -> None:
        """Paint the scores (0..1) of an object by slice; ``shown`` is marked."""
        self._slices = list(range(min(scores), max(scores) + 1)) if scores else []
        picture = qt.QPixmap(max(len(self._slices), 1), _HEIGHT)
        picture.fill(qt.QColor(0, 0, 0, 0))
        painter = qt.QPainter(picture)
        for column, index in enumerate(self._slices):
            if index in scores:
                painter.fillRect(column, 0, 1, _HEIGHT, qt.QColor(*colour_of(scores[index], index in accepted)))
            if index == shown:
                painter.fillRect(column, _HEIGHT - 4, 1, 4, qt.QColor(*_SHOWN))
        painter.end()
        self.setPixmap(picture)

    def mousePressEvent(self, event: Any) -> None:
        place = self.slice_at(event.pos().x())
        if place is not None:
            self._clicked(place)

    def slice_at(self, x: float) -> int | None:
        """The slice painted ``x`` pixels from the left."""
        if not self._slices:
            return None
        width = max(int(self.width), 1)
        return self._slices[min(max(int(x * len(self._slices) / width), 0), len(self._slices) - 1)]


def colour_of(score: float, accepted: bool) -> tuple[int, int, int]:
    """RGB 0..255: red below 0.4, over yellow to green at 0.9; blue when accepted."""
    if accepted:
        return _ACCEPTED
    sure = min(max((score - 0.4) / 0.5, 0.0), 1.0)
    return (220, int(60 + 280 * sure), 60) if sure < 0.5 else (int(220 - 320 * (sure - 0.5)), 190, 60)
