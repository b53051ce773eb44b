"""Where MRML nodes are: volumes, boxes and masks between the scene (RAS mm) and the engine (array index, LPS mm).

World coordinates are those of the scene after all parent transforms; the engine's LPS mm are the same places.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import slicer
import vtk

from ..errors import InputError

if TYPE_CHECKING:
    from ..volume import OrientedBox, Volume

TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
"""RAS <-> LPS for homogeneous coordinates."""

_RIGHT_ANGLE = 1e-4
"""Largest cosine between two edges of a box: 0.006 degrees, 0.02 mm over 200 mm."""


def as_array(matrix: Any) -> np.ndarray:
    """A vtkMatrix4x4 as 4x4."""
    return slicer.util.arrayFromVTKMatrix(matrix)


def to_world(node: Any) -> np.ndarray:
    """4x4 from a node's own coordinates to RAS world, through all parent transforms.

    Raises:
        InputError: ``NON_LINEAR_TRANSFORM``.
    """
    parent = node.GetParentTransformNode()
    if parent is not None and not parent.IsTransformToWorldLinear():
        raise InputError(
            "NON_LINEAR_TRANSFORM",
            f"'{node.GetName()}' is under a non-linear transform.",
            "Harden the transform first (Transforms module).",
        )
    matrix = vtk.vtkMatrix4x4()
    slicer.vtkMRMLTransformNode.GetMatrixTransformBetweenNodes(parent, None, matrix)
    return as_array(matrix)


def index_to_world(volume_node: Any) -> np.ndarray:
    """4x4 from index ``(i, j, k, 1)`` to RAS world.  Raises ``InputError`` (``NON_LINEAR_TRANSFORM``)."""
    return to_world(volume_node) @ index_to_node(volume_node)


def index_to_node(volume_node: Any) -> np.ndarray:
    """4x4 from index ``(i, j, k, 1)`` to the volume's own RAS coordinates, before its parent transforms."""
    matrix = vtk.vtkMatrix4x4()
    volume_node.GetIJKToRASMatrix(matrix)
    return as_array(matrix)


def world_to_index(volume_node: Any, points: np.ndarray) -> np.ndarray:
    """RAS world (n, 3) as continuous index ``(i, j, k)``, (n, 3)."""
    inverse = np.linalg.inv(index_to_world(volume_node))
    return points @ inverse[:3, :3].T + inverse[:3, 3]


def volume_of(volume_node: Any) -> Volume:
    """The scan: the node's own array, which is not copied, and its place in the world.

    Raises:
        InputError: ``NO_VOXELS``, ``NOT_A_VOLUME``, ``NON_LINEAR_TRANSFORM``, and what a volume is refused for.
    """
    from ..volume import Geometry, Volume

    if volume_node.GetImageData() is None or volume_node.GetImageData().GetNumberOfPoints() == 0:
        raise InputError("NO_VOXELS", "The volume is empty.", "Choose another one.")
    voxels = slicer.util.arrayFromVolume(volume_node)
    if voxels.ndim != 3:
        raise InputError(
            "NOT_A_VOLUME",
            f"'{volume_node.GetName()}' has {voxels.shape[-1]} values in every voxel.",
            "Choose a volume with one grey value in every voxel.",
        )
    depth, height, width = voxels.shape
    geometry = Geometry((depth, height, width), TO_LPS @ index_to_world(volume_node))
    return Volume(voxels, geometry, _modality(volume_node))


def box_of(roi_node: Any) -> OrientedBox:
    """The box of a ROI node, mapped by its parent transforms.

    Slicer's own accessors of the size disagree under scaling; object-to-node and size, mapped by the parents, do not.

    Raises:
        InputError: ``NON_LINEAR_TRANSFORM``, ``EMPTY_BOX``, ``SHEARED_BOX``, ``BAD_BOX``.
    """
    from ..volume import OrientedBox

    matrix = TO_LPS @ to_world(roi_node) @ as_array(roi_node.GetObjectToNodeMatrix())
    lengths = np.linalg.norm(matrix[:3, :3], axis=0)
    box = OrientedBox(matrix[:3, 3], matrix[:3, :3] / lengths, np.array(roi_node.GetSize()) * lengths)
    if not box.is_rectangular(_RIGHT_ANGLE):
        raise InputError(
            "SHEARED_BOX",
            f"'{roi_node.GetName()}' is sheared by its transform, so it is no box any more.",
            "Take it out of the transform and draw it again.",
        )
    return box


def put_box(roi_node: Any, box: OrientedBox) -> None:
    """Make a box, LPS mm, that of a ROI node under no transform."""
    axes = np.array(box.axes)
    if np.linalg.det(axes) < 0:
        axes[:, 2] *= -1  # The same box: a ROI turns its axes, it does not mirror them.
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = axes, box.centre
    roi_node.SetAndObserveObjectToNodeMatrix(slicer.util.vtkMatrixFromArray(TO_LPS @ matrix))
    roi_node.SetSize(*box.size)


def labelmap_image(volume_node: Any, mask: np.ndarray, offset: Sequence[int]) -> Any:
    """:func:`oriented_image` on the volume's grid, in the volume's own coordinates (before its parent transforms)."""
    return oriented_image(index_to_node(volume_node), mask, offset)


def oriented_image(matrix: np.ndarray, mask: np.ndarray, offset: Sequence[int]) -> Any:
    """A block of bool (k, j, i), whose first voxel is ``offset`` (k, j, i), as a vtkOrientedImageData.

    Args:
        matrix: 4x4 from index ``(i, j, k, 1)`` to the coordinates that the image shall be in.
        mask: the block; copied.
        offset: where it begins.
    """
    from vtk.util.numpy_support import numpy_to_vtk

    image = slicer.vtkOrientedImageData()
    (k, j, i), (depth, height, width) = offset, mask.shape
    image.SetExtent(i, i + width - 1, j, j + height - 1, k, k + depth - 1)
    image.SetImageToWorldMatrix(slicer.util.vtkMatrixFromArray(matrix))
    voxels = np.ascontiguousarray(mask, dtype=bool).view(np.uint8)
    image.GetPointData().SetScalars(numpy_to_vtk(voxels.reshape(-1), deep=True))
    return image


def block_of(image: Any, label: int = 1) -> tuple[np.ndarray, list[int]]:
    """Where a vtkOrientedImageData has a label: a block of bool (k, j, i), and the offset (k, j, i) of its first voxel.

    An empty image gives a block of the shape (0, 0, 0).
    """
    from vtk.util.numpy_support import vtk_to_numpy

    i0, i1, j0, j1, k0, k1 = image.GetExtent()
    scalars = image.GetPointData().GetScalars()
    if scalars is None or i1 < i0 or j1 < j0 or k1 < k0:
        return np.zeros((0, 0, 0), dtype=bool), [0, 0, 0]
    return vtk_to_numpy(scalars).reshape(k1 - k0 + 1, j1 - j0 + 1, i1 - i0 + 1) == label, [k0, j0, i0]


def same_grid(a: np.ndarray, b: np.ndarray) -> bool:
    """Whether two matrices from index to space mean the same voxels, to a thousandth of a voxel over 1000 voxels."""
    between = np.linalg.inv(a) @ b
    return bool(np.abs(between[:3, :3] - np.eye(3)).max() < 1e-6 and np.abs(between[:3, 3]).max() < 1e-3)


def _modality(volume_node: Any) -> str:
    """As DICOM says it; empty when the volume is not from DICOM."""
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    item = hierarchy.GetItemByDataNode(volume_node)
    return hierarchy.GetItemAttribute(item, "DICOM.Modality") if item else ""
