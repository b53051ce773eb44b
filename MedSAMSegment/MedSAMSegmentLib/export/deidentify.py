"""De-identification by the Basic Application Level Confidentiality Profile (DICOM PS3.15 annex E).

``confidentiality_profile.json`` is the standard's table E.1-1: what happens to each attribute.  Where it leaves a
choice that depends on the kind of object, the one that is valid for every kind is taken: a dummy value before an empty
one, an empty one before none.  Private attributes, and those the dictionary does not know, are removed.

Identifiers are replaced by a keyed hash, so that objects de-identified with the same key refer to one another as the
originals did, whenever and wherever that was done, and nobody without the key can tell what they replace.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import re
import secrets
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import InputError, OutputError, UsageError, write_failed

if TYPE_CHECKING:
    from pydicom.dataelem import DataElement
    from pydicom.dataset import Dataset

NOT_GUARANTEED = (
    "De-identified by the Basic Profile of DICOM PS3.15. That nobody can be recognised is not guaranteed: look at the"
    " result before you give it away."
)

_KEY_BYTES = 32
_STANDARD_ROOT = "1.2.840.10008."
#: Identifiers of kinds of things rather than of things.
_CLASSES = ("SOPClassUID", "TransferSyntaxUID", "CodingSchemeUID", "ContextUID", "MappingResourceUID")
#: Sequences of references whose items stay, with new identifiers (action U*).
_REFERENCES = "X/Z/U*"
#: Valid in every object, and nothing of the original's.
_DUMMIES = {"DA": "19000101", "TM": "000000", "DT": "19000101000000", "AS": "000Y", "DS": "0", "IS": "0"}
_TEXT = ("AE", "CS", "LO", "LT", "PN", "SH", "ST", "UC", "UR", "UT")
_DUMMY_TEXT = "REMOVED"
#: Descriptors of results are this program's own and their labels checked, as the Clean Descriptors Option asks.
_CLEANED = (
    *("SeriesDescription", "ROIName", "ROIGenerationDescription"),
    *("StructureSetLabel", "StructureSetName", "StructureSetDescription"),
)
#: Besides every person's name, what tells who somebody is or where they were.
_IDENTIFYING = (
    *("PatientID", "OtherPatientIDs", "PatientBirthDate", "PatientAddress", "PatientTelephoneNumbers"),
    *("AccessionNumber", "AdmissionID", "StudyID", "InstitutionName", "InstitutionAddress", "StationName"),
    *("DeviceSerialNumber", "MedicalRecordLocator", "IssuerOfPatientID"),
)
_SHORTEST_WORD, _SHORTEST_VALUE, _LONG_VALUE = 3, 4, 6


@dataclass(frozen=True)
class Identity:
    """What of a series would give its patient away.

    Attributes:
        words: of persons' names, lower case.
        values: numbers, dates, addresses and places: their words, lower case, one blank between.
        uids: of the series' objects and what they refer to.
    """

    words: frozenset[str] = frozenset()
    values: frozenset[str] = frozenset()
    uids: frozenset[str] = frozenset()

    def __or__(self, other: Identity) -> Identity:
        return Identity(self.words | other.words, self.values | other.values, self.uids | other.uids)

    def is_in(self, text: str) -> bool:
        """Whether a text says it: a name as a word of its own, so do short values; long ones anywhere."""
        words = _words(text.casefold())
        joined = f" {' '.join(words)} "
        return not self.words.isdisjoint(words) or any(
            (value in joined) if len(value) >= _LONG_VALUE else f" {value} " in joined for value in self.values
        )


@dataclass(frozen=True)
class Deidentification:
    """The profile with a key.

    Attributes:
        key: secret; objects de-identified with the same key fit together.
    """

    key: bytes

    def uid(self, uid: str) -> str:
        """The identifier that stands for another one, made from a name-based UUID (PS3.5 B.2)."""
        return (
            uid
            if not uid or uid.startswith(_STANDARD_ROOT)
            else f"2.25.{uuid.UUID(bytes=self._hash(uid), version=5).int}"
        )

    def pseudonym(self, data: Dataset) -> str:
        """What stands for the patient's name and number: the same for the same patient number."""
        known = (str(data.get(keyword) or "").strip() for keyword in ("PatientID", "PatientName", "StudyInstanceUID"))
        return "P" + self._hash("patient " + next(filter(None, known), "")).hex()[:12].upper()

    def apply(self, data: Dataset, identity: Identity) -> None:
        """De-identify a source image, or its header, in place."""
        pseudonym = self.pseudonym(data)
        self._clean(data, identity, own=False)
        data.PatientID = data.PatientName = pseudonym
        _declare(data, own=False)

    def apply_to_result(self, data: Dataset) -> None:
        """De-identify, in place, an object that this program made from a source it had applied :meth:`apply` to."""
        patient = data.PatientID, data.PatientName
        self._clean(data, Identity(), own=True)
        data.PatientID, data.PatientName = patient
        _declare(data, own=True)

    def _hash(self, text: str) -> bytes:
        return hmac.new(self.key, text.encode(), hashlib.sha256).digest()[:16]

    def _clean(self, data: Dataset, identity: Identity, own: bool) -> None:
        for tag in list(data.keys()):
            action = _action(tag)
            try:
                element = data[tag]
            except Exception:  # a value that cannot be read cannot be judged
                action = "X"
            if action == "X" and not (own and element.keyword in _CLEANED):
                del data[tag]
            elif element.VR == "SQ":
                self._clean_sequence(data, element, action, identity, own)
            elif element.VR == "UI":
                if not own and not element.keyword.endswith(_CLASSES):
                    element.value = _each(element.value, self.uid)
            elif action == "Z" or action.endswith("/Z"):
                if not (own and element.keyword in _CLEANED):
                    element.value = _empty(element)
            elif action.endswith("D"):
                if element.value and not (own and element.keyword in _CLEANED):
                    element.value = _dummy(element)
            elif element.VR in _TEXT and any(identity.is_in(str(part)) for part in _parts(element.value)):
                element.value = _dummy(element)

    def _clean_sequence(self, data: Dataset, element: DataElement, action: str, identity: Identity, own: bool) -> None:
        if action in ("", _REFERENCES) or (own and element.keyword == "ContentSequence"):
            for item in element.value:
                self._clean(item, identity, own)
        elif "Z" in action or action == "D":
            element.value = []
        else:
            del data[element.tag]


def read_key(path: str | os.PathLike[str]) -> Deidentification:
    """The key of a file; a new one where there is no file yet.

    Args:
        path: 64 hexadecimal digits, readable by its owner only.

    Raises:
        InputError: ``BAD_KEY``, ``KEY_PERMISSIONS``.
        OutputError: a new file cannot be written.
    """
    file = Path(path)
    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return Deidentification(_stored_key(file))
    except OSError as error:
        raise write_failed(file, error) from None
    key = secrets.token_bytes(_KEY_BYTES)
    with open(descriptor, "w", encoding="ascii") as stream:
        stream.write(key.hex() + "\n")
    return Deidentification(key)


def identity_of(data: Dataset) -> Identity:
    """What would give the patient of an object away, at any depth of it."""
    words: set[str] = set()
    values: set[str] = set()
    uids: set[str] = set()
    for element in _elements(data):
        texts = [str(part) for part in _parts(element.value)]
        if element.VR == "PN":
            words |= {word for text in texts for word in _words(text.casefold()) if len(word) >= _SHORTEST_WORD}
        elif element.keyword in _IDENTIFYING:
            plain = (" ".join(_words(text.casefold())) for text in texts)
            values |= {text for text in plain if len(text) >= _SHORTEST_VALUE}
        elif element.VR == "UI" and not element.keyword.endswith(_CLASSES):
            uids |= {text for text in texts if text and not text.startswith(_STANDARD_ROOT)}
    return Identity(frozenset(words), frozenset(values), frozenset(uids))


def check_labels(names: Iterable[str], identity: Identity) -> None:
    """Refuse labels that say who the patient is.

    Raises:
        UsageError: ``LABEL_IDENTIFIES``.
    """
    if any(identity.is_in(name) for name in names):
        raise UsageError(
            "LABEL_IDENTIFIES",
            "The label of an object holds a name or number that identifies the patient.",
            "Choose another --label, or leave --deidentify out.",
        )


def check_deidentified(data: Dataset, identity: Identity) -> None:
    """Look for what should be gone in every element of an object that was read back.

    Raises:
        OutputError: ``NOT_DEIDENTIFIED``.
    """
    for element in (*_elements(data), *getattr(data, "file_meta", ())):
        texts = [str(part) for part in _parts(element.value)] if element.VR in (*_TEXT, *_DUMMIES, "UI") else []
        found = any(text in identity.uids for text in texts)
        # Names are looked for where people write; words like Left may be names, too.
        if element.VR not in ("UI", "CS", "DS", "IS") and element.keyword != "CodeMeaning":
            found = found or any(identity.is_in(text) for text in texts)
        if element.tag.is_private or found:
            raise OutputError(
                "NOT_DEIDENTIFIED",
                "Something that identifies the patient was left in the result, so it was not kept.",
                "Rename objects whose labels contain it, or leave --deidentify out.",
            )


def _declare(data: Dataset, own: bool) -> None:
    """Say what was done (PS3.15 E.2, PS3.16 CID 7050)."""
    from pydicom.dataset import Dataset

    data.PatientIdentityRemoved = "YES"
    data.DeidentificationMethod = ["DICOM PS3.15 Annex E, Basic Profile", "MedSAMSegment; not guaranteed"]
    codes = [("113100", "Basic Application Confidentiality Profile")]
    if own:
        codes.append(("113105", "Clean Descriptors Option"))
    items = []
    for value, meaning in codes:
        item = Dataset()
        item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, "DCM", meaning
        items.append(item)
    data.DeidentificationMethodCodeSequence = items
    data.LongitudinalTemporalInformationModified = "REMOVED"


def _stored_key(file: Path) -> bytes:
    try:
        if os.name == "posix" and file.stat().st_mode & 0o077:
            raise InputError("KEY_PERMISSIONS", f"{file.name} can be read by others.", f"Run: chmod 600 {file}")
        with open(file, encoding="ascii") as stream:
            key = bytes.fromhex(stream.read(1000).strip())
    except (OSError, ValueError):
        key = b""
    if len(key) != _KEY_BYTES:
        raise InputError(
            "BAD_KEY",
            f"{file.name} holds no key.",
            "Name a file that does not exist yet, and a key is made; or one that was made so.",
        )
    return key


@cache
def _profile() -> dict[str, str]:
    """The action by tag; ``x`` in a tag stands for any digit."""
    stored = json.loads((Path(__file__).parent / "confidentiality_profile.json").read_text("utf-8"))
    return {tag: action for action, tags in stored["actions"].items() for tag in tags}


def _action(tag: Any) -> str:
    """What the profile does to an attribute; empty where it leaves it alone."""
    from pydicom.datadict import dictionary_has_tag

    if tag.is_private or tag.element == 0 or not dictionary_has_tag(tag):
        return "X"
    actions = _profile()
    text = f"{int(tag):08X}"
    # Curves and overlays repeat: groups 50xx and 60xx.
    group = f"{text[:2]}xx"
    return actions.get(text) or actions.get(group + text[4:]) or actions.get(group + "xxxx") or ""


def _elements(data: Dataset) -> Iterator[DataElement]:
    """Every element at any depth that can be read, but pixels."""
    for tag in data.keys():  # noqa: SIM118  (iterating a data set reads every value, and stops at a bad one)
        if tag.group == 0x7FE0:
            continue
        try:
            element = data[tag]
        except Exception:
            continue
        if element.VR == "SQ":
            for item in element.value:
                yield from _elements(item)
        else:
            yield element


def _parts(value: Any) -> list[Any]:
    from pydicom.multival import MultiValue

    if isinstance(value, (list, tuple, MultiValue)):
        return list(value)
    return [] if value is None else [value]


def _each(value: Any, change: Any) -> Any:
    parts = [change(str(part)) for part in _parts(value)]
    return parts if len(parts) > 1 else parts[0] if parts else value


def _words(text: str) -> list[str]:
    return re.findall(r"[^\W_]+", text)


def _empty(element: DataElement) -> Any:
    return "" if element.VR in (*_TEXT, *_DUMMIES) else None


def _dummy(element: DataElement) -> Any:
    return _DUMMIES.get(element.VR) or (_DUMMY_TEXT if element.VR in _TEXT else None)
