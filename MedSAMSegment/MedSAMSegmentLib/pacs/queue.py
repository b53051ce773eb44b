"""What is to be sent, on disk: it survives a crash at any moment, and nothing is sent twice.

A folder of mode 0700 with an SQLite database and the files to be sent, under random names.  Every change is on the disk
before the next step is taken (``synchronous=FULL``, fsync of files and folder).  An entry goes through these states::

    waiting ──> sending ──> accepted ──> verified
       ^           │             │
       └── absent ─┴─ refused    └─ differs

``sending`` is written before the first byte leaves.  An entry that is found in this state later was interrupted:
whether the archive has it must be asked before it may be sent again.  The file goes when the entry is ``verified``; the
line stays, so that the same object is not sent again by mistake.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from ..errors import OutputError, UsageError, write_failed
from ..private_folder import locked
from .failures import PacsError
from .objects import ObjectFacts

WAITING, SENDING, ACCEPTED, VERIFIED, REFUSED, DIFFERS = (
    "waiting",
    "sending",
    "accepted",
    "verified",
    "refused",
    "differs",
)
#: States in which there is something left to do without being asked.
OPEN = (WAITING, SENDING, ACCEPTED)

_VERSION = 1
_TABLE = """
CREATE TABLE entries (
    id INTEGER PRIMARY KEY,
    archive TEXT NOT NULL,
    sop_class_uid TEXT NOT NULL,
    sop_instance_uid TEXT NOT NULL,
    study_uid TEXT NOT NULL,
    series_uid TEXT NOT NULL,
    transfer_syntax_uid TEXT NOT NULL,
    sha256 TEXT NOT NULL,
    file TEXT NOT NULL,
    state TEXT NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0,
    code TEXT NOT NULL DEFAULT '',
    replaces TEXT NOT NULL DEFAULT '',
    replaces_uid TEXT NOT NULL DEFAULT '',
    segments TEXT NOT NULL DEFAULT '[]',
    changed REAL NOT NULL,
    UNIQUE (archive, sop_instance_uid)
)
"""


@dataclass(frozen=True)
class Entry:
    """One object on its way to one archive.

    Attributes:
        file: its name in the queue's folder; empty when it is gone.
        code: why it is where it is: the code of the last failure, or empty.
        replaces: SHA-256 of the object it was made from when the archive did not take that one.
        replaces_uid: that object's SOP Instance UID.
        segments: that object's segment numbers, in the order of the new ones; empty where it has none.
    """

    id: int
    archive: str
    facts: ObjectFacts
    file: str
    state: str
    attempts: int
    code: str
    replaces: str
    replaces_uid: str
    segments: tuple[int, ...]
    changed: float


class SendQueue:
    """The queue in a folder, which is made when it is not there.

    Raises:
        OutputError: ``QUEUE_UNUSABLE``, ``DISK_FULL``.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            folder.chmod(0o700)
        except OSError as error:
            raise write_failed(folder, error) from None
        with self._database() as database:
            version = database.execute("PRAGMA user_version").fetchone()[0]
            if version > _VERSION:
                raise OutputError(
                    "QUEUE_UNUSABLE", f"The queue {folder} was made by a newer version.", "Update this program."
                )
            if version == 0:
                database.execute(_TABLE)
                database.execute(f"PRAGMA user_version = {_VERSION}")

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """Only one process sends at a time; the system takes the lock back when that process ends.

        Raises:
            PacsError: ``QUEUE_BUSY``.
        """
        with _held(self.folder / "lock"):
            self._sweep()
            yield

    def add(self, archive: str, path: Path, facts: ObjectFacts) -> Entry:
        """Copy an object into the queue; one that is there already is not added again.

        One that the archive refused before is put back to waiting.

        Raises:
            UsageError: ``UID_REUSED`` when another object with this UID was given before: archives keep the first one
                and say that all is well.
            OutputError: ``DISK_FULL``, ``WRITE_FAILED``.
        """
        for entry in self.entries(archive):
            if facts.sha256 == entry.facts.sha256 or facts.sha256 == entry.replaces:
                if entry.state == REFUSED:
                    self.note(entry, WAITING)
                return self.entry(entry.id)
            if facts.sop_instance_uid == entry.facts.sop_instance_uid:
                raise UsageError(
                    "UID_REUSED",
                    f"{path.name} has the identifier of another object that was given for this archive before.",
                    "Export it again: every export gets identifiers of its own.",
                )
        name = self._copy(path, facts.sha256)
        with self._database() as database:
            added = database.execute(
                "INSERT OR IGNORE INTO entries (archive, sop_class_uid, sop_instance_uid, study_uid, series_uid,"
                " transfer_syntax_uid, sha256, file, state, changed) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (archive, *_values(facts), name, WAITING, time.time()),
            )
        if added.rowcount and added.lastrowid:
            return self.entry(added.lastrowid)
        # Another process has added it meanwhile.
        (self.folder / name).unlink()
        return self.add(archive, path, facts)

    def replace(self, entry: Entry, path: Path, facts: ObjectFacts, segments: Sequence[int] = ()) -> Entry:
        """Put another object in an entry's place, because the archive does not take the first one.

        Args:
            entry: as it was.
            path: the other object's file, which is copied.
            facts: of the other object.
            segments: the first object's segment numbers, in the order of the new ones.
        """
        name = self._copy(path, facts.sha256)
        with self._database() as database:
            database.execute(
                "UPDATE entries SET sop_class_uid = ?, sop_instance_uid = ?, study_uid = ?, series_uid = ?,"
                " transfer_syntax_uid = ?, sha256 = ?, file = ?, replaces = ?, replaces_uid = ?, segments = ?,"
                " state = ?, code = '', changed = ? WHERE id = ?",
                (
                    *_values(facts),
                    name,
                    entry.facts.sha256,
                    entry.facts.sop_instance_uid,
                    json.dumps(list(segments)),
                    WAITING,
                    time.time(),
                    entry.id,
                ),
            )
        with suppress(OSError):
            self.path(entry).unlink()
        return self.entry(entry.id)

    def note(self, entry: Entry, state: str, code: str = "", attempt: bool = False) -> Entry:
        """Write down an entry's new state; on the disk when this returns.

        Args:
            entry: as it was.
            state: the new one.
            code: of the failure that led there.
            attempt: whether an attempt to send begins; they are counted.
        """
        done = state == VERIFIED
        with self._database() as database:
            database.execute(
                "UPDATE entries SET state = ?, code = ?, attempts = attempts + ?, changed = ?,"
                " file = CASE WHEN ? THEN '' ELSE file END WHERE id = ?",
                (state, code, int(attempt), time.time(), done, entry.id),
            )
        if done:
            with suppress(OSError):
                self.path(entry).unlink()
        return self.entry(entry.id)

    def forget(self, entry: Entry) -> None:
        """Take an entry out, and its file; it may then be given again."""
        with self._database() as database:
            database.execute("DELETE FROM entries WHERE id = ?", (entry.id,))
        if entry.file:
            with suppress(OSError):
                self.path(entry).unlink()

    def entries(self, archive: str | None = None) -> list[Entry]:
        """All entries, or those of one archive, in the order in which they were added."""
        where, values = ("WHERE archive = ?", (archive,)) if archive is not None else ("", ())
        with self._database() as database:
            rows = database.execute(f"SELECT * FROM entries {where} ORDER BY id", values).fetchall()
        return [_entry(row) for row in rows]

    def entry(self, key: int) -> Entry:
        """One entry by its number."""
        with self._database() as database:
            return _entry(database.execute("SELECT * FROM entries WHERE id = ?", (key,)).fetchone())

    def path(self, entry: Entry) -> Path:
        """The file to be sent."""
        return self.folder / entry.file

    def _copy(self, path: Path, sha256: str) -> str:
        name = f"{secrets.token_hex(16)}.dcm"
        target = self.folder / name
        digest = hashlib.sha256()
        try:
            descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with open(path, "rb") as source, open(descriptor, "wb") as copy:
                while block := source.read(1 << 20):
                    digest.update(block)
                    copy.write(block)
                copy.flush()
                os.fsync(copy.fileno())
            _flush_folder(self.folder)
        except OSError as error:
            with suppress(OSError):
                target.unlink()
            raise write_failed(self.folder, error) from None
        if digest.hexdigest() != sha256:
            target.unlink()
            raise OutputError("FILE_CHANGED", f"{path.name} changed while it was read.", "Try again.")
        return name

    def _sweep(self) -> None:
        """Remove copies no entry knows: a process was killed between making the copy and writing the entry."""
        known = {entry.file for entry in self.entries()}
        for path in self.folder.glob("*.dcm"):
            # One that has just been made may get its entry any moment.
            with suppress(OSError):
                if path.name not in known and time.time() - path.stat().st_mtime > 3600:
                    path.unlink()

    @contextmanager
    def _database(self) -> Iterator[sqlite3.Connection]:
        """A transaction: written to the disk when the block ends, undone on any error."""
        path = self.folder / "queue.sqlite"
        try:
            database = sqlite3.connect(path, timeout=30, isolation_level=None)
            try:
                with suppress(OSError):
                    path.chmod(0o600)
                database.execute("PRAGMA synchronous = FULL")
                database.execute("BEGIN IMMEDIATE")
                try:
                    yield database
                except BaseException:
                    database.execute("ROLLBACK")
                    raise
                database.execute("COMMIT")
            finally:
                database.close()
        except sqlite3.Error as error:
            full = "full" in str(error)
            raise OutputError(
                "DISK_FULL" if full else "QUEUE_UNUSABLE",
                f"The queue {self.folder} cannot be used ({'the disk is full' if full else type(error).__name__}).",
                "Free some space and try again." if full else "Check its permissions, or name another folder.",
            ) from None


@contextmanager
def _held(path: Path) -> Iterator[None]:
    try:
        lock = locked(path)
        lock.__enter__()
    except BlockingIOError:
        raise PacsError(
            "QUEUE_BUSY",
            "Another process is sending from this queue.",
            "What you gave is in the queue; it is sent by that process, or by the next `medsamsegment pacs send`.",
        ) from None
    try:
        yield
    finally:
        lock.__exit__(None, None, None)


def _values(facts: ObjectFacts) -> tuple[str, ...]:
    return (
        facts.sop_class_uid,
        facts.sop_instance_uid,
        facts.study_uid,
        facts.series_uid,
        facts.transfer_syntax_uid,
        facts.sha256,
    )


def _entry(row: tuple) -> Entry:
    key, archive, *facts, file, state, attempts, code, replaces, replaces_uid, segments, changed = row
    numbers = tuple(json.loads(segments))
    return Entry(
        key, archive, ObjectFacts(*facts), file, state, attempts, code, replaces, replaces_uid, numbers, changed
    )


def _flush_folder(folder: Path) -> None:
    """Bring a new name to the disk; Windows keeps names by itself."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
