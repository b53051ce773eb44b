"""One slice of what is being drawn, as the network sees it, a moment after the hand has come to rest; no Qt."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ..errors import MedSAMSegmentError
from . import panel_scene as scene
from .protocol import unpack_mask
from .worker_client import WorkerClient
from .worker_transport import Transport

_MILLISECONDS = 150


class LivePreview:
    """See the module's text.

    Args:
        client, transport: of the worker.
        volume_node: gives the volume that is open, or ``None``.
        busy: whether masks of a run are shown instead.
        failed: is told what went wrong.
    """

    def __init__(
        self,
        client: WorkerClient,
        transport: Transport,
        volume_node: Callable[[], Any | None],
        busy: Callable[[], bool],
        failed: Callable[[MedSAMSegmentError], None],
    ) -> None:
        self._client, self._transport = client, transport
        self._volume_node, self._busy, self._failed = volume_node, busy, failed
        self._mask = scene.Preview()
        self._timer: Any = None

    @property
    def node(self) -> Any | None:
        """The segmentation node that shows the mask; ``None`` before there was one."""
        return self._mask.node

    @property
    def shown(self) -> bool:
        """Whether a mask is to be seen."""
        return self._mask.node is not None and bool(self._mask.node.GetDisplayNode().GetVisibility())

    def soon(self, of: Callable[[], Mapping[str, Any] | None]) -> None:
        """Ask for a mask in a moment, unless this is called again before.

        Args:
            of: what the worker is to be asked then; ``None`` for nothing.
        """
        self.not_now()
        self._timer = self._transport.later(_MILLISECONDS, lambda: self._ask(of))

    def not_now(self) -> None:
        """What :meth:`soon` would ask is not asked."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _ask(self, of: Callable[[], Mapping[str, Any] | None]) -> None:
        fields = None if self._busy() else of()

        def show(reply: Mapping[str, Any], payload: bytes) -> None:
            if not self._busy() and self._volume_node() is not None:
                self.show(reply["mask"], payload)

        if fields is not None:
            self._client.submit("preview", fields, done=show, failed=self._failed, replaces="preview")

    def show(self, where: Mapping[str, Any], payload: bytes) -> None:
        """Show a mask as the worker sends it."""
        mask, volume_node = unpack_mask(where, payload), self._volume_node()
        if mask.size and volume_node is not None and volume_node.GetScene() is not None:
            self._mask.show(volume_node, mask, list(where["offset"]))
        else:
            self._mask.hide()

    def hide(self) -> None:
        self._mask.hide()

    def forget(self) -> None:
        """Take the mask out of the scene."""
        self.not_now()
        self._mask.remove()
