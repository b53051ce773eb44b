"""A radiologist's screen on the bench: the panel on the left, three slice views and the 3-D view on the right."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import numpy as np
from panel_bench import Desktop, shared_desktop

_BAR = 18
_SLICES = (
    ("Red", "Axial", (240, 80, 60)),
    ("Green", "Coronal", (110, 176, 75)),
    ("Yellow", "Sagittal", (237, 213, 76)),
)
_SPACE = (120, 125, 190)


class Screen:
    """Views of what is in the scene of a desktop, and a hand on the mouse.

    Args:
        desktop: see :class:`~panel_bench.Desktop`.
        size: of each view, pixels.
    """

    def __init__(self, desktop: Desktop, size: tuple[int, int] = (440, 400)) -> None:
        import views

        self.desktop, self._size = desktop, size
        self.axial, self.coronal, self.sagittal = (
            views.SliceView(name, orientation, size) for name, orientation, _ in _SLICES
        )
        self.space = views.ThreeDView("1", size)
        self.show()

    def show(self) -> None:
        """Show the scan in all views."""
        display = self.desktop.volume.GetDisplayNode()
        display.SetAutoWindowLevel(False)
        display.SetWindowLevel(400, 40)
        for view in self.slices:
            view.show(self.desktop.volume)

    @property
    def slices(self) -> tuple[Any, Any, Any]:
        return self.axial, self.coronal, self.sagittal

    def go_to(self, index: np.ndarray) -> None:
        """Show the slices through a place, index (i, j, k)."""
        for view in self.slices:
            view.node.JumpSliceByOffsetting(*self.desktop.to_ras(index))

    def drag(self, view: Any, start: np.ndarray, end: np.ndarray, steps: int = 6) -> None:
        """Press the button at a place of a view, move, and let go."""
        view.window.Render()
        view.mouse("EnterEvent", start)
        view.mouse("MouseMoveEvent", start)
        view.mouse("LeftButtonPressEvent", start)
        for step in np.linspace(0, 1, steps):
            view.mouse("MouseMoveEvent", start + (end - start) * step)
        view.mouse("LeftButtonReleaseEvent", end)

    def draw_box(self, organ: str, margin: int = 3) -> str:
        """All by mouse: "Draw box", two corners in the axial view, the upper and lower faces in the coronal view.

        Returns:
            The segment of the new object.
        """
        desktop = self.desktop
        low, high = desktop.corners(organ, margin)
        middle = np.round((low + high) / 2)[2]
        before = len(desktop.controller.objects)
        corners = [np.append(corner[:2], middle) for corner in (low, high)]
        self.click_corners(desktop.ui.drawBoxButton, self.axial, *corners)
        desktop.until(lambda: len(desktop.controller.objects) > before)
        name = desktop.controller.selected
        ends = sorted(float(desktop.to_ras(corner)[2]) for corner in (low, high))
        for side, height in zip((-1, 1), ends, strict=True):
            self._pull_face(desktop.controller.box_of(name), side, height)
        return name

    def draw_rectangle(self, organ: str, k: int, button: Any = None) -> None:
        """All by mouse: "Draw rectangle" (or another button), two corners about an organ on an axial slice."""
        from MedSAMSegmentLib.evaluation.drawn import tight_rectangle

        controller = self.desktop.controller

        def told() -> int:
            return sum(len(known["rectangles"]) for known in controller.objects.values())

        x0, y0, x1, y1 = tight_rectangle(self.desktop.phantom.mask(organ)[k])
        low, high = np.array([x0, y0, k]), np.array([x1, y1, k])
        before = told()
        self.click_corners(button or self.desktop.ui.drawRectangleButton, self.axial, low, high)
        self.desktop.until(lambda: told() > before)

    def click_corners(self, button: Any, view: Any, first: np.ndarray, last: np.ndarray) -> None:
        """Press a button, and click two corners in a view, index (i, j, k)."""
        self.go_to((first + last) / 2)
        self.click(button)
        start, end = (view.to_screen(self.desktop.to_ras(corner)) for corner in (first, last))
        view.window.Render()
        view.mouse("EnterEvent", start)
        view.click(start)
        for step in np.linspace(0, 1, 8):
            view.mouse("MouseMoveEvent", start + (end - start) * step)
        view.click(end)

    def click(self, button: Any) -> None:
        """Press a button of the panel."""
        from PySide6.QtTest import QTest

        QTest.mouseClick(button, self.desktop.qt.Qt.LeftButton)

    def click_in(self, view: Any, index: np.ndarray) -> None:
        """Click at a place of the scan, index (i, j, k)."""
        view.window.Render()
        place = view.to_screen(self.desktop.to_ras(index))
        view.mouse("EnterEvent", place)
        view.click(place)

    def _pull_face(self, roi: Any, side: int, height: float) -> None:
        """Pull the upper (1) or lower (-1) face of a box to a height, RAS mm, by its handle in the coronal view."""
        centre = np.array(roi.GetCenter())
        face = centre + np.array([0, 0, side * roi.GetSize()[2] / 2])
        # Three pixels off its middle, where there is another handle, too.
        start, end = (self.coronal.to_screen(np.array([*centre[:2], z])) + 3 for z in (face[2], height))
        self.drag(self.coronal, start, end)

    def save(self, path: Path) -> None:
        """A picture of everything, PNG."""
        qt, (width, height) = self.desktop.qt, self._size
        self.desktop.turn()
        left = self.desktop.parent.grab()
        total = max(left.height(), 2 * (height + _BAR))
        picture = qt.QPixmap(left.width() + 2 * width + 2, total)
        picture.fill(qt.QColor(240, 240, 240))
        painter = qt.QPainter(picture)
        painter.drawPixmap(0, 0, left)
        places = ((0, 0, self.axial), (1, 0, self.space), (0, 1, self.coronal), (1, 1, self.sagittal))
        colours = {id(view): colour for view, (_, _, colour) in zip(self.slices, _SLICES, strict=True)}
        for column, row, view in places:
            x, y = left.width() + column * (width + 2), row * (height + _BAR)
            painter.fillRect(x, y, width, _BAR, qt.QColor(*colours.get(id(view), _SPACE)))
            painter.drawImage(x, y + _BAR, self._image(view))
        painter.end()
        picture.save(str(path))

    def _image(self, view: Any) -> Any:
        pixels = np.ascontiguousarray(view.pixels()[::-1])
        height, width, _ = pixels.shape
        qt = self.desktop.qt
        return qt.QImage(pixels.tobytes(), width, height, 3 * width, qt.QImage.Format_RGB888).copy()


@functools.cache
def shared_screen() -> Screen:
    """The views of :func:`~panel_bench.shared_desktop`; a scene has one view of a name, so they are kept."""
    return Screen(shared_desktop(), (300, 300))
