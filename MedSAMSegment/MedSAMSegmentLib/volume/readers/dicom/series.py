"""The series of a folder: listed for a user to choose from, and chosen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ....errors import InputError
from .files import FoundFiles
from .headers import SliceHeader

#: A series with fewer images than this beside one large series is taken for a scout and left out.
_SMALL_SERIES = 3

_PLANES = ("sagittal", "coronal", "axial")


@dataclass(frozen=True)
class SeriesSummary:
    """What a user needs to choose a series.

    Attributes:
        number: counted from 1, in the order of the files.
        uid: Series Instance UID, for programs.
        modality: ``"CT"``, ``"MR"`` or ``"PT"``.
        images: number of images or frames.
        rows, columns: matrix of the first image.
        plane: ``"axial"``, ``"coronal"``, ``"sagittal"``, with ``"oblique "`` in front where it is turned by more than
            ten degrees; ``""`` where the first image does not say.
        localizers: how many of the images are localizers.
        multi_frame: whether they are frames of enhanced objects.
    """

    number: int
    uid: str
    modality: str
    images: int
    rows: int
    columns: int
    plane: str = ""
    localizers: int = 0
    multi_frame: bool = False

    def in_words(self) -> str:
        """One line for people."""
        name = "frame" if self.multi_frame else "image"
        kind = f"{self.plane} " if self.plane else ""
        scouts = ", localizers only" if self.localizers == self.images else ""
        return (
            f"{self.number}: {self.modality}, {self.images} {kind}{name}{'s' if self.images > 1 else ''}"
            f" of {self.columns} x {self.rows}{scouts}"
        )


def summarise_series(found: FoundFiles) -> list[SeriesSummary]:
    """One summary a series, in the order of their files."""
    return [
        SeriesSummary(
            number,
            uid,
            headers[0].modality,
            len(headers),
            headers[0].rows,
            headers[0].columns,
            _plane(headers),
            sum(header.is_localizer for header in headers),
            headers[0].frame is not None,
        )
        for number, (uid, headers) in enumerate(found.series.items(), start=1)
    ]


def choose_series(found: FoundFiles, wanted: str | int | None) -> tuple[str, list[SliceHeader]]:
    """The identifier and the headers of one series.

    Without a wish the only series is taken, or the only one that has more than a few images and is no localizer.

    Raises:
        InputError: ``NO_SERIES``, ``BAD_UID`` (nothing but malformed identifiers), ``UNREADABLE`` (a damaged file),
            ``AMBIGUOUS``.
    """
    summaries = summarise_series(found)
    if not summaries:
        raise _nothing_found(found)
    listing = "; ".join(summary.in_words() for summary in summaries)
    if wanted is not None:
        for summary in summaries:
            if str(wanted) in (str(summary.number), summary.uid):
                return summary.uid, found.series[summary.uid]
        raise InputError("NO_SERIES", "There is no such series in this folder.", f"Choose one of these: {listing}.")
    candidates = summaries
    if len(summaries) > 1:
        scans = [s for s in summaries if s.localizers < s.images]
        large = [s for s in scans if s.images >= _SMALL_SERIES]
        candidates = scans if len(scans) == 1 else large if len(large) == 1 else summaries
    if len(candidates) == 1:
        return candidates[0].uid, found.series[candidates[0].uid]
    raise InputError(
        "AMBIGUOUS",
        f"The folder holds {len(summaries)} series: {listing}.",
        "Choose one with --series NUMBER, or give the folder of one series.",
    )


def _plane(headers: Sequence[SliceHeader]) -> str:
    orientation = next((h.orientation for h in headers if h.orientation is not None and not h.is_localizer), None)
    if orientation is None:
        return ""
    normal = np.abs(np.cross(orientation[:3], orientation[3:]))
    length = float(np.linalg.norm(normal))
    if length == 0:
        return ""
    nearest = int(np.argmax(normal))
    turned = "oblique " if normal[nearest] / length < np.cos(np.radians(10)) else ""
    return turned + _PLANES[nearest]


def _nothing_found(found: FoundFiles) -> InputError:
    if found.skipped["uid"]:
        return InputError(
            "BAD_UID",
            f"{found.skipped['uid']} DICOM file(s) have a malformed unique identifier.",
            "Export the scan again, from another program if need be.",
        )
    if found.root.is_file() and found.skipped["unreadable"]:
        return InputError("UNREADABLE", f"{found.root.name} is a damaged DICOM file.", "Copy or export it again.")
    reasons = [
        f"{count} {text}"
        for count, text in (
            (found.skipped["other"], "DICOM object(s) of another kind"),
            (found.skipped["unreadable"], "damaged file(s)"),
            (found.skipped["link"], "symbolic link(s), which are not followed"),
            (sum(found.missing.values()), "listed image(s) that are not there"),
            (found.skipped["foreign"], "file(s) that are no DICOM"),
        )
        if count
    ]
    there = f"; found were {', '.join(reasons)}" if reasons else ""
    return InputError(
        "NO_SERIES",
        f"There is no CT, MR or PET image in {found.root.name}{there}.",
        "Choose the folder that holds the images of the scan.",
    )
