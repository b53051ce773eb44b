"""The panel's :class:`~.panel_controller.Bridge`: MRML nodes to the engine's nouns, masks to segments.

Segments are written by Slicer's segment editor logic, so that the overwrite mode, the mask and the editable intensity
range that the user chose in the Segment Editor hold here, too.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import slicer
import vtk

from ..errors import InputError
from .panel_scene import index_to_world, labelmap_image

if TYPE_CHECKING:
    from ..volume import OrientedBox, Volume

_TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
_UNDO_STATES = 32
_EDITOR_TAG = "MedSAMSegment"


class SceneBridge:
    """See the module's text."""

    def __init__(self) -> None:
        self._logic: Any = None
        self._history: Any = None

    def volume(self, volume_node: Any) -> Volume:
        """The scan: the node's own array, its position in the world, in LPS mm.

        Raises:
            InputError: ``NON_LINEAR_TRANSFORM``, ``NO_VOXELS``, and what a volume is refused for.
        """
        from ..volume import Geometry, Volume

        if volume_node.GetImageData() is None:
            raise InputError("NO_VOXELS", "The volume is empty.", "Choose another one.")
        _check_linear(volume_node)
        voxels = slicer.util.arrayFromVolume(volume_node)
        depth, height, width = voxels.shape
        return Volume(
            voxels, Geometry((depth, height, width), _TO_LPS @ index_to_world(volume_node)), _modality(volume_node)
        )

    def box(self, roi_node: Any, volume_node: Any) -> OrientedBox:
        """The box as it was drawn, mapped by its parent transform.

        Slicer's own accessors disagree under scaling; object-to-node and size, mapped by the parents, do not.

        Raises:
            InputError: ``NON_LINEAR_TRANSFORM``, ``EMPTY_BOX``.
        """
        from ..volume import OrientedBox

        _check_linear(roi_node)
        to_world = vtk.vtkMatrix4x4()
        parent = roi_node.GetParentTransformNode()
        slicer.vtkMRMLTransformNode.GetMatrixTransformBetweenNodes(parent, None, to_world)
        as_array = slicer.util.arrayFromVTKMatrix
        matrix = _TO_LPS @ as_array(to_world) @ as_array(roi_node.GetObjectToNodeMatrix())
        lengths = np.linalg.norm(matrix[:3, :3], axis=0)
        size = np.array(roi_node.GetSize(), dtype=np.float64) * lengths
        return OrientedBox(matrix[:3, 3], matrix[:3, :3] / lengths, size)

    def segmentation(self, volume_node: Any, segmentation_node: Any | None) -> Any:
        """A segmentation on the volume's grid, under its transform and in its study; a new one if there is none."""
        if segmentation_node is not None and segmentation_node.GetSegmentation().GetNumberOfSegments() > 0:
            return segmentation_node
        node = segmentation_node
        if node is None:
            name = slicer.mrmlScene.GenerateUniqueName(f"{volume_node.GetName()} segmentation")
            node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", name)
        node.CreateDefaultDisplayNodes()
        # The transform first: the other order records a rotated grid, and saving would resample.
        node.SetAndObserveTransformNodeID(volume_node.GetTransformNodeID())
        node.SetReferenceImageGeometryParameterFromVolumeNode(volume_node)
        hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
        item, scan = hierarchy.GetItemByDataNode(node), hierarchy.GetItemByDataNode(volume_node)
        if item and scan:
            hierarchy.SetItemParent(item, hierarchy.GetItemParent(scan))
        return node

    def write(
        self,
        segmentation_node: Any,
        segment_id: str,
        volume_node: Any,
        mask: np.ndarray,
        offset: list[int],
        model: Mapping[str, str],
    ) -> None:
        """Make a mask the segment's content: one step that can be undone, writing only where something changes."""
        logic = self._ready(segmentation_node, volume_node)
        logic.GetSegmentEditorNode().SetSelectedSegmentID(segment_id)
        logic.SaveStateForUndo()
        block, first = _with_present(segmentation_node, segment_id, mask, offset)
        if block.size:
            image = labelmap_image(volume_node, block, first)
            mode = slicer.vtkSlicerSegmentEditorLogic.ModificationModeSet
            extent = list(image.GetExtent())
            logic.ModifySegmentByLabelmap(segmentation_node, segment_id, image, mode, extent, False, False)
        segment = segmentation_node.GetSegmentation().GetSegment(segment_id)
        segment.SetTag("DICOM.SegmentAlgorithmType", "SEMIAUTOMATIC")
        segment.SetTag("DICOM.SegmentAlgorithmName", f"MedSAMSegment {model['version']} {model['name']}".strip())

    def undo(self, segmentation_node: Any) -> None:
        if self._logic is not None and self._logic.GetSegmentationNode() is segmentation_node:
            self._logic.Undo()

    def _ready(self, segmentation_node: Any, volume_node: Any) -> Any:
        """The editor logic for these nodes; its history lasts as long as they are worked on."""
        editor = None if self._logic is None else self._logic.GetSegmentEditorNode()
        if editor is None or editor.GetScene() is None:
            self._logic = slicer.vtkSlicerSegmentEditorLogic()
            self._logic.SetMRMLScene(slicer.mrmlScene)
            self._logic.SetMRMLApplicationLogic(slicer.app.applicationLogic())
            editor = slicer.mrmlScene.GetSingletonNode(_EDITOR_TAG, "vtkMRMLSegmentEditorNode")
            if editor is None:
                editor = slicer.mrmlScene.CreateNodeByClass("vtkMRMLSegmentEditorNode")
                editor.UnRegister(None)
                editor.SetSingletonTag(_EDITOR_TAG)
                editor = slicer.mrmlScene.AddNode(editor)
                _take_user_modes(editor)
            self._logic.SetSegmentEditorNode(editor)
            self._history = slicer.vtkSegmentationHistory()
            self._history.SetMaximumNumberOfStates(_UNDO_STATES)
            self._logic.SetSegmentationHistory(self._history)
        if self._logic.GetSegmentationNode() is not segmentation_node:
            editor.SetAndObserveSegmentationNode(segmentation_node)
            self._logic.SetSegmentationNode(segmentation_node)
            self._history.SetSegmentation(segmentation_node.GetSegmentation())
        editor.SetAndObserveSourceVolumeNode(volume_node)
        self._logic.SetSourceVolumeNode(volume_node)
        return self._logic


def _take_user_modes(editor: Any) -> None:
    """Overwrite and mask modes of Slicer's own Segment Editor; without one, other segments are left alone."""
    theirs = slicer.mrmlScene.GetSingletonNode("SegmentEditor", "vtkMRMLSegmentEditorNode")
    if theirs is None:
        editor.SetOverwriteMode(slicer.vtkMRMLSegmentEditorNode.OverwriteNone)
        return
    editor.SetOverwriteMode(theirs.GetOverwriteMode())
    editor.SetMaskMode(theirs.GetMaskMode())
    editor.SetMaskSegmentID(theirs.GetMaskSegmentID())
    editor.SetSourceVolumeIntensityMask(theirs.GetSourceVolumeIntensityMask())
    editor.SetSourceVolumeIntensityMaskRange(theirs.GetSourceVolumeIntensityMaskRange())


def _with_present(
    segmentation_node: Any, segment_id: str, mask: np.ndarray, offset: list[int]
) -> tuple[np.ndarray, list[int]]:
    """The mask on a block that also holds what the segment is now, so that it is replaced and not added to."""
    image = slicer.vtkOrientedImageData()
    segmentation_node.GetBinaryLabelmapRepresentation(segment_id, image)
    i0, i1, j0, j1, k0, k1 = image.GetExtent()
    ranges = [(first, first + length) for first, length in zip(offset, mask.shape, strict=True)] if mask.size else []
    present = [(k0, k1 + 1), (j0, j1 + 1), (i0, i1 + 1)]
    if all(low < high for low, high in present):
        ranges = [(min(a, c), max(b, d)) for (a, b), (c, d) in zip(ranges or present, present, strict=True)]
    if not ranges:
        return np.zeros((0, 0, 0), dtype=bool), [0, 0, 0]
    block = np.zeros([high - low for low, high in ranges], dtype=bool)
    first = [low for low, _ in ranges]
    if mask.size:
        where = tuple(slice(o - f, o - f + n) for o, f, n in zip(offset, first, mask.shape, strict=True))
        block[where] = mask
    return block, first


def _check_linear(node: Any) -> None:
    parent = node.GetParentTransformNode()
    if parent is not None and not parent.IsTransformToWorldLinear():
        raise InputError(
            "NON_LINEAR_TRANSFORM",
            f"'{node.GetName()}' is under a non-linear transform.",
            "Harden the transform first (Transforms module).",
        )


def _modality(volume_node: Any) -> str:
    """As DICOM says it; empty when the volume is not from DICOM."""
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    item = hierarchy.GetItemByDataNode(volume_node)
    return hierarchy.GetItemAttribute(item, "DICOM.Modality") if item else ""
