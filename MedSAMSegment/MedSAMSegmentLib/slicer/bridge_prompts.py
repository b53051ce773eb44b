"""What the user drew in the scene, as the engine's prompts; and how the scan is displayed, as a window.

Positions are taken in the world, through all parent transforms of the markups, and become LPS mm.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import slicer

from ..errors import InputError, UsageError
from .bridge_geometry import TO_LPS
from .bridge_segments import segment_block

if TYPE_CHECKING:
    from ..prompts import LinePrompt, MaskPrompt, PointPrompt, ScribblePrompt


def point_prompts(node: Any, positive: bool = True) -> list[PointPrompt]:
    """The placed points of a markups node as clicks inside the object, or (``positive=False``) outside it.

    Raises:
        UsageError: ``NOTHING_DRAWN``.
    """
    from ..prompts import PointPrompt

    return [PointPrompt((x, y, z), positive) for x, y, z in _control_points(node).tolist()]


def scribble_prompt(node: Any, positive: bool = True) -> ScribblePrompt:
    """An open curve as a stroke: the smooth curve that is shown, not only the points it was drawn with.

    Raises:
        UsageError: ``CLOSED_CURVE``, ``NOTHING_DRAWN``.
    """
    from ..prompts import ScribblePrompt

    if node.IsA("vtkMRMLMarkupsClosedCurveNode"):
        raise UsageError(
            "CLOSED_CURVE",
            f"'{node.GetName()}' is a closed curve; a scribble runs through the object, not around it.",
            "Draw an open curve.",
        )
    path, curve = _control_points(node), node.GetCurvePointsWorld()
    if curve is not None and curve.GetNumberOfPoints() > 1:
        path = _to_lps(np.array([curve.GetPoint(index) for index in range(curve.GetNumberOfPoints())]))
    return ScribblePrompt(tuple((x, y, z) for x, y, z in path.tolist()), positive)


def line_prompt(node: Any) -> LinePrompt:
    """A line as the longest diameter of a lesion (RECIST).

    Raises:
        UsageError: ``NOTHING_DRAWN``: it has not got two ends.
    """
    from ..prompts import LinePrompt

    ends = _control_points(node)
    if len(ends) != 2:
        raise _nothing_drawn(node)
    (x0, y0, z0), (x1, y1, z1) = ends.tolist()
    return LinePrompt((x0, y0, z0), (x1, y1, z1))


def drawn_slices(segmentation_node: Any, segment_id: str, volume_node: Any, axis: int) -> list[MaskPrompt]:
    """Every slice of a segment that holds anything, as the object's cross-section there.

    Args:
        segmentation_node, segment_id: where the user painted.
        volume_node: the scan.
        axis: array axis that counts the slices.

    Raises:
        InputError: see :func:`~.bridge_segments.segment_block`.
        UsageError: ``NOTHING_DRAWN``: the segment is empty.
    """
    from ..prompts import MaskPrompt

    block, offset = segment_block(segmentation_node, segment_id, volume_node)
    if not block.size:
        name = segmentation_node.GetSegmentation().GetSegment(segment_id).GetName()
        raise UsageError("NOTHING_DRAWN", f"The segment '{name}' is empty.", "Paint the object on a slice or two.")
    shape = list(reversed(volume_node.GetImageData().GetDimensions()))
    rows, columns = (n for n in range(3) if n != axis)
    found = []
    for index in range(block.shape[axis]):
        part = block.take(index, axis=axis)
        if part.any():
            mask = np.zeros((shape[rows], shape[columns]), dtype=bool)
            j, i = offset[rows], offset[columns]
            mask[j : j + part.shape[0], i : i + part.shape[1]] = part
            found.append(MaskPrompt(axis, offset[axis] + index, mask))
    return found


def display_window(volume_node: Any) -> str:
    """Window and level that the volume is displayed with, as a choice of window (``"LEVEL/WIDTH"``).

    Raises:
        InputError: ``NO_DISPLAY``: the volume was never displayed.
    """
    display = volume_node.GetScalarVolumeDisplayNode()
    if display is None:
        raise InputError("NO_DISPLAY", f"'{volume_node.GetName()}' has no display yet.", "Show it in a slice view.")
    return f"{display.GetLevel():.9g}/{max(display.GetWindow(), 1e-6):.9g}"


def _control_points(node: Any) -> np.ndarray:
    """World positions of the placed points of a markups node, (n, 3) LPS mm."""
    points = []
    for index in range(node.GetNumberOfControlPoints()):
        if node.GetNthControlPointPositionStatus(index) == slicer.vtkMRMLMarkupsNode.PositionDefined:
            position = [0.0, 0.0, 0.0]
            node.GetNthControlPointPositionWorld(index, position)
            points.append(position)
    if not points:
        raise _nothing_drawn(node)
    return _to_lps(np.array(points))


def _to_lps(points: np.ndarray) -> np.ndarray:
    return points * np.diag(TO_LPS)[:3]


def _nothing_drawn(node: Any) -> UsageError:
    return UsageError("NOTHING_DRAWN", f"'{node.GetName()}' is not drawn completely.", "Draw it in a slice view.")
