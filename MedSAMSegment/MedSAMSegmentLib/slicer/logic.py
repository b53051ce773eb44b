"""Segmenting by script, with no GUI: from nodes in the scene to segments, one call a scan.

The network runs in a worker process of its own, which stays for the next call; Slicer imports no torch.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import slicer

from ..errors import InferenceError, MedSAMSegmentError, UsageError
from .bridge import SceneBridge
from .bridge_geometry import box_of, volume_of
from .bridge_prompts import display_window, drawn_slices, line_prompt, point_prompts, scribble_prompt
from .bridge_segments import new_segment, prepared_segmentation
from .protocol import pack_mask, unpack_mask
from .worker_blocking import BlockingTransport
from .worker_client import WorkerClient

if TYPE_CHECKING:
    from ..prompts import LinePrompt, MaskPrompt, PointPrompt, ScribblePrompt
    from ..volume import OrientedBox

    Prompt = LinePrompt | MaskPrompt | PointPrompt | ScribblePrompt

Progress = Callable[[float], None]
"""Called with how much is done, 0..1."""

Nodes = Mapping[Hashable, Any]
"""Markups nodes (one, or several in a list) by the object that they are about."""


class SceneSegmenter:
    """Segments what nodes of the scene point at; see :meth:`segment`.

    Args:
        python: the interpreter of the worker; by default Slicer's.
    """

    def __init__(self, python: str | None = None) -> None:
        self._transport = BlockingTransport(python)
        self._client = WorkerClient(self._transport)
        self._bridge = SceneBridge()
        self._end = weakref.finalize(self, self._client.shut_down)

    def segment(
        self,
        volume_node: Any,
        objects: Sequence[Any],
        segmentation_node: Any | None = None,
        *,
        inside: Nodes | None = None,
        outside: Nodes | None = None,
        model: str = "embedded",
        checkpoint: str = "",
        device: str = "auto",
        window: str = "auto",
        settings: Mapping[str, Any] | None = None,
        progress: Progress | None = None,
    ) -> tuple[Any, list[str]]:
        """Segment objects of one scan.

        The scene is changed at the very end, when all of them are done: a failure, or Ctrl+C, leaves it as it was.

        Args:
            volume_node: the scan; its voxels are only read.
            objects: what says where each object is: a ROI node (its box), a line node (the longest diameter), or the
                identifier of a segment of ``segmentation_node`` in which slices were painted.  Boxes and lines get new
                segments with their nodes' names; a painted segment is completed.
            segmentation_node: where the segments go; a new one by default.
            inside, outside: point and open curve nodes by object, that lie in it, or do not belong to it.
            model: name in the catalog.
            checkpoint: weights of the user's own for that model, a file.
            device: ``"auto"``, ``"cpu"``, ``"cuda"`` or ``"mps"``.
            window: ``"auto"``, a preset, ``"LEVEL/WIDTH"``, or ``"display"``: as the volume is displayed.
            settings: other settings than the defaults, e.g. ``{"plane": "axial", "cleanup": {"smooth": False}}``.
            progress: see :data:`Progress`.

        Returns:
            The segmentation node, and the identifiers of the segments in the order of ``objects``.  A segment is empty
            where nothing was found.

        Raises:
            UsageError: ``NO_OBJECTS``, ``UNKNOWN_OBJECT`` (a node that says no place, or a prompt for an object that is
                not in ``objects``), ``NOTHING_DRAWN``, ``PROMPT_NOT_TRAINED``, ``BAD_WINDOW``, ``BAD_SETTING``.
            InputError: what the scan, a box or a segment is refused for.
            MedSAMSegmentError: the model or the worker failed.
        """
        prompts = _prompts_of(objects, inside or {}, outside or {})
        if segmentation_node is None and any(isinstance(item, str) for item in objects):
            raise UsageError(
                "UNKNOWN_OBJECT", "A painted segment is in no segmentation.", "Name its segmentation, too."
            )
        boxes = [None if isinstance(item, str) or not _is(item, "ROI") else box_of(item) for item in objects]
        volume = volume_of(volume_node)
        if segmentation_node is not None:
            prepared_segmentation(volume_node, segmentation_node)
        chosen = {**(settings or {}), "window": display_window(volume_node) if window == "display" else window}
        options = {"model": model, "checkpoint": checkpoint, "device": device, "settings": chosen}
        try:
            opened = self._await(lambda **answers: self._client.open_scan(volume, options, **answers))
            for number, (item, box) in enumerate(zip(objects, boxes, strict=True)):
                if isinstance(item, str):
                    prompts[number] += drawn_slices(segmentation_node, item, volume_node, int(opened["axis"]))
                self._tell(str(number), box, prompts[number])
            results = self._run(progress)
        finally:
            self._client.close_scan()
        return self._write(volume_node, segmentation_node, objects, results)

    def undo(self, segmentation_node: Any) -> None:
        """Take back the latest segment that was written, if it was in this segmentation."""
        self._bridge.undo(segmentation_node)

    def close(self) -> None:
        """End the worker process now; the next call starts another one."""
        self._client.shut_down()

    # ---- the worker ------------------------------------------------------------------------------------------------

    def _tell(self, name: str, box: OrientedBox | None, prompts: Sequence[Prompt]) -> None:
        """Add one object with everything the user said about it."""
        from ..prompts import BoxPrompt

        self._ask("add_object", {"name": name, "box": None if box is None else BoxPrompt(box).as_dict()})
        for prompt in prompts:
            verb, fields, payload = _request(prompt)
            self._ask(verb, {"name": name, **fields}, payload)

    def _run(self, progress: Progress | None) -> dict[str, tuple[Mapping[str, Any], bytes]]:
        """Segment all objects; header and payload of each one's mask, by name."""
        results: dict[str, tuple[Mapping[str, Any], bytes]] = {}

        def event(header: Mapping[str, Any], payload: bytes) -> None:
            if header["event"] == "result":
                results[str(header["name"])] = header, payload
            elif header["event"] == "progress" and progress is not None:
                progress(float(header["fraction"]))

        self._await(lambda **answers: self._client.submit("segment", {"reach": "all"}, event=event, **answers))
        return results

    def _ask(self, verb: str, fields: Mapping[str, Any], payload: bytes = b"") -> Mapping[str, Any]:
        return self._await(lambda **answers: self._client.submit(verb, fields, payload, **answers))

    def _await(self, submit: Callable[..., Any]) -> Mapping[str, Any]:
        """Ask and wait for the answer; the worker is ended where the user interrupts."""
        replies: list[Mapping[str, Any]] = []
        errors: list[MedSAMSegmentError] = []
        submit(done=lambda reply, payload: replies.append(reply), failed=errors.append)
        try:
            self._transport.wait(lambda: bool(replies or errors))
        except KeyboardInterrupt:
            self._client.shut_down()
            raise
        if errors:
            raise errors[0]
        return replies[0]

    # ---- the scene -------------------------------------------------------------------------------------------------

    def _write(
        self,
        volume_node: Any,
        segmentation_node: Any | None,
        objects: Sequence[Any],
        results: Mapping[str, tuple[Mapping[str, Any], bytes]],
    ) -> tuple[Any, list[str]]:
        missing = [number for number in range(len(objects)) if str(number) not in results]
        if missing:
            raise InferenceError("WORKER_FAILED", "The segmentation process left objects out.", "Try again.")
        segmentation = self._bridge.segmentation(volume_node, segmentation_node)
        identifiers = []
        with slicer.util.NodeModify(segmentation):
            for number, item in enumerate(objects):
                header, payload = results[str(number)]
                found = header["provenance"]
                model = {"name": found["model"]["name"], "version": found["software"]["version"]}
                segment_id = item if isinstance(item, str) else new_segment(segmentation, item.GetName())
                mask = unpack_mask(header["mask"], payload)
                offset = list(header["mask"]["offset"])
                self._bridge.write(segmentation, segment_id, volume_node, mask, offset, model)
                identifiers.append(segment_id)
        return segmentation, identifiers


def _is(node: Any, kind: str) -> bool:
    return bool(node.IsA(f"vtkMRMLMarkups{kind}Node"))


def _prompts_of(objects: Sequence[Any], inside: Nodes, outside: Nodes) -> list[list[Prompt]]:
    """Everything that was said about each object besides its box and what was painted."""
    if not objects:
        raise UsageError("NO_OBJECTS", "There is nothing to segment.", "Give at least one ROI node.")
    unknown = [key for key in (*inside, *outside) if key not in objects]
    if unknown:
        raise UsageError(
            "UNKNOWN_OBJECT", "A prompt is for an object that is not to be segmented.", "Name it among the objects."
        )
    prompts: list[list[Prompt]] = []
    for item in objects:
        found: list[Prompt] = []
        if not isinstance(item, str) and not _is(item, "ROI"):
            if not _is(item, "Line"):
                raise UsageError(
                    "UNKNOWN_OBJECT",
                    f"'{item.GetName()}' says no place: it is neither a ROI nor a line.",
                    "Draw a ROI around the object.",
                )
            found.append(line_prompt(item))
        for nodes, positive in ((inside, True), (outside, False)):
            drawn = nodes.get(item, ())
            for node in drawn if isinstance(drawn, Sequence) else (drawn,):
                if _is(node, "Curve"):
                    found.append(scribble_prompt(node, positive))
                else:
                    found += point_prompts(node, positive)
        prompts.append(found)
    return prompts


def _request(prompt: Prompt) -> tuple[str, dict[str, Any], bytes]:
    """Verb, fields and payload with which the worker is told of a prompt."""
    from ..prompts import LinePrompt, MaskPrompt, ScribblePrompt

    if isinstance(prompt, LinePrompt):
        return "add_line", {"start": list(prompt.start), "end": list(prompt.end)}, b""
    if isinstance(prompt, MaskPrompt):
        where, payload = pack_mask(prompt.mask)
        return "add_mask", {"slice": prompt.slice_index, "mask": where}, payload
    if isinstance(prompt, ScribblePrompt):
        path = [list(point) for point in prompt.path]
        return "add_scribble", {"path": path, "positive": prompt.positive}, b""
    return "add_points", {"points": [list(prompt.position)], "positive": prompt.positive}, b""
