"""What an archive can be asked, whatever language it speaks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

from .configuration import DimseArchive, WebArchive
from .objects import ObjectFacts
from .query import InstanceReference, Query

#: Takes one complete file (PS3.10) that arrived; may raise to stop the transfer.
Receive = Callable[[bytes], None]


class ArchiveClient(Protocol):
    """One conversation; every method raises :class:`~.failures.PacsError` and repeats nothing of itself."""

    def check(self) -> None:
        """Whether the archive answers us at all."""
        ...

    def find(self, query: Query) -> list[dict[str, str]]:
        """The matches, by keyword."""
        ...

    def fetch(self, study_uid: str, series_uid: str, wanted: Sequence[InstanceReference], receive: Receive) -> None:
        """Hand over the wanted objects of a series, in any order; maybe others and not all: the caller counts."""
        ...

    def store(self, path: Path, facts: ObjectFacts) -> None:
        """Send one file. Returns when the archive said that it has it."""
        ...


def open_client(archive: DimseArchive | WebArchive) -> ArchiveClient:
    """The client for an archive's protocol; nothing is sent yet.

    Raises:
        UsageError: ``PACS_SECRET``, ``PACS_CONFIGURATION``, ``PACS_NOT_INSTALLED``.
    """
    if isinstance(archive, DimseArchive):
        from .dimse import DimseClient

        return DimseClient(archive)
    from .dicomweb import WebClient

    return WebClient(archive)
