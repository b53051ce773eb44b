"""Segmenting by script: real MRML, a real worker process, the embedded network, the computed scan."""

from __future__ import annotations

import os
import signal
import sys
import types
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))

from MedSAMSegmentLib.errors import InferenceError, InputError, MedSAMSegmentError, UsageError
from MedSAMSegmentLib.phantom import make_phantom, phantom_geometry
from panel_bench import ROOT, start_slicer

TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


@pytest.fixture(scope="module")
def phantom():
    """A coarse scan, so that the network has little to do."""
    return make_phantom(0, phantom_geometry((24, 128, 128), (2.8, 2.8, 8.0)))


@pytest.fixture(scope="module")
def segmenter():
    start_slicer()
    from MedSAMSegmentLib.slicer.logic import SceneSegmenter

    segmenter = SceneSegmenter()
    yield segmenter
    segmenter.close()


@pytest.fixture
def scan(slicer, phantom):
    matrix = slicer.util.vtkMatrixFromArray(TO_RAS @ phantom.volume.geometry.affine)
    return slicer.util.addVolumeFromArray(np.array(phantom.volume.voxels), ijkToRAS=matrix, name="CT")


def to_ras(phantom, i, j, k):
    return (TO_RAS @ phantom.volume.geometry.affine @ np.array([i, j, k, 1.0]))[:3]


def box(slicer, phantom, name):
    """A tight ROI around an organ, named like it."""
    k, j, i = np.nonzero(phantom.mask(name))
    low = to_ras(phantom, i.min() - 1.5, j.min() - 1.5, k.min() - 0.5)
    high = to_ras(phantom, i.max() + 1.5, j.max() + 1.5, k.max() + 0.5)
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsROINode", name)
    node.SetCenter(*((low + high) / 2))
    node.SetSize(*np.abs(high - low))
    return node


def mask(slicer, segmentation, segment, scan):
    return np.array(slicer.util.arrayFromSegmentBinaryLabelmap(segmentation, segment, scan)) > 0


def dice(a, b):
    return 2 * np.count_nonzero(a & b) / (np.count_nonzero(a) + np.count_nonzero(b))


def content(slicer):
    """Names of everything that is shown, and every segment with its size."""
    found = {node.GetName() for node in slicer.util.getNodesByClass("vtkMRMLDisplayableNode")}
    for node in slicer.util.getNodesByClass("vtkMRMLSegmentationNode"):
        for segment in node.GetSegmentation().GetSegmentIDs():
            array = slicer.util.arrayFromSegmentBinaryLabelmap(node, segment)
            found.add((node.GetName(), segment, 0 if array is None else int(np.count_nonzero(array))))
    return found


def test_boxes_become_segments_with_names_and_codes(slicer, segmenter, phantom, scan):
    before, told = np.array(slicer.util.arrayFromVolume(scan)), []
    organs = ["right kidney", "left kidney"]
    rois = [box(slicer, phantom, name) for name in organs]
    segmentation, segments = segmenter.segment(scan, rois, progress=told.append)
    for name, segment in zip(organs, segments, strict=True):
        assert dice(mask(slicer, segmentation, segment, scan), phantom.mask(name)) > 0.75, name
        assert segmentation.GetSegmentation().GetSegment(segment).GetName() == name
    assert told == sorted(told) and told[-1] == pytest.approx(1.0)
    assert np.array_equal(before, slicer.util.arrayFromVolume(scan))

    # Another object into the same segmentation: what is there stays.
    first = mask(slicer, segmentation, segments[0], scan)
    again, (spleen,) = segmenter.segment(scan, [box(slicer, phantom, "spleen")], segmentation)
    assert again is segmentation and segmentation.GetSegmentation().GetNumberOfSegments() == 3
    assert dice(mask(slicer, segmentation, spleen, scan), phantom.mask("spleen")) > 0.75
    assert np.array_equal(mask(slicer, segmentation, segments[0], scan), first)
    segmenter.undo(segmentation)
    assert not mask(slicer, segmentation, spleen, scan).any()
    assert np.array_equal(mask(slicer, segmentation, segments[0], scan), first)


def test_painted_slices_and_diameters_say_where_an_object_is(slicer, segmenter, phantom, scan):
    from MedSAMSegmentLib.slicer.bridge_segments import new_segment, prepared_segmentation

    truth = phantom.mask("left kidney")
    filled = np.flatnonzero(truth.any(axis=(1, 2)))
    middle = int(filled[len(filled) // 2])
    segmentation = prepared_segmentation(scan, None)
    painted = new_segment(segmentation, "left kidney")
    seed = np.zeros_like(truth, dtype=np.uint8)
    seed[middle] = truth[middle]
    slicer.util.updateSegmentBinaryLabelmapFromArray(seed, segmentation, painted, scan)

    j, i = np.nonzero(truth[middle])
    top, bottom = int(np.argmin(j)), int(np.argmax(j))
    line = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsLineNode", "lesion")
    line.AddControlPoint(*to_ras(phantom, i[top], j[top], middle))
    line.AddControlPoint(*to_ras(phantom, i[bottom], j[bottom], middle))

    _, (same, new) = segmenter.segment(scan, [painted, line], segmentation)
    assert same == painted and segmentation.GetSegmentation().GetNumberOfSegments() == 2
    completed = mask(slicer, segmentation, painted, scan)
    assert np.array_equal(completed[middle], truth[middle])
    assert dice(completed, truth) > 2 * dice(seed > 0, truth)
    assert dice(mask(slicer, segmentation, new, scan), truth) > 0.4
    name = segmentation.GetSegmentation().GetSegment(new).GetName()
    assert name == "lesion"


def test_points_and_curves_correct_what_the_box_says(slicer, segmenter, phantom, scan):
    roi = box(slicer, phantom, "left kidney")
    segmentation, (usual,) = segmenter.segment(scan, [roi])
    before = mask(slicer, segmentation, usual, scan)
    k, j, i = (int(part) for part in np.argwhere(before)[before.sum() // 2])
    point = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode", "outside")
    point.AddControlPoint(*to_ras(phantom, i, j, k))
    curve = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsCurveNode", "inside")
    row = np.flatnonzero(before[k - 2, j])
    for column in (row[0], row[len(row) // 2], row[-1]):
        curve.AddControlPoint(*to_ras(phantom, column, j, k - 2))
    _, (corrected,) = segmenter.segment(scan, [roi], segmentation, inside={roi: [curve]}, outside={roi: point})
    after = mask(slicer, segmentation, corrected, scan)
    assert not after[k, j, i] and after[k - 2, j, row[len(row) // 2]]


def test_the_displayed_window_changes_what_is_found(slicer, segmenter, phantom, scan):
    roi = box(slicer, phantom, "left kidney")
    scan.CreateDefaultDisplayNodes()
    scan.GetDisplayNode().SetAutoWindowLevel(False)
    scan.GetDisplayNode().SetWindowLevel(1, -900)
    segmentation, (usual,) = segmenter.segment(scan, [roi])
    _, (dark,) = segmenter.segment(scan, [roi], segmentation, window="display")
    found = [mask(slicer, segmentation, segment, scan) for segment in (usual, dark)]
    assert found[0].any() and not np.array_equal(*found)


def test_failures_say_why_and_leave_the_scene_as_it_was(slicer, segmenter, phantom, scan):
    roi = box(slicer, phantom, "spleen")
    point = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode", "point")
    far = box(slicer, phantom, "spleen")
    far.SetCenter(900, 900, 900)
    scan.SetAndObserveDisplayNodeID(None)
    before = content(slicer)
    for kind, code, call in (
        (UsageError, "NO_OBJECTS", lambda: segmenter.segment(scan, [])),
        (UsageError, "UNKNOWN_OBJECT", lambda: segmenter.segment(scan, [point])),
        (UsageError, "UNKNOWN_OBJECT", lambda: segmenter.segment(scan, [roi], inside={point: point})),
        (UsageError, "UNKNOWN_OBJECT", lambda: segmenter.segment(scan, ["Segment_1"])),
        (UsageError, "NOTHING_DRAWN", lambda: segmenter.segment(scan, [roi], inside={roi: point})),
        (InputError, "NO_DISPLAY", lambda: segmenter.segment(scan, [roi], window="display")),
        (MedSAMSegmentError, "BAD_WINDOW", lambda: segmenter.segment(scan, [roi], window="brightest")),
        (MedSAMSegmentError, "BOX_OUTSIDE", lambda: segmenter.segment(scan, [roi, far])),
        (MedSAMSegmentError, "UNKNOWN_MODEL", lambda: segmenter.segment(scan, [roi], model="nothing")),
    ):
        with pytest.raises(kind) as refused:
            call()
        assert refused.value.code == code
        assert content(slicer) == before, code


def test_a_killed_worker_is_said_and_the_next_call_works(slicer, segmenter, phantom, scan):
    roi = box(slicer, phantom, "left kidney")
    before = content(slicer)

    def kill(fraction):
        os.kill(segmenter._transport._process.pid, signal.SIGKILL)

    with pytest.raises(InferenceError) as died:
        segmenter.segment(scan, [roi], progress=kill)
    assert died.value.code == "WORKER_DIED" and content(slicer) == before
    segmentation, (segment,) = segmenter.segment(scan, [roi])
    assert dice(mask(slicer, segmentation, segment, scan), phantom.mask("left kidney")) > 0.75


def test_the_module_introduces_itself_offers_its_sample_and_passes_its_self_test(slicer, monkeypatch):
    from slicer_app_qt import load_module

    offered = []
    sample_data = types.ModuleType("SampleData")
    sample_data.SampleDataLogic = types.SimpleNamespace(
        registerCustomSampleDataSource=lambda **source: offered.append(source)
    )
    monkeypatch.setitem(sys.modules, "SampleData", sample_data)
    monkeypatch.setattr(slicer.app, "_slots", {})
    module, made = load_module(ROOT / "MedSAMSegment" / "MedSAMSegment.py")
    assert made.parent.title == "MedSAMSegment" and made.parent.categories == ["Segmentation"]
    assert "not for clinical decisions" in made.parent.helpText
    slicer.app.messages.clear()
    slicer.app.emit("startupCompleted()")
    assert slicer.app.messages == []  # nothing is asked and nothing installed at the start
    (source,) = offered
    assert Path(source["thumbnailFileName"]).is_file()
    # Sample Data wants one text each where one file is meant.
    assert all(isinstance(source[name], str) for name in ("uris", "fileNames", "nodeNames", "sampleName", "category"))
    (node,) = source["customDownloader"](None)
    expected = make_phantom(0).volume
    assert np.array_equal(slicer.util.arrayFromVolume(node), expected.voxels)
    (again,) = source["customDownloader"](None)
    assert again.GetName() != node.GetName()

    module.MedSAMSegmentTest().runTest()
    logic = module.MedSAMSegmentLogic()
    with pytest.raises(UsageError):
        logic.segment(node, [])
    logic.close()
