"""The Segment Editor effect on real editor logic, with a real worker and the embedded network."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))

from effect_host import EffectHost
from MedSAMSegmentLib.phantom import make_phantom, phantom_geometry
from panel_bench import ROOT, start_slicer

MODULE = ROOT / "SegmentEditorMedSAMBox"
EFFECT = MODULE / "SegmentEditorMedSAMBoxLib" / "SegmentEditorEffect.py"
ORGAN = "left kidney"


class Editing:
    """The phantom in the Segment Editor, with a segment beside the organ and one across it."""

    def __init__(self, slicer, phantom):
        from MedSAMSegmentLib.slicer.bridge_segments import new_segment, prepared_segmentation

        self.slicer, self.truth = slicer, phantom.mask(ORGAN)
        matrix = np.diag([-1.0, -1.0, 1.0, 1.0]) @ phantom.volume.geometry.affine
        self.matrix = matrix
        self.volume = slicer.util.addVolumeFromArray(
            np.array(phantom.volume.voxels), ijkToRAS=slicer.util.vtkMatrixFromArray(matrix), name="CT"
        )
        self.segmentation = prepared_segmentation(self.volume, None)
        self.mine = new_segment(self.segmentation, ORGAN)
        self.other = new_segment(self.segmentation, "other")
        across = np.zeros_like(self.truth)
        k, j, i = np.nonzero(self.truth)
        across[:, : int(np.median(j)), i.min() : i.max() + 4] = True
        across[: k.min()] = False
        self.across = across
        self.paint(self.other, across)
        self.host = EffectHost(EFFECT, self.segmentation, self.volume)
        self.host.editor.SetSelectedSegmentID(self.mine)
        self.effect = self.host.effect

    def paint(self, segment, mask):
        self.slicer.util.updateSegmentBinaryLabelmapFromArray(
            mask.astype(np.uint8), self.segmentation, segment, self.volume
        )

    def mask(self, segment):
        array = self.slicer.util.arrayFromSegmentBinaryLabelmap(self.segmentation, segment, self.volume)
        return np.array(array) > 0

    def draw(self):
        """Press "Draw box" and draw it around the organ, flat, as on one slice."""
        from MedSAMSegmentLib.slicer import panel_scene

        self.effect.drawButton.click()
        (box,) = panel_scene.nodes_with_role("effect-box")
        k, j, i = np.nonzero(self.truth)
        low, high = (
            (self.matrix @ np.array([*corner, 1.0]))[:3]
            for corner in (
                (i.min() - 1.5, j.min() - 1.5, k.min() - 0.5),
                (i.max() + 1.5, j.max() + 1.5, k.max() + 0.5),
            )
        )
        box.SetCenter(*((low + high) / 2))
        box.SetSize(*np.abs(high - low))
        panel_scene.stop_placing()
        return box

    def segment(self):
        self.effect.segmentButton.click()
        assert self.effect.segmentButton.text == "Cancel", self.effect.messageLabel.text
        self.wait()

    def wait(self):
        end = time.monotonic() + 200
        while self.effect._worker is not None and self.effect._worker.busy:
            assert time.monotonic() < end, self.effect.messageLabel.text
            self.slicer.app.processEvents()
            time.sleep(0.001)

    def close(self):
        self.effect.deactivate()


@pytest.fixture(scope="module")
def phantom():
    return make_phantom(0, phantom_geometry((24, 128, 128), (2.8, 2.8, 8.0)))


@pytest.fixture
def editing(phantom):
    slicer = start_slicer()
    slicer.mrmlScene.Clear(0)
    editing = Editing(slicer, phantom)
    yield editing
    editing.close()
    slicer.mrmlScene.Clear(0)


def dice(a, b):
    return 2 * np.count_nonzero(a & b) / (np.count_nonzero(a) + np.count_nonzero(b))


def test_a_box_fills_the_selected_segment_under_the_editors_own_rules(editing):
    editor = editing.host.editor
    editor.SetOverwriteMode(editor.OverwriteNone)
    editing.draw()
    editing.segment()
    found = editing.mask(editing.mine)
    assert dice(found, editing.truth) > 0.75
    assert np.array_equal(editing.mask(editing.other), editing.across)
    editing.host.logic.Undo()
    assert not editing.mask(editing.mine).any()

    # The same box again, where another segment may not be touched: the worker knows the scan already.
    editor.SetMaskMode(editing.segmentation.EditAllowedOutsideVisibleSegments)
    editor.SetOverwriteMode(editor.OverwriteAllSegments)
    editing.segment()
    assert np.array_equal(editing.mask(editing.mine), found & ~editing.across)
    assert np.array_equal(editing.mask(editing.other), editing.across)
    editor.SetMaskMode(editing.segmentation.EditAllowedEverywhere)

    # Added to what is there, or in its place.
    painted = np.zeros_like(found)
    painted[2:4, 2:9, 2:9] = True
    editing.paint(editing.mine, painted)
    editing.segment()
    assert np.array_equal(editing.mask(editing.mine), painted | found)
    assert not (editing.mask(editing.other) & found).any()
    editing.effect.replaceCheckBox.click()
    assert editing.host.integerParameter("Replace") == 1
    editing.segment()
    assert np.array_equal(editing.mask(editing.mine), found)
    editing.host.logic.Undo()
    assert np.array_equal(editing.mask(editing.mine), painted | found)


def test_cancelling_and_leaving_the_effect_end_the_work(editing):
    from MedSAMSegmentLib.slicer import panel_scene

    editing.effect.segmentButton.click()
    assert "Draw a box first" in editing.effect.messageLabel.text
    box = editing.draw()
    box.SetCenter(5000, 0, 0)
    editing.segment()
    assert "outside the scan" in editing.effect.messageLabel.text and not editing.mask(editing.mine).any()
    box = editing.draw()
    assert panel_scene.nodes_with_role("effect-box") == [box] and not box.GetSaveWithScene()
    editing.effect.segmentButton.click()
    assert not editing.effect.drawButton.enabled
    editing.effect.segmentButton.click()
    editing.wait()
    assert editing.effect.segmentButton.text == "Segment" and editing.effect.messageLabel.text == "Stopped."
    editing.effect.segmentButton.click()
    editing.effect.deactivate()
    assert panel_scene.nodes_with_role("effect-box") == [] and editing.effect._worker is None


def test_a_flat_box_gets_its_depth_before_it_is_used(editing):
    box = editing.draw()
    size = np.array(box.GetSize())
    box.SetSize(size[0], size[1], 1.0)
    editing.effect._drawn()
    assert np.allclose(box.GetSize(), (size[0], size[1], min(size[:2])))


def test_the_module_is_hidden_and_registers_the_effect_once_slicer_has_started(editing, monkeypatch):
    import types

    from slicer_app_qt import load_module

    registered = []

    class ScriptedEffect:
        def __init__(self, parent):
            self.source = ""

        def setPythonSource(self, path):
            self.source = path

        def self(self):
            return types.SimpleNamespace(register=lambda: registered.append(self.source))

    effects = types.ModuleType("qSlicerSegmentationsEditorEffectsPythonQt")
    effects.qSlicerSegmentEditorScriptedEffect = ScriptedEffect
    monkeypatch.setitem(sys.modules, effects.__name__, effects)
    monkeypatch.setattr(editing.slicer.app, "_slots", {})
    _module, made = load_module(MODULE / "SegmentEditorMedSAMBox.py")
    assert made.parent.hidden and registered == []
    editing.slicer.app.emit("startupCompleted()")
    assert registered == [EFFECT.as_posix()]
    assert editing.effect.clone().source == EFFECT.as_posix()
    assert editing.effect.helpText().startswith("<html>") and not editing.effect.icon().isNull()
