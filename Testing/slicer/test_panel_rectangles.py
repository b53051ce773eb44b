"""Objects that begin with rectangles on slices in place of a box, drawn by mouse."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))

from panel_screen import shared_screen

ORGAN = "left kidney"


@pytest.fixture
def screen(desktop):
    screen = shared_screen()
    screen.show()
    return screen


def is_yellow(view):
    """Whether a rectangle is still to be seen."""
    red, green, blue = np.moveaxis(view.pixels().astype(int), -1, 0)
    return bool(((red > 200) & (green > 180) & (blue < 90)).any())


def slices_of(mask):
    return np.flatnonzero(mask.any(axis=(1, 2)))


def chosen_slices(desktop):
    """The first and the last slice of the organ, and one between."""
    used = slices_of(desktop.phantom.mask(ORGAN)).tolist()
    return used[0], used[len(used) // 2], used[-1]


def test_rectangles_become_one_object_that_reaches_from_the_first_to_the_last(desktop, screen):
    first, middle, last = chosen_slices(desktop)
    screen.draw_rectangle(ORGAN, middle)
    controller = desktop.controller
    (name,) = controller.objects
    assert controller.selected == name and controller.boxes() == []
    assert desktop.slicer.util.getNodesByClass("vtkMRMLMarkupsROINode") == [] and not is_yellow(screen.space)
    assert not desktop.ui.drawRectangleButton.checked and "other slices" in desktop.ui.messageLabel.text
    desktop.until(lambda: controller.preview.node is not None)
    (shown,) = slices_of(
        desktop.slicer.util.arrayFromSegmentBinaryLabelmap(
            controller.preview.node, controller.preview.node.GetSegmentation().GetNthSegmentID(0), desktop.volume
        )
    )
    assert shown == middle and not desktop.mask(name).any(), "the slice is previewed, nothing is written"
    screen.draw_rectangle(ORGAN, last)
    # As a correction would be drawn, too.
    screen.draw_rectangle(ORGAN, first, desktop.ui.sliceBoxButton)
    assert list(controller.objects) == [name] and controller.objects[name]["rectangles"] == [first, middle, last]
    assert "3 rectangles" in desktop.ui.messageLabel.text and not desktop.mask(name).any()
    assert controller.pending() == [name]
    desktop.segment()
    found = slices_of(desktop.mask(name))
    assert (found[0], found[-1]) == (first, last) and desktop.dice(name, ORGAN) > 0.92
    # It is segmented: the next rectangle begins another object.
    screen.draw_rectangle(ORGAN, middle)
    assert len(controller.objects) == 2 and controller.selected != name


def test_each_rectangle_is_a_step_to_undo_and_the_first_takes_the_object_along(desktop, screen):
    first, _, last = chosen_slices(desktop)
    for k in (first, last):
        screen.draw_rectangle(ORGAN, k)
    controller = desktop.controller
    (name,) = controller.objects
    segments = desktop.parameters.segmentation.GetSegmentation()
    desktop.segment()
    before = desktop.mask(name)
    desktop.ui.undoButton.click()
    desktop.until(lambda: controller.objects[name]["rectangles"] == [first])
    assert not desktop.mask(name).any() and not controller.preview.shown
    desktop.ui.undoButton.click()
    desktop.until(lambda: not controller.objects)
    assert segments.GetSegment(name) is None and not desktop.ui.segmentButton.enabled
    for expected in ([first], [first, last]):
        desktop.ui.redoButton.click()
        desktop.until(lambda expected=expected: controller.objects.get(name, {}).get("rectangles") == expected)
    assert np.array_equal(desktop.mask(name), before)
    desktop.ui.removeButton.click()
    desktop.until(lambda: not controller.objects)
    assert segments.GetSegment(name) is None


def test_a_rectangle_across_the_slices_is_refused_and_leaves_nothing(desktop, screen):
    mask = desktop.phantom.mask(ORGAN)
    k, j, i = np.argwhere(mask).mean(axis=0)
    across = np.array([i, j - 12.0, k - 6.0]), np.array([i, j + 12.0, k + 6.0])
    screen.click_corners(desktop.ui.drawRectangleButton, screen.sagittal, *across)
    desktop.until(lambda: desktop.controller.failed)
    assert desktop.controller.code == "NOT_ON_SLICE" and "Red" in desktop.ui.messageLabel.text
    assert desktop.controller.objects == {} and desktop.parameters.segmentation is None
    assert desktop.slicer.util.getNodesByClass("vtkMRMLMarkupsNode") == []


def test_rectangles_wait_in_a_saved_scene(desktop, screen, tmp_path):
    first, middle, last = chosen_slices(desktop)
    for k in (first, middle, last):
        screen.draw_rectangle(ORGAN, k)
    (name,) = desktop.controller.objects
    desktop.save_and_load(tmp_path / "scene.mrb")
    assert desktop.controller.pending() == [name]
    desktop.segment()
    found = slices_of(desktop.mask(name))
    assert (found[0], found[-1]) == (first, last) and desktop.dice(name, ORGAN) > 0.9
