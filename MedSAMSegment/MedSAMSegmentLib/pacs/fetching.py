"""A series from the archive into a folder: complete, or not at all."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from ..errors import write_failed
from ..private_folder import keep, not_empty, private_folder
from .backoff import with_retries
from .client import ArchiveClient
from .failures import PacsError
from .query import InstanceReference, check_uid, query_for, references

#: More objects than this are not fetched: the reader of series would not take them either.
MOST_OBJECTS = 20_000

Progress = Callable[[int, int], None]


def list_objects(client: ArchiveClient, study_uid: str, series_uid: str) -> list[InstanceReference]:
    """The objects of a series as the archive lists them.

    Raises:
        PacsError: ``PACS_NOTHING_FOUND`` and those of the client.
    """
    query = query_for(
        {"StudyInstanceUID": study_uid, "SeriesInstanceUID": series_uid}, level="IMAGE", limit=MOST_OBJECTS
    )
    return references(client.find(query))


def choose_series(client: ArchiveClient, study_uid: str) -> str:
    """The only series of CT, MR or PET images of a study.

    Raises:
        PacsError: ``PACS_NOTHING_FOUND``, ``PACS_AMBIGUOUS``, and those of the client.
    """
    matches = client.find(query_for({"StudyInstanceUID": study_uid}, level="SERIES"))
    found = sorted({m["SeriesInstanceUID"] for m in matches if m["Modality"] in ("CT", "MR", "PT", "")})
    if not found:
        raise PacsError("PACS_NOTHING_FOUND", "The archive lists no CT, MR or PET series of this study.", "")
    if len(found) > 1:
        raise PacsError(
            "PACS_AMBIGUOUS",
            f"The study has {len(found)} series of CT, MR or PET images.",
            "List them with `medsamsegment pacs find --study UID`, and name one by --series.",
        )
    return found[0]


def fetch_series(
    client: ArchiveClient,
    study_uid: str,
    series_uid: str,
    target: Path,
    *,
    attempts: int = 1,
    wait: float = 0.0,
    progress: Progress | None = None,
) -> int:
    """Get all objects of a series as files ``0001.dcm`` … in the order in which they came.

    What has arrived when a connection breaks is kept, and only the rest is asked for again.

    Args:
        target: the folder to be made; it may exist if it is empty.  It is made with mode 0700.
        attempts: how often an archive that does not answer is asked.
        wait: the first pause between attempts, seconds.
        progress: called as ``progress(objects here, of all)``.

    Returns:
        How many objects the series has.

    Raises:
        PacsError: ``PACS_NOTHING_FOUND``, ``PACS_INCOMPLETE`` (the archive lists objects that it does not hand over),
            and those of the client.
        OutputError: ``FOLDER_NOT_EMPTY``, ``NO_FOLDER``, ``DISK_FULL``, ``WRITE_FAILED``.
    """
    check_uid(study_uid, "study's UID")
    check_uid(series_uid, "series' UID")
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise not_empty(target)
    wanted = with_retries(lambda: list_objects(client, study_uid, series_uid), attempts, wait)
    if len(wanted) > MOST_OBJECTS - 1:
        raise PacsError("PACS_TOO_MANY", f"The series has {MOST_OBJECTS} objects or more.", "Get it by other means.")
    with private_folder(target.absolute().parent) as folder:
        arrivals = _Arrivals(folder, study_uid, series_uid, wanted, progress)

        def fetch_missing() -> None:
            before = len(arrivals.missing)
            client.fetch(study_uid, series_uid, list(arrivals.missing.values()), arrivals.take)
            if arrivals.missing:
                raise PacsError(
                    "PACS_INCOMPLETE",
                    f"The archive lists {len(wanted)} objects and handed over {len(wanted) - len(arrivals.missing)}.",
                    "It may still be receiving the series, or not allow this encoding; try again later.",
                    passing=len(arrivals.missing) < before,
                )

        with_retries(fetch_missing, attempts, wait)
        keep(folder, target)
    return len(wanted)


class _Arrivals:
    """Writes what belongs to the series, once each; what does not is dropped."""

    def __init__(
        self,
        folder: Path,
        study_uid: str,
        series_uid: str,
        wanted: list[InstanceReference],
        progress: Progress | None,
    ) -> None:
        self.folder, self.parents, self.total, self.progress = folder, (study_uid, series_uid), len(wanted), progress
        self.missing = {reference.sop_instance_uid: reference for reference in wanted}

    def take(self, content: bytes) -> None:
        """One file as it came over the network.

        Raises:
            OutputError: ``DISK_FULL``, ``WRITE_FAILED``.
        """
        uid = _instance_of(content, self.parents)
        if uid not in self.missing:
            return
        # Numbers, not UIDs: a name that comes from the network is never made a file name.
        path = self.folder / f"{self.total - len(self.missing) + 1:04d}.dcm"
        try:
            with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as stream:
                stream.write(content)
        except OSError as error:
            raise write_failed(self.folder.parent, error) from None
        del self.missing[uid]
        if self.progress is not None:
            self.progress(self.total - len(self.missing), self.total)


def _instance_of(content: bytes, parents: tuple[str, str]) -> str:
    """The SOP Instance UID of a complete object of this study and series; empty for anything else."""
    import io

    from pydicom import dcmread

    data = dcmread(io.BytesIO(content))
    if (data.get("StudyInstanceUID"), data.get("SeriesInstanceUID")) != parents:
        return ""
    return str(data.get("SOPInstanceUID") or "")
