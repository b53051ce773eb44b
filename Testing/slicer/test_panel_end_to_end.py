"""The whole way by mouse: the box is drawn in a slice view, Segment is clicked, the segment is in the views.

With ``MEDSAMSEGMENT_PICTURES=folder`` the pictures of the tutorial are written there.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))

from MedSAMSegmentLib.phantom import make_phantom
from panel_bench import Desktop, start_slicer

ORGAN = "left kidney"


def pixels(view):
    import vtk
    from vtk.util.numpy_support import vtk_to_numpy

    view.window.Render()
    grabber = vtk.vtkWindowToImageFilter()
    grabber.SetInput(view.window)
    grabber.ReadFrontBufferOff()
    grabber.Update()
    image = grabber.GetOutput()
    width, height, _ = image.GetDimensions()
    return vtk_to_numpy(image.GetPointData().GetScalars()).reshape(height, width, -1)[:, :, :3].astype(int)


def mouse(view, event, place):
    view.interactor.SetEventInformation(int(place[0]), int(place[1]), 0, 0, chr(0), 0, None)
    view.interactor.InvokeEvent(event)


def click(view, place):
    for event in ("MouseMoveEvent", "LeftButtonPressEvent", "LeftButtonReleaseEvent"):
        mouse(view, event, place)


def on_screen(desktop, view, index):
    to_xy = np.linalg.inv(desktop.slicer.util.arrayFromVTKMatrix(view.node.GetXYToRAS()))
    return (to_xy @ np.append(desktop.to_ras(np.asarray(index, dtype=float)), 1.0))[:2]


def colourful(picture):
    """Pixels that are not grey."""
    return picture.max(axis=2) - picture.min(axis=2) > 25


def test_mouse_draws_the_box_and_the_segment_appears_in_slice_and_3d_views(tmp_path):
    slicer = start_slicer()
    from PySide6.QtTest import QTest

    desktop = Desktop(slicer, make_phantom(0))
    views = pytest.importorskip("views", reason="the bench's offscreen views")
    folder = Path(os.environ.get("MEDSAMSEGMENT_PICTURES") or tmp_path)
    display = desktop.volume.GetDisplayNode()
    display.SetAutoWindowLevel(0)
    display.SetWindowLevel(400, 40)
    try:
        axial = views.SliceView("Red", "Axial", (600, 600))
        axial.show(desktop.volume)
        surface = views.ThreeDView("1", (600, 600))
        low, high = desktop.corners(ORGAN, margin=3)
        middle = round(float((low[2] + high[2]) / 2))
        axial.logic.SetSliceOffset(float(desktop.to_ras(np.array([0.0, 0.0, middle]))[2]))
        assert not colourful(pixels(axial)).any()

        QTest.mouseClick(desktop.ui.drawBoxButton, desktop.qt.Qt.LeftButton)
        first, last = (on_screen(desktop, axial, (corner[0], corner[1], middle)) for corner in (low, high))
        axial.window.Render()
        mouse(axial, "EnterEvent", first)
        click(axial, first)
        for step in np.linspace(0, 1, 8):
            mouse(axial, "MouseMoveEvent", first + (last - first) * step)
        click(axial, last)
        desktop.until(lambda: len(desktop.controller.objects) == 1)
        name = desktop.controller.selected
        roi = desktop.controller.box_of(name)
        assert min(roi.GetSize()) > 20, "the box got a depth"
        desktop.put_box(roi, ORGAN)
        desktop.until(lambda: desktop.controller._preview._node is not None)
        desktop.turn()
        axial.png(str(folder / "slicer-preview.png"))

        QTest.mouseClick(desktop.ui.segmentButton, desktop.qt.Qt.LeftButton)
        desktop.until(lambda: desktop.controller.busy)
        desktop.until(lambda: (desktop.controller.fraction or 1.0) > 0.4)
        desktop.parent.grab().save(str(folder / "slicer-panel-busy.png"))
        desktop.until(lambda: not desktop.controller.busy)
        assert desktop.dice(name, ORGAN) > 0.85

        QTest.mouseClick(desktop.ui.show3DButton, desktop.qt.Qt.LeftButton)
        desktop.turn()
        roi.GetDisplayNode().SetVisibility(False)
        shown = colourful(pixels(axial))
        place = on_screen(desktop, axial, ((low[0] + high[0]) / 2, (low[1] + high[1]) / 2, middle))
        assert shown[int(place[1]) - 3 : int(place[1]) + 4, int(place[0]) - 3 : int(place[0]) + 4].all()
        roi.GetDisplayNode().SetVisibility(True)
        axial.png(str(folder / "slicer-segment.png"))
        surface.window.Render()
        surface.renderer.ResetCamera()
        camera = surface.renderer.GetActiveCamera()
        camera.Elevation(-75)
        surface.renderer.ResetCameraClippingRange()
        background = pixels(surface)[2, 2]
        assert (np.abs(pixels(surface) - background).sum(axis=2) > 60).mean() > 0.02
        surface.png(str(folder / "slicer-3d.png"))
        desktop.turn()
        desktop.parent.grab().save(str(folder / "slicer-panel.png"))
    finally:
        desktop.close()
