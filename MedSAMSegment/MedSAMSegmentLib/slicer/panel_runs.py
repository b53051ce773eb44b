"""Runs: which objects are to be segmented, on which slices, and what is done with what the worker finds; no Qt."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from slicer.i18n import tr as _

from ..errors import MedSAMSegmentError
from . import panel_scene as scene
from .panel_scan import PanelScan


class PanelRuns(PanelScan):
    """See the module's text."""

    @property
    def ready(self) -> bool:
        """Whether there is something to segment."""
        return self._volume_chosen is not None and bool(self.boxes() or self._boxes.without)

    def pending(self) -> list[str]:
        """Objects that are new, were moved or corrected, or whose run was cancelled."""
        boxes: dict[str, Any] = {node.GetAttribute(scene.SEGMENT): node for node in self.boxes()}
        names = []
        for name in [*boxes, *sorted(self._boxes.without)]:
            known, node = self.objects.get(name), boxes.get(name)
            if known is None or known["pending"] or (node is not None and self._is_moved(name, node)):
                names.append(name)
        return names

    def segment(self, names: list[str] | None = None) -> None:
        """Segment all objects that have changed; where none has, the selected one."""
        if self.busy or not self.open():
            return
        if self.opened is None:
            self._when_open = lambda: self.segment(names)
            self.say(_("Opening the scan ..."))
            return
        names = names or self.pending() or [name for name in (self.selected,) if name in self.objects]
        if not names:
            self.say(_("Draw a box first."), failed=True)
            return
        try:
            for name in names:
                node = self.box_of(name)
                self._has_segment(name)
                is_known = name in self._boxes.known or name in self.objects
                if node is not None and (self._is_moved(name, node) or not is_known):
                    box = self._boxes.prompt(node, self._volume_node)
                    self._boxes.has_been_sent(name, box)
                    verb = "move_object" if is_known else "add_object"
                    self._step(verb, {"name": name, "box": box}, self.has_failed)
        except MedSAMSegmentError as error:
            self.has_failed(error)
            return
        fields: dict[str, Any] = {"names": names}
        reach = self._reach()
        if reach != "all" or not any(self.objects.get(name, {}).get("replayed") for name in names):
            fields["reach"] = reach
        self.begin_run(_("Segmenting ..."))
        self.client.submit("segment", fields, done=self._run_done, failed=self.run_failed, event=self._run_event)

    def cancel(self) -> None:
        """Stop the run; what was found so far is kept."""
        self._when_open = None
        if self.busy:
            self.say(_("Stopping ..."))
            self.client.cancel()

    # ---- before a run ----------------------------------------------------------------------------------------------

    def _has_segment(self, name: str) -> None:
        """Make the segment of an object again if the user deleted it."""
        segmentation = self._bridge.segmentation(self._volume_node, self._parameters.segmentation)
        self._choose_segmentation(segmentation)
        if segmentation.GetSegmentation().GetSegment(name) is None:
            segmentation.GetSegmentation().AddEmptySegment(name, name)

    def _is_moved(self, name: str, node: Any) -> bool:
        if self._volume is None:
            return False
        if name not in self._boxes.known:
            return name not in self.objects
        return self._boxes.is_moved(name, node, self._volume_node)

    def _reach(self) -> str | list[int]:
        """The slices that a run may change: of the range, and from the slice that is shown in the direction."""
        parameters, opened = self._parameters, self.opened
        first, last = 0, 100_000
        if parameters.limitRange:
            first, last = sorted((parameters.firstSlice, parameters.lastSlice))
        if parameters.direction != "both" and opened is not None:
            shown = scene.current_slice(self._volume_node, opened["axis"])
            upwards = (parameters.direction == "up") == (opened["up"] > 0)
            if shown is not None and upwards:
                first = max(first, shown)
            elif shown is not None:
                last = min(last, shown)
        return "all" if (first, last) == (0, 100_000) else [first, last]

    # ---- what comes back -------------------------------------------------------------------------------------------

    def _run_event(self, header: Mapping[str, Any], payload: bytes) -> None:
        if header["event"] == "progress":
            self.progressed(float(header["fraction"]))
        elif header["event"] == "slice":
            self.preview.show(header["mask"], payload)
        elif header["event"] == "result":
            self._write(header, payload)

    def _write(self, header: Mapping[str, Any], payload: bytes) -> None:
        segmentation, name = self._parameters.segmentation, str(header["name"])
        if segmentation is None or segmentation.GetSegmentation().GetSegment(name) is None:
            return  # deleted while it was being made
        try:
            self._results.write(segmentation, self._volume_node, header, payload)
        except MedSAMSegmentError as error:
            self.has_failed(error)
            return
        if 0 in header["mask"]["shape"]:
            self.say(_("Nothing was found in the box. Draw it tighter, or choose another window."), failed=True)
        else:
            text = _("{name}: {millilitres:.1f} ml in {seconds:.1f} s").format(
                name=segmentation.GetSegmentation().GetSegment(name).GetName(),
                millilitres=header["millilitres"],
                seconds=header["seconds"],
            )
            self.say(text)

    def _run_done(self, reply: Mapping[str, Any], payload: bytes) -> None:
        self.fraction = None
        self.preview.hide()
        self._heard(reply, payload)

    def run_failed(self, error: MedSAMSegmentError) -> None:
        self.preview.hide()
        super().run_failed(error)
