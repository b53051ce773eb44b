"""Between scene and engine, on real MRML: places, voxels, other segments and undo."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))

from MedSAMSegmentLib.errors import InputError, UsageError

MODEL = {"name": "embedded", "version": "0.1.0"}
SHAPE = (16, 40, 48)
SPACING = (0.7, 0.9, 3.0)


@pytest.fixture
def slicer(slicer):
    yield slicer
    slicer.mrmlScene.Clear(0)
    # Closing a scene keeps what there is only one of.
    editor = slicer.mrmlScene.GetSingletonNode("SegmentEditor", "vtkMRMLSegmentEditorNode")
    if editor is not None:
        slicer.mrmlScene.RemoveNode(editor)


@pytest.fixture
def bridge(slicer):
    from MedSAMSegmentLib.slicer.bridge import SceneBridge

    return SceneBridge()


def turned(*degrees):
    """4x4 rotation about x, then y, then z."""
    matrix = np.eye(4)
    for axis, angle in enumerate(np.radians(degrees)):
        a, b = [other for other in range(3) if other != axis]
        turn = np.eye(4)
        turn[[a, a, b, b], [a, b, a, b]] = np.cos(angle), -np.sin(angle), np.sin(angle), np.cos(angle)
        matrix = turn @ matrix
    return matrix


def moved(matrix, *offset):
    matrix = matrix.copy()
    matrix[:3, 3] = offset
    return matrix


def grid(direction):
    """Index to the volume's own RAS, for a 3x3 of unit columns."""
    matrix = np.eye(4)
    matrix[:3, :3] = direction * np.array(SPACING)
    matrix[:3, 3] = (-31.0, 12.0, 57.0)
    return matrix


SHEAR = np.array([[1, 0.3, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]])

GRIDS = {
    "upright": grid(np.eye(3)),
    "LPS-flipped": grid(np.diag([-1.0, -1.0, 1.0])),
    "left-handed": grid(np.diag([1.0, 1.0, -1.0])),
    "oblique": grid(turned(15, 0, 20)[:3, :3]),
    "oblique left-handed": grid(turned(15, -40, 20)[:3, :3] @ np.diag([1.0, -1.0, 1.0])),
    "sagittal": grid(np.array([[0, 0, 1.0], [1, 0, 0], [0, -1, 0]])),
}

PARENTS = {
    "none": (None, None),
    "the same": (moved(turned(0, 10, 0), 5, -3, 8),) * 2,
    "different rigid ones": (moved(turned(0, 10, 0), 5, -3, 8), moved(turned(-12, 7, 30), -4, 2, 1)),
    "box scaled": (moved(turned(0, 0, 25), 1, 2, 3), moved(np.diag([2.0, 1.0, 0.5, 1.0]), 3, -8, 11)),
    "volume sheared": (SHEAR, moved(turned(3, 4, 5), 1, 1, 1)),
    "volume mirrored": (np.diag([-1.0, 1.0, 1.0, 1.0]), None),
}


def transform(slicer, matrix, inner=None):
    """A linear transform node, in another one if ``inner`` is given; the outer is applied last."""
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    node.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(matrix))
    if inner is not None:
        child = transform(slicer, inner)
        child.SetAndObserveTransformNodeID(node.GetID())
        return child
    return node


def volume(slicer, matrix=GRIDS["upright"], shape=SHAPE):
    voxels = np.random.default_rng(1).normal(0, 40, shape).astype(np.int16)
    return slicer.util.addVolumeFromArray(voxels, ijkToRAS=slicer.util.vtkMatrixFromArray(matrix), name="CT")


def roi(slicer, matrix, size):
    """A box of a size about the origin of its own coordinates; 4x4 from those to the node's."""
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsROINode", "Box")
    node.SetAndObserveObjectToNodeMatrix(slicer.util.vtkMatrixFromArray(matrix))
    node.SetSize(*size)
    return node


def centres(matrix, shape=SHAPE):
    """Places of all voxel centres, (k, j, i, 4)."""
    k, j, i = np.indices(shape)
    return np.stack([i, j, k, np.ones_like(i)], axis=-1) @ matrix.T


def array(slicer, segmentation, segment, volume_node):
    return np.array(slicer.util.arrayFromSegmentBinaryLabelmap(segmentation, segment, volume_node)) > 0


def tag(slicer, segmentation, segment, name):
    import vtk

    value = vtk.reference("")
    segmentation.GetSegmentation().GetSegment(segment).GetTag(name, value)
    return str(value)


@pytest.mark.parametrize("name", GRIDS)
def test_a_box_of_the_engine_becomes_a_node_in_the_same_place(slicer, bridge, name):
    """Along the scan's own axes, however they lie and are handed, the scan under a transform."""
    from MedSAMSegmentLib import OrientedBox

    scan = volume(slicer, GRIDS[name])
    scan.SetAndObserveTransformNodeID(transform(slicer, turned(20, -5, 40)).GetID())
    geometry = bridge.volume(scan).geometry
    box = OrientedBox.from_index_range(geometry, 3, 5, 2, 11, 9, 7)
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsROINode", "Box")
    bridge.put_box(node, box)
    assert np.linalg.det(slicer.util.arrayFromVTKMatrix(node.GetObjectToNodeMatrix())[:3, :3]) == pytest.approx(1.0)
    np.testing.assert_array_equal(bridge.box(node, scan).mask(geometry), box.mask(geometry))


@pytest.mark.parametrize("parents", PARENTS)
@pytest.mark.parametrize("name", GRIDS)
def test_boxes_land_where_they_are_drawn(slicer, bridge, name, parents):
    """Volume, box and segment each by its own way through MRML; the truth by matrices of this test only."""
    from MedSAMSegmentLib.slicer.bridge_segments import new_segment

    matrix, (over_volume, over_box) = GRIDS[name], PARENTS[parents]
    scan = volume(slicer, matrix)
    to_world = (np.eye(4) if over_volume is None else over_volume) @ matrix
    middle = to_world @ np.array([24.0, 20.0, 8.0, 1.0])
    of_box = np.eye(4) if over_box is None else over_box
    rotation = turned(5, -7, 30) if parents != "box scaled" else np.eye(4)
    own = moved(rotation, *(np.linalg.inv(of_box) @ middle)[:3])
    size = np.array([15.0, 17.0, 21.0])
    box = roi(slicer, own, size)
    for node, parent in ((scan, over_volume), (box, over_box)):
        if parent is not None:
            node.SetAndObserveTransformNodeID(transform(slicer, parent).GetID())
    before = np.array(slicer.util.arrayFromVolume(scan))

    seen, drawn = bridge.volume(scan), bridge.box(box, scan)
    segmentation = bridge.segmentation(scan, None)
    segment = new_segment(segmentation, "thing")
    window = drawn.index_window(seen.geometry)
    block = drawn.mask(seen.geometry)[window]
    bridge.write(segmentation, segment, scan, block, [part.start for part in window], MODEL)

    in_box = centres(np.linalg.inv(of_box @ own) @ to_world)[..., :3]
    beyond = (np.abs(in_box) - size / 2).max(axis=-1)
    written = array(slicer, segmentation, segment, scan)
    # Half the smallest voxel is 0.35 mm; this is a millionth of a millimetre.
    assert written.sum() > 500
    assert np.array_equal(written[np.abs(beyond) > 1e-6], (beyond <= 0)[np.abs(beyond) > 1e-6])
    assert np.array_equal(before, slicer.util.arrayFromVolume(scan))

    # Where Slicer shows it: by the labelmap's own position and the segmentation's parents.
    image = slicer.vtkOrientedImageData()
    segmentation.GetBinaryLabelmapRepresentation(segment, image)
    import vtk

    to_segmentation, parent_to_world = vtk.vtkMatrix4x4(), vtk.vtkMatrix4x4()
    image.GetImageToWorldMatrix(to_segmentation)
    slicer.vtkMRMLTransformNode.GetMatrixTransformBetweenNodes(
        segmentation.GetParentTransformNode(), None, parent_to_world
    )
    shown = slicer.util.arrayFromVTKMatrix(parent_to_world) @ slicer.util.arrayFromVTKMatrix(to_segmentation)
    far = centres(np.linalg.inv(to_world) @ shown)[..., :3] - centres(np.eye(4))[..., :3]
    assert np.abs(far).max() < 0.5


def test_nested_transforms_are_all_applied(slicer, bridge):
    outer, inner = moved(turned(0, 0, 30), 4, 0, 0), moved(turned(20, 0, 0), 0, 9, 0)
    scan = volume(slicer)
    scan.SetAndObserveTransformNodeID(transform(slicer, outer, inner).GetID())
    expected = np.diag([-1.0, -1.0, 1.0, 1.0]) @ outer @ inner @ GRIDS["upright"]
    assert np.allclose(bridge.volume(scan).geometry.affine, expected)


def test_sheared_boxes_and_bent_transforms_are_refused_until_hardened(slicer, bridge):
    import vtk

    box = roi(slicer, turned(0, 0, 30), (20, 10, 6))
    box.SetAndObserveTransformNodeID(transform(slicer, SHEAR).GetID())
    with pytest.raises(InputError) as refused:
        bridge.box(box, None)
    assert refused.value.code == "SHEARED_BOX" and "'Box'" in refused.value.message

    scan = volume(slicer)
    bent = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTransformNode")
    spline = vtk.vtkThinPlateSplineTransform()
    spline.SetBasisToR()
    source, target = vtk.vtkPoints(), vtk.vtkPoints()
    for point in np.random.default_rng(0).normal(0, 30, (8, 3)):
        source.InsertNextPoint(point)
        target.InsertNextPoint(point + np.sin(point))
    spline.SetSourceLandmarks(source)
    spline.SetTargetLandmarks(target)
    bent.SetAndObserveTransformToParent(spline)
    for node, ask in ((scan, bridge.volume), (box, lambda node: bridge.box(node, scan))):
        node.SetAndObserveTransformNodeID(bent.GetID())
        with pytest.raises(InputError) as refused:
            ask(node)
        assert refused.value.code == "NON_LINEAR_TRANSFORM" and "Harden" in refused.value.hint
    scan.SetAndObserveTransformNodeID(None)
    assert bridge.volume(scan).geometry.shape == SHAPE


def test_volumes_without_one_grey_value_a_voxel_are_refused(slicer, bridge):
    empty = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "nothing")
    with pytest.raises(InputError) as refused:
        bridge.volume(empty)
    assert refused.value.code == "NO_VOXELS"
    colours = slicer.util.addVolumeFromArray(
        np.zeros((4, 5, 6, 3), np.uint8), name="photograph", nodeClassName="vtkMRMLVectorVolumeNode"
    )
    with pytest.raises(InputError) as refused:
        bridge.volume(colours)
    assert refused.value.code == "NOT_A_VOLUME"


# ---- segments ------------------------------------------------------------------------------------------------------


class Neighbours:
    """A scan with three segments beside and across the place where a mask is written."""

    def __init__(self, slicer, bridge):
        from MedSAMSegmentLib.slicer.bridge_segments import new_segment

        self.slicer, self.bridge = slicer, bridge
        self.scan = volume(slicer, GRIDS["oblique"])
        self.scan.SetAndObserveTransformNodeID(transform(slicer, moved(turned(0, 10, 0), 5, -3, 8)).GetID())
        self.node = bridge.segmentation(self.scan, None)
        self.ids = {name: new_segment(self.node, name) for name in ("mine", "beside", "across", "hidden")}
        self.masks = {name: np.zeros(SHAPE, bool) for name in self.ids}
        self.masks["mine"][4:9, 5:20, 5:20] = True
        self.masks["beside"][4:9, 5:20, 30:40] = True
        self.masks["across"][2:8, 18:30, 8:24] = True
        self.masks["hidden"][6:12, 2:25, 16:22] = True
        for name, mask in self.masks.items():
            self.slicer.util.updateSegmentBinaryLabelmapFromArray(
                mask.astype(np.uint8), self.node, self.ids[name], self.scan
            )
        self.node.GetDisplayNode().SetSegmentVisibility(self.ids["hidden"], False)
        self.new = np.zeros(SHAPE, bool)
        self.new[5:11, 8:26, 8:22] = np.random.default_rng(2).random((6, 18, 14)) > 0.2

    def write(self):
        self.bridge.write(self.node, self.ids["mine"], self.scan, self.new, [0, 0, 0], MODEL)

    def now(self):
        return {name: array(self.slicer, self.node, segment, self.scan) for name, segment in self.ids.items()}

    def editor(self):
        """The node of Slicer's Segment Editor, as its module makes it."""
        node = self.slicer.mrmlScene.CreateNodeByClass("vtkMRMLSegmentEditorNode")
        node.UnRegister(None)
        node.SetSingletonTag("SegmentEditor")
        node = self.slicer.mrmlScene.AddNode(node)
        node.SetAndObserveSegmentationNode(self.node)
        node.SetAndObserveSourceVolumeNode(self.scan)
        return node


@pytest.fixture
def neighbours(slicer, bridge):
    return Neighbours(slicer, bridge)


@pytest.mark.parametrize("mode", ["never opened", "None", "VisibleSegments", "AllSegments"])
def test_other_segments_lose_only_what_the_overwrite_mode_says_and_undo_restores_all(neighbours, mode):
    if mode != "never opened":
        editor = neighbours.editor()
        editor.SetOverwriteMode(getattr(editor, f"Overwrite{mode}"))
    before = neighbours.now()
    assert all(np.array_equal(before[name], neighbours.masks[name]) for name in before)
    neighbours.write()
    after = neighbours.now()
    gained = neighbours.new & ~before["mine"]
    assert np.array_equal(after["mine"], neighbours.new)
    assert np.array_equal(after["beside"], before["beside"])
    for name, loses in (
        ("across", mode in ("VisibleSegments", "AllSegments")),
        ("hidden", mode == "AllSegments"),
    ):
        expected = before[name] & ~gained if loses else before[name]
        assert np.array_equal(after[name], expected), name
    neighbours.bridge.undo(neighbours.node)
    restored = neighbours.now()
    assert all(np.array_equal(restored[name], before[name]) for name in before)
    assert tag(neighbours.slicer, neighbours.node, neighbours.ids["mine"], "DICOM.SegmentAlgorithmType") == ""


def test_a_mode_chosen_later_holds_from_then_on(neighbours):
    neighbours.write()
    assert np.array_equal(neighbours.now()["across"], neighbours.masks["across"])
    editor = neighbours.editor()
    editor.SetOverwriteMode(editor.OverwriteAllSegments)
    neighbours.new = np.roll(neighbours.new, 3, axis=2)
    neighbours.write()
    assert not (neighbours.now()["across"] & neighbours.new & ~np.roll(neighbours.new, -3, axis=2)).any()


def test_the_editors_mask_and_intensity_range_hold(neighbours):
    segmentation_class = neighbours.slicer.vtkMRMLSegmentationNode
    editor = neighbours.editor()
    editor.SetOverwriteMode(editor.OverwriteNone)
    editor.SetMaskMode(segmentation_class.EditAllowedInsideSingleSegment)
    editor.SetMaskSegmentID(neighbours.ids["across"])
    inside = neighbours.masks["across"]
    before = neighbours.now()["mine"]
    neighbours.write()
    assert np.array_equal(neighbours.now()["mine"], np.where(inside, neighbours.new, before))
    neighbours.bridge.undo(neighbours.node)

    editor.SetMaskMode(segmentation_class.EditAllowedEverywhere)
    editor.SetSourceVolumeIntensityMask(True)
    editor.SetSourceVolumeIntensityMaskRange(0, 1000)
    bright = neighbours.slicer.util.arrayFromVolume(neighbours.scan) >= 0
    neighbours.write()
    assert np.array_equal(neighbours.now()["mine"], np.where(bright, neighbours.new, before))
    # A range chosen for another volume means nothing here.
    editor.SetAndObserveSourceVolumeNode(volume(neighbours.slicer))
    neighbours.write()
    assert np.array_equal(neighbours.now()["mine"], neighbours.new)


def test_several_undos_go_back_step_by_step(neighbours):
    steps = [neighbours.now()]
    for shift in (0, 2, 0, 5):
        neighbours.new = np.roll(neighbours.new, shift, axis=1)
        neighbours.write()
        steps.append(neighbours.now())
    for expected in reversed(steps[:-1]):
        neighbours.bridge.undo(neighbours.node)
        now = neighbours.now()
        assert all(np.array_equal(now[name], expected[name]) for name in now)
    neighbours.bridge.undo(neighbours.node)  # there is nothing left to take back
    assert np.array_equal(neighbours.now()["mine"], steps[0]["mine"])


def test_undo_keeps_what_was_edited_by_hand_since(neighbours):
    before = neighbours.now()
    neighbours.write()
    painted = before["beside"].copy()
    painted[0, 0:4, 0:4] = True
    neighbours.slicer.util.updateSegmentBinaryLabelmapFromArray(
        painted.astype(np.uint8), neighbours.node, neighbours.ids["beside"], neighbours.scan
    )
    neighbours.bridge.undo(neighbours.node)
    after = neighbours.now()
    assert np.array_equal(after["beside"], painted)
    assert all(np.array_equal(after[name], before[name]) for name in ("mine", "across", "hidden"))


def test_only_what_changes_is_written(neighbours):
    from MedSAMSegmentLib.slicer.bridge_segments import segment_changes

    mine, editor = neighbours.masks["mine"], neighbours.editor()

    def changes(mask):
        return segment_changes(neighbours.node, neighbours.ids["mine"], neighbours.scan, (mask, [0, 0, 0]), editor)

    assert changes(mine) == (None, None)
    wanted = mine.copy()
    wanted[6, 7, 8] = False
    wanted[10, 11, 12:14] = True
    removed, added = changes(wanted)
    assert removed.GetExtent() == (8, 8, 7, 7, 6, 6)
    assert added.GetExtent() == (12, 13, 11, 11, 10, 10)


def test_an_empty_result_empties_the_segment_and_nothing_else(neighbours):
    before = neighbours.now()
    nothing = np.zeros((0, 0, 0), bool)
    neighbours.bridge.write(neighbours.node, neighbours.ids["mine"], neighbours.scan, nothing, [0, 0, 0], MODEL)
    after = neighbours.now()
    assert not after["mine"].any()
    assert all(np.array_equal(after[name], before[name]) for name in ("beside", "across", "hidden"))


def test_a_segmentation_of_another_scan_keeps_its_own_grid(slicer, bridge):
    """Another spacing, another transform: the mask lands at the same place, to half a voxel."""
    from MedSAMSegmentLib.slicer.bridge_segments import new_segment, segment_block

    scan = volume(slicer, GRIDS["oblique"])
    scan.SetAndObserveTransformNodeID(transform(slicer, moved(turned(0, 10, 0), 5, -3, 8)).GetID())
    other_matrix = GRIDS["oblique"] @ np.diag([0.5, 0.5, 0.25, 1.0])
    other = volume(slicer, other_matrix, (80, 90, 100))
    other.SetAndObserveTransformNodeID(transform(slicer, moved(turned(0, 14, 0), 4, -4, 6)).GetID())
    segmentation = bridge.segmentation(other, None)
    new_segment(segmentation, "first")
    assert bridge.segmentation(scan, segmentation) is segmentation
    k, j, i = np.indices(SHAPE)
    ball = ((k - 6) * 3.0) ** 2 + ((j - 14) * 0.9) ** 2 + ((i - 16) * 0.7) ** 2 < 8.0**2
    segment = new_segment(segmentation, "ball")
    bridge.write(segmentation, segment, scan, ball, [0, 0, 0], MODEL)
    to_world = moved(turned(0, 10, 0), 5, -3, 8) @ GRIDS["oblique"]
    places = centres(moved(turned(0, 14, 0), 4, -4, 6) @ other_matrix, (80, 90, 100))
    index = np.rint((places @ np.linalg.inv(to_world).T)[..., 2::-1]).astype(int)
    inside = ((index >= 0) & (index < SHAPE)).all(axis=-1)
    expected = np.zeros((80, 90, 100), bool)
    expected[inside] = ball[tuple(index[inside].T)]
    written = array(slicer, segmentation, segment, other)
    assert expected.sum() > 1000
    # Voxels whose centre lies halfway between two of the scan may go either way.
    assert np.count_nonzero(written != expected) < 0.01 * expected.sum()
    back = np.zeros(SHAPE, bool)
    block, offset = segment_block(segmentation, segment, scan)
    back[tuple(slice(o, o + n) for o, n in zip(offset, block.shape, strict=True))] = block
    assert np.count_nonzero(back != ball) < 0.02 * ball.sum()


def test_surfaces_are_refused_in_words(slicer, bridge):
    segmentation = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "plan")
    segmentation.GetSegmentation().SetSourceRepresentationName("Closed surface")
    segmentation.GetSegmentation().AddEmptySegment("a", "a")
    with pytest.raises(InputError) as refused:
        bridge.segmentation(volume(slicer), segmentation)
    assert refused.value.code == "NOT_A_LABELMAP" and "closed surface" in refused.value.message


def test_a_saved_segmentation_keeps_the_scans_grid(slicer, neighbours, tmp_path):
    neighbours.write()
    path = str(tmp_path / "result.seg.nrrd")
    assert slicer.util.saveNode(neighbours.node, path)
    loaded = slicer.util.loadSegmentation(path)
    loaded.SetAndObserveTransformNodeID(neighbours.scan.GetTransformNodeID())
    segment = loaded.GetSegmentation().GetSegmentIdBySegmentName("mine")
    assert np.array_equal(array(slicer, loaded, segment, neighbours.scan), neighbours.new)
    assert tag(slicer, loaded, segment, "DICOM.SegmentAlgorithmName") == "MedSAMSegment 0.1.0 embedded"


def test_segments_know_what_dicom_will_ask(slicer, bridge):
    """Study, source volume, codes, colour, and who made it."""
    from MedSAMSegmentLib.slicer.bridge_segments import new_segment

    scan = volume(slicer)
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    patient = hierarchy.CreateSubjectItem(hierarchy.GetSceneItemID(), "patient")
    study = hierarchy.CreateStudyItem(patient, "study")
    item = hierarchy.GetItemByDataNode(scan) or hierarchy.CreateItem(study, scan)
    hierarchy.SetItemParent(item, study)
    hierarchy.SetItemAttribute(item, "DICOM.Modality", "MR")
    assert bridge.volume(scan).modality == "MR"

    segmentation = bridge.segmentation(scan, None)
    assert hierarchy.GetItemParent(hierarchy.GetItemByDataNode(segmentation)) == study
    reference = segmentation.GetReferenceImageGeometryReferenceRole()
    assert segmentation.GetNodeReference(reference) is scan
    kidney, thing = new_segment(segmentation, "Left kidney"), new_segment(segmentation, "Object 1")
    codes = tag(slicer, segmentation, kidney, "TerminologyEntry")
    assert "SCT^64033007^Kidney" in codes and "SCT^7771000^Left" in codes
    assert "SCT^85756007^Tissue" in tag(slicer, segmentation, thing, "TerminologyEntry")
    assert segmentation.GetSegmentation().GetSegment(kidney).GetColor() == pytest.approx(
        (185 / 255, 102 / 255, 83 / 255)
    )
    mask = np.ones((2, 3, 4), bool)
    bridge.write(segmentation, kidney, scan, mask, [1, 1, 1], MODEL)
    assert tag(slicer, segmentation, kidney, "DICOM.SegmentAlgorithmType") == "SEMIAUTOMATIC"
    assert tag(slicer, segmentation, kidney, "DICOM.SegmentAlgorithmName") == "MedSAMSegment 0.1.0 embedded"
    assert tag(slicer, segmentation, thing, "DICOM.SegmentAlgorithmType") == ""


# ---- prompts -------------------------------------------------------------------------------------------------------


def test_what_is_drawn_becomes_prompts_at_the_same_place(slicer):
    from MedSAMSegmentLib.slicer.bridge_prompts import line_prompt, point_prompts, scribble_prompt

    over = moved(turned(10, 20, 30), 1, 2, 3)
    parent = transform(slicer, over)
    places = np.array([[1.0, 2.0, 3.0], [30.0, 5.0, 3.0], [40.0, 25.0, 8.0]])
    expected = (np.c_[places, np.ones(3)] @ over.T)[:, :3] * (-1, -1, 1)

    def drawn(kind, points):
        node = slicer.mrmlScene.AddNewNodeByClass(f"vtkMRMLMarkups{kind}Node", kind)
        node.SetAndObserveTransformNodeID(parent.GetID())
        for point in points:
            node.AddControlPoint(*point)
        return node

    clicks = point_prompts(drawn("Fiducial", places), positive=False)
    assert np.allclose([click.position for click in clicks], expected) and not clicks[0].positive
    line = line_prompt(drawn("Line", places[:2]))
    assert np.allclose([line.start, line.end], expected[:2])
    stroke = scribble_prompt(drawn("Curve", places))
    path = np.array(stroke.path)
    assert stroke.positive and len(path) > 10
    # The smooth curve goes through what was clicked.
    assert all(np.linalg.norm(path - point, axis=1).min() < 0.5 for point in expected)
    for node, read, code in (
        (drawn("ClosedCurve", places), scribble_prompt, "CLOSED_CURVE"),
        (drawn("Fiducial", []), point_prompts, "NOTHING_DRAWN"),
        (drawn("Line", places[:1]), line_prompt, "NOTHING_DRAWN"),
    ):
        with pytest.raises(UsageError) as refused:
            read(node)
        assert refused.value.code == code


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_painted_slices_become_masks_of_whole_slices(slicer, neighbours, axis):
    from MedSAMSegmentLib.slicer.bridge_prompts import drawn_slices

    masks = drawn_slices(neighbours.node, neighbours.ids["across"], neighbours.scan, axis)
    truth = neighbours.masks["across"]
    filled = np.flatnonzero(truth.any(axis=tuple(n for n in range(3) if n != axis)))
    assert [mask.slice_index for mask in masks] == filled.tolist()
    for mask in masks:
        assert np.array_equal(mask.mask, truth.take(mask.slice_index, axis=axis))
    from MedSAMSegmentLib.slicer.bridge_segments import new_segment

    with pytest.raises(UsageError):
        drawn_slices(neighbours.node, new_segment(neighbours.node, "empty"), neighbours.scan, axis)


def test_the_displayed_window_can_be_what_the_network_sees(slicer, bridge):
    from MedSAMSegmentLib.slicer.bridge_prompts import display_window
    from MedSAMSegmentLib.volume import Window

    scan = volume(slicer)
    scan.CreateDefaultDisplayNodes()
    scan.GetDisplayNode().SetAutoWindowLevel(False)
    scan.GetDisplayNode().SetWindowLevel(350.5, -40.25)
    seen = Window.parse(display_window(scan)).resolve(bridge.volume(scan))
    assert (seen.low, seen.high) == (-40.25 - 350.5 / 2, -40.25 + 350.5 / 2)
