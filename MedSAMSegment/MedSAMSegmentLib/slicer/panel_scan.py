"""The scan that the panel works on and what the worker knows of it: between scene, bridge and worker; no Qt.

An object is a segment and mostly a box (markups ROI); the worker knows it by the segment's identifier.  Nothing here
waits: requests go to the worker, and what comes back changes the scene and is announced by ``changed``.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from slicer.i18n import tr as _

from ..errors import MedSAMSegmentError
from . import panel_scene as scene
from .panel_boxes import ObjectBoxes
from .panel_parameters import worker_options
from .panel_preview import LivePreview
from .panel_results import WrittenResults
from .panel_status import PanelStatus
from .worker_client import State, WorkerClient
from .worker_transport import Transport

if TYPE_CHECKING:
    from ..volume import Volume
    from .bridge import SceneBridge


class PanelScan(PanelStatus):
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
        preview: one slice of what is being drawn, or of a run.
    """

    def __init__(self, transport: Transport, bridge: SceneBridge, changed: Callable[[], None]) -> None:
        super().__init__(changed)
        self.client = WorkerClient(transport, self._worker_changed)
        self.opened: Mapping[str, Any] | None = None
        self.objects: dict[str, Mapping[str, Any]] = {}
        self._boxes = ObjectBoxes(bridge)
        self._results = WrittenResults(bridge)
        self.selected = ""
        self._bridge = bridge
        self._parameters: Any = None
        self._volume: Volume | None = None
        self._volume_node: Any = None
        self._seen: tuple[Any, ...] = ()
        self._chosen: tuple[Any, Any] = (None, None)
        self.preview = LivePreview(
            self.client, transport, lambda: self._volume_node, lambda: self.busy, self.has_failed
        )
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
        session, scores = scene.remembered(None if self._parameters is None else self._parameters.segmentation)
        self._results.recall(scores)
        objects = json.loads(session)["objects"] if session else []
        self._boxes.recall({item["name"]: item["box"] for item in objects})
        self.selected = next(iter(self._results.scores), "")

    def forget(self) -> None:
        """Let the scan go; whatever is under way is stopped and changes nothing any more."""
        self.client.close_scan()
        self.preview.forget()
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

    # ---- objects ---------------------------------------------------------------------------------------------------

    def boxes(self) -> list[Any]:
        """The ROI nodes of all objects of the chosen segmentation."""
        return self._boxes.nodes(None if self._parameters is None else self._parameters.segmentation)

    def box_of(self, name: str) -> Any | None:
        """The ROI node of an object."""
        return next((node for node in self.boxes() if node.GetAttribute(scene.SEGMENT) == name), None)

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
