"""Between the scene and the engine: MRML nodes to volumes, boxes and prompts, masks to segments.  No Qt.

The parts are in ``bridge_geometry.py``, ``bridge_prompts.py`` and ``bridge_segments.py``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from .bridge_geometry import box_of, put_box, volume_of
from .bridge_prompts import line_prompt
from .bridge_segments import SegmentWriter, prepared_segmentation

if TYPE_CHECKING:
    from ..prompts import LinePrompt
    from ..volume import OrientedBox, Volume


class SceneBridge:
    """To the scene that is open in Slicer; errors are those of the parts."""

    def __init__(self) -> None:
        self._writer = SegmentWriter()

    def volume(self, volume_node: Any) -> Volume:
        """The scan of a volume node, its array as it is; see :func:`~.bridge_geometry.volume_of`."""
        return volume_of(volume_node)

    def box(self, roi_node: Any, volume_node: Any) -> OrientedBox:
        """The box of a ROI node in the LPS mm of :meth:`volume`; see :func:`~.bridge_geometry.box_of`.

        Volumes and boxes meet in the world, whatever transforms they have.
        """
        return box_of(roi_node)

    def put_box(self, roi_node: Any, box: OrientedBox) -> None:
        """Put a new ROI node where a box, LPS mm of :meth:`volume`, is; see :func:`~.bridge_geometry.put_box`."""
        put_box(roi_node, box)

    def line(self, line_node: Any, volume_node: Any) -> LinePrompt:
        """A line node as a diameter in the LPS mm of :meth:`volume`; see :func:`~.bridge_prompts.line_prompt`."""
        return line_prompt(line_node)

    def segmentation(self, volume_node: Any, segmentation_node: Any | None) -> Any:
        """A segmentation node on the volume's grid, under its transform and in its study; a new one if need be.

        See :func:`~.bridge_segments.prepared_segmentation`.
        """
        return prepared_segmentation(volume_node, segmentation_node)

    def write(
        self,
        segmentation_node: Any,
        segment_id: str,
        volume_node: Any,
        mask: np.ndarray,
        offset: list[int],
        model: Mapping[str, str],
    ) -> None:
        """Make a block of bool (k, j, i) at ``offset`` the segment's content, as one step that can be undone.

        See :meth:`~.bridge_segments.SegmentWriter.write`; ``model`` has ``name`` and ``version``.
        """
        algorithm = algorithm_name(model)
        self._writer.write(segmentation_node, segment_id, volume_node, (mask, list(offset)), algorithm)

    def undo(self, segmentation_node: Any) -> None:
        """Take back the latest :meth:`write`; see :meth:`~.bridge_segments.SegmentWriter.undo`."""
        self._writer.undo(segmentation_node)


def algorithm_name(model: Mapping[str, str]) -> str:
    """Model and version, as DICOM shall name the algorithm."""
    return " ".join(part for part in ("MedSAMSegment", model["version"], model["name"]) if part)
