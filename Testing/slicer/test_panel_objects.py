"""Objects in the panel: several scans, loaded scenes, corrections by mouse, the strip, export, a worker that dies."""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))

from panel_screen import shared_screen

ORGAN = "liver tumour"


def the_screen():
    screen = shared_screen()
    screen.show()
    return screen


def edge_of(mask):
    """Index (i, j, k) of the voxel farthest to the patient's left in the middle slice of a mask."""
    slices = np.flatnonzero(mask.any(axis=(1, 2)))
    k = int(slices[len(slices) // 2])
    rows, columns = np.nonzero(mask[k])
    last = int(np.argmax(columns))
    return np.array([columns[last], rows[last], k], dtype=float)


def nodes_of(desktop):
    """What a user sees in the scene."""
    kinds = ("vtkMRMLMarkupsNode", "vtkMRMLSegmentationNode", "vtkMRMLVolumeNode", "vtkMRMLModelNode")
    nodes = [node for kind in kinds for node in desktop.slicer.util.getNodesByClass(kind)]
    return sorted(node.GetID() for node in nodes if not node.GetHideFromEditors())


def finish(desktop):
    """Wait for the run that a correction begins."""
    desktop.until(lambda: desktop.controller.busy)
    desktop.until(lambda: not desktop.controller.busy)


def test_a_removed_object_stays_away_until_undo_brings_it_back(desktop):
    name = desktop.box(ORGAN)
    desktop.segment()
    before = desktop.mask(name)
    desktop.ui.removeButton.click()
    desktop.until(lambda: name not in desktop.controller.objects)
    segmentation = desktop.parameters.segmentation.GetSegmentation()
    assert segmentation.GetSegment(name) is None
    assert desktop.controller.pending() == [] and not desktop.ui.segmentButton.enabled
    desktop.ui.undoButton.click()
    desktop.until(lambda: name in desktop.controller.objects)
    assert desktop.ui.segmentButton.enabled and desktop.controller.box_of(name).GetDisplayNode().GetVisibility()
    desktop.segment()
    assert np.array_equal(desktop.mask(name), before)


def test_each_volume_keeps_its_own_objects(desktop):
    slicer = desktop.slicer
    name = desktop.box(ORGAN)
    desktop.segment()
    before, first = desktop.mask(name), desktop.parameters.segmentation
    other = slicer.util.addVolumeFromArray(
        np.ascontiguousarray(desktop.phantom.volume.voxels[::2]),
        ijkToRAS=slicer.util.vtkMatrixFromArray(desktop.matrix @ np.diag([1.0, 1.0, 2.0, 1.0])),
        name="Thick slices",
    )
    desktop.ui.volumeSelector.setCurrentNode(other)
    desktop.turn()
    assert desktop.parameters.inputVolume is other and desktop.parameters.segmentation is None
    assert not desktop.ui.segmentButton.enabled and desktop.controller.scores == {}
    desktop.box("spleen")
    second = desktop.parameters.segmentation
    assert second is not first and len(desktop.controller.boxes()) == 1
    desktop.ui.volumeSelector.setCurrentNode(desktop.volume)
    desktop.turn()
    assert desktop.parameters.segmentation is first
    assert [node.GetAttribute("MedSAMSegment.SegmentID") for node in desktop.controller.boxes()] == [name]
    assert desktop.controller.scores[name] and desktop.controller.selected == name
    desktop.segment()
    assert np.array_equal(desktop.mask(name), before)


def test_a_loaded_scene_can_be_looked_through_and_corrected_at_once(desktop, tmp_path):
    name = desktop.box(ORGAN)
    desktop.segment()
    before = desktop.mask(name)
    accepted = int(np.flatnonzero(before.any(axis=(1, 2)))[0])
    desktop.controller.accept([accepted])
    desktop.until(lambda: desktop.controller.objects[name]["accepted"] == [accepted])
    desktop.save_and_load(tmp_path / "scene.mrb")
    screen = the_screen()
    screen.click(desktop.ui.weakestButton)
    assert desktop.controller.shown_slice() == desktop.controller.weakest_slices(name)[0]
    place = edge_of(before)
    screen.go_to(place)
    assert desktop.ui.outsideButton.enabled
    screen.click(desktop.ui.outsideButton)
    screen.click_in(screen.axial, place)
    finish(desktop)
    after = desktop.mask(name)
    i, j, k = place.astype(int)
    assert before[k, j, i] and not after[k, j, i]
    assert np.array_equal(after[accepted], before[accepted])
    assert desktop.controller.objects[name]["accepted"] == [accepted]


def test_clicks_and_strokes_by_mouse_change_the_object_and_undo_takes_each_back(desktop):
    name = desktop.box(ORGAN)
    desktop.segment()
    before, place = desktop.mask(name), edge_of(desktop.mask(name))
    screen = the_screen()
    screen.go_to(place)
    screen.click(desktop.ui.outsideButton)
    assert desktop.ui.outsideButton.checked
    screen.click_in(screen.axial, place)
    finish(desktop)
    assert not desktop.ui.outsideButton.checked
    clicked = desktop.mask(name)
    i, j, k = place.astype(int)
    assert not clicked[k, j, i] and not np.array_equal(clicked, before)

    screen.click(desktop.ui.scribbleButton)
    rows, columns = np.nonzero(before[k])
    for column in (i - 4.0, i, i + 3.0):
        screen.click_in(screen.axial, np.array([column, j, k]))
    end = screen.axial.to_screen(desktop.to_ras(np.array([columns.max(), rows.max(), k], dtype=float)))
    for event in ("MouseMoveEvent", "RightButtonPressEvent", "RightButtonReleaseEvent"):
        screen.axial.mouse(event, end)
    finish(desktop)
    stroked = desktop.mask(name)
    assert stroked[k, j, i] and not np.array_equal(stroked, clicked)
    for expected in (clicked, before):
        desktop.ui.undoButton.click()
        desktop.until(lambda expected=expected: np.array_equal(desktop.mask(name), expected), 60)
    assert desktop.slicer.util.getNodesByClass("vtkMRMLMarkupsCurveNode") == []


def longest(mask):
    """The slice where a mask is largest, and two pixels furthest apart on it, index (i, j, k)."""
    k = int(mask.sum(axis=(1, 2)).argmax())
    pixels = np.argwhere(mask[k])[:, ::-1].astype(float)
    distances = np.linalg.norm(pixels[:, None] - pixels[None], axis=-1)
    first, second = np.unravel_index(int(distances.argmax()), distances.shape)
    return np.append(pixels[first], k), np.append(pixels[second], k)


def test_a_diameter_drawn_by_mouse_becomes_an_object_and_one_undo_takes_it_back(desktop):
    screen, ends = the_screen(), longest(desktop.phantom.mask(ORGAN))
    screen.go_to(ends[0])
    screen.click(desktop.ui.drawDiameterButton)
    for end in ends:
        screen.click_in(screen.axial, end)
    desktop.until(lambda: desktop.controller.objects)
    name = desktop.controller.selected
    assert desktop.slicer.util.getNodesByClass("vtkMRMLMarkupsLineNode") == []
    assert not desktop.ui.drawDiameterButton.checked
    ras = [desktop.to_ras(end) for end in ends]
    length = np.linalg.norm(ras[1] - ras[0])
    box = desktop.controller.box_of(name)
    assert max(abs(np.array(box.GetSize()) - length)) < 1.5
    np.testing.assert_allclose(box.GetCenter(), (ras[0] + ras[1]) / 2, atol=1.5)
    desktop.ui.undoButton.click()
    desktop.until(lambda: not desktop.controller.objects)
    assert desktop.controller.boxes() == [] and not desktop.ui.undoButton.enabled
    desktop.ui.redoButton.click()
    desktop.until(lambda: name in desktop.controller.objects)
    desktop.segment()
    assert desktop.dice(name, ORGAN) > 0.8


def test_a_model_that_knows_boxes_only_gets_the_box_about_a_diameter(desktop, monkeypatch):
    """The answer of such a model is played: loading a real one takes half a minute."""
    from MedSAMSegmentLib import UsageError
    from MedSAMSegmentLib.slicer import panel_scene

    client = desktop.controller.client
    submit = client.submit

    def boxes_only(verb, fields=None, **callbacks):
        if verb == "add_object" and (fields or {}).get("line") is not None:
            callbacks["failed"](UsageError("PROMPT_NOT_TRAINED", "This model was trained with boxes only."))
        else:
            submit(verb, fields, **callbacks)

    monkeypatch.setattr(client, "submit", boxes_only)
    desktop.ui.drawDiameterButton.click()
    for end in longest(desktop.phantom.mask(ORGAN)):
        desktop.widget._placing.AddControlPointWorld(*desktop.to_ras(end))
    panel_scene.stop_placing()
    desktop.until(lambda: desktop.controller.objects)
    assert not desktop.controller.failed and len(desktop.controller.boxes()) == 1
    desktop.segment()
    assert desktop.dice(desktop.controller.selected, ORGAN) > 0.7


def test_a_diameter_across_slices_is_refused_and_leaves_nothing(desktop):
    desktop.box(ORGAN)
    before, (start, end) = nodes_of(desktop), longest(desktop.phantom.mask(ORGAN))
    desktop.ui.drawDiameterButton.click()
    for place in (start, np.add(end, [0, 0, 4])):
        desktop.widget._placing.AddControlPointWorld(*desktop.to_ras(place))
    from MedSAMSegmentLib.slicer import panel_scene

    panel_scene.stop_placing()
    desktop.until(lambda: desktop.controller.failed)
    assert desktop.controller.code == "LINE_ACROSS_SLICES" and nodes_of(desktop) == before


def test_giving_up_a_diameter_leaves_nothing_behind(desktop):
    before = nodes_of(desktop)
    desktop.ui.drawDiameterButton.click()
    desktop.widget._placing.AddControlPointWorld(*desktop.to_ras(np.array([50.0, 50.0, 10.0])))
    desktop.ui.drawDiameterButton.click()
    desktop.turn()
    assert nodes_of(desktop) == before and desktop.controller.boxes() == []


def test_giving_up_a_box_leaves_nothing_behind(desktop):
    count = desktop.slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLMarkupsROINode")
    desktop.ui.drawBoxButton.click()
    assert desktop.ui.drawBoxButton.checked
    desktop.ui.drawBoxButton.click()
    desktop.turn()
    assert not desktop.ui.drawBoxButton.checked
    assert desktop.slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLMarkupsROINode") == count
    assert desktop.controller.boxes() == []


def test_the_strip_shows_every_slice_and_a_click_goes_there(desktop):
    from PySide6.QtTest import QTest

    name = desktop.box(ORGAN)
    desktop.segment()
    screen = the_screen()
    desktop.turn()
    strip, scores = desktop.widget.strip, desktop.controller.scores[name]
    width, height = int(strip.width), int(strip.height)
    image = strip.grab().toImage()

    def column(index):
        return int((index - min(scores) + 0.5) * width / len(scores))

    surest, weakest = max(scores, key=scores.get), min(scores, key=scores.get)
    green, red = (image.pixelColor(column(index), height // 2) for index in (surest, weakest))
    assert green.green() - green.red() > red.green() - red.red()
    QTest.mouseClick(strip, desktop.qt.Qt.LeftButton, pos=desktop.qt.QPoint(column(weakest), height // 2))
    assert desktop.controller.shown_slice() == weakest
    shown = screen.axial.node.GetSliceToRAS().GetElement(2, 3)
    assert shown == pytest.approx(desktop.to_ras(np.array([0.0, 0.0, weakest]))[2], abs=0.1)
    screen.click(desktop.ui.acceptAllButton)
    desktop.until(lambda: set(scores) <= set(desktop.controller.objects[name]["accepted"]))
    desktop.turn()
    blue = strip.grab().toImage().pixelColor(column(weakest), height // 2)
    assert blue.blue() > blue.red() and not desktop.ui.weakestButton.enabled
    assert desktop.controller.status(name) == "accepted"


def test_propagating_one_way_leaves_the_other_side_alone(desktop):
    name = desktop.box("spleen")
    screen = the_screen()
    inside = desktop.inside("spleen")
    screen.go_to(inside)
    upwards = [value for value, _ in desktop.widget.view.choices["direction"][1]].index("up")
    desktop.ui.directionComboBox.setCurrentIndex(upwards)
    desktop.ui.directionComboBox.activated.emit(upwards)
    desktop.segment()
    filled = np.flatnonzero(desktop.mask(name).any(axis=(1, 2)))
    above = desktop.to_ras(np.array([0.0, 0.0, filled.max()]))[2], desktop.to_ras(np.array([0.0, 0.0, filled.min()]))[2]
    assert filled.size > 2 and min(above) == pytest.approx(desktop.to_ras(inside)[2], abs=0.01)


def test_a_renamed_object_gets_the_codes_of_its_name_unless_the_user_chose_others(desktop):
    name = desktop.box(ORGAN)
    segment = desktop.parameters.segmentation.GetSegmentation().GetSegment(name)
    tag = desktop.slicer.vtkSegment.GetTerminologyEntryTagName()

    def entry():
        import vtk

        held = vtk.reference("")
        segment.GetTag(tag, held)
        return str(held)

    (box,) = desktop.controller.boxes()
    segment.SetName("left kidney")
    assert "SCT^64033007^Kidney" in entry() and "Left" in entry()
    assert segment.GetColor() == pytest.approx(box.GetDisplayNode().GetSelectedColor())
    segment.SetName("Spleen")
    assert "SCT^78961009^Spleen" in entry()
    segment.SetName("what Dr. No asked about")
    assert "SCT^78961009^Spleen" in entry()  # no better codes are known

    chosen = entry().replace("SCT^78961009^Spleen", "SCT^15776009^Pancreas")
    segment.SetTag(tag, chosen)
    segment.SetName("liver")
    assert entry() == chosen


def test_exports_are_what_the_panel_holds(desktop, tmp_path, monkeypatch):
    import SimpleITK

    told = len(desktop.slicer.app.messages)
    name = desktop.box(ORGAN)
    desktop.segment()
    mask = desktop.mask(name)
    for button, suffix in ((desktop.ui.exportNrrdButton, ".seg.nrrd"), (desktop.ui.exportNiftiButton, ".nii.gz")):
        path = tmp_path / f"export{suffix}"
        monkeypatch.setattr(
            desktop.qt.QFileDialog, "getSaveFileName", staticmethod(lambda *ignored, path=path: str(path))
        )
        button.click()
        assert desktop.ui.messageLabel.text == f"Saved as {path.name}."
        image = SimpleITK.ReadImage(str(path))
        voxels = SimpleITK.GetArrayFromImage(image) > 0
        assert voxels.sum() == mask.sum()
        middle = SimpleITK.LabelShapeStatisticsImageFilter()
        middle.Execute(SimpleITK.Cast(image > 0, SimpleITK.sitkUInt8))
        index = np.argwhere(mask)[:, ::-1].mean(axis=0)
        assert np.allclose(middle.GetCentroid(1), desktop.to_ras(index) * [-1, -1, 1], atol=0.01)
    desktop.ui.exportLabelmapButton.click()
    node = desktop.slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLLabelMapVolumeNode")
    assert np.array_equal(desktop.slicer.util.arrayFromVolume(node) > 0, mask)
    desktop.ui.exportDicomButton.click()
    assert "not read from DICOM" in desktop.ui.messageLabel.text
    assert desktop.slicer.app.messages[told:] == []


def test_a_worker_killed_at_any_moment_leaves_the_scene_as_it_was_and_the_next_run_works(desktop):
    name = desktop.box(ORGAN)
    desktop.segment()
    before, chance = desktop.mask(name), random.Random(5)
    roi = desktop.controller.box_of(name)
    nodes = nodes_of(desktop)
    for turn in range(10):
        x, y, z = roi.GetCenter()
        roi.SetCenter(x + 0.5 * (-1) ** turn, y, z)
        desktop.ui.segmentButton.click()
        moment = time.monotonic() + chance.uniform(0, 2)
        desktop.until(lambda moment=moment: time.monotonic() > moment or not desktop.controller.busy)
        if desktop.controller.busy:
            os.kill(desktop.worker_process(), signal.SIGKILL)
            desktop.until(lambda: not desktop.controller.busy)
            assert desktop.controller.failed and desktop.controller.code in ("WORKER_DIED", "WORKER_NOT_STARTED")
            assert np.array_equal(desktop.mask(name), before)
        else:
            before = desktop.mask(name)
        assert nodes_of(desktop) == nodes
        assert desktop.controller.boxes() == [roi]
    desktop.put_box(roi, "spleen")
    desktop.segment()
    assert desktop.dice(name, "spleen") > 0.7
