"""Everyday names become standard codes."""

from __future__ import annotations

import pytest
from MedSAMSegmentLib.export.terminology import _LESIONS, _STRUCTURES, terminology_for


@pytest.mark.parametrize(
    ("name", "code", "side"),
    [
        ("Liver", "10200004", None),
        ("left kidney", "64033007", "Left"),
        ("kidney_R", "64033007", "Right"),
        ("RIGHT-KIDNEY 2", "64033007", "Right"),
        ("gall bladder", "28231008", None),
        ("bladder", "89837001", None),
        ("IVC", "64131007", None),
    ],
)
def test_anatomy(name: str, code: str, side: str | None) -> None:
    found = terminology_for(name)
    assert found is not None and found.type[0] == code and found.category[1] == "Anatomical Structure"
    assert (found.side[1] if found.side else None) == side


def test_a_lesion_knows_its_organ() -> None:
    entry = terminology_for("Left kidney tumor").slicer_entry()
    assert entry.split("~") == [
        "Segmentation category and type - 3D Slicer General Anatomy list",
        "SCT^49755003^Morphologically Altered Structure",
        "SCT^108369006^Neoplasm",
        "^^",
        "Anatomic codes - DICOM master list",
        "SCT^64033007^Kidney",
        "SCT^7771000^Left",
    ]


@pytest.mark.parametrize("name", ["object 1", "", "delivery", "L", "R 2"])
def test_unknown_names_get_no_codes(name: str) -> None:
    assert terminology_for(name) is None


@pytest.mark.parametrize("name", [*_STRUCTURES, *_LESIONS])
def test_codes_are_those_of_the_dicom_dictionary(name: str) -> None:
    """pydicom carries the SNOMED CT codes of the DICOM standard."""
    from pydicom.sr._concepts_dict import concepts

    words: dict[str, set[str]] = {}
    for entry in concepts["SCT"].values():
        for code, (meaning, *_) in entry.items():
            words.setdefault(code, set()).update(meaning.lower().replace(",", "").split())
    code, meaning = (_STRUCTURES.get(name) or _LESIONS[name])[0]
    assert set(meaning.lower().replace(",", "").split()) & words[code]
