"""From a segmentation node to DICOM by this program's writers, on real MRML, in a process of its own."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pydicom
import pytest

sys.path.insert(0, str(Path(__file__).parent))

from dicom_variants import write_variant
from MedSAMSegmentLib.errors import MedSAMSegmentError
from MedSAMSegmentLib.volume import read_volume
from MedSAMSegmentLib.volume.readers.segments import read_segments

pytest.importorskip("highdicom", reason="needs the extra dicom")


class Loaded:
    """A series as Slicer has it: files in its database, voxels in a volume node, a segmentation with three segments."""

    def __init__(self, slicer, variant, folder, monkeypatch, upright=False, flipped=False):
        from MedSAMSegmentLib.slicer.bridge_segments import mark_algorithm, new_segment, prepared_segmentation

        self.series = write_variant(variant, folder / "series")
        self.volume = read_volume(self.series.path, **self.series.options)
        voxels, affine = self.volume.voxels, self.volume.geometry.affine.copy()
        if upright:
            # Slicer's archetype reader knows the first image, the spacing, and no lean.
            normal = np.cross(affine[:3, 0], affine[:3, 1])
            affine[:3, 2] = normal / np.linalg.norm(normal) * np.linalg.norm(affine[:3, 2])
        if flipped:
            voxels = voxels[::-1]
            affine[:3, 3] += affine[:3, 2] * (len(voxels) - 1)
            affine[:3, 2] *= -1
        self.flipped = flipped
        node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "CT")
        slicer.util.updateVolumeFromArray(node, np.ascontiguousarray(voxels))
        node.SetIJKToRASMatrix(slicer.util.vtkMatrixFromArray(np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine))
        uids = {source.sop_instance_uid: source.path for source in self.volume.source}
        node.SetAttribute("DICOM.instanceUIDs", " ".join(uids))
        monkeypatch.setattr(slicer, "dicomDatabase", SimpleNamespace(fileForInstance=uids.get), raising=False)
        self.node, self.segmentation = node, prepared_segmentation(node, None)
        k, j, i = np.indices(voxels.shape)
        self.masks = {
            "left kidney": ((j - 18 - k) / 10) ** 2 + ((i - 20) / 13) ** 2 < 1,
            "lesion": (j > 15) & (j < 21) & (i > 17) & (i < 23) & (k > 1) & (k < 5),
            "something": (j < 6) & (i > 40),
        }
        self.ids = {}
        for name, mask in self.masks.items():
            self.ids[name] = new_segment(self.segmentation, name)
            self.fill(slicer, name, mask)
        mark_algorithm(self.segmentation.GetSegmentation().GetSegment(self.ids["left kidney"]), "embedded 0.2.0")

    def fill(self, slicer, name, mask):
        from MedSAMSegmentLib.slicer.bridge_geometry import labelmap_image

        image = labelmap_image(self.node, mask, (0, 0, 0))
        segmentation = self.segmentation.GetSegmentation()
        mode = slicer.vtkSlicerSegmentationsModuleLogic.MODE_REPLACE
        slicer.vtkSlicerSegmentationsModuleLogic.SetBinaryLabelmapToSegment(
            image, self.segmentation, self.ids[name], mode, image.GetExtent()
        )
        assert segmentation.GetSegment(self.ids[name]) is not None

    def expected(self, name):
        return self.masks[name][::-1] if self.flipped else self.masks[name]


@pytest.mark.parametrize(
    ("variant", "how"),
    [
        ("doubly oblique", {}),
        ("axial up", {"flipped": True}),
        ("gantry tilt", {}),
        ("gantry tilt", {"upright": True}),
        ("enhanced CT", {}),
    ],
)
def test_every_voxel_lands_on_its_image(slicer, monkeypatch, tmp_path, variant, how):
    from MedSAMSegmentLib.slicer.dicom_export import export_dicom

    loaded = Loaded(slicer, variant, tmp_path, monkeypatch, **how)
    looked = []
    targets = [f"{tmp_path}/seg.dcm", f"rtstruct:{tmp_path}/rt.dcm"]
    notes = export_dicom(targets, loaded.segmentation, loaded.node, waiting=lambda: looked.append(1))
    assert looked and ("gantry tilt" in " ".join(notes)) == variant.startswith("gantry")
    for name in ("seg.dcm", "rt.dcm"):
        found = read_segments(tmp_path / name, loaded.volume).segments
        assert [segment.name for segment in found] == list(loaded.masks)
        for segment in found:
            assert np.array_equal(segment.mask, loaded.expected(segment.name)), segment.name
    data = pydicom.dcmread(tmp_path / "seg.dcm")
    kidney = data.SegmentSequence[0]
    assert kidney.SegmentedPropertyTypeCodeSequence[0].CodeValue == "64033007"
    modifier = kidney.SegmentedPropertyTypeCodeSequence[0].SegmentedPropertyTypeModifierCodeSequence[0]
    assert modifier.CodeMeaning == "Left"
    algorithm = kidney.SegmentationAlgorithmIdentificationSequence[0]
    assert (algorithm.AlgorithmName, algorithm.AlgorithmVersion) == ("embedded", "0.2.0")
    images = {pydicom.dcmread(file, stop_before_pixels=True).SOPInstanceUID for file in loaded.series.files}
    sources = data.ReferencedSeriesSequence[0].ReferencedInstanceSequence
    assert {item.ReferencedSOPInstanceUID for item in sources} <= images


@pytest.mark.parametrize("kind", ["dicom_segmentation", "structure_set"])
def test_the_panel_asks_where_to_and_writes(slicer, monkeypatch, tmp_path, kind):
    import qt
    from MedSAMSegmentLib.slicer import panel_export

    loaded = Loaded(slicer, "axial up", tmp_path, monkeypatch)
    monkeypatch.setattr(qt.QFileDialog, "getSaveFileName", staticmethod(lambda *ignored: f"{tmp_path}/out"))
    panel = qt.QWidget()
    message = getattr(panel_export, kind)(loaded.segmentation, loaded.node, panel)
    assert message.startswith("Saved as out.dcm.")
    for segment in read_segments(tmp_path / "out.dcm", loaded.volume).segments:
        assert np.array_equal(segment.mask, loaded.masks[segment.name])


def test_chosen_segments_under_a_transform_land_where_they_were_drawn(slicer, monkeypatch, tmp_path):
    """A registration moves volume and segmentation in Slicer, not the images in the archive."""
    from MedSAMSegmentLib.slicer.dicom_export import export_dicom

    loaded = Loaded(slicer, "oblique", tmp_path, monkeypatch)
    transform = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    matrix = np.eye(4)
    matrix[:3, 3] = 30, -20, 11
    transform.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(matrix))
    for node in (loaded.node, loaded.segmentation):
        node.SetAndObserveTransformNodeID(transform.GetID())
    chosen = [loaded.ids["something"], loaded.ids["lesion"]]
    export_dicom([f"labelmap:{tmp_path}/seg.dcm"], loaded.segmentation, loaded.node, chosen)
    found = read_segments(tmp_path / "seg.dcm", loaded.volume).segments
    assert [segment.name for segment in found] == ["something", "lesion"]
    assert all(np.array_equal(segment.mask, loaded.masks[segment.name]) for segment in found)


def test_what_cannot_be_exported_is_said_and_nothing_is_written(slicer, monkeypatch, tmp_path):
    from MedSAMSegmentLib.slicer.dicom_export import export_dicom

    def code(*arguments, **named):
        with pytest.raises(MedSAMSegmentError) as caught:
            export_dicom([f"{tmp_path}/out.dcm"], *arguments, **named)
        return caught.value.code

    loaded = Loaded(slicer, "axial up", tmp_path, monkeypatch)
    empty = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    assert code(empty, loaded.node) == code(None, loaded.node) == "NO_RESULTS"
    moved = np.eye(4)
    moved[:3, 3] = 0.4
    loaded.node.SetIJKToRASMatrix(slicer.util.vtkMatrixFromArray(moved))
    assert code(loaded.segmentation, loaded.node) in ("GEOMETRY_MISMATCH", "EMPTY_RESULT")
    monkeypatch.setattr(slicer.dicomDatabase, "fileForInstance", {}.get)
    assert code(loaded.segmentation, loaded.node) == "SOURCE_GONE"
    loaded.node.SetAttribute("DICOM.instanceUIDs", None)
    monkeypatch.delattr(slicer, "dicomDatabase")
    assert code(loaded.segmentation, loaded.node) == "NOT_FROM_DICOM"
    again = Loaded(slicer, "axial up", tmp_path / "again", monkeypatch)
    assert code(again.segmentation, again.node, python="/nowhere/python") == "EXPORT_FAILED"
    assert not (tmp_path / "out.dcm").exists()
