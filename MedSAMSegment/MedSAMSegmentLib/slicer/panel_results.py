"""What the worker found, written into segments, step by step, so that steps can be taken back; no Qt."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .protocol import unpack_mask

if TYPE_CHECKING:
    from .bridge import SceneBridge

# An object is doubtful if any slice is less sure than this; where objects taper, slices seldom reach a half.
_DOUBTFUL = 0.25


@dataclass(frozen=True)
class _Written:
    """A result of the worker as it was written, and the object's scores before."""

    header: Mapping[str, Any]
    payload: bytes
    scores_before: dict[int, float]

    @property
    def name(self) -> str:
        return str(self.header["name"])


class WrittenResults:
    """See the module's text.

    Args:
        bridge: to the scene.

    Attributes:
        scores: confidence by object and slice.
        axis: array axis (0 = k) along which these slices are stacked; ``None`` before anything is known.
    """

    def __init__(self, bridge: SceneBridge) -> None:
        self.scores: dict[str, dict[int, float]] = {}
        self.axis: int | None = None
        self._bridge = bridge
        self._steps: list[list[_Written]] = []
        self._undone: list[list[_Written]] = []

    # ---- kept with the scene ---------------------------------------------------------------------------------------

    def recall(self, kept: str) -> None:
        """Scores as :meth:`kept` gave them; none where it is empty."""
        known = json.loads(kept) if kept else {"axis": None, "scores": {}}
        self.axis = known["axis"]
        self.scores = {name: {int(k): value for k, value in row.items()} for name, row in known["scores"].items()}

    def kept(self) -> str:
        """What :meth:`recall` takes."""
        return json.dumps({"axis": self.axis, "scores": self.scores})

    def forget(self) -> None:
        """Another scan or segmentation: nothing can be taken back any more."""
        self.scores, self.axis = {}, None
        self._steps, self._undone = [], []

    # ---- writing and taking back -----------------------------------------------------------------------------------

    def begin_step(self) -> None:
        """What is written from now on is taken back together."""
        self._steps.append([])
        self._undone.clear()

    def write(self, segmentation: Any, volume_node: Any, header: Mapping[str, Any], payload: bytes) -> None:
        """Put a result into its segment.

        Raises:
            MedSAMSegmentError: see :meth:`SceneBridge.write`; nothing has changed then.
        """
        written = _Written(header, payload, self.scores.get(str(header["name"]), {}))
        self._write(segmentation, volume_node, written)
        if self._steps:
            self._steps[-1].append(written)
        self._undone.clear()

    def undo(self, segmentation: Any) -> None:
        """Take back what the latest step wrote."""
        written = self._steps.pop() if self._steps else []
        self._undone.append(written)
        for each in reversed(written):
            self._bridge.undo(segmentation)
            self.scores[each.name] = each.scores_before

    def redo(self, segmentation: Any, volume_node: Any) -> None:
        """Write again what was taken back last; the segments are there.

        Segments that undo removed are new ones, of which the segment editor has no later states.
        """
        written = self._undone.pop() if self._undone else []
        self._steps.append(written)
        for each in written:
            self._write(segmentation, volume_node, each)

    def _write(self, segmentation: Any, volume_node: Any, written: _Written) -> None:
        header = written.header
        model = {**header["provenance"]["model"], "version": header["provenance"]["software"]["version"]}
        mask, offset = unpack_mask(header["mask"], written.payload), list(header["mask"]["offset"])
        self._bridge.write(segmentation, written.name, volume_node, mask, offset, model)
        self.scores[written.name] = {int(k): float(score) for k, score in header["scores"].items()}

    # ---- how sure the network was ----------------------------------------------------------------------------------

    def weakest_slices(self, name: str, known: Mapping[str, Any]) -> list[int]:
        """The slices of an object, the least trustworthy first; accepted ones are left out.

        Args:
            known: what the worker said about the object.
        """
        accepted = set(known.get("accepted", ()))
        row = {k: score for k, score in self.scores.get(name, {}).items() if k not in accepted}
        return sorted(row, key=lambda k: (row[k], k))

    def status(self, name: str, known: Mapping[str, Any] | None) -> str:
        """``"new"``, ``"changed"``, ``"doubtful"``, ``"segmented"`` or ``"accepted"``.

        Args:
            known: what the worker said about the object, if anything.
        """
        row = self.scores.get(name)
        if not row:
            return "new"
        if known is not None and set(row) <= set(known["accepted"]):
            return "accepted"
        if known is not None and known["pending"] and not known["replayed"]:
            return "changed"
        return "doubtful" if min(row.values()) < _DOUBTFUL else "segmented"
