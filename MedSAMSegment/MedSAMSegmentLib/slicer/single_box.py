"""One box, one mask, nothing remembered: what the Segment Editor effect asks of the worker.  No Qt, nothing waits."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ..errors import CancelledError, MedSAMSegmentError
from ..prompts import BoxPrompt
from .bridge import algorithm_name
from .bridge_geometry import box_of, volume_of
from .bridge_segments import Block
from .protocol import unpack_mask
from .worker_client import WorkerClient
from .worker_transport import Transport

Found = Callable[[Block, str], None]
"""Called with the mask on the scan's grid, and the algorithm's name and version."""


class SingleBox:
    """Segments one box at a time; the scan stays with the worker for as long as nothing about it changes.

    Args:
        transport: of the worker.
    """

    def __init__(self, transport: Transport) -> None:
        self._client = WorkerClient(transport)
        self._open: tuple[Any, ...] = ()
        self._count = 0
        self.busy = False

    def segment(
        self,
        volume_node: Any,
        roi_node: Any,
        options: Mapping[str, Any],
        found: Found,
        failed: Callable[[MedSAMSegmentError], None],
        progress: Callable[[float], None],
    ) -> None:
        """Segment what is in the box.

        Args:
            volume_node: the scan.
            roi_node: the box.
            options: ``model``, ``checkpoint``, ``device``, ``settings``.
            found: see :data:`Found`; or ``failed`` is called with the reason.
            failed: also called with a ``CancelledError`` when :meth:`cancel` was heard.
            progress: how much is done, 0..1.

        Raises:
            InputError: the scan or the box is refused; nothing was begun.
        """
        box = BoxPrompt(box_of(roi_node)).as_dict()
        volume = volume_of(volume_node)
        image, place = volume_node.GetImageData(), volume.geometry.affine.tobytes()
        seen = volume_node.GetID(), image.GetMTime(), place, str(options)
        self._count += 1
        name = str(self._count)
        results: list[tuple[Block, str]] = []

        def event(header: Mapping[str, Any], payload: bytes) -> None:
            if header["event"] == "progress":
                progress(float(header["fraction"]))
            elif header["event"] == "result":
                about = header["provenance"]
                model = {"name": about["model"]["name"], "version": about["software"]["version"]}
                block = unpack_mask(header["mask"], payload), list(header["mask"]["offset"])
                results.append((block, algorithm_name(model)))

        def end(error: MedSAMSegmentError | None) -> None:
            # Of requests that wait for one another, the first that fails says why.
            if not self.busy:
                return
            self.busy = False
            if error is None or isinstance(error, CancelledError):
                self._client.submit("remove_object", {"name": name})
            else:
                self._open = ()
            for block, algorithm in results:
                found(block, algorithm)
            if error is not None:
                failed(error)

        self.busy = True
        try:
            if seen != self._open:
                self._client.open_scan(volume, options, failed=end)
                self._open = seen
            self._client.submit("add_object", {"name": name, "box": box}, failed=end)
            self._client.submit(
                "segment",
                {"names": [name], "reach": "all"},
                done=lambda reply, payload: end(None),
                failed=end,
                event=event,
            )
        except MedSAMSegmentError:
            self.busy = False
            raise

    def cancel(self) -> None:
        """Stop; what was found so far is given."""
        self._client.cancel()

    def shut_down(self) -> None:
        """End the worker."""
        self.busy = False
        self._open = ()
        self._client.shut_down()
