"""What happens when the user does something in the panel: between the scene, the bridge and the worker; no Qt.

An object is a box (markups ROI) and a segment; the worker knows it by the segment's identifier.  Nothing here waits:
requests go to the worker, and what comes back changes the scene and is announced by ``changed``.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import slicer
from slicer.i18n import tr as _

from ..errors import MedSAMSegmentError
from ..prompts import plan_slices
from . import panel_scene as scene
from .panel_boxes import ObjectBoxes
from .panel_parameters import worker_options
from .panel_results import WrittenResults
from .panel_status import PanelStatus
from .panel_weights import ModelWeights
from .protocol import unpack_mask
from .worker_client import State, WorkerClient
from .worker_transport import Transport

if TYPE_CHECKING:
    from ..prompts import LinePrompt
    from ..volume import Volume
    from .bridge import SceneBridge

_PREVIEW_MILLISECONDS = 150


class PanelController(PanelStatus):
    """See the module's text.

    Args:
        transport: of the worker.
        bridge: to the scene.
        changed: called when the panel should look again.

    Attributes:
        client: the worker.
        opened: what the worker said about the scan; ``None`` before it is open.
        objects: what it said about every object, by segment.
        selected: the segment that corrections are for; empty for none.
    """

    def __init__(self, transport: Transport, bridge: SceneBridge, changed: Callable[[], None]) -> None:
        super().__init__(changed)
        self.client = WorkerClient(transport, self._worker_changed)
        self.opened: Mapping[str, Any] | None = None
        self.objects: dict[str, Mapping[str, Any]] = {}
        self._boxes = ObjectBoxes(bridge)
        self._results = WrittenResults(bridge)
        self.selected = ""
        self._weights = ModelWeights(self.client, transport, self)
        self._transport = transport
        self._bridge = bridge
        self._parameters: Any = None
        self._volume: Volume | None = None
        self._volume_node: Any = None
        self._seen: tuple[Any, ...] = ()
        self._chosen: tuple[Any, Any] = (None, None)
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
        self._results.recall("" if self._parameters is None else scene.remembered(self._parameters.segmentation)[1])
        self.selected = next(iter(self._results.scores), "")

    def forget(self) -> None:
        """Let the scan go; whatever is under way is stopped and changes nothing any more."""
        if self._preview_timer is not None:
            self._preview_timer.cancel()
        self.client.close_scan()
        self._preview.remove()
        self._when_open = None
        self.opened, self._volume, self._volume_node = None, None, None
        self.objects = {}
        self._boxes.forget()
        self._results.forget()
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
            self.client.configure(worker_options(self._parameters), self._has_opened, self.has_failed)

    @property
    def ready(self) -> bool:
        """Whether there is something to segment."""
        return self._volume_chosen is not None and bool(self.boxes())

    @property
    def scores(self) -> dict[str, dict[int, float]]:
        """Confidence by object and slice."""
        return self._results.scores

    @property
    def _volume_chosen(self) -> Any | None:
        return None if self._parameters is None else self._parameters.inputVolume

    def open(self) -> bool:
        """Open the chosen volume if it is not open; ``False`` (and a message) where it cannot be."""
        node = self._volume_chosen
        if node is None:
            return self.say(_("Choose a volume first."), failed=True)
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
            self.has_failed(error)
            return False
        return True

    def _has_opened(self, reply: Mapping[str, Any], payload: bytes) -> None:
        self.opened, self._results.axis = reply, int(reply["axis"])
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
            self.objects, self._results.scores = {}, {}
            self._boxes.forget()
            scene.remember(self._parameters.segmentation, None, None)
        self.has_failed(error)

    # ---- boxes -----------------------------------------------------------------------------------------------------

    def boxes(self) -> list[Any]:
        """The ROI nodes of all objects of the chosen segmentation."""
        return self._boxes.nodes(None if self._parameters is None else self._parameters.segmentation)

    def box_of(self, name: str) -> Any | None:
        """The ROI node of an object."""
        return next((node for node in self.boxes() if node.GetAttribute(scene.SEGMENT) == name), None)

    def draw_box(self) -> Any:
        """Let the user draw the box of a new object; :meth:`box_drawn` goes on when it is there."""
        node = self._new_box()
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
        self._begin_object(node)

    def draw_diameter(self) -> Any:
        """Let the user draw the longest diameter of a new object; :meth:`diameter_drawn` goes on when it is there."""
        node = scene.new_markup("Line", "diameter", _("Diameter"), (1.0, 0.85, 0.1))
        scene.place(node)
        return node

    def diameter_drawn(self, node: Any) -> None:
        """The user has drawn the diameter of a new object (or given up): it gets a box as deep as that is long."""
        try:
            if len(scene.control_points(node)) != 2 or not self.open() or self._volume is None:
                return
            line = self._bridge.line(node, self._volume_node)
            plane = self._parameters.plane
            region = plan_slices(self._volume.geometry, None, plane=plane, lines=[line]).box
        except MedSAMSegmentError as error:
            self.has_failed(error)
            return
        finally:
            slicer.mrmlScene.RemoveNode(node)
        box = self._new_box()
        self._bridge.put_box(box, region)
        self._begin_object(box, line)

    def _new_box(self) -> Any:
        name = _("Box {number}").format(number=len(self.boxes()) + 1)
        return scene.new_markup("ROI", "box", name, (1.0, 0.85, 0.1))

    def _begin_object(self, node: Any, line: LinePrompt | None = None) -> None:
        """A new object with its box, and its diameter."""
        try:
            box = self._boxes.prompt(node, self._volume_node)
            segmentation = self._bridge.segmentation(self._volume_node, self._parameters.segmentation)
        except MedSAMSegmentError as error:
            slicer.mrmlScene.RemoveNode(node)
            self.has_failed(error)
            return
        self._choose_segmentation(segmentation)
        number = segmentation.GetSegmentation().GetNumberOfSegments() + 1
        colour = scene.object_colour(number - 1)
        name = segmentation.GetSegmentation().AddEmptySegment("", _("Object {number}").format(number=number), colour)
        node.SetAttribute(scene.SEGMENT, name)
        node.SetNodeReferenceID(scene.SEGMENTATION, segmentation.GetID())
        scene.show_colour(node, colour)
        self.selected = name

        def forget(error: MedSAMSegmentError) -> None:
            slicer.mrmlScene.RemoveNode(node)
            segmentation.GetSegmentation().RemoveSegment(name)
            self.has_failed(error)

        def refused(error: MedSAMSegmentError) -> None:
            if error.code == "PROMPT_NOT_TRAINED":
                # The box alone, then: this model was trained with boxes only.
                self._step("add_object", {"name": name, "box": box}, forget)
            else:
                forget(error)

        self._boxes.has_been_sent(name, box)
        fields = {"name": name, "box": box, "line": None if line is None else line.as_dict()}
        self._step("add_object", fields, refused)
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
            self._step("remove_object", {"name": name}, self.has_failed)

    def remove(self, name: str) -> None:
        """Forget an object with its box and its segment; can be undone."""
        if name in self.objects or (self.correctable and self.open()):
            self._step("remove_object", {"name": name}, self.has_failed)

    def _preview_box(self, node: Any) -> None:
        if self.busy or node.GetScene() is None or not self.open():
            return
        try:
            box = self._boxes.prompt(node, self._volume_node)
        except MedSAMSegmentError as error:
            self.has_failed(error)
            return

        def show(reply: Mapping[str, Any], payload: bytes) -> None:
            if not self.busy and self._volume_node is not None:
                self._show_preview(reply["mask"], payload)

        self.client.submit("preview", {"box": box}, done=show, failed=self.has_failed, replaces="preview")

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
            self.say(_("Opening the scan ..."))
            return
        names = names or self.pending() or [name for name in (self.selected,) if self.box_of(name) is not None]
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

    def _run_event(self, header: Mapping[str, Any], payload: bytes) -> None:
        if header["event"] == "progress":
            self.progressed(float(header["fraction"]))
        elif header["event"] == "slice":
            self._show_preview(header["mask"], payload)
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
        self._preview.hide()
        self._heard(reply, payload)

    def run_failed(self, error: MedSAMSegmentError) -> None:
        self._preview.hide()
        super().run_failed(error)

    # ---- corrections -----------------------------------------------------------------------------------------------

    @property
    def correctable(self) -> bool:
        """Whether there is a selected object that corrections can be for; after a scene was loaded, too."""
        return self.selected in self.objects or (self.opened is None and self.selected in self._results.scores)

    def understands(self, prompt: str) -> bool:
        """Whether the chosen model was trained with ``"points"``; unknown before it is open."""
        return self.opened is None or prompt in self.opened["understands"]

    def correct(self, role: str, positive: bool) -> Any | None:
        """Let the user draw a correction of the selected object; :meth:`drawn` goes on when it is there."""
        if not self.selected or not self.open():
            self.say(_("Select an object first."), failed=True)
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
        self._step(verb, {"name": name, **fields}, self.has_failed, then=lambda: self.segment([name]))

    def accept(self, slices: list[int] | None = None) -> None:
        """Lock slices of the selected object, by default all: corrections elsewhere leave them alone."""
        if self.correctable and self.open():
            self._step("accept", {"name": self.selected, "slices": slices}, self.has_failed)

    def release(self, slices: list[int] | None = None) -> None:
        """Unlock slices of the selected object, by default all."""
        if self.correctable and self.open():
            self._step("release", {"name": self.selected, "slices": slices}, self.has_failed)

    def shown_slice(self) -> int | None:
        """The slice that the user looks at."""
        volume_node, axis = self._volume_chosen, self._results.axis
        return None if volume_node is None or axis is None else scene.current_slice(volume_node, axis)

    def show_slice(self, index: int) -> None:
        volume_node, axis = self._volume_chosen, self._results.axis
        if volume_node is not None and axis is not None:
            scene.show_slice(volume_node, axis, index)

    def weakest_slices(self, name: str) -> list[int]:
        """The slices of an object, the least trustworthy first; accepted ones are left out."""
        return self._results.weakest_slices(name, self.objects.get(name, {}))

    def status(self, name: str) -> str:
        """See :meth:`WrittenResults.status`."""
        return self._results.status(name, self.objects.get(name))

    # ---- models ----------------------------------------------------------------------------------------------------

    def download(self, model: str, agrees: Callable[[Mapping[str, Any]], bool]) -> None:
        """Ask the user with what must be known before a download; where the answer is yes, fetch the weights."""
        self._weights.download_terms(model, agrees, self.settings_changed)

    def import_weights(self, model: str, path: str) -> None:
        """Use the user's own weights for a model, if they fit it."""

        def fits() -> None:
            self._parameters.checkpoint = path

        self._weights.import_file(model, path, fits)

    # ---- undo ------------------------------------------------------------------------------------------------------

    def undo(self) -> None:
        """Take back the latest box or correction, with what was segmented since."""
        if self.client.can_undo and not self.busy:
            self.client.undo(self._undo_done, self.has_failed)

    def redo(self) -> None:
        if self.client.can_redo and not self.busy:
            self.client.redo(self._redo_done, self.has_failed)

    def _undo_done(self, reply: Mapping[str, Any], payload: bytes) -> None:
        self._results.undo(self._parameters.segmentation)
        self._heard(reply, payload)

    def _redo_done(self, reply: Mapping[str, Any], payload: bytes) -> None:
        # Segments must be there to be written, and what was written is kept with the scene in the end.
        self._follow(reply)
        self._results.redo(self._parameters.segmentation, self._volume_node)
        self._heard(reply, payload)

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
            self._results.begin_step()
            self._heard(reply, payload)
            if then is not None:
                then()

        self.client.submit(verb, fields, done=done, failed=failed)

    def _heard(self, reply: Mapping[str, Any], payload: bytes) -> None:
        """The worker said what it knows: keep it with the scene, and make boxes and segments follow."""
        if self._parameters is None or "objects" not in reply:
            return
        self.objects = dict(reply["objects"])
        self._boxes.worker_knows({item["name"]: item["box"] for item in reply["state"]["objects"]})
        self._follow(reply)
        if self._parameters.segmentation is not None:
            scene.remember(self._parameters.segmentation, json.dumps(reply["state"]), self._results.kept())
        self._changed()

    def _follow(self, reply: Mapping[str, Any]) -> None:
        """Boxes and segments of objects that undo took away go, those it brought back come."""
        names = {item["name"] for item in reply["state"]["objects"]}
        for name in self._boxes.follow(names, self._parameters.segmentation):
            self._results.scores.pop(name, None)
        if self.selected not in names:
            self.selected = next(iter(sorted(names)), "")

    def _worker_changed(self) -> None:
        if self.client.state is State.STARTING and self.busy:
            self.say(_("Starting the segmentation process ..."))
        self._changed()
