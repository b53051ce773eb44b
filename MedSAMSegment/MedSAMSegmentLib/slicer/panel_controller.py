"""What happens when the user does something in the panel: between the scene, the bridge and the worker; no Qt.

An object is a box (markups ROI) and a segment; the worker knows it by the segment's identifier.  Nothing here waits:
requests go to the worker, and what comes back changes the scene and is announced by ``changed``.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import slicer
from slicer.i18n import tr as _

from ..errors import CancelledError, MedSAMSegmentError
from ..prompts import BoxPrompt
from . import panel_scene as scene
from .panel_parameters import worker_options
from .protocol import unpack_mask
from .worker_client import State, Transport, WorkerClient

if TYPE_CHECKING:
    from ..volume import Volume
    from .bridge import SceneBridge

_Written = tuple[Mapping[str, Any], bytes]
"""A result of the worker as it was written: header and payload."""

_PREVIEW_MILLISECONDS = 150
_DOUBTFUL = 0.5


class PanelController:
    """See the module's text.

    Args:
        transport: of the worker.
        bridge: to the scene.
        changed: called when the panel should look again.

    Attributes:
        client: the worker.
        opened: what the worker said about the scan; ``None`` before it is open.
        objects: what it said about every object, by segment.
        scores: confidence by object and slice.
        selected: the segment that corrections are for; empty for none.
        message: the latest sentence for the user; ``failed`` says whether it is an error, ``code`` which one.
        fraction: how much of a run is done; ``None`` when none is under way.
    """

    def __init__(self, transport: Transport, bridge: SceneBridge, changed: Callable[[], None]) -> None:
        self.client = WorkerClient(transport, self._worker_changed)
        self.opened: Mapping[str, Any] | None = None
        self.objects: dict[str, Mapping[str, Any]] = {}
        self.scores: dict[str, dict[int, float]] = {}
        self.selected = ""
        self.message = ""
        self.failed = False
        self.code = ""
        self.fraction: float | None = None
        self._transport = transport
        self._bridge = bridge
        self._changed = changed
        self._parameters: Any = None
        self._volume: Volume | None = None
        self._volume_node: Any = None
        self._seen: tuple[Any, ...] = ()
        self._axis: int | None = None
        self._chosen: tuple[Any, Any] = (None, None)
        self._sent_boxes: dict[str, dict[str, Any]] = {}
        self._writes: list[list[_Written]] = []
        self._undone: list[list[_Written]] = []
        self._forgotten: dict[str, tuple[str, tuple[float, float, float]]] = {}
        self._preview = scene.Preview()
        self._preview_timer: Any = None
        self._when_open: Callable[[], None] | None = None

    # ---- scan and settings -----------------------------------------------------------------------------------------

    def use(self, parameters: Any | None) -> None:
        """Work with another parameter node: of the panel that was opened, or of a scene that was loaded."""
        self.forget()
        self._parameters = parameters
        self._chosen = (None, None) if parameters is None else (parameters.inputVolume, parameters.segmentation)
        self._recall()
        self._changed()

    def _recall(self) -> None:
        """What is kept with the chosen segmentation."""
        kept = None if self._parameters is None else scene.remembered(self._parameters.segmentation)[1]
        known = json.loads(kept) if kept else {"axis": None, "scores": {}}
        self._axis = known["axis"]
        self.scores = {name: {int(k): value for k, value in row.items()} for name, row in known["scores"].items()}
        self.selected = next(iter(self.scores), "")

    def forget(self) -> None:
        """Let the scan go; whatever is under way is stopped and changes nothing any more."""
        if self._preview_timer is not None:
            self._preview_timer.cancel()
        self.client.close_scan()
        self._preview.remove()
        self._when_open = None
        self.opened, self._volume, self._volume_node, self._axis = None, None, None, None
        self.objects, self.scores, self._sent_boxes = {}, {}, {}
        self._writes, self._undone, self._forgotten = [], [], {}
        self.fraction = None

    def shut_down(self) -> None:
        """End the worker, too."""
        self.forget()
        self.client.shut_down()

    def nodes_chosen(self) -> None:
        """Another volume or segmentation: the objects of the one before stay in the scene, and come back with it."""
        parameters = self._parameters
        volume, segmentation = parameters.inputVolume, parameters.segmentation
        if (volume, segmentation) == self._chosen:
            return
        if volume is not self._chosen[0] and segmentation is not None:
            of = scene.segmented_volume(segmentation)
            if of is not None and of is not volume:
                segmentation = None if volume is None else scene.segmentation_of(volume)
        self.forget()
        self._choose_segmentation(segmentation)
        self._recall()

    def _choose_segmentation(self, segmentation: Any | None) -> None:
        """Choose one with no further ado."""
        self._chosen = (self._parameters.inputVolume, segmentation)
        self._parameters.segmentation = segmentation

    def settings_changed(self) -> None:
        """Model, device or settings: objects keep their prompts and are segmented anew when asked to."""
        if self._volume is not None:
            self.client.configure(worker_options(self._parameters), self._has_opened, self._has_failed)

    @property
    def ready(self) -> bool:
        """Whether there is something to segment."""
        return self._parameters is not None and self._parameters.inputVolume is not None and bool(self.boxes())

    @property
    def busy(self) -> bool:
        return self.fraction is not None

    def open(self) -> bool:
        """Open the chosen volume if it is not open; ``False`` (and a message) where it cannot be."""
        node = None if self._parameters is None else self._parameters.inputVolume
        if node is None:
            return self._say(_("Choose a volume first."), failed=True)
        try:
            volume = self._bridge.volume(node)
            seen = (node.GetID(), node.GetImageData().GetMTime(), volume.geometry.affine.tobytes())
            if self._volume is not None and seen == self._seen:
                return True
            session = scene.remembered(self._parameters.segmentation)[0]
            state = json.loads(session) if session else None
            self.opened = None
            self._volume, self._volume_node, self._seen = volume, node, seen
            self.client.open_scan(volume, worker_options(self._parameters), state, self._has_opened, self._not_opened)
        except MedSAMSegmentError as error:
            self._volume = self._volume_node = None
            self._has_failed(error)
            return False
        return True

    def _has_opened(self, reply: Mapping[str, Any], payload: bytes) -> None:
        self.opened, self._axis = reply, int(reply["axis"])
        if not self._parameters.limitRange:
            self._parameters.firstSlice, self._parameters.lastSlice = 0, int(reply["slices"]) - 1
        self._heard(reply, payload)
        going_on, self._when_open = self._when_open, None
        if going_on is not None:
            going_on()

    def _not_opened(self, error: MedSAMSegmentError) -> None:
        self._volume = self._volume_node = self._when_open = None
        if error.code == "OTHER_SCAN" and self._parameters.segmentation is not None:
            # The volume was edited or moved: what was clicked in it does not fit any more.
            self.objects, self.scores, self._sent_boxes = {}, {}, {}
            scene.remember(self._parameters.segmentation, None, None)
        self._has_failed(error)

    # ---- boxes -----------------------------------------------------------------------------------------------------

    def boxes(self) -> list[Any]:
        """The ROI nodes of all objects of the chosen segmentation."""
        return [node for node in self._all_boxes() if not node.GetAttribute(scene.REMOVED)]

    def _all_boxes(self) -> list[Any]:
        """Also those of objects that undo may bring back."""
        segmentation = None if self._parameters is None else self._parameters.segmentation
        if segmentation is None:
            return []
        nodes = [node for node in scene.nodes_with_role("box") if node.GetAttribute(scene.SEGMENT)]
        return [node for node in nodes if node.GetNodeReference(scene.SEGMENTATION) is segmentation]

    def box_of(self, name: str) -> Any | None:
        """The ROI node of an object."""
        return next((node for node in self.boxes() if node.GetAttribute(scene.SEGMENT) == name), None)

    def draw_box(self) -> Any:
        """Let the user draw the box of a new object; :meth:`box_drawn` goes on when it is there."""
        number = len(self.boxes()) + 1
        node = scene.new_markup("ROI", "box", _("Box {number}").format(number=number), (1.0, 0.85, 0.1))
        scene.place(node)
        return node

    def box_drawn(self, node: Any) -> None:
        """The user has drawn the box of a new object, or given up."""
        if min(node.GetSize()) <= 0 or len(scene.control_points(node)) == 0:
            slicer.mrmlScene.RemoveNode(node)
            return
        scene.give_depth(node)
        if not self.open():
            slicer.mrmlScene.RemoveNode(node)
            return
        try:
            box = self._box(node)
            segmentation = self._bridge.segmentation(self._volume_node, self._parameters.segmentation)
        except MedSAMSegmentError as error:
            slicer.mrmlScene.RemoveNode(node)
            self._has_failed(error)
            return
        self._choose_segmentation(segmentation)
        number = segmentation.GetSegmentation().GetNumberOfSegments() + 1
        colour = scene.object_colour(number - 1)
        name = segmentation.GetSegmentation().AddEmptySegment("", _("Object {number}").format(number=number), colour)
        node.SetAttribute(scene.SEGMENT, name)
        node.SetNodeReferenceID(scene.SEGMENTATION, segmentation.GetID())
        scene.show_colour(node, colour)
        self.selected = name

        def refused(error: MedSAMSegmentError) -> None:
            slicer.mrmlScene.RemoveNode(node)
            segmentation.GetSegmentation().RemoveSegment(name)
            self._has_failed(error)

        self._sent_boxes[name] = box
        self._step("add_object", {"name": name, "box": box}, refused)
        self.box_moved(node)

    def box_moved(self, node: Any) -> None:
        """A box is where it was not: preview its key slice, a moment after the hand has come to rest."""
        if self._preview_timer is not None:
            self._preview_timer.cancel()
        self._changed()
        if self._parameters is not None and self._parameters.livePreview and not self.busy:
            self._preview_timer = self._transport.later(_PREVIEW_MILLISECONDS, lambda: self._preview_box(node))

    def box_deleted(self, name: str) -> None:
        """The user deleted the box of an object: the object is forgotten, its segment stays."""
        if name in self.objects:
            self._step("remove_object", {"name": name}, self._has_failed)

    def remove(self, name: str) -> None:
        """Forget an object with its box and its segment; can be undone."""
        if name in self.objects or (self.correctable and self.open()):
            self._step("remove_object", {"name": name}, self._has_failed)

    def _box(self, node: Any) -> dict[str, Any]:
        return BoxPrompt(self._bridge.box(node, self._volume_node)).as_dict()

    def _preview_box(self, node: Any) -> None:
        if self.busy or node.GetScene() is None or not self.open():
            return
        try:
            box = self._box(node)
        except MedSAMSegmentError as error:
            self._has_failed(error)
            return

        def show(reply: Mapping[str, Any], payload: bytes) -> None:
            if not self.busy and self._volume_node is not None:
                self._show_preview(reply["mask"], payload)

        self.client.submit("preview", {"box": box}, done=show, failed=self._has_failed, replaces="preview")

    def _show_preview(self, where: Mapping[str, Any], payload: bytes) -> None:
        mask = unpack_mask(where, payload)
        if mask.size and self._volume_node is not None and self._volume_node.GetScene() is not None:
            self._preview.show(self._volume_node, mask, list(where["offset"]))
        else:
            self._preview.hide()

    # ---- segmenting ------------------------------------------------------------------------------------------------

    def pending(self) -> list[str]:
        """Objects that are new, were moved or corrected, or whose run was cancelled."""
        names = []
        for node in self.boxes():
            name = node.GetAttribute(scene.SEGMENT)
            known = self.objects.get(name)
            if known is None or known["pending"] or self._is_moved(name, node):
                names.append(name)
        return names

    def segment(self, names: list[str] | None = None) -> None:
        """Segment all objects that have changed; where none has, the selected one."""
        if self.busy or not self.open():
            return
        if self.opened is None:
            self._when_open = lambda: self.segment(names)
            self._say(_("Opening the scan ..."))
            return
        names = names or self.pending() or [name for name in (self.selected,) if self.box_of(name) is not None]
        if not names:
            self._say(_("Draw a box first."), failed=True)
            return
        try:
            for name in names:
                node = self.box_of(name)
                self._has_segment(name)
                if node is not None and (self._is_moved(name, node) or name not in self._known_names()):
                    verb = "move_object" if name in self._known_names() else "add_object"
                    self._sent_boxes[name] = self._box(node)
                    self._step(verb, {"name": name, "box": self._sent_boxes[name]}, self._has_failed)
        except MedSAMSegmentError as error:
            self._has_failed(error)
            return
        fields: dict[str, Any] = {"names": names}
        reach = self._reach()
        if reach != "all" or not any(self.objects.get(name, {}).get("replayed") for name in names):
            fields["reach"] = reach
        self.fraction = 0.0
        self._say(_("Segmenting ..."))
        self.client.submit("segment", fields, done=self._run_done, failed=self._run_failed, event=self._run_event)

    def cancel(self) -> None:
        """Stop the run; what was found so far is kept."""
        self._when_open = None
        if self.busy:
            self._say(_("Stopping ..."))
            self.client.cancel()

    def _known_names(self) -> set[str]:
        return set(self._sent_boxes) | set(self.objects)

    def _has_segment(self, name: str) -> None:
        """Make the segment of an object again if the user deleted it."""
        segmentation = self._bridge.segmentation(self._volume_node, self._parameters.segmentation)
        self._choose_segmentation(segmentation)
        if segmentation.GetSegmentation().GetSegment(name) is None:
            segmentation.GetSegmentation().AddEmptySegment(name, name)

    def _is_moved(self, name: str, node: Any) -> bool:
        if self._volume is None:
            return False
        sent = self._sent_boxes.get(name)
        if sent is None:
            return name not in self.objects
        try:
            return not _same_box(sent, self._box(node))
        except MedSAMSegmentError:
            return True

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

    def _run_event(self, header: Mapping[str, Any], payload: bytes) -> None:
        if header["event"] == "progress":
            self.fraction = float(header["fraction"])
            self._changed()
        elif header["event"] == "slice":
            self._show_preview(header["mask"], payload)
        elif header["event"] == "result":
            self._write(header, payload)

    def _write(self, header: Mapping[str, Any], payload: bytes) -> None:
        segmentation, name = self._parameters.segmentation, str(header["name"])
        if segmentation is None or segmentation.GetSegmentation().GetSegment(name) is None:
            return  # deleted while it was being made
        try:
            self._write_mask(header, payload)
        except MedSAMSegmentError as error:
            self._has_failed(error)
            return
        if self._writes:
            self._writes[-1].append((header, payload))
        self._undone.clear()
        self.scores[name] = _scores(header)
        if 0 in header["mask"]["shape"]:
            self._say(_("Nothing was found in the box. Draw it tighter, or choose another window."), failed=True)
        else:
            text = _("{name}: {millilitres:.1f} ml in {seconds:.1f} s").format(
                name=segmentation.GetSegmentation().GetSegment(name).GetName(),
                millilitres=header["millilitres"],
                seconds=header["seconds"],
            )
            self._say(text)

    def _write_mask(self, header: Mapping[str, Any], payload: bytes) -> None:
        model = {**header["provenance"]["model"], "version": header["provenance"]["software"]["version"]}
        mask, offset = unpack_mask(header["mask"], payload), list(header["mask"]["offset"])
        segmentation = self._parameters.segmentation
        self._bridge.write(segmentation, str(header["name"]), self._volume_node, mask, offset, model)

    def _run_done(self, reply: Mapping[str, Any], payload: bytes) -> None:
        self.fraction = None
        self._preview.hide()
        self._heard(reply, payload)

    def _run_failed(self, error: MedSAMSegmentError) -> None:
        self.fraction = None
        self._preview.hide()
        if isinstance(error, CancelledError):
            self._say(_("Stopped; what was found so far is kept."))
        else:
            self._has_failed(error)

    # ---- corrections -----------------------------------------------------------------------------------------------

    @property
    def correctable(self) -> bool:
        """Whether there is a selected object that corrections can be for; after a scene was loaded, too."""
        return self.selected in self.objects or (self.opened is None and self.selected in self.scores)

    def understands(self, prompt: str) -> bool:
        """Whether the chosen model was trained with ``"points"``; unknown before it is open."""
        return self.opened is None or prompt in self.opened["understands"]

    def correct(self, role: str, positive: bool) -> Any | None:
        """Let the user draw a correction of the selected object; :meth:`drawn` goes on when it is there."""
        if not self.selected or not self.open():
            self._say(_("Select an object first."), failed=True)
            return None
        kind = {"points": "Fiducial", "scribble": "Curve", "slice-box": "ROI"}[role]
        colour = (0.2, 0.9, 0.3) if positive else (0.95, 0.3, 0.2)
        name = _("Inside") if positive else _("Outside")
        node = scene.new_markup(kind, role, name, colour, positive)
        scene.place(node, persistent=False)
        return node

    def drawn(self, node: Any) -> None:
        """A correction is drawn (or given up): tell the worker and segment the object again."""
        if self.opened is None and self.open():
            self._when_open = lambda: self.drawn(node)
            return
        role, positive = node.GetAttribute(scene.ROLE), node.GetAttribute(scene.POSITIVE) == "1"
        points = scene.control_points(node)
        name, opened = self.selected, self.opened
        if len(points) == 0 or not name or self._volume is None or opened is None:
            slicer.mrmlScene.RemoveNode(node)
            return
        places = scene.world_to_lps(self._volume_node, self._volume.geometry, points)
        if role == "points":
            verb, fields = "add_points", {"points": places, "positive": positive}
        elif role == "scribble":
            verb, fields = "add_scribble", {"path": places, "positive": positive}
        else:
            index, rectangle = scene.rectangle_on_slice(self._volume_node, opened["axis"], node)
            verb, fields = "add_slice_box", {"slice": index, "rectangle": rectangle}
        slicer.mrmlScene.RemoveNode(node)
        self._step(verb, {"name": name, **fields}, self._has_failed, then=lambda: self.segment([name]))

    def accept(self, slices: list[int] | None = None) -> None:
        """Lock slices of the selected object, by default all: corrections elsewhere leave them alone."""
        if self.correctable and self.open():
            self._step("accept", {"name": self.selected, "slices": slices}, self._has_failed)

    def release(self, slices: list[int] | None = None) -> None:
        """Unlock slices of the selected object, by default all."""
        if self.correctable and self.open():
            self._step("release", {"name": self.selected, "slices": slices}, self._has_failed)

    def shown_slice(self) -> int | None:
        """The slice that the user looks at."""
        volume_node = None if self._parameters is None else self._parameters.inputVolume
        if self._axis is None or volume_node is None:
            return None
        return scene.current_slice(volume_node, self._axis)

    def show_slice(self, index: int) -> None:
        volume_node = None if self._parameters is None else self._parameters.inputVolume
        if self._axis is not None and volume_node is not None:
            scene.show_slice(volume_node, self._axis, index)

    def weakest_slices(self, name: str) -> list[int]:
        """The slices of an object, the least trustworthy first; accepted ones are left out."""
        accepted = set(self.objects.get(name, {}).get("accepted", ()))
        row = {k: score for k, score in self.scores.get(name, {}).items() if k not in accepted}
        return sorted(row, key=lambda k: (row[k], k))

    def status(self, name: str) -> str:
        """``"new"``, ``"changed"``, ``"doubtful"``, ``"segmented"`` or ``"accepted"``."""
        row, known = self.scores.get(name), self.objects.get(name)
        if not row:
            return "new"
        if known is not None and set(row) <= set(known["accepted"]):
            return "accepted"
        if known is not None and known["pending"] and not known["replayed"]:
            return "changed"
        return "doubtful" if min(row.values()) < _DOUBTFUL else "segmented"

    # ---- models ----------------------------------------------------------------------------------------------------

    def download_terms(self, model: str, ask: Callable[[Mapping[str, Any]], bool]) -> None:
        """Ask the user with what must be known before a download, and fetch the weights where the answer is yes."""

        def done(reply: Mapping[str, Any], payload: bytes) -> None:
            if not reply["hosts"]:
                self._say(_("The weights are here."))
            else:
                self._transport.later(0, lambda: ask(reply) and self.download(model, list(reply["hosts"])))

        self.client.submit("download_terms", {"model": model}, done=done, failed=self._has_failed)

    def download(self, model: str, hosts: list[str]) -> None:
        """Fetch the weights of a model from computers that the user has agreed to."""

        def done(reply: Mapping[str, Any], payload: bytes) -> None:
            self.fraction = None
            self._say(_("The weights are here."))
            self.settings_changed()

        self.fraction = 0.0
        self._say(_("Downloading ..."))
        self.client.submit(
            "download", {"model": model, "hosts": hosts}, done=done, failed=self._run_failed, event=self._run_event
        )

    def import_weights(self, model: str, path: str) -> None:
        """Use the user's own weights for a model, if they fit it."""

        def done(reply: Mapping[str, Any], payload: bytes) -> None:
            self._parameters.checkpoint = path
            self._say(_("The weights fit and are used from now on."))

        self._say(_("Checking the weights ..."))
        self.client.submit("import_weights", {"model": model, "file": path}, done=done, failed=self._has_failed)

    # ---- undo ------------------------------------------------------------------------------------------------------

    def undo(self) -> None:
        """Take back the latest box or correction, with what was segmented since."""
        if self.client.can_undo and not self.busy:
            self.client.undo(self._undo_done, self._has_failed)

    def redo(self) -> None:
        if self.client.can_redo and not self.busy:
            self.client.redo(self._redo_done, self._has_failed)

    def _undo_done(self, reply: Mapping[str, Any], payload: bytes) -> None:
        written = self._writes.pop() if self._writes else []
        self._undone.append(written)
        for _write in written:
            self._bridge.undo(self._parameters.segmentation)
        self._heard(reply, payload)

    def _redo_done(self, reply: Mapping[str, Any], payload: bytes) -> None:
        written = self._undone.pop() if self._undone else []
        self._writes.append(written)
        self._heard(reply, payload)
        # Segments that undo removed are new ones, of which the segment editor has no later states: write once more.
        for header, mask in written:
            self._write_mask(header, mask)
            self.scores[str(header["name"])] = _scores(header)
        self._changed()

    # ---- inside ----------------------------------------------------------------------------------------------------

    def _step(
        self,
        verb: str,
        fields: Mapping[str, Any],
        failed: Callable[[MedSAMSegmentError], None],
        then: Callable[[], None] | None = None,
    ) -> None:
        """Something that undo takes back."""

        def done(reply: Mapping[str, Any], payload: bytes) -> None:
            self._writes.append([])
            self._undone.clear()
            self._heard(reply, payload)
            if then is not None:
                then()

        self.client.submit(verb, fields, done=done, failed=failed)

    def _heard(self, reply: Mapping[str, Any], payload: bytes) -> None:
        """The worker said what it knows: keep it with the scene, and make boxes and segments follow."""
        if self._parameters is None or "objects" not in reply:
            return
        self.objects = dict(reply["objects"])
        boxes = {item["name"]: item["box"] for item in reply["state"]["objects"]}
        for name, box in boxes.items():
            if box is not None:
                self._sent_boxes.setdefault(name, box)
        self._sent_boxes = {name: box for name, box in self._sent_boxes.items() if name in boxes}
        self._follow(set(boxes))
        if self._parameters.segmentation is not None:
            scores = json.dumps({"axis": self._axis, "scores": self.scores})
            scene.remember(self._parameters.segmentation, json.dumps(reply["state"]), scores)
        self._changed()

    def _follow(self, names: set[str]) -> None:
        """Segments and boxes of objects that undo took away go, those it brought back come."""
        segmentation = (
            None if self._parameters.segmentation is None else self._parameters.segmentation.GetSegmentation()
        )
        for node in self._all_boxes():
            name = node.GetAttribute(scene.SEGMENT)
            there = name in names
            if there == bool(node.GetAttribute(scene.REMOVED)):
                scene.show_box(node, there)
            segment = None if segmentation is None else segmentation.GetSegment(name)
            if not there and segment is not None:
                self._forgotten[name] = (segment.GetName(), segment.GetColor())
                segmentation.RemoveSegment(name)
                self.scores.pop(name, None)
            elif there and segment is None and segmentation is not None and name in self._forgotten:
                title, colour = self._forgotten.pop(name)
                segmentation.AddEmptySegment(name, title, colour)
        if self.selected not in names:
            self.selected = next(iter(sorted(names)), "")

    def _has_failed(self, error: MedSAMSegmentError) -> None:
        if isinstance(error, CancelledError):
            return
        self.code = error.code
        self._say(f"{error.message} {error.hint}".strip(), failed=True)

    def _say(self, message: str, failed: bool = False) -> bool:
        self.message, self.failed = message, failed
        if not failed:
            self.code = ""
        self._changed()
        return not failed

    def _worker_changed(self) -> None:
        if self.client.state is State.STARTING and self.busy:
            self._say(_("Starting the segmentation process ..."))
        self._changed()


def _same_box(a: Mapping[str, Any], b: Mapping[str, Any]) -> bool:
    return all(np.allclose(a[part], b[part], atol=1e-4) for part in ("centre", "axes", "size"))


def _scores(header: Mapping[str, Any]) -> dict[int, float]:
    return {int(k): float(score) for k, score in header["scores"].items()}
