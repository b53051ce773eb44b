"""What happens when the user draws, corrects, accepts or takes back something in the panel; no Qt."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from slicer.i18n import tr as _

from ..errors import InputError, MedSAMSegmentError
from ..prompts import plan_slices
from . import panel_scene as scene
from .panel_runs import PanelRuns
from .panel_weights import ModelWeights
from .worker_transport import Transport

if TYPE_CHECKING:
    from .bridge import SceneBridge


class PanelController(PanelRuns):
    """See the module's text; arguments and attributes are those of :class:`PanelScan`."""

    def __init__(self, transport: Transport, bridge: SceneBridge, changed: Callable[[], None]) -> None:
        super().__init__(transport, bridge, changed)
        self._weights = ModelWeights(self.client, transport, self)

    # ---- new objects -----------------------------------------------------------------------------------------------

    def draw_box(self) -> Any:
        """Let the user draw the box of a new object; :meth:`box_drawn` goes on when it is there."""
        node = self._new_box()
        scene.place(node)
        return node

    def box_drawn(self, node: Any) -> None:
        """The user has drawn the box of a new object, or given up."""
        if min(node.GetSize()) <= 0 or scene.is_given_up(node):
            scene.remove(node)
            return
        scene.give_depth(node)
        if not self.open():
            scene.remove(node)
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
            scene.remove(node)
        box = self._new_box()
        self._bridge.put_box(box, region)
        self._begin_object(box, line=line.as_dict())

    def draw_rectangle(self) -> Any:
        """Let the user draw a rectangle on a slice of an object without a box; :meth:`drawn` goes on when it is there.

        It begins a new object, or is one more of the selected object while that was not segmented.
        """
        node = scene.new_markup("ROI", "rectangle", _("Rectangle"), (1.0, 0.85, 0.1))
        scene.place(node)
        return node

    def _new_box(self) -> Any:
        name = _("Box {number}").format(number=len(self.boxes()) + 1)
        return scene.new_markup("ROI", "box", name, (1.0, 0.85, 0.1))

    def _begin_object(
        self, node: Any | None, then: Callable[[str], None] | None = None, **said: Mapping[str, Any]
    ) -> None:
        """A new object.

        Args:
            node: its box, if it has one.
            then: is told its name once the worker knows it.
            said: what else is said of it at once, ``line`` or ``slice_box``.
        """

        def forget(error: MedSAMSegmentError) -> None:
            if node is not None:
                scene.remove(node)
            self.has_failed(error)

        try:
            box = None if node is None else self._boxes.prompt(node, self._volume_node)
            segmentation = self._bridge.segmentation(self._volume_node, self._parameters.segmentation)
        except MedSAMSegmentError as error:
            forget(error)
            return
        self._choose_segmentation(segmentation)
        number = segmentation.GetSegmentation().GetNumberOfSegments() + 1
        colour = scene.object_colour(number - 1)
        name = segmentation.GetSegmentation().AddEmptySegment("", _("Object {number}").format(number=number), colour)
        self.selected = name
        if node is not None:
            node.SetAttribute(scene.SEGMENT, name)
            node.SetNodeReferenceID(scene.SEGMENTATION, segmentation.GetID())
            scene.show_colour(node, colour)
            self._boxes.has_been_sent(name, box)

        def refused(error: MedSAMSegmentError) -> None:
            if error.code == "PROMPT_NOT_TRAINED" and box is not None:
                # The box alone, then: this model was trained with boxes only.
                self._step("add_object", {"name": name, "box": box}, taken_back)
            else:
                taken_back(error)

        def taken_back(error: MedSAMSegmentError) -> None:
            segmentation.GetSegmentation().RemoveSegment(name)
            forget(error)

        begun = None if then is None else lambda: then(name)
        self._step("add_object", {"name": name, "box": box, **said}, refused, begun)
        if node is not None:
            self.box_moved(node)

    def box_moved(self, node: Any) -> None:
        """A box is where it was not: preview its key slice, a moment after the hand has come to rest."""
        self._changed()
        self._preview_soon(lambda: self._box_to_preview(node))

    def _preview_soon(self, of: Callable[[], Mapping[str, Any] | None]) -> None:
        """What is drawn has changed."""
        if self._parameters is not None and self._parameters.livePreview and not self.busy:
            self.preview.soon(of)
        else:
            self.preview.not_now()

    def _box_to_preview(self, node: Any) -> Mapping[str, Any] | None:
        if node.GetScene() is None or not self.open():
            return None
        try:
            return {"box": self._boxes.prompt(node, self._volume_node)}
        except MedSAMSegmentError as error:
            self.has_failed(error)
            return None

    def box_deleted(self, name: str) -> None:
        """The user deleted the box of an object: the object is forgotten, its segment stays."""
        if name in self.objects:
            self.preview.hide()
            self._step("remove_object", {"name": name}, self.has_failed)

    def remove(self, name: str) -> None:
        """Forget an object with its box and its segment; can be undone."""
        if name in self.objects or (self.correctable and self.open()):
            self.preview.hide()
            self._step("remove_object", {"name": name}, self.has_failed)

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

    def drawn(self, node: Any, along: list[int] | None = None) -> None:
        """A rectangle or a correction is drawn (or given up): tell the worker, and segment again what was corrected.

        Args:
            node: what was drawn.
            along: see :func:`panel_scene.axes_drawn_along`; as the views are now, unless given.
        """
        if along is None and node.IsA("vtkMRMLMarkupsROINode") and self._volume_chosen is not None:
            along = scene.axes_drawn_along(self._volume_chosen, node)
        if self.opened is None and self.open():
            self._when_open = lambda: self.drawn(node, along)
            return
        role, name = node.GetAttribute(scene.ROLE), self.selected
        try:
            said = self._said_by(node, along or [])
        except MedSAMSegmentError as error:
            self.has_failed(error)
            return
        finally:
            scene.remove(node)
        if said is None:
            return
        verb, fields = said
        if verb == "add_slice_box" and self._awaits_rectangles(name):
            self._step(verb, {"name": name, **fields}, self.has_failed, lambda: self._told(name, fields["slice"]))
        elif role == "rectangle":
            self._begin_object(None, lambda begun: self._told(begun, fields["slice"]), slice_box=fields)
        elif name:
            self._step(verb, {"name": name, **fields}, self.has_failed, lambda: self.segment([name]))

    def _said_by(self, node: Any, along: list[int]) -> tuple[str, dict[str, Any]] | None:
        """The worker's verb for what was drawn, and its fields but the object's name; ``None`` where it was given up.

        Raises:
            InputError: ``NOT_ON_SLICE``: a rectangle was drawn in a view that cuts through the slices.
        """
        if scene.is_given_up(node) or self._volume is None or self.opened is None:
            return None
        role, positive = node.GetAttribute(scene.ROLE), node.GetAttribute(scene.POSITIVE) == "1"
        if role in ("slice-box", "rectangle"):
            axis = int(self.opened["axis"])
            if axis not in along:
                view = scene.name_of_view_along(self._volume_node, axis)
                raise InputError(
                    "NOT_ON_SLICE",
                    _("The rectangle was drawn across the slices that the model sees."),
                    _("Draw it in the view {name}.").format(name=view) if view else _("Draw it on one of them."),
                )
            index, rectangle = scene.rectangle_on_slice(self._volume_node, axis, node)
            return "add_slice_box", {"slice": index, "rectangle": rectangle}
        places = scene.world_to_lps(self._volume_node, self._volume.geometry, scene.control_points(node))
        if role == "points":
            return "add_points", {"points": places, "positive": positive}
        return "add_scribble", {"path": places, "positive": positive}

    def _awaits_rectangles(self, name: str) -> bool:
        """Whether an object is known by rectangles on slices alone, and was not segmented yet."""
        told = self.objects.get(name, {}).get("rectangles")
        return bool(told) and name in self._boxes.without and not self.scores.get(name)

    def _told(self, name: str, index: int) -> None:
        """The worker knows one rectangle more, on a slice of an object that was not segmented yet."""
        number = len(self.objects.get(name, {}).get("rectangles", ()))
        if number == 1:
            self.say(_("Draw rectangles on other slices, too: where it begins, is largest and ends. Then segment."))
        else:
            text = _("{number} rectangles: the object reaches from the first to the last. Draw more, or segment.")
            self.say(text.format(number=number))
        self._preview_soon(lambda: {"name": name, "slice": index} if self._awaits_rectangles(name) else None)

    def accept(self, slices: list[int] | None = None) -> None:
        """Lock slices of the selected object, by default all: corrections elsewhere leave them alone."""
        if self.correctable and self.open():
            self._step("accept", {"name": self.selected, "slices": slices}, self.has_failed)

    def release(self, slices: list[int] | None = None) -> None:
        """Unlock slices of the selected object, by default all."""
        if self.correctable and self.open():
            self._step("release", {"name": self.selected, "slices": slices}, self.has_failed)

    # ---- review ----------------------------------------------------------------------------------------------------

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
        self.preview.hide()
        self._results.undo(self._parameters.segmentation)
        self._heard(reply, payload)

    def _redo_done(self, reply: Mapping[str, Any], payload: bytes) -> None:
        # Segments must be there to be written, and what was written is kept with the scene in the end.
        self._follow(reply)
        self._results.redo(self._parameters.segmentation, self._volume_node)
        self._heard(reply, payload)
