"""What the panel does in the scene besides writing segments: boxes and clicks, slices to show, a mask to preview.

World coordinates are RAS mm, as everywhere in MRML.  Slices are those of the volume's own grid.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import slicer

from .bridge_geometry import index_to_world, labelmap_image, world_to_index

if TYPE_CHECKING:
    from ..volume import Geometry

ROLE = "MedSAMSegment.Role"
"""Node attribute: ``box``, ``diameter``, ``rectangle`` (of an object), ``slice-box``, ``points`` or ``scribble`` (of a
correction)."""

SEGMENT = "MedSAMSegment.SegmentID"
"""Node attribute of a box: the segment that it belongs to."""

SEGMENTATION = "MedSAMSegment.Segmentation"
"""Node reference of a box: the segmentation that its segment is in."""

REMOVED = "MedSAMSegment.Removed"
"""Node attribute of a box whose object was taken away and may come back by undo."""

POSITIVE = "MedSAMSegment.Positive"

_SESSION, _SCORES = "MedSAMSegment.Session", "MedSAMSegment.Scores"

_OBJECT_COLOURS = (
    (0.35, 0.70, 0.90),
    (0.90, 0.50, 0.45),
    (0.45, 0.80, 0.50),
    (0.80, 0.55, 0.85),
    (0.95, 0.65, 0.25),
    (0.30, 0.75, 0.75),
    (0.85, 0.55, 0.70),
    (0.65, 0.75, 0.35),
)

_FLAT = 0.25
"""A box thinner than this fraction of its other sides was drawn on one slice and says nothing of the depth."""

_ON_SLICE_MM = 0.01
"""Corners that are clicked in a slice view lie in its plane, but for rounding."""

_PREVIEW_COLOUR = (1.0, 0.85, 0.1)


# ---- markups -------------------------------------------------------------------------------------------------------


def new_markup(kind: str, role: str, name: str, colour: tuple[float, float, float], positive: bool = True) -> Any:
    """A markups node to draw with; boxes of objects are saved with the scene, corrections are not.

    Args:
        kind: ``"ROI"``, ``"Line"``, ``"Fiducial"`` or ``"Curve"``.
        role: see :data:`ROLE`.
        name: shown in the data tree.
        colour: RGB, 0..1.
        positive: whether what is drawn belongs to the object.
    """
    node = slicer.mrmlScene.AddNewNodeByClass(f"vtkMRMLMarkups{kind}Node", name)
    node.SetAttribute(ROLE, role)
    node.SetAttribute(POSITIVE, "1" if positive else "0")
    if role != "box":
        node.SetSaveWithScene(False)
    node.CreateDefaultDisplayNodes()
    show_colour(node, colour)
    display = node.GetDisplayNode()
    display.SetPropertiesLabelVisibility(False)
    display.SetPointLabelsVisibility(False)
    if kind == "ROI":
        display.SetFillOpacity(0.1)
    return node


def show_colour(node: Any, colour: tuple[float, float, float]) -> None:
    """Show a markups node in one colour, RGB 0..1, chosen or not."""
    node.GetDisplayNode().SetSelectedColor(*colour)
    node.GetDisplayNode().SetColor(*colour)


def place(node: Any, persistent: bool = False) -> None:
    """Let the user draw ``node`` in the views."""
    selection, interaction = slicer.app.applicationLogic().GetSelectionNode(), interaction_node()
    selection.SetReferenceActivePlaceNodeClassName(node.GetClassName())
    selection.SetActivePlaceNodeID(node.GetID())
    interaction.SetPlaceModePersistence(int(persistent))
    interaction.SetCurrentInteractionMode(interaction.Place)


def stop_placing() -> None:
    """Back to looking."""
    interaction_node().SwitchToViewTransformMode()


def interaction_node() -> Any:
    return slicer.app.applicationLogic().GetInteractionNode()


def nodes_with_role(role: str) -> list[Any]:
    """Markups nodes of one role, in the order they were made."""
    nodes = slicer.util.getNodesByClass("vtkMRMLMarkupsNode")
    return [node for node in nodes if node.GetAttribute(ROLE) == role]


def object_colour(number: int) -> tuple[float, float, float]:
    """Colour of a new object, RGB 0..1: light enough to be seen on air, and unlike its neighbours in the list."""
    return _OBJECT_COLOURS[number % len(_OBJECT_COLOURS)]


def show_handles(node: Any, shown: bool) -> None:
    """The handles of a box, which would cover the objects if all boxes had them at once."""
    if node.GetDisplayNode().GetHandlesInteractive() != shown:
        node.GetDisplayNode().SetHandlesInteractive(shown)


def show_box(node: Any, there: bool) -> None:
    """Hide the box of an object that was taken away, or show it again; a hidden one is not saved with the scene."""
    node.SetAttribute(REMOVED, None if there else "1")
    node.SetHideFromEditors(not there)
    node.SetSaveWithScene(there)
    node.GetDisplayNode().SetVisibility(there)


def control_points(node: Any) -> np.ndarray:
    """World positions of all placed points of a markups node, (n, 3) RAS mm."""
    points = []
    for index in range(node.GetNumberOfControlPoints()):
        if node.GetNthControlPointPositionStatus(index) == slicer.vtkMRMLMarkupsNode.PositionDefined:
            position = [0.0, 0.0, 0.0]
            node.GetNthControlPointPositionWorld(index, position)
            points.append(position)
    return np.array(points, dtype=np.float64).reshape(-1, 3)


def remove(node: Any) -> None:
    """Take a markups node out of the scene; hidden first, as views may go on showing one that is gone."""
    node.GetDisplayNode().SetVisibility(False)
    slicer.mrmlScene.RemoveNode(node)


def is_given_up(node: Any) -> bool:
    """Whether the user stopped before anything was drawn."""
    return len(control_points(node)) == 0 or (node.IsA("vtkMRMLMarkupsROINode") and max(node.GetSize()) <= 0)


def give_depth(roi: Any) -> None:
    """A box that was drawn in a slice view is as thin as the view's default; make it as deep as it is wide."""
    size = np.array(roi.GetSize(), dtype=np.float64)
    thin = int(np.argmin(size))
    others = np.delete(size, thin)
    if size[thin] < _FLAT * others.min():
        size[thin] = others.min()
        roi.SetSize(*size)


# ---- segmentations -------------------------------------------------------------------------------------------------


def segmentation_of(volume_node: Any) -> Any | None:
    """The latest segmentation of a volume that the panel has worked on."""
    nodes = slicer.util.getNodesByClass("vtkMRMLSegmentationNode")
    found = [node for node in nodes if node.GetAttribute(_SESSION) and segmented_volume(node) is volume_node]
    return found[-1] if found else None


def segmented_volume(segmentation: Any) -> Any | None:
    """The volume whose grid a segmentation has."""
    return segmentation.GetNodeReference(segmentation.GetReferenceImageGeometryReferenceRole())


def remember(segmentation: Any, session: str | None, scores: str | None) -> None:
    """Keep with a segmentation what the user said about its objects and how sure the network was; JSON."""
    segmentation.SetAttribute(_SESSION, session)
    segmentation.SetAttribute(_SCORES, scores)


def remembered(segmentation: Any | None) -> tuple[str, str]:
    """Session and scores, see :func:`remember`; empty where there are none."""
    if segmentation is None:
        return "", ""
    return segmentation.GetAttribute(_SESSION) or "", segmentation.GetAttribute(_SCORES) or ""


# ---- positions and slices ------------------------------------------------------------------------------------------


def _matrix(matrix: Any) -> np.ndarray:
    return slicer.util.arrayFromVTKMatrix(matrix)


def world_to_lps(volume_node: Any, geometry: Geometry, points: np.ndarray) -> list[list[float]]:
    """RAS world (n, 3) as the LPS mm of the volume that the worker knows, plain lists."""
    return geometry.index_to_lps(world_to_index(volume_node, points)).tolist()


def rectangle_on_slice(volume_node: Any, axis: int, roi: Any) -> tuple[int, list[float]]:
    """Slice and rectangle (x0, y0, x1, y1), edges in index coordinates of the slice, of a box drawn there."""
    index = _corner_indices(volume_node, roi)
    rows, columns = (2 - other for other in range(3) if other != axis)
    x, y = index[:, columns], index[:, rows]
    return round(float(index[:, 2 - axis].mean())), [float(v) for v in (x.min(), y.min(), x.max(), y.max())]


def axes_drawn_along(volume_node: Any, roi: Any) -> list[int]:
    """Array axes on whose slices a box was drawn: those along which it is flat; where it got a depth, those along
    which a view looks that shows just the slice through its middle.
    """
    extents = np.ptp(_corner_indices(volume_node, roi), axis=0) * _spacing(volume_node)
    flat = [axis for axis in range(3) if extents[2 - axis] <= _FLAT * np.delete(extents, 2 - axis).min()]
    if flat:
        return flat
    middle, axes = np.array(roi.GetCenterWorld()), []
    for axis in range(3):
        views = [_matrix(view.GetSliceToRAS()) for view in _views_along(volume_node, axis)]
        if not views or any(abs(float(view[:3, 2] @ (middle - view[:3, 3]))) <= _ON_SLICE_MM for view in views):
            axes.append(axis)
    return axes


def name_of_view_along(volume_node: Any, axis: int) -> str:
    """Which slice view shows the volume's own slices; empty for none."""
    return next((view.GetName() for view in _views_along(volume_node, axis)), "")


def _corner_indices(volume_node: Any, roi: Any) -> np.ndarray:
    """(8, 3) index coordinates (i, j, k) of a box's corners."""
    half = np.array(roi.GetSize(), dtype=np.float64) / 2
    signs = np.array([[2 * (b & 1) - 1, (b & 2) - 1, (b & 4) // 2 - 1] for b in range(8)], dtype=np.float64)
    corners = np.c_[signs * half, np.ones(8)] @ _matrix(roi.GetObjectToWorldMatrix()).T
    return world_to_index(volume_node, corners[:, :3])


def _spacing(volume_node: Any) -> np.ndarray:
    """(3,) mm between voxels along i, j and k in the world."""
    return np.asarray(np.linalg.norm(index_to_world(volume_node)[:3, :3], axis=0))


def current_slice(volume_node: Any, axis: int) -> int | None:
    """The slice of the volume's own grid that is shown, in the slice view that looks along its axis."""
    view = next(iter(_views_along(volume_node, axis)), None)
    if view is None:
        return None
    shown = _matrix(view.GetSliceToRAS())[:3, 3]
    index = round(float(world_to_index(volume_node, shown[None])[0, 2 - axis]))
    depth = volume_node.GetImageData().GetDimensions()[2 - axis]
    return index if 0 <= index < depth else None


def _views_along(volume_node: Any, axis: int) -> list[Any]:
    """The nodes of the slice views that look along an array axis of the volume, the straightest first."""
    direction = index_to_world(volume_node)[:3, 2 - axis]
    direction = direction / np.linalg.norm(direction)
    views = []
    for node in slicer.util.getNodesByClass("vtkMRMLSliceNode"):
        along = abs(float(_matrix(node.GetSliceToRAS())[:3, 2] @ direction))
        if along > 0.7:
            views.append((-round(along, 6), len(views), node))
    return [node for *_, node in sorted(views)]


def show_slice(volume_node: Any, axis: int, index: int) -> None:
    """Show a slice in all views that look along its axis; the others stay where they are."""
    matrix = index_to_world(volume_node)
    for view in _views_along(volume_node, axis):
        shown = _matrix(view.GetSliceToRAS())[:3, 3]
        place_on_slice = world_to_index(volume_node, shown[None])[0]
        place_on_slice[2 - axis] = index
        view.JumpSliceByOffsetting(*(matrix[:3, :3] @ place_on_slice + matrix[:3, 3]))


def show_window(volume_node: Any, level: float, width: float) -> None:
    """Show the volume with a window; its voxels stay as they are."""
    volume_node.CreateDefaultDisplayNodes()
    display = volume_node.GetDisplayNode()
    display.SetAutoWindowLevel(False)
    display.SetWindowLevel(width, level)


# ---- the mask to preview -------------------------------------------------------------------------------------------


class Preview:
    """A segmentation of its own that shows a mask in the making; hidden from lists and never saved."""

    def __init__(self) -> None:
        self._node: Any = None

    def show(self, volume_node: Any, mask: np.ndarray, offset: list[int]) -> None:
        """Show a block (k, j, i) of bool whose first voxel is ``offset`` (k, j, i) of the volume."""
        node = self._ready(volume_node)
        image = labelmap_image(volume_node, mask, offset)
        segment = node.GetSegmentation().GetNthSegmentID(0)
        slicer.vtkSlicerSegmentationsModuleLogic.SetBinaryLabelmapToSegment(
            image, node, segment, slicer.vtkSlicerSegmentationsModuleLogic.MODE_REPLACE
        )
        node.GetDisplayNode().SetVisibility(True)

    @property
    def node(self) -> Any | None:
        """The segmentation node, where it was ever shown."""
        return self._node

    def hide(self) -> None:
        if self._node is not None and self._node.GetScene() is not None:
            self._node.GetDisplayNode().SetVisibility(False)

    def remove(self) -> None:
        if self._node is not None and self._node.GetScene() is not None:
            slicer.mrmlScene.RemoveNode(self._node)
        self._node = None

    def _ready(self, volume_node: Any) -> Any:
        if self._node is None or self._node.GetScene() is None:
            node = slicer.mrmlScene.CreateNodeByClass("vtkMRMLSegmentationNode")
            node.UnRegister(None)
            node.SetName("MedSAM preview")
            node.SetHideFromEditors(True)
            node.SetSaveWithScene(False)
            self._node = slicer.mrmlScene.AddNode(node)
            self._node.CreateDefaultDisplayNodes()
            self._node.GetSegmentation().AddEmptySegment("preview", "preview", _PREVIEW_COLOUR)
            display = self._node.GetDisplayNode()
            display.SetVisibility2DFill(False)
            display.SetVisibility3D(False)
        self._node.SetAndObserveTransformNodeID(volume_node.GetTransformNodeID())
        return self._node
