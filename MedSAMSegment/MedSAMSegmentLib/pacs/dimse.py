"""DIMSE: C-ECHO, C-FIND, C-GET or C-MOVE, and C-STORE, over TCP or TLS (PS3.4 A, B, C; PS3.7; PS3.8)."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .client import Receive
from .configuration import DimseArchive
from .encryption import diagnose, tls_context
from .failures import PacsError, connection_lost, dimse_failure, quiet, unsupported_class
from .objects import ObjectFacts
from .query import InstanceReference, Query

if TYPE_CHECKING:
    from pydicom.dataset import Dataset
    from pynetdicom import AE
    from pynetdicom.association import Association
    from pynetdicom.pdu import A_ASSOCIATE_RJ
    from pynetdicom.presentation import PresentationContext

_VERIFICATION = "1.2.840.10008.1.1"
_FIND = "1.2.840.10008.5.1.4.1.2.2.1"
_MOVE = "1.2.840.10008.5.1.4.1.2.2.2"
_GET = "1.2.840.10008.5.1.4.1.2.2.3"

_IMPLICIT = "1.2.840.10008.1.2"
_EXPLICIT = "1.2.840.10008.1.2.1"
_DEFLATED = "1.2.840.10008.1.2.1.99"

#: Encodings objects are taken in, each offered on its own, so that they arrive as the archive keeps them: JPEG
#: lossless, JPEG-LS, JPEG 2000, RLE, baseline and extended JPEG.
_COMPRESSED = (
    "1.2.840.10008.1.2.4.70",
    "1.2.840.10008.1.2.4.57",
    "1.2.840.10008.1.2.4.80",
    "1.2.840.10008.1.2.4.81",
    "1.2.840.10008.1.2.4.90",
    "1.2.840.10008.1.2.4.91",
    "1.2.840.10008.1.2.5",
    "1.2.840.10008.1.2.4.50",
    "1.2.840.10008.1.2.4.51",
)

#: What is asked for where the archive does not say what kind of objects a series holds: CT, MR and PET with their
#: enhanced forms, SEG, label map, RTSTRUCT, structured reports, secondary capture.
_LIKELY_CLASSES = tuple(
    f"1.2.840.10008.5.1.4.1.1.{end}"
    for end in (
        *("2", "2.1", "2.2", "4", "4.1", "4.4", "128", "128.1", "130"),
        *("66.4", "66.7", "481.3", "88.11", "88.22", "88.33", "88.34", "7"),
    )
)

#: An association carries at most this many presentation contexts (PS3.8 9.3.2.2: odd numbers to 255).
_MOST_CONTEXTS = 128

#: A transfer slower than this, bytes a second, is taken for a broken one.
_SLOWEST = 250_000

_PENDING = (0xFF00, 0xFF01)
#: Stored, with a remark: elements coerced or discarded, data set does not match the class (PS3.4 B.2.3).
_STORED = (0x0000, 0xB000, 0xB006, 0xB007)


class DimseClient:
    """One archive, spoken to by one association a request."""

    def __init__(self, archive: DimseArchive) -> None:
        self.archive = archive
        self._tls: Any = None
        if archive.tls is not None:
            self._tls = (tls_context(archive.tls), archive.tls.server_name or archive.host)

    def check(self) -> None:
        """C-ECHO."""
        with self._association("checking", [_context(_VERIFICATION)]) as association:
            _succeed(association.send_c_echo(), "checking")

    def find(self, query: Query) -> list[dict[str, str]]:
        """C-FIND in the study root model; ends early (C-CANCEL) at the query's limit."""
        matches: list[dict[str, str]] = []
        with self._association("searching", [_context(_FIND)]) as association:
            for status, answer in association.send_c_find(query.dataset(), _FIND):
                if _succeed(status, "searching", (0x0000, 0xFE00, *_PENDING)) not in _PENDING:
                    break
                if answer is None:
                    raise ValueError("an answer that cannot be decoded")
                match = query.match(answer)
                if not query.fits(match) or len(matches) == query.limit:
                    continue
                matches.append(match)
                if len(matches) == query.limit:
                    association.send_c_cancel(1, query_model=_FIND)
        return matches

    def fetch(self, study_uid: str, series_uid: str, wanted: Sequence[InstanceReference], receive: Receive) -> None:
        """C-GET or C-MOVE of the objects by their UIDs, in as many requests as their names need."""
        from pydicom.dataset import Dataset

        kinds = sorted({reference.sop_class_uid for reference in wanted})
        # 64 characters a UID: some archives take no identifier longer than a message of the smallest size allowed.
        for start in range(0, len(wanted), 200):
            identifier = Dataset()
            identifier.QueryRetrieveLevel = "IMAGE"
            identifier.StudyInstanceUID, identifier.SeriesInstanceUID = study_uid, series_uid
            identifier.SOPInstanceUID = [reference.sop_instance_uid for reference in wanted[start : start + 200]]
            classes = list(_LIKELY_CLASSES) if "" in kinds else kinds
            arrivals = _Arrivals(receive)
            (self._move if self.archive.listen_port else self._get)(identifier, classes, arrivals)

    def _get(self, identifier: Dataset, classes: list[str], arrivals: _Arrivals) -> None:
        """The archive sends over the association we made."""
        from pynetdicom import build_role, evt

        contexts = [_context(_GET), *_storage_contexts(classes)]
        roles = [build_role(kind, scp_role=True) for kind in classes]
        handlers = [(evt.EVT_C_STORE, arrivals.take)]
        with self._association("fetching", contexts, ext_neg=roles, evt_handlers=handlers) as association:
            for context in association.accepted_contexts:
                # Orthanc accepts classes it does not know without confirming our role, and then sends over them all the
                # same; without this pynetdicom would turn those objects away.
                if context.abstract_syntax in classes:
                    context._as_scp = True
            for status, _ in association.send_c_get(identifier, _GET):
                arrivals.raise_refusal()
                # B000: some sub-operations failed; the caller counts what came.
                _succeed(status, "fetching", (0x0000, 0xB000, *_PENDING))

    def _move(self, identifier: Dataset, classes: list[str], arrivals: _Arrivals) -> None:
        """The archive sends over an association it makes to us, by our AE title, as its administrator has set up."""
        from pynetdicom import evt

        archive = self.archive
        with quiet("fetching"):
            entity = self._entity(0.0)
            entity.supported_contexts = _storage_contexts(classes)
            entity.require_called_aet = True
            # Only the archive itself may send us anything.
            entity.require_calling_aet = [archive.ae_title]
            context = tls_context(archive.tls, listening=True) if archive.tls else None
            address = (archive.listen_host, archive.listen_port)
            try:
                server = entity.start_server(
                    address, block=False, ssl_context=context, evt_handlers=[(evt.EVT_C_STORE, arrivals.take)]
                )
            except OSError as error:
                raise PacsError(
                    "PACS_LISTEN",
                    f"We cannot listen on port {archive.listen_port} for what the archive sends ({error.strerror}).",
                    "Another program uses it, or listen_host is not an address of this computer.",
                ) from None
            assert server is not None  # it is None only where the call blocks
            try:
                with self._association("fetching", [_context(_MOVE)]) as association:
                    for status, _ in association.send_c_move(identifier, archive.calling_ae_title, _MOVE):
                        arrivals.raise_refusal()
                        _succeed(status, "fetching", (0x0000, 0xB000, *_PENDING))
                arrivals.raise_refusal()
            finally:
                server.shutdown()

    def store(self, path: Path, facts: ObjectFacts) -> None:
        """C-STORE, in the file's own encoding, else uncompressed where only that is taken."""
        from pydicom import dcmread
        from pydicom.uid import UID

        syntax = facts.transfer_syntax_uid
        contexts = [_context(_VERIFICATION), _context(facts.sop_class_uid, syntax)]
        others = [uid for uid in (_EXPLICIT, _IMPLICIT) if uid != syntax]
        contexts.append(_context(facts.sop_class_uid, *others))
        patience = path.stat().st_size / _SLOWEST
        with self._association("storing", contexts, patience=patience) as association:
            accepted = {
                str(context.transfer_syntax[0])
                for context in association.accepted_contexts
                if context.abstract_syntax == facts.sop_class_uid
            }
            if not accepted:
                raise unsupported_class("no presentation context accepted")
            data = dcmread(path)
            if syntax not in accepted and syntax not in (_IMPLICIT, _EXPLICIT, _DEFLATED):
                data.decompress(generate_instance_uid=False)
            elif syntax == _DEFLATED and syntax not in accepted:
                data.file_meta.TransferSyntaxUID = UID(_EXPLICIT)
            # pynetdicom itself turns explicit into implicit value representations where only one was agreed upon.
            _succeed(association.send_c_store(data), "storing", _STORED)

    @contextmanager
    def _association(
        self, doing: str, contexts: list[PresentationContext], patience: float = 0.0, **options: Any
    ) -> Iterator[Association]:
        archive = self.archive
        with quiet(doing):
            from pynetdicom import _config, evt
            from pynetdicom.pdu import A_ASSOCIATE_RJ

            # Events would be formatted for the log although nobody reads them.
            _config.LOG_HANDLER_LEVEL = "none"
            _config.LOG_REQUEST_IDENTIFIERS = _config.LOG_RESPONSE_IDENTIFIERS = False
            entity = self._entity(patience)
            rejections: list[A_ASSOCIATE_RJ] = []

            def watch(event: Any) -> None:
                # The association itself forgets a rejection when the connection is closed right behind it.
                if isinstance(event.pdu, A_ASSOCIATE_RJ):
                    rejections.append(event.pdu)

            handlers = [(evt.EVT_PDU_RECV, watch), *options.pop("evt_handlers", ())]
            association = entity.associate(
                archive.host,
                archive.port,
                contexts,
                archive.ae_title,
                tls_args=self._tls,
                evt_handlers=handlers,
                **options,
            )
            try:
                if not association.is_established:
                    raise self._refusal(rejections)
                yield association
                if association.is_established:
                    association.release()
            finally:
                if association.is_established:
                    association.abort()

    def _entity(self, patience: float) -> AE:
        from pynetdicom import AE

        entity = AE(self.archive.calling_ae_title)
        entity.connection_timeout = entity.acse_timeout = self.archive.timeout
        entity.dimse_timeout = entity.network_timeout = self.archive.timeout + patience
        return entity

    def _refusal(self, rejections: Sequence[A_ASSOCIATE_RJ]) -> PacsError:
        """Why there is no association (PS3.8 9.3.4)."""
        if rejections:
            result, source, reason = rejections[0].result, rejections[0].source, rejections[0].reason_diagnostic
            if result == 2:
                return PacsError(
                    "PACS_BUSY", "The archive takes no more associations for now.", "Try again later.", passing=True
                )
            if source == 1 and reason == 7:
                return PacsError(
                    "PACS_AE_TITLE",
                    "The archive does not go by the AE title the configuration gives it.",
                    "Correct ae_title.",
                )
            return PacsError(
                "PACS_AE_TITLE",
                "The archive refused us: it does not know our AE title, or does not allow it.",
                "Correct calling_ae_title, or ask its administrator to register it.",
            )
        found = diagnose(self.archive.host, self.archive.port, self.archive.timeout, self.archive.tls)
        if found is not None:
            return found
        return PacsError(
            "PACS_ASSOCIATION",
            "The archive ended the connection at once.",
            "It may not know our calling_ae_title, want TLS, not speak DICOM on this port, or not offer this service.",
            # An archive that is just being shut down or started behaves the same way.
            passing=True,
        )


class _Arrivals:
    """Takes the objects an archive sends; after the first that cannot be taken, no more."""

    def __init__(self, receive: Receive) -> None:
        self.receive = receive
        self.refusal: Exception | None = None
        self.lock = threading.Lock()

    def take(self, event: Any) -> int:
        """Handle a C-STORE request; the status to answer."""
        with self.lock:
            try:
                if self.refusal is None:
                    self.receive(event.encoded_dataset())
            except Exception as error:
                self.refusal = error
            return 0x0000 if self.refusal is None else 0xA700

    def raise_refusal(self) -> None:
        """Raise what the receiver raised."""
        if self.refusal is not None:
            raise self.refusal


def _context(kind: str, *syntaxes: str) -> PresentationContext:
    from pynetdicom import build_context

    return build_context(kind, list(syntaxes) or [_EXPLICIT, _IMPLICIT])


def _storage_contexts(kinds: list[str]) -> list[PresentationContext]:
    """Contexts to receive objects in: a context for each encoding where there is room, else one for all compressed."""
    each = [(syntax,) for syntax in (_EXPLICIT, _IMPLICIT, *_COMPRESSED, _DEFLATED)]
    few = [(_EXPLICIT, _IMPLICIT), _COMPRESSED]
    groups = each if len(kinds) * len(each) < _MOST_CONTEXTS else few
    return [_context(kind, *group) for kind in kinds for group in groups][: _MOST_CONTEXTS - 1]


def _succeed(status: Dataset, doing: str, good: Sequence[int] = (0x0000,)) -> int:
    """The status, if it is a good one. No status at all: the connection broke or the time was up."""
    if "Status" not in status:
        raise connection_lost()
    value = int(status.Status)
    if value not in good:
        raise dimse_failure(value, doing)
    return value
