"""The boxes of a segmentation's objects in the scene, and what the worker was told of them; no Qt.

An object is a segment and mostly a box (markups ROI); one that was drawn on slices has none.  When undo takes an object
away both go, and come back when redo brings it: the box is only hidden meanwhile, of the segment its name and colour
are kept.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import MedSAMSegmentError
from ..prompts import BoxPrompt
from . import panel_scene as scene

if TYPE_CHECKING:
    from .bridge import SceneBridge


class ObjectBoxes:
    """See the module's text.

    Args:
        bridge: to the scene.

    Attributes:
        without: the objects that have no box.
    """

    def __init__(self, bridge: SceneBridge) -> None:
        self._bridge = bridge
        self.without: set[str] = set()
        self._ever_without: set[str] = set()
        self._sent: dict[str, Mapping[str, Any]] = {}
        self._taken_away: dict[str, tuple[str, tuple[float, float, float]]] = {}

    def forget(self) -> None:
        """The worker knows of no box any more."""
        self._sent, self._taken_away = {}, {}
        self.without, self._ever_without = set(), set()

    # ---- in the scene ----------------------------------------------------------------------------------------------

    def nodes(self, segmentation: Any | None, also_removed: bool = False) -> list[Any]:
        """The ROI nodes of a segmentation's objects.

        Args:
            also_removed: those that undo took away and may come back, too.
        """
        if segmentation is None:
            return []
        nodes = [node for node in scene.nodes_with_role("box") if node.GetAttribute(scene.SEGMENT)]
        own = [node for node in nodes if node.GetNodeReference(scene.SEGMENTATION) is segmentation]
        return [node for node in own if also_removed or not node.GetAttribute(scene.REMOVED)]

    def follow(self, names: set[str], segmentation: Any | None) -> list[str]:
        """Show the boxes and segments of these objects, and take those of all others away.

        Returns:
            The names of the segments that went.
        """
        if segmentation is None:
            return []
        segments, gone = segmentation.GetSegmentation(), []
        boxes = self.nodes(segmentation, also_removed=True)
        for node in boxes:
            there = node.GetAttribute(scene.SEGMENT) in names
            if there == bool(node.GetAttribute(scene.REMOVED)):
                scene.show_box(node, there)
        for name in dict.fromkeys([*(node.GetAttribute(scene.SEGMENT) for node in boxes), *sorted(self._ever_without)]):
            there = name in names
            segment = segments.GetSegment(name)
            if not there and segment is not None:
                self._taken_away[name] = (segment.GetName(), segment.GetColor())
                segments.RemoveSegment(name)
                gone.append(name)
            elif there and segment is None and name in self._taken_away:
                title, colour = self._taken_away.pop(name)
                segments.AddEmptySegment(name, title, colour)
        return gone

    # ---- to the worker ---------------------------------------------------------------------------------------------

    def prompt(self, node: Any, volume_node: Any) -> dict[str, Any]:
        """A box as the worker is told it.

        Raises:
            MedSAMSegmentError: see :meth:`SceneBridge.box`.
        """
        return BoxPrompt(self._bridge.box(node, volume_node)).as_dict()

    def has_been_sent(self, name: str, box: Mapping[str, Any]) -> None:
        """The worker was told the box of an object."""
        self._sent[name] = box

    def worker_knows(self, boxes: Mapping[str, Mapping[str, Any] | None]) -> None:
        """The worker said which objects it has, and the box of each; what it was told since is newer."""
        kept = {name: box for name, box in boxes.items() if box is not None} | self._sent
        self._sent = {name: box for name, box in kept.items() if name in boxes}
        self.without = {name for name, box in boxes.items() if box is None}
        self._ever_without |= self.without

    def recall(self, boxes: Mapping[str, Mapping[str, Any] | None]) -> None:
        """What the worker knew when the scene was saved; it is yet to be told."""
        self.without = {name for name, box in boxes.items() if box is None}

    @property
    def known(self) -> set[str]:
        """The objects whose boxes the worker was told."""
        return set(self._sent)

    def is_moved(self, name: str, node: Any, volume_node: Any) -> bool:
        """Whether the box of a known object is not where the worker was told, or cannot be used."""
        try:
            return not _same_box(self._sent[name], self.prompt(node, volume_node))
        except MedSAMSegmentError:
            return True


def _same_box(a: Mapping[str, Any], b: Mapping[str, Any]) -> bool:
    return all(np.allclose(a[part], b[part], atol=1e-4) for part in ("centre", "axes", "size"))
