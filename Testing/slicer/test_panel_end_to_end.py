"""The whole way by mouse: the box is drawn in the views, Segment is clicked, the segment is in the views."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))

from panel_bench import shared_desktop
from panel_screen import shared_screen

ORGAN = "left kidney"


@pytest.fixture(scope="module")
def desktop():
    return shared_desktop()


def colourful(picture):
    """Pixels that are not grey."""
    return np.ptp(picture.astype(int), axis=2) > 25


def test_mouse_draws_the_box_and_the_segment_appears_in_slice_and_3d_views(desktop):
    desktop.begin()
    screen = shared_screen()
    screen.show()
    assert not colourful(screen.axial.pixels()).any()
    name = screen.draw_box(ORGAN)
    roi = desktop.controller.box_of(name)
    low, high = (desktop.to_ras(corner) for corner in desktop.corners(ORGAN, margin=3))
    # A pixel of the views is 1.2 mm.
    assert np.allclose(roi.GetSize(), np.abs(high - low), atol=4)
    assert np.allclose(roi.GetCenter(), (low + high) / 2, atol=2)
    desktop.until(lambda: desktop.controller.preview.node is not None)
    previewed = desktop.controller.preview.node.GetSegmentation().GetNthSegment(0)
    assert previewed.GetRepresentation("Binary labelmap").GetExtent()[5] >= 0
    assert not desktop.mask(name).any()

    screen.click(desktop.ui.segmentButton)
    desktop.until(lambda: desktop.controller.busy)
    desktop.until(lambda: not desktop.controller.busy)
    assert desktop.dice(name, ORGAN) > 0.85

    screen.click(desktop.ui.show3DButton)
    desktop.turn()
    roi.GetDisplayNode().SetVisibility(False)
    inside = desktop.inside(ORGAN)
    screen.go_to(inside)
    for view in screen.slices:
        shown, place = colourful(view.pixels()), np.round(view.to_screen(desktop.to_ras(inside))).astype(int)
        assert shown[place[1] - 2 : place[1] + 3, place[0] - 2 : place[0] + 3].all()
        assert 0.005 < shown.mean() < 0.3
    screen.space.look_from_front()
    surface = screen.space.pixels().astype(int)
    assert (np.abs(surface - surface[2, 2]).sum(axis=2) > 60).mean() > 0.02
