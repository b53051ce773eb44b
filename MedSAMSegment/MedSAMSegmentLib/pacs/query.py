"""What to look for in an archive, and what it answered (PS3.4 annex C, PS3.18 10.6)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..errors import UsageError
from .failures import PacsError

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

#: What is asked for at each level of the study root model, in the order it is shown.
COLUMNS = {
    "STUDY": (
        "PatientID",
        "PatientName",
        "PatientBirthDate",
        "StudyDate",
        "ModalitiesInStudy",
        "StudyDescription",
        "AccessionNumber",
        "NumberOfStudyRelatedInstances",
        "StudyInstanceUID",
    ),
    "SERIES": (
        "SeriesNumber",
        "Modality",
        "SeriesDescription",
        "NumberOfSeriesRelatedInstances",
        "SeriesInstanceUID",
        "StudyInstanceUID",
    ),
    "IMAGE": ("InstanceNumber", "SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID"),
}

#: Where each attribute may be asked for.
_LEVEL_OF = {
    "PatientID": "STUDY",
    "PatientName": "STUDY",
    "StudyDate": "STUDY",
    "AccessionNumber": "STUDY",
    "ModalitiesInStudy": "STUDY",
    "StudyInstanceUID": "STUDY",
    "Modality": "SERIES",
    "SeriesInstanceUID": "SERIES",
    "SOPInstanceUID": "IMAGE",
}

_UID = re.compile(r"(0|[1-9]\d*)(\.(0|[1-9]\d*))+\Z")
_DATES = re.compile(r"\d{8}(-(\d{8})?)?\Z|-\d{8}\Z")

#: Characters a terminal would act upon.
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")

Match = Mapping[str, str]


@dataclass(frozen=True)
class Query:
    """A search at one level.

    Attributes:
        level: ``"STUDY"``, ``"SERIES"`` or ``"IMAGE"``.
        terms: what has to match, by keyword.  ``*`` and ``?`` are wild cards in texts, dates may be ranges
            (``20260101-20260131``).
        limit: most matches wanted.
    """

    level: str
    terms: Mapping[str, str]
    limit: int = 1000

    def __post_init__(self) -> None:
        for keyword, value in self.terms.items():
            if keyword.endswith("UID"):
                check_uid(value, keyword)
            if keyword == "StudyDate" and not _DATES.match(value):
                raise UsageError("BAD_DATE", "The study date cannot be read.", "Write YYYYMMDD or YYYYMMDD-YYYYMMDD.")
            if "\\" in value or _CONTROL.search(value):
                raise UsageError("BAD_TERM", "A search term holds a backslash or a control character.", "Leave it out.")

    def dataset(self) -> Dataset:
        """The identifier of a C-FIND request, UTF-8."""
        from pydicom.dataset import Dataset

        data = Dataset()
        data.SpecificCharacterSet = "ISO_IR 192"
        data.QueryRetrieveLevel = self.level
        for keyword in COLUMNS[self.level]:
            setattr(data, keyword, None if keyword.startswith("NumberOf") else "")
        for keyword, value in self.terms.items():
            setattr(data, keyword, value)
        return data

    def match(self, answer: Dataset) -> dict[str, str]:
        """The answer as plain text, by keyword; what is missing is empty."""
        return {keyword: plain(answer.get(keyword)) for keyword in COLUMNS[self.level]}

    def fits(self, match: Match) -> bool:
        """Whether an answer is below the study and series that were asked for: some archives ignore what they do not
        index, and their other answers must not be taken for matches."""
        return all(
            match.get(keyword, value) in ("", value) for keyword, value in self.terms.items() if keyword.endswith("UID")
        )


@dataclass(frozen=True)
class InstanceReference:
    """One object as the archive lists it. ``sop_class_uid`` is empty where the archive does not say."""

    sop_instance_uid: str
    sop_class_uid: str


def query_for(terms: Mapping[str, str], level: str = "", limit: int = 1000) -> Query:
    """The search a user means: series where a study is given, studies otherwise.

    Args:
        terms: what has to match; empty ones are left out.
        level: ``"STUDY"``, ``"SERIES"`` or ``"IMAGE"`` to override.
        limit: most matches wanted.

    Raises:
        UsageError: ``NO_SEARCH_TERM`` (the whole archive would be listed), ``BAD_LEVEL``, ``BAD_UID``, ``BAD_DATE``,
            ``BAD_TERM``.
    """
    given = {keyword: value for keyword, value in terms.items() if value}
    if not any(value.strip("*? -") for value in given.values()):
        raise UsageError(
            "NO_SEARCH_TERM",
            "A search of the whole archive was asked for.",
            "Give a patient, a date, a study or a series.",
        )
    order = list(COLUMNS)
    if not level:
        deepest = max(order.index(_LEVEL_OF[keyword]) for keyword in given)
        level = order[max(deepest, 1 if "StudyInstanceUID" in given else 0)]
    if level not in COLUMNS:
        raise UsageError("BAD_LEVEL", "There is no such level.", f"Levels are {', '.join(COLUMNS)}.")
    for keyword in given:
        if order.index(_LEVEL_OF[keyword]) > order.index(level):
            raise UsageError(
                "BAD_LEVEL", f"{keyword} cannot be searched for at level {level}.", "Choose a deeper level."
            )
    return Query(level, given, limit)


def is_uid(value: str) -> bool:
    """Whether a text is a UID (PS3.5 9.1)."""
    return len(value) <= 64 and _UID.match(value) is not None


def check_uid(value: str, what: str = "UID") -> str:
    """The UID itself, if it is one (PS3.5 9.1).

    Raises:
        UsageError: ``BAD_UID``.
    """
    if not is_uid(value):
        raise UsageError("BAD_UID", f"The {what} is not a DICOM UID.", "Copy it from `medsamsegment pacs find`.")
    return value


def plain(value: Any) -> str:
    """A value as one line of text, with nothing a terminal would act upon."""
    from pydicom.multival import MultiValue

    if value is None:
        return ""
    text = "\\".join(map(str, value)) if isinstance(value, MultiValue | list) else str(value)
    return _CONTROL.sub(" ", text).strip()


def references(matches: list[dict[str, str]]) -> list[InstanceReference]:
    """The objects of an answer at level IMAGE, each once.

    Raises:
        PacsError: ``PACS_NOTHING_FOUND``.
    """
    found = {match["SOPInstanceUID"]: match["SOPClassUID"] for match in matches if match["SOPInstanceUID"]}
    if not found:
        raise PacsError(
            "PACS_NOTHING_FOUND", "The archive lists no object of this series.", "Check both UIDs with pacs find."
        )
    return [InstanceReference(uid, kind) for uid, kind in found.items()]
