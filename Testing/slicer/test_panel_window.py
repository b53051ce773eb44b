"""The window that the network sees, taken from the display."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))

from panel_bench import shared_desktop


def test_the_displayed_window_becomes_the_chosen_one():
    desktop = shared_desktop()
    desktop.begin()
    before = np.array(desktop.slicer.util.arrayFromVolume(desktop.volume))
    display = desktop.volume.GetDisplayNode()
    display.SetAutoWindowLevel(False)
    display.SetWindowLevel(320, 75)
    choices = [value for value, _text in desktop.widget.view.choices["window"][1]]
    desktop.ui.windowComboBox.activated.emit(choices.index("display"))
    assert (desktop.parameters.window, desktop.parameters.windowLevel, desktop.parameters.windowWidth) == (
        "custom",
        75,
        320,
    )
    assert desktop.ui.windowComboBox.currentIndex == choices.index("custom")
    assert (desktop.ui.windowLevelSpinBox.value, desktop.ui.windowWidthSpinBox.value) == (75, 320)
    desktop.box("spleen")
    desktop.until(lambda: desktop.controller.opened is not None)
    assert desktop.controller.opened["window"] == [75 - 160, 75 + 160]
    assert np.array_equal(before, desktop.slicer.util.arrayFromVolume(desktop.volume))
    desktop.parameters.window = "auto"
