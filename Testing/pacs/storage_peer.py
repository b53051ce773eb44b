"""A storage peer of our own for what a well-behaved archive never does: refuse, stall, forget, count."""

from __future__ import annotations

import ssl
import threading
from collections import Counter
from collections.abc import Iterator
from typing import Any

from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian, RLELossless
from pynetdicom import AE, evt
from pynetdicom.sop_class import (
    Comprehensive3DSRStorage,
    CTImageStorage,
    LabelMapSegmentationStorage,
    SegmentationStorage,
    StudyRootQueryRetrieveInformationModelFind,
    StudyRootQueryRetrieveInformationModelGet,
    Verification,
)


class Peer:
    """Keeps what it is sent in memory and counts how often each object came.

    Attributes:
        kept: data sets by SOP Instance UID, the first of each kept as archives do.
        stores: how often each UID was received complete.
        status: what it answers to C-STORE; failures keep nothing.
        spoil: called with each data set before it is kept.
        before_answer: called after an object was kept, before the answer leaves.
    """

    def __init__(
        self, labelmap: bool = True, syntaxes: tuple[str, ...] = (), tls: ssl.SSLContext | None = None
    ) -> None:
        self.kept: dict[str, Dataset] = {}
        self.stores: Counter[str] = Counter()
        self.status = 0x0000
        self.spoil: Any = None
        self.before_answer: Any = None
        self.stalled = threading.Event()
        entity = AE("TESTPACS")
        entity.require_called_aet = True
        entity.require_calling_aet = ["MEDSAMSEG"]
        entity.add_supported_context(Verification)
        syntaxes = syntaxes or (ExplicitVRLittleEndian, ImplicitVRLittleEndian, RLELossless)
        for kind in (
            CTImageStorage,
            Comprehensive3DSRStorage,
            SegmentationStorage,
            *((LabelMapSegmentationStorage,) if labelmap else ()),
        ):
            entity.add_supported_context(kind, list(syntaxes), scu_role=True, scp_role=True)
        for model in (StudyRootQueryRetrieveInformationModelFind, StudyRootQueryRetrieveInformationModelGet):
            entity.add_supported_context(model)
        handlers = [
            (evt.EVT_C_ECHO, lambda event: 0x0000),
            (evt.EVT_C_STORE, self._store),
            (evt.EVT_C_FIND, self._find),
            (evt.EVT_C_GET, self._get),
        ]
        self.server = entity.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers, ssl_context=tls)
        self.port = self.server.socket.getsockname()[1]

    def stop(self) -> None:
        self.server.shutdown()

    def _store(self, event: evt.Event) -> int:
        if self.status in (0x0000, 0xB000):
            data = event.dataset
            data.file_meta = event.file_meta
            if self.spoil is not None:
                self.spoil(data)
            self.stores[str(data.SOPInstanceUID)] += 1
            self.kept.setdefault(str(data.SOPInstanceUID), data)
            if self.before_answer is not None:
                self.before_answer()
        return self.status

    def _matching(self, query: Dataset) -> list[Dataset]:
        found = []
        for data in self.kept.values():
            wanted = query.get("SOPInstanceUID") or []
            wanted = [wanted] if isinstance(wanted, str) else list(wanted)
            same = all(
                not query.get(key) or query[key].value == data[key].value
                for key in ("StudyInstanceUID", "SeriesInstanceUID")
            )
            if same and (not wanted or data.SOPInstanceUID in wanted):
                found.append(data)
        return found

    def _find(self, event: evt.Event) -> Iterator[tuple[int, Dataset | None]]:
        for data in self._matching(event.identifier):
            answer = Dataset()
            answer.QueryRetrieveLevel = event.identifier.QueryRetrieveLevel
            for key in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID"):
                setattr(answer, key, data[key].value)
            yield 0xFF00, answer

    def _get(self, event: evt.Event) -> Iterator[Any]:
        found = self._matching(event.identifier)
        yield len(found)
        for data in found:
            yield 0xFF00, data
