"""Whether what an archive gives back is what was sent."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pydicom.dataset import DataElement, Dataset

#: What an archive may change when it files an object under a patient and a study it knows (coercion, PS3.4 B.4.1.3), by
#: keyword; and what only says how, or where, the object is kept.
COERCIBLE = frozenset(
    (
        *("PatientName", "PatientID", "IssuerOfPatientID", "PatientBirthDate", "PatientBirthTime", "PatientSex"),
        *("OtherPatientIDs", "OtherPatientIDsSequence", "OtherPatientNames", "PatientAge", "PatientSize"),
        *("PatientWeight", "PatientComments", "EthnicGroup", "IssuerOfPatientIDQualifiersSequence"),
        *("StudyDate", "StudyTime", "StudyID", "StudyDescription", "AccessionNumber"),
        *("IssuerOfAccessionNumberSequence", "ReferringPhysicianName", "InstitutionName", "ProcedureCodeSequence"),
        *("RequestAttributesSequence", "SpecificCharacterSet", "TimezoneOffsetFromUTC"),
        *("OriginalAttributesSequence", "InstanceAvailability", "RetrieveAETitle", "DataSetTrailingPadding"),
    )
)

_PIXELS = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")


def differences(sent: Dataset, received: Dataset) -> list[str]:
    """The keywords (tags for private elements) of everything in which two objects differ; their values are not given.

    An element the archive added is no difference.  Pixel data in two encodings are compared decoded.  Empty and missing
    elements are the same.
    """
    found = _differences(sent, received)
    if not found and not _same_pixels(sent, received):
        found.append("PixelData")
    return found


def _differences(sent: Dataset, received: Dataset) -> list[str]:
    found = []
    for element in sent:
        keyword = element.keyword
        if keyword in COERCIBLE or keyword in _PIXELS or element.tag.element == 0:
            continue
        other = received.get(element.tag)
        if not _same(element, other):
            found.append(keyword or str(element.tag))
    return found


def _same(element: DataElement, other: DataElement | None) -> bool:
    if other is None or other.is_empty:
        return element.is_empty or (element.VR == "SQ" and not element.value)
    if element.VR == "SQ":
        items = other.value
        return len(element.value) == len(items) and not any(
            _differences(one, two) for one, two in zip(element.value, items, strict=True)
        )
    if isinstance(element.value, bytes) and isinstance(other.value, bytes):
        return _same_bytes(element.value, other.value)
    return _plain(element.value) == _plain(other.value)


def _plain(value: Any) -> Any:
    """The value without the padding of texts to even length."""
    if isinstance(value, str):
        return value.rstrip("\0 ")
    if isinstance(value, list) or type(value).__name__ == "MultiValue":
        return [_plain(single) for single in value]
    return value


def _same_bytes(one: bytes, two: bytes) -> bool:
    """Equal, but for the one byte that makes a length even."""
    short, long = sorted((one, two), key=len)
    return short == long or (len(long) == len(short) + 1 and long.endswith(b"\0") and long.startswith(short))


def _same_pixels(sent: Dataset, received: Dataset) -> bool:
    keyword = next((keyword for keyword in _PIXELS if keyword in sent), None)
    if keyword is None:
        return True
    if keyword not in received:
        return False
    one, two = sent[keyword].value, received[keyword].value
    syntaxes = [data.file_meta.TransferSyntaxUID for data in (sent, received)]
    if _same_bytes(one, two) and syntaxes[0].is_encapsulated == syntaxes[1].is_encapsulated:
        return True
    if not any(syntax.is_encapsulated for syntax in syntaxes):
        return False
    import numpy as np

    return bool(np.array_equal(sent.pixel_array, received.pixel_array))
