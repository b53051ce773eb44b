"""From the queue into the archive: once, and looked at afterwards."""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import InputError, MedSAMSegmentError
from ..private_folder import private_folder
from .backoff import pauses, with_retries
from .client import ArchiveClient
from .comparison import differences
from .configuration import Archive
from .failures import PacsError, quiet
from .objects import LABELMAP_SEGMENTATION, ObjectFacts, read_facts
from .query import InstanceReference, Query
from .queue import ACCEPTED, DIFFERS, OPEN, REFUSED, SENDING, VERIFIED, WAITING, Entry, SendQueue
from .references import Move, write_with_moved_references

#: Writes the BINARY form of a LABELMAP segmentation, from the first path to the second, and returns the old segment
#: numbers in the order of the new ones.
BinaryForm = Callable[[Path, Path], Sequence[int]]

#: After these the archive certainly does not have the object: it said no, or was never reached.  After any other
#: failure it may have it, and is asked before the object is sent again.
_NOT_STORED = frozenset(
    (
        *("PACS_UNREACHABLE", "PACS_ASSOCIATION", "PACS_AE_TITLE", "PACS_TLS", "PACS_LOGIN", "PACS_REDIRECTED"),
        *("PACS_NOT_AUTHORISED", "PACS_OUT_OF_SPACE", "PACS_UNSUPPORTED", "PACS_REFUSED"),
    )
)

#: Called before each entry: entries done, of all, and what is being done now.
Progress = Callable[[int, int, str], None]


@dataclass(frozen=True)
class Delivery:
    """What became of one entry in this run.

    Attributes:
        error: why it is not verified; None where all is well.
        sent: whether it was transferred in this run.
        replaced: whether another form went instead, since the archive takes no LABELMAP.
    """

    entry: Entry
    error: PacsError | None
    sent: bool
    replaced: bool


class Sender:
    """Sends what waits for one archive.

    Args:
        archive: where to, how often to try, what to verify.
        client: speaks to it.
        queue: what waits.
        binary_form: makes the BINARY form of a LABELMAP segmentation that the archive does not take.
    """

    def __init__(self, archive: Archive, client: ArchiveClient, queue: SendQueue, binary_form: BinaryForm) -> None:
        self.archive, self.client, self.queue, self.binary_form = archive, client, queue, binary_form
        self._sent = False

    def run(self, progress: Progress | None = None) -> list[Delivery]:
        """Send everything that is open, oldest first.

        A failure that concerns the archive, not one object, ends the run: what is left stays in the queue.

        Raises:
            PacsError: ``QUEUE_BUSY``.
        """
        deliveries = []
        with self.queue.exclusive():
            entries = [entry for entry in self.queue.entries(self.archive.name) if entry.state in OPEN]
            # Label maps first: what refers to one has to know whether its BINARY form went instead.
            entries.sort(key=lambda entry: entry.facts.sop_class_uid != LABELMAP_SEGMENTATION)
            for done, entry in enumerate(entries):
                if progress is not None:
                    progress(done, len(entries), "sending")
                self._sent = False
                error: PacsError | None = None
                try:
                    entry = self._deliver(entry)
                except PacsError as failure:
                    error = failure
                    entry = self._note_failure(entry, failure)
                deliveries.append(Delivery(entry, error, self._sent, bool(entry.replaces)))
                if error is not None and not error.about_object:
                    break
        return deliveries

    def _deliver(self, entry: Entry) -> Entry:
        """Bring one entry to its end.

        Raises:
            PacsError: what stopped it.
        """
        entry = self._follow_replaced(entry)
        for pause in (*pauses(self.archive.attempts, self.archive.wait), None):
            try:
                entry = self._send_once(self.queue.entry(entry.id))
                break
            except PacsError as error:
                if error.code == "PACS_UNSUPPORTED" and entry.facts.sop_class_uid == LABELMAP_SEGMENTATION:
                    self._replace(entry)
                    return self._deliver(self.queue.entry(entry.id))
                if not error.passing or pause is None:
                    raise
            time.sleep(pause)
        return self._verify(entry)

    def _send_once(self, entry: Entry) -> Entry:
        """One attempt; nothing leaves when the archive turns out to have the object."""
        if entry.state == SENDING:
            # An earlier attempt ended without an answer: the archive may have it all the same.
            if self.archive.verify == "none":
                raise PacsError(
                    "PACS_UNCERTAIN",
                    "An earlier attempt was interrupted, and this archive cannot be asked whether it has the object.",
                    "Look in the archive; then run pacs queue --forget, and send it again if it is not there.",
                    about_object=True,
                )
            if self._listed(entry.facts):
                return self.queue.note(entry, ACCEPTED)
            entry = self.queue.note(entry, WAITING, entry.code)
        if entry.state == WAITING:
            entry = self.queue.note(entry, SENDING, attempt=True)
            self._sent = True
            try:
                self.client.store(self.queue.path(entry), entry.facts)
            except PacsError as error:
                self.queue.note(entry, WAITING if error.code in _NOT_STORED else SENDING, error.code)
                raise
            entry = self.queue.note(entry, ACCEPTED)
        return entry

    def _verify(self, entry: Entry) -> Entry:
        """Look at what the archive has now.

        Raises:
            PacsError: ``PACS_NOT_VERIFIED`` (it does not list the object, or does not hand it over), ``PACS_DIFFERS``.
        """
        if self.archive.verify == "none":
            return self.queue.note(entry, VERIFIED)

        def look() -> list[str]:
            if self.archive.verify == "presence":
                if not self._listed(entry.facts):
                    raise _not_verified()
                return []
            return self._compare(entry)

        different = with_retries(look, self.archive.attempts, self.archive.wait)
        if different:
            raise PacsError(
                "PACS_DIFFERS",
                f"What the archive gives back differs from what was sent in {len(different)} elements"
                f" ({', '.join(different[:5])}).",
                "An object with the same identifier may have been there before; export it again and send that.",
                about_object=True,
            )
        return self.queue.note(entry, VERIFIED)

    def _listed(self, facts: ObjectFacts) -> bool:
        """Whether the archive lists the object."""
        query = Query(
            "IMAGE",
            {
                "StudyInstanceUID": facts.study_uid,
                "SeriesInstanceUID": facts.series_uid,
                "SOPInstanceUID": facts.sop_instance_uid,
            },
            limit=1,
        )
        try:
            return any(match["SOPInstanceUID"] == facts.sop_instance_uid for match in self.client.find(query))
        except PacsError as error:
            if error.code == "PACS_REFUSED" and not error.passing:
                # DICOMweb answers 404 where even the study is not known.
                return False
            raise

    def _compare(self, entry: Entry) -> list[str]:
        """Keywords in which the archive's object differs from ours."""
        facts = entry.facts
        arrived: list[bytes] = []
        try:
            self.client.fetch(
                facts.study_uid,
                facts.series_uid,
                [InstanceReference(facts.sop_instance_uid, facts.sop_class_uid)],
                arrived.append,
            )
        except PacsError as error:
            if error.code == "PACS_REFUSED" and not error.passing:
                raise _not_verified() from None
            raise
        with quiet("verifying"):
            from pydicom import dcmread

            found = [dcmread(io.BytesIO(content)) for content in arrived]
            found = [data for data in found if data.get("SOPInstanceUID") == facts.sop_instance_uid]
            if not found:
                raise _not_verified()
            return differences(dcmread(self.queue.path(entry)), found[0])

    def _replace(self, entry: Entry) -> None:
        """Put the BINARY form into the queue before it is sent, so that a crash does not make two of it."""
        with private_folder(self.queue.folder) as folder:
            path = folder / "binary.dcm"
            try:
                segments = self.binary_form(self.queue.path(entry), path)
                facts = read_facts(path)
            except MedSAMSegmentError as error:
                raise PacsError(
                    "PACS_UNSUPPORTED",
                    f"The archive takes no LABELMAP segmentation, and this one has no BINARY form ({error.code}).",
                    "Export it as BINARY.",
                    about_object=True,
                ) from None
            self.queue.replace(entry, path, facts, segments)

    def _follow_replaced(self, entry: Entry) -> Entry:
        """An object that refers to a replaced label map refers to its BINARY form instead, under a UID of its own."""
        replaced = {other.replaces_uid: other for other in self.queue.entries(entry.archive) if other.segments}
        if not replaced or entry.state != WAITING or entry.attempts or entry.replaces:
            return entry
        with private_folder(self.queue.folder) as folder:
            path = folder / "referring.dcm"
            moves = {
                old: Move(other.facts.sop_class_uid, other.facts.sop_instance_uid, other.segments)
                for old, other in replaced.items()
            }
            try:
                if not write_with_moved_references(self.queue.path(entry), path, moves):
                    return entry
            except InputError:
                raise PacsError(
                    "PACS_REFERENCE",
                    "The object refers to a segmentation that went as BINARY, in a way that cannot be followed.",
                    "Export both again, as BINARY.",
                    about_object=True,
                ) from None
            return self.queue.replace(entry, path, read_facts(path))

    def _note_failure(self, entry: Entry, error: PacsError) -> Entry:
        entry = self.queue.entry(entry.id)
        state = entry.state
        if error.code == "PACS_DIFFERS":
            state = DIFFERS
        elif error.about_object and not error.passing and state == WAITING:
            state = REFUSED
        return self.queue.note(entry, state, error.code)


def _not_verified() -> PacsError:
    return PacsError(
        "PACS_NOT_VERIFIED",
        "The archive said that it stored the object, and does not give it back.",
        "It may need some time: run `medsamsegment pacs send` later, which looks again and sends nothing twice.",
        passing=True,
        about_object=True,
    )
