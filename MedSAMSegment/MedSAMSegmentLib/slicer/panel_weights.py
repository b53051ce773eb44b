"""Weights of models in the panel: what must be known before a download, the download, the user's own file; no Qt."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from slicer.i18n import tr as _

from .panel_status import PanelStatus
from .worker_client import WorkerClient
from .worker_transport import Transport


class ModelWeights:
    """See the module's text.

    Args:
        client: the worker, which has the network and the files.
        transport: its clock.
        status: says how it goes.
    """

    def __init__(self, client: WorkerClient, transport: Transport, status: PanelStatus) -> None:
        self._client, self._transport, self._status = client, transport, status

    def download_terms(self, model: str, agrees: Callable[[Mapping[str, Any]], bool], then: Callable[[], None]) -> None:
        """Ask the user with what must be known before a download; where the answer is yes, fetch the weights.

        Args:
            model: whose weights.
            agrees: asks the user.
            then: called when the weights are there.
        """

        def done(reply: Mapping[str, Any], payload: bytes) -> None:
            hosts = list(reply["hosts"])
            if not hosts:
                self._status.say(_("The weights are here."))
            else:
                self._transport.later(0, lambda: agrees(reply) and self._download(model, hosts, then))

        self._client.submit("download_terms", {"model": model}, done=done, failed=self._status.has_failed)

    def _download(self, model: str, hosts: list[str], then: Callable[[], None]) -> None:
        """Fetch the weights of a model from computers that the user has agreed to."""
        status = self._status

        def done(reply: Mapping[str, Any], payload: bytes) -> None:
            status.fraction = None
            status.say(_("The weights are here."))
            then()

        def event(header: Mapping[str, Any], payload: bytes) -> None:
            if header["event"] == "progress":
                status.progressed(float(header["fraction"]))

        status.begin_run(_("Downloading ..."))
        fields = {"model": model, "hosts": hosts}
        self._client.submit("download", fields, done=done, failed=status.run_failed, event=event)

    def import_file(self, model: str, path: str, then: Callable[[], None]) -> None:
        """Check the user's own weights for a model; ``then`` is called if they fit it."""

        def done(reply: Mapping[str, Any], payload: bytes) -> None:
            then()
            self._status.say(_("The weights fit and are used from now on."))

        self._status.say(_("Checking the weights ..."))
        fields = {"model": model, "file": path}
        self._client.submit("import_weights", fields, done=done, failed=self._status.has_failed)
