"""Standard codes for the structures people name: from "Left kidney" to SNOMED CT, for DICOM and for 3D Slicer.

A terminology entry says what a segment is: category (anatomical structure, or morphologically altered structure), type,
optionally the side, and for a lesion the organ it is in.  Codes are SNOMED CT (``SCT``) as DICOM uses them
(PS3.16, CID 7150, 7154 ...); the terms with their everyday synonyms are in ``terminology.json``.  The text form is that
of Slicer's ``vtkSlicerTerminologiesModuleLogic``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..volume.readers.segments import SegmentCodes

Colour = tuple[int, int, int]
Code = tuple[str, str]
"""SNOMED CT concept and its meaning."""

ANATOMICAL: Code = ("123037004", "Anatomical Structure")
ALTERED: Code = ("49755003", "Morphologically Altered Structure")
TISSUE: Code = ("85756007", "Tissue")
"""Category and type of a segment whose name says nothing, as 3D Slicer codes it."""

_NO_COLOUR: Colour = (200, 200, 200)

SIDES: dict[str, Code] = {"left": ("7771000", "Left"), "right": ("24028007", "Right")}

_FILE = Path(__file__).with_name("terminology.json")


@dataclass(frozen=True)
class Term:
    """One concept of the shipped list.

    Attributes:
        name: everyday English name, lower case.
        code: SNOMED CT concept and its meaning.
        colour: usual display colour.
        lesion: a morphologically altered structure; otherwise an anatomical one.
        paired: there is a left and a right one.
        synonyms: other names, lower case.
    """

    name: str
    code: Code
    colour: Colour
    lesion: bool = False
    paired: bool = False
    synonyms: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """The name, the concept's meaning and the synonyms, as plain lower-case words."""
        return tuple(dict.fromkeys(_words(name) for name in (self.name, self.code[1], *self.synonyms)))


@dataclass(frozen=True)
class Terminology:
    """What a segment is.

    Attributes:
        category, type: codes.
        colour: usual display colour.
        side: laterality of an anatomical structure, or of the organ of a lesion.
        region: the organ of a lesion.
    """

    category: Code
    type: Code
    colour: Colour
    side: Code | None = None
    region: Code | None = None

    @property
    def type_modifier(self) -> Code | None:
        """The side, where it belongs to the type."""
        return self.side if self.region is None else None

    @property
    def region_modifier(self) -> Code | None:
        """The side, where it belongs to the organ of a lesion."""
        return None if self.region is None else self.side

    def slicer_entry(self) -> str:
        """The value of a segment's ``TerminologyEntry`` tag."""
        parts = (
            "Segmentation category and type - 3D Slicer General Anatomy list",
            _slicer_code(self.category),
            _slicer_code(self.type),
            _slicer_code(self.type_modifier),
            "Anatomic codes - DICOM master list",
            _slicer_code(self.region),
            _slicer_code(self.region_modifier),
        )
        return "~".join(parts)


def terminology_for(name: str) -> Terminology | None:
    """The codes of a structure by its everyday English name.

    Order, case, punctuation and numbers do not matter: "Left kidney", "kidney_L" and "KIDNEY LEFT 2" are the same.  A
    lesion's name may hold its organ ("liver tumour").

    Returns:
        ``None`` when the name holds no known structure.
    """
    words = _words(name)
    organ = _longest_match(words, _phrases(lesion=False))
    lesion = _longest_match(words, _phrases(lesion=True))
    if lesion is not None:
        region = organ.code if organ else None
        return Terminology(ALTERED, lesion.code, lesion.colour, _side(words, organ), region)
    if organ is None:
        return None
    return Terminology(ANATOMICAL, organ.code, organ.colour, _side(words, organ))


def stored_terminology(codes: SegmentCodes, colour: Colour | None = None) -> Terminology | None:
    """The SNOMED CT codes a stored segment came with; ``None`` where it has none of its own."""

    def plain(code: tuple[str, str, str] | None) -> Code | None:
        return (code[0], code[2]) if code is not None and code[1] == "SCT" else None

    category, kind, region = plain(codes.category), plain(codes.type), plain(codes.region)
    if category is None or kind is None or kind[0] == TISSUE[0]:
        return None
    side = plain(codes.region_modifier if region is not None else codes.type_modifier)
    return Terminology(category, kind, colour or _NO_COLOUR, side, region)


def search_terminology(query: str, limit: int = 10) -> list[Term]:
    """Terms whose name, meaning or synonym is like a text, best first.

    Whole names come first, then names that begin with the text or have all its words, then similar spellings.

    Args:
        query: a word or a few; laterality in it is passed over.
        limit: at most so many.
    """
    from difflib import SequenceMatcher

    wanted = _words(query)
    unsided = " ".join(word for word in wanted.split() if word not in SIDES) or wanted
    if not unsided:
        return []

    def likeness(name: str) -> float:
        if name in (wanted, unsided):
            return 4.0
        parts = name.split()
        if all(any(part.startswith(word) for part in parts) for word in unsided.split()):
            return 3.0 if name.startswith(unsided) else 2.0
        ratio = SequenceMatcher(None, unsided, name).ratio()
        return ratio if ratio >= 0.75 else 0.0

    ranked = [(max(map(likeness, term.names)), term) for term in terms()]
    ranked.sort(key=lambda pair: (-pair[0], len(pair[1].name), pair[1].name))
    return [term for score, term in ranked if score > 0][:limit]


@cache
def terms() -> tuple[Term, ...]:
    """All terms of the shipped list."""
    data = json.loads(_FILE.read_text("utf-8"))
    return tuple(
        Term(
            entry["name"],
            (entry["code"], entry["meaning"]),
            (entry["colour"][0], entry["colour"][1], entry["colour"][2]),
            lesion=group == "lesions",
            paired=entry.get("paired", False),
            synonyms=tuple(entry.get("synonyms", ())),
        )
        for group in ("structures", "lesions")
        for entry in data[group]
    )


def _words(text: str) -> str:
    """Lower-case words and numbers with single spaces."""
    return " ".join(re.findall(r"[a-z0-9]+", text.lower()))


@cache
def _phrases(lesion: bool) -> Mapping[str, Term]:
    """Every way to name a lesion, or an anatomical structure."""
    return {_words(name): term for term in terms() if term.lesion == lesion for name in (term.name, *term.synonyms)}


def _longest_match(words: str, phrases: Mapping[str, Term]) -> Term | None:
    """The known term named in a text; the longest one, since "gall bladder" also holds "bladder"."""
    text = f" {words} "
    # "kidney2" is a kidney too, but the 3 of "l3 vertebra" is part of the name.
    plain = f" {' '.join(re.sub('[0-9]', ' ', words).split())} "
    found = [phrase for phrase in phrases if f" {phrase} " in text or f" {phrase} " in plain]
    return phrases[max(found, key=len)] if found else None


def _side(words: str, structure: Term | None) -> Code | None:
    """Laterality in a name: ``left``, ``right``, and for paired structures also ``l`` and ``r``."""
    if structure is not None and SIDES.keys() & structure.name.split():
        return None  # "left ventricle" is a concept of its own
    given = re.findall("[a-z]+", words)
    short = structure is not None and structure.paired
    found = [code for side, code in SIDES.items() if side in given or (short and side[0] in given)]
    return found[0] if len(found) == 1 else None


def _slicer_code(code: Code | None) -> str:
    return "^^" if code is None else f"SCT^{code[0]}^{code[1]}"
