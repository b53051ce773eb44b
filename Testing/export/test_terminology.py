"""Everyday names become standard codes."""

from __future__ import annotations

import pytest
from MedSAMSegmentLib.export.terminology import search_terminology, terminology_for, terms


@pytest.mark.parametrize(
    ("name", "code", "side"),
    [
        ("Liver", "10200004", None),
        ("left kidney", "64033007", "Left"),
        ("kidney_R", "64033007", "Right"),
        ("kidney_left2", "64033007", "Left"),
        ("RIGHT-KIDNEY 2", "64033007", "Right"),
        ("gall bladder", "28231008", None),
        ("bladder", "89837001", None),
        ("IVC", "64131007", None),
        ("L3 vertebra", "36470004", None),
        ("vertebrae_T12", "23215003", None),
        ("left ventricle", "87878005", None),
        ("Lung upper lobe left", "45653009", "Left"),
        ("kidney left and right", "64033007", None),
    ],
)
def test_anatomy(name: str, code: str, side: str | None) -> None:
    found = terminology_for(name)
    assert found is not None and found.type[0] == code and found.category[1] == "Anatomical Structure"
    assert (found.side[1] if found.side else None) == side


def test_a_lesion_knows_its_organ() -> None:
    found = terminology_for("Left kidney tumor")
    assert found.slicer_entry().split("~") == [
        "Segmentation category and type - 3D Slicer General Anatomy list",
        "SCT^49755003^Morphologically Altered Structure",
        "SCT^108369006^Neoplasm",
        "^^",
        "Anatomic codes - DICOM master list",
        "SCT^64033007^Kidney",
        "SCT^7771000^Left",
    ]
    assert found.type_modifier is None and found.region_modifier == ("7771000", "Left")


@pytest.mark.parametrize("name", ["object 1", "", "delivery", "L", "R 2", "肝脏"])
def test_unknown_names_get_no_codes(name: str) -> None:
    assert terminology_for(name) is None


@pytest.mark.parametrize(
    ("query", "name"),
    [
        ("liver", "liver"),
        ("oesophagus", "esophagus"),
        ("Renal", "kidney"),
        ("left kidney", "kidney"),
        ("pancr", "pancreas"),
        ("panceras", "pancreas"),
        ("mesenteric superior artery", "superior mesenteric artery"),
        ("neoplasm", "tumour"),
    ],
)
def test_the_best_find_comes_first(query: str, name: str) -> None:
    assert search_terminology(query)[0].name == name


def test_a_search_may_find_several_or_nothing() -> None:
    assert {"renal artery", "renal vein", "kidney"} <= {term.name for term in search_terminology("renal")}
    assert search_terminology("xyzzy") == [] and search_terminology("  ") == []
    assert len(search_terminology("artery", limit=3)) == 3


def test_codes_are_those_of_the_dicom_dictionary() -> None:
    """pydicom carries the SNOMED CT codes of the DICOM standard."""
    from pydicom.sr._concepts_dict import concepts

    words: dict[str, set[str]] = {}
    for entry in concepts["SCT"].values():
        for code, (meaning, *_) in entry.items():
            words.setdefault(code, set()).update(meaning.lower().replace(",", "").split())
    for term in terms():
        code, meaning = term.code
        assert set(meaning.lower().replace(",", "").split()) & words[code], term.name


def test_every_name_means_one_thing() -> None:
    names = [name for term in terms() for name in (term.name, *term.synonyms)]
    assert len(names) == len(set(names)) and all(name == name.lower() for name in names)
