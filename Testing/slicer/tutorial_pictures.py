"""The pictures of the tutorial, from the bench: ``python Testing/slicer/tutorial_pictures.py [FOLDER]``.

Everything in them was done by mouse on the computed scan, with a real worker and the embedded network; FOLDER is
``docs/pictures`` by default.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from panel_bench import ROOT, Desktop, start_slicer
from panel_screen import Screen

_OBJECTS = (("left kidney", "Left kidney"), ("spleen", "Spleen"), ("liver tumour", "Lesion"))


def _slim(path: Path) -> None:
    """128 colours are enough for these, and a quarter of the size."""
    from PIL import Image

    with Image.open(path) as picture:
        picture.convert("RGB").quantize(128, dither=Image.Dither.NONE).save(path, optimize=True)


def main() -> None:
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "docs" / "pictures"
    slicer = start_slicer()
    from MedSAMSegmentLib.phantom import make_phantom

    desktop = Desktop(slicer, make_phantom(0))
    try:
        _take(desktop, folder)
    finally:
        desktop.close()
    for path in folder.glob("slicer-*.png"):
        _slim(path)


def _take(desktop: Desktop, folder: Path) -> None:
    screen, names = Screen(desktop), {}
    for organ, title in _OBJECTS:
        if organ == "spleen":
            names[organ] = name = _draw_rectangles(screen, organ)
            desktop.turn()
            screen.save(folder / "slicer-rectangles.png")
        else:
            names[organ] = name = screen.draw_box(organ)
        desktop.parameters.segmentation.GetSegmentation().GetSegment(name).SetName(title)
        if organ == "left kidney":
            desktop.until(lambda: desktop.controller.preview.node is not None)
            desktop.turn()
            screen.space.look_from_front()
            screen.save(folder / "slicer-box.png")

    screen.click(desktop.ui.segmentButton)
    desktop.until(lambda: (desktop.controller.fraction or 0) > 0.5)
    desktop.turn()
    desktop.parent.grab().save(str(folder / "slicer-running.png"))
    desktop.until(lambda: not desktop.controller.busy)
    for organ, name in names.items():
        print(f"{organ}: Dice {desktop.dice(name, organ):.3f}")

    desktop.ui.objectsTable.setSelectedSegmentIDs([names["left kidney"]])
    screen.click(desktop.ui.show3DButton)
    screen.go_to(desktop.inside("left kidney"))
    desktop.turn()
    screen.space.look_from_front()
    screen.save(folder / "slicer-segments.png")

    desktop.ui.objectsTable.setSelectedSegmentIDs([names["liver tumour"]])
    screen.go_to(desktop.inside("liver tumour"))
    screen.click(desktop.ui.weakestButton)
    for button in (desktop.ui.inputsCollapsibleButton, desktop.ui.exportCollapsibleButton):
        button.setCollapsed(not button.collapsed)
    desktop.ui.advancedCollapsibleButton.setCollapsed(False)
    desktop.turn()
    low, high = (desktop.to_ras(corner) for corner in desktop.corners("liver tumour"))
    for view in screen.slices:
        view.node.SetFieldOfView(*(np.array(view.node.GetFieldOfView()) * [0.4, 0.4, 1.0]))
        view.node.JumpSliceByCentering(*((low + high) / 2))
    desktop.controller.show_slice(desktop.controller.weakest_slices(names["liver tumour"])[0])
    desktop.widget.refresh()
    screen.save(folder / "slicer-review.png")


def _draw_rectangles(screen: Screen, organ: str) -> str:
    """Three rectangles about an organ, the one where it is largest last; the segment of the new object."""
    areas = screen.desktop.phantom.mask(organ).sum(axis=(1, 2))
    used = np.flatnonzero(areas).tolist()
    for k in (used[0], used[-1], int(areas.argmax())):
        screen.desktop.controller.preview.hide()
        screen.draw_rectangle(organ, k)
    screen.desktop.until(lambda: screen.desktop.controller.preview.shown)
    return screen.desktop.controller.selected


if __name__ == "__main__":
    main()
