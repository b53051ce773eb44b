"""Masks to segments, by Slicer's segment editor logic.

So the overwrite mode, the mask and the editable intensity range that the user chose in the Segment Editor hold here,
too, one undo takes one mask back, and only the voxels that change are written.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import slicer
import vtk

from ..errors import InputError
from .bridge_geometry import as_array, block_of, index_to_world, oriented_image, same_grid, to_world

Block = tuple[np.ndarray, list[int]]
"""Voxels that are set: bool (k, j, i), and the offset (k, j, i) of the first one in the grid."""

_NOTHING: Block = (np.zeros((0, 0, 0), dtype=bool), [0, 0, 0])

_UNDO_STATES = 32
_EDITOR_TAG = "MedSAMSegment"
_LONGEST_NAME = 64
"""Characters of a DICOM long string (PS3.5, LO), the type of Segment Algorithm Name (0062,0009)."""


def prepared_segmentation(volume_node: Any, segmentation_node: Any | None) -> Any:
    """A segmentation on the volume's grid, under its transform and in its study; a new one if there is none.

    One that has segments already is left as it is; masks are brought to its grid when they are written.

    Raises:
        InputError: ``NOT_A_LABELMAP``: its segments are surfaces, or something else that has no voxels.
    """
    node = segmentation_node
    if node is not None and node.GetSegmentation().GetNumberOfSegments() > 0:
        _check_labelmap(node)
        return node
    if node is None:
        name = slicer.mrmlScene.GenerateUniqueName(f"{volume_node.GetName()} segmentation")
        node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", name)
    node.CreateDefaultDisplayNodes()
    # The transform first: the other order records a rotated grid, and saving would resample.
    node.SetAndObserveTransformNodeID(volume_node.GetTransformNodeID())
    node.SetReferenceImageGeometryParameterFromVolumeNode(volume_node)
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    scan = hierarchy.GetItemByDataNode(volume_node)
    study = hierarchy.GetItemParent(scan) if scan else hierarchy.GetSceneItemID()
    # In Slicer every node has an item; without its Qt plugins nobody makes one.
    item = hierarchy.GetItemByDataNode(node) or hierarchy.CreateItem(study, node)
    hierarchy.SetItemParent(item, study)
    return node


def new_segment(segmentation_node: Any, name: str) -> str:
    """Add an empty segment; codes and colour come with a name that is known ("left kidney").

    Returns:
        Its identifier.
    """
    from ..export.terminology import terminology_for

    segmentation = segmentation_node.GetSegmentation()
    segment_id = segmentation.AddEmptySegment("", name)
    found = terminology_for(name)
    if found is not None:
        segment = segmentation.GetSegment(segment_id)
        segment.SetTag(slicer.vtkSegment.GetTerminologyEntryTagName(), found.slicer_entry())
        segment.SetColor(*(part / 255 for part in found.colour))
    return segment_id


def segment_block(segmentation_node: Any, segment_id: str, volume_node: Any) -> Block:
    """What a segment holds, on the volume's grid.

    Raises:
        InputError: ``NO_SEGMENT``, ``NOT_A_LABELMAP``, ``NON_LINEAR_TRANSFORM``.
    """
    matrix = np.linalg.inv(to_world(segmentation_node)) @ index_to_world(volume_node)
    width, height, depth = volume_node.GetImageData().GetDimensions()
    return _content(segmentation_node, segment_id, _Grid(matrix, (0, width - 1, 0, height - 1, 0, depth - 1)))


class SegmentWriter:
    """Writes masks into segments; see the module's text."""

    def __init__(self) -> None:
        self._logic: Any = None
        self._history: Any = None
        self._written: list[_Written] = []

    def write(self, segmentation_node: Any, segment_id: str, volume_node: Any, wanted: Block, algorithm: str) -> None:
        """Make a mask the segment's content, as one step that can be undone.

        Args:
            segmentation_node: from :func:`prepared_segmentation`.
            segment_id: which segment of it.
            volume_node: the scan that the mask belongs to.
            wanted: all that is to be set, on the scan's grid; may be empty.
            algorithm: name and version, for the DICOM attributes of the segment.

        Raises:
            InputError: ``NO_SEGMENT``, ``NOT_A_LABELMAP``, ``NON_LINEAR_TRANSFORM``; nothing was changed.
        """
        logic = self._ready(segmentation_node, volume_node)
        editor = logic.GetSegmentEditorNode()
        removed, added = segment_changes(segmentation_node, segment_id, volume_node, wanted, editor)
        editor.SetSelectedSegmentID(segment_id)
        follows = bool(self._written) and self._written[-1].stamp == _stamp(segmentation_node)
        if removed is not None or added is not None:
            # The history keeps no state twice: a step back for nothing would undo what was before.
            logic.SaveStateForUndo()
        self._change(segmentation_node, segment_id, removed, added)
        mark_algorithm(segmentation_node.GetSegmentation().GetSegment(segment_id), algorithm)
        self._written.append(_Written(segment_id, removed, added, follows, _stamp(segmentation_node)))
        del self._written[:-_UNDO_STATES]

    def undo(self, segmentation_node: Any) -> None:
        """Take the latest :meth:`write` back, if it was to this segmentation.

        Where someone edited segments since, only what was written is taken back, and their work stays.
        """
        if self._logic is None or self._logic.GetSegmentationNode() is not segmentation_node or not self._written:
            return
        written = self._written.pop()
        if _stamp(segmentation_node) == written.stamp:
            if written.removed is not None or written.added is not None:
                self._logic.Undo()
            if written.follows and self._written:
                self._written[-1].stamp = _stamp(segmentation_node)
        elif segmentation_node.GetSegmentation().GetSegment(written.segment_id) is not None:
            _edit_everywhere(self._logic.GetSegmentEditorNode())
            self._change(segmentation_node, written.segment_id, written.added, written.removed)

    def _change(self, segmentation_node: Any, segment_id: str, removed: Any | None, added: Any | None) -> None:
        logic = self._logic
        for image, mode in ((removed, logic.ModificationModeRemove), (added, logic.ModificationModeAdd)):
            if image is not None:
                extent = list(image.GetExtent())
                logic.ModifySegmentByLabelmap(segmentation_node, segment_id, image, mode, extent, False, False)

    def _ready(self, segmentation_node: Any, volume_node: Any) -> Any:
        """The editor logic for these nodes, set as the user's Segment Editor is now.

        Its history lasts as long as they are worked on.
        """
        editor = None if self._logic is None else self._logic.GetSegmentEditorNode()
        if editor is None or editor.GetScene() is not slicer.mrmlScene:
            self._logic = slicer.vtkSlicerSegmentEditorLogic()
            self._logic.SetMRMLScene(slicer.mrmlScene)
            self._logic.SetMRMLApplicationLogic(slicer.app.applicationLogic())
            editor = _editor_node()
            self._logic.SetSegmentEditorNode(editor)
            self._history = slicer.vtkSegmentationHistory()
            self._history.SetMaximumNumberOfStates(_UNDO_STATES)
            self._logic.SetSegmentationHistory(self._history)
        if self._logic.GetSegmentationNode() is not segmentation_node:
            editor.SetAndObserveSegmentationNode(segmentation_node)
            self._logic.SetSegmentationNode(segmentation_node)
            self._history.SetSegmentation(segmentation_node.GetSegmentation())
            self._written.clear()
        editor.SetAndObserveSourceVolumeNode(volume_node)
        self._logic.SetSourceVolumeNode(volume_node)
        _take_user_modes(editor)
        return self._logic


def segment_changes(
    segmentation_node: Any, segment_id: str, volume_node: Any, wanted: Block, editor_node: Any
) -> tuple[Any | None, Any | None]:
    """What a segment must lose and gain to become a mask, as images on the segmentation's own grid; None for nothing.

    Args:
        segmentation_node, segment_id: the segment.
        volume_node: the scan that the mask belongs to.
        wanted: the mask, on the scan's grid.
        editor_node: the segment editor node with the user's modes.

    Raises:
        InputError: see :meth:`SegmentWriter.write`.
    """
    grid = _reference_grid(segmentation_node, volume_node)
    present = _content(segmentation_node, segment_id, grid)
    to_segmentation = np.linalg.inv(to_world(segmentation_node)) @ index_to_world(volume_node)
    if not same_grid(grid.matrix, to_segmentation) and wanted[0].size:
        wanted = block_of(grid.resampled(oriented_image(to_segmentation, *wanted)))
    added, removed = difference(wanted, present)
    inside = editor_node.GetMaskMode() == segmentation_node.EditAllowedInsideSingleSegment
    if inside and segmentation_node.GetSegmentation().GetSegment(editor_node.GetMaskSegmentID()) is not None:
        # In this mode the editor lets a segment be erased outside the mask, too; what is masked shall stay.
        masked, _ = difference(removed, _content(segmentation_node, editor_node.GetMaskSegmentID(), grid))
        _, removed = difference(masked, removed)
    lost, gained = (
        oriented_image(grid.matrix, mask, offset) if mask.size else None for mask, offset in (removed, added)
    )
    return lost, gained


def mark_algorithm(segment: Any, algorithm: str) -> None:
    """Say of a segment what DICOM asks where a program made it (PS3.3, C.8.20.2)."""
    segment.SetTag("DICOM.SegmentAlgorithmType", "SEMIAUTOMATIC")
    segment.SetTag("DICOM.SegmentAlgorithmName", algorithm[:_LONGEST_NAME])


def difference(wanted: Block, present: Block) -> tuple[Block, Block]:
    """What must be added to ``present`` and removed from it to get ``wanted``, each as small as can be."""
    both = [
        (max(a, b), min(a + m, b + n))
        for a, b, m, n in zip(wanted[1], present[1], wanted[0].shape, present[0].shape, strict=True)
    ]
    added, removed = wanted[0].copy(), present[0].copy()
    if all(low < high for low, high in both):
        in_wanted, in_present = (
            tuple(slice(low - first, high - first) for (low, high), first in zip(both, offset, strict=True))
            for offset in (wanted[1], present[1])
        )
        added[in_wanted] &= ~present[0][in_present]
        removed[in_present] &= ~wanted[0][in_wanted]
    return _cropped(added, wanted[1]), _cropped(removed, present[1])


def _cropped(mask: np.ndarray, offset: Sequence[int]) -> Block:
    """A block without the empty planes at its sides."""
    for axis in range(3):
        used = np.flatnonzero(mask.any(axis=tuple(other for other in range(3) if other != axis)))
        if not used.size:
            return _NOTHING
        mask = np.moveaxis(np.moveaxis(mask, axis, 0)[used[0] : used[-1] + 1], 0, axis)
        offset = [first + (int(used[0]) if n == axis else 0) for n, first in enumerate(offset)]
    return mask, list(offset)


@dataclass
class _Written:
    """What one call of :meth:`SegmentWriter.write` did.

    Attributes:
        segment_id: to which segment.
        removed, added: images of what it lost and gained.
        follows: nobody edited the segmentation between the write before and this one.
        stamp: of the segmentation afterwards, see :func:`_stamp`.
    """

    segment_id: str
    removed: Any
    added: Any
    follows: bool
    stamp: tuple[tuple[str, int], ...]


def _stamp(segmentation_node: Any) -> tuple[tuple[str, int], ...]:
    """Changes whenever the voxels of any segment do."""
    segmentation, stamp = segmentation_node.GetSegmentation(), []
    for index in range(segmentation.GetNumberOfSegments()):
        image = segmentation.GetNthSegment(index).GetRepresentation(_labelmap_name())
        stamp.append((segmentation.GetNthSegmentID(index), 0 if image is None else image.GetMTime()))
    return tuple(stamp)


@dataclass(frozen=True)
class _Grid:
    """Voxels in a segmentation's own coordinates: 4x4 from index, and VTK's extent (last index included)."""

    matrix: np.ndarray
    extent: tuple[int, ...]

    def resampled(self, image: Any) -> Any:
        """An image of labels on this grid, by the nearest voxel."""
        reference = slicer.vtkOrientedImageData()
        reference.SetExtent(self.extent)
        reference.SetImageToWorldMatrix(slicer.util.vtkMatrixFromArray(self.matrix))
        result = slicer.vtkOrientedImageData()
        slicer.vtkOrientedImageDataResample.ResampleOrientedImageToReferenceOrientedImage(
            image, reference, result, False, False
        )
        return result


def _reference_grid(segmentation_node: Any, volume_node: Any) -> _Grid:
    """The grid that a segmentation's segments are kept on."""
    converter = slicer.vtkSegmentationConverter
    name = converter.GetReferenceImageGeometryParameterName()
    if not segmentation_node.GetSegmentation().GetConversionParameter(name):
        segmentation_node.SetReferenceImageGeometryParameterFromVolumeNode(volume_node)
    reference = slicer.vtkOrientedImageData()
    converter.DeserializeImageGeometry(
        segmentation_node.GetSegmentation().GetConversionParameter(name), reference, False
    )
    return _Grid(_matrix_of(reference), tuple(reference.GetExtent()))


def _content(segmentation_node: Any, segment_id: str, grid: _Grid) -> Block:
    """What a segment holds, on a grid."""
    _check_labelmap(segmentation_node)
    segment = segmentation_node.GetSegmentation().GetSegment(segment_id)
    if segment is None:
        raise InputError(
            "NO_SEGMENT", f"There is no segment '{segment_id}' any more.", "It was deleted; segment the object again."
        )
    image = segment.GetRepresentation(_labelmap_name())
    if image is None or image.IsEmpty():
        return _NOTHING
    # Segments that do not overlap share one image, each with a label of its own.
    label = segment.GetLabelValue()
    if not same_grid(grid.matrix, _matrix_of(image)):
        image = grid.resampled(image)
    return _cropped(*block_of(image, label))


def _check_labelmap(segmentation_node: Any) -> None:
    segmentation = segmentation_node.GetSegmentation()
    if segmentation.GetNumberOfSegments() and segmentation.GetSourceRepresentationName() != _labelmap_name():
        raise InputError(
            "NOT_A_LABELMAP",
            f"The segments of '{segmentation_node.GetName()}' are kept as "
            f"{segmentation.GetSourceRepresentationName().lower()}, not as voxels.",
            "Choose another segmentation, or make the binary labelmap its source (Segmentations module).",
        )


def _labelmap_name() -> str:
    return slicer.vtkSegmentationConverter.GetSegmentationBinaryLabelmapRepresentationName()


def _matrix_of(image: Any) -> np.ndarray:
    matrix = vtk.vtkMatrix4x4()
    image.GetImageToWorldMatrix(matrix)
    return as_array(matrix)


def _editor_node() -> Any:
    """A segment editor node of our own: that of the Segment Editor module stays as the user left it."""
    node = slicer.mrmlScene.GetSingletonNode(_EDITOR_TAG, "vtkMRMLSegmentEditorNode")
    if node is None:
        node = slicer.mrmlScene.CreateNodeByClass("vtkMRMLSegmentEditorNode")
        node.UnRegister(None)
        node.SetSingletonTag(_EDITOR_TAG)
        node.SetSaveWithScene(False)
        node.SetHideFromEditors(True)
        node = slicer.mrmlScene.AddNode(node)
    return node


def _take_user_modes(editor: Any) -> None:
    """Overwrite and mask modes of Slicer's Segment Editor; where it was never opened, other segments are left alone."""
    theirs = slicer.mrmlScene.GetSingletonNode("SegmentEditor", "vtkMRMLSegmentEditorNode")
    if theirs is None:
        _edit_everywhere(editor)
        return
    editor.SetOverwriteMode(theirs.GetOverwriteMode())
    # A mask belongs to the segmentation it was chosen in, a range of intensities to the volume.
    masked = theirs.GetSegmentationNode() is editor.GetSegmentationNode()
    editor.SetMaskMode(theirs.GetMaskMode() if masked else slicer.vtkMRMLSegmentationNode.EditAllowedEverywhere)
    editor.SetMaskSegmentID(theirs.GetMaskSegmentID() if masked else None)
    limited = theirs.GetSourceVolumeNode() is editor.GetSourceVolumeNode()
    editor.SetSourceVolumeIntensityMask(limited and bool(theirs.GetSourceVolumeIntensityMask()))
    editor.SetSourceVolumeIntensityMaskRange(theirs.GetSourceVolumeIntensityMaskRange())


def _edit_everywhere(editor: Any) -> None:
    editor.SetOverwriteMode(slicer.vtkMRMLSegmentEditorNode.OverwriteNone)
    editor.SetMaskMode(slicer.vtkMRMLSegmentationNode.EditAllowedEverywhere)
    editor.SetSourceVolumeIntensityMask(False)
