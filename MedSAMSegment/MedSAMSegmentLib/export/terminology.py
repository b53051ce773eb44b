"""Standard codes for the structures people name: from "Left kidney" to SNOMED CT, as 3D Slicer stores them.

A terminology entry says what a segment is: category (anatomical structure, or morphologically altered structure), type,
optionally the side, and for a lesion the organ it is in.  Codes are SNOMED CT (``SCT``) as DICOM uses them
(PS3.16, CID 7150, 7154 ...); the text form is that of Slicer's ``vtkSlicerTerminologiesModuleLogic``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

Colour = tuple[int, int, int]
Code = tuple[str, str]
"""SNOMED CT concept and its meaning."""

_ANATOMICAL: Code = ("123037004", "Anatomical Structure")
_ALTERED: Code = ("49755003", "Morphologically Altered Structure")
_SIDES: dict[str, Code] = {"left": ("7771000", "Left"), "right": ("24028007", "Right")}


@dataclass(frozen=True)
class Terminology:
    """What a segment is.

    Attributes:
        category, type: codes.
        side: laterality of an anatomical structure, or of the organ of a lesion.
        region: the organ of a lesion.
        colour: usual display colour.
    """

    category: Code
    type: Code
    colour: Colour
    side: Code | None = None
    region: Code | None = None

    def slicer_entry(self) -> str:
        """The value of a segment's ``TerminologyEntry`` tag."""
        anatomical = self.region is None
        parts = (
            "Segmentation category and type - 3D Slicer General Anatomy list",
            _code(self.category),
            _code(self.type),
            _code(self.side if anatomical else None),
            "Anatomic codes - DICOM master list",
            _code(self.region),
            _code(None if anatomical else self.side),
        )
        return "~".join(parts)


def _code(code: Code | None) -> str:
    return "^^" if code is None else f"SCT^{code[0]}^{code[1]}"


_STRUCTURES: dict[str, tuple[Code, Colour]] = {
    "liver": (("10200004", "Liver"), (221, 130, 101)),
    "kidney": (("64033007", "Kidney"), (185, 102, 83)),
    "spleen": (("78961009", "Spleen"), (157, 108, 162)),
    "pancreas": (("15776009", "Pancreas"), (249, 180, 111)),
    "gallbladder": (("28231008", "Gallbladder"), (139, 170, 95)),
    "stomach": (("69695003", "Stomach"), (216, 152, 140)),
    "duodenum": (("38848004", "Duodenum"), (255, 190, 150)),
    "small bowel": (("30315005", "Small intestine"), (205, 167, 142)),
    "colon": (("71854001", "Colon"), (204, 168, 143)),
    "rectum": (("34402009", "Rectum"), (190, 150, 125)),
    "esophagus": (("32849002", "Esophagus"), (211, 171, 143)),
    "adrenal gland": (("23451007", "Adrenal gland"), (249, 186, 150)),
    "aorta": (("15825003", "Aorta"), (224, 97, 76)),
    "inferior vena cava": (("64131007", "Inferior vena cava"), (0, 151, 206)),
    "portal vein": (("32764006", "Portal vein"), (70, 150, 220)),
    "artery": (("51114001", "Artery"), (216, 101, 79)),
    "vein": (("29092000", "Vein"), (60, 140, 210)),
    "vessel": (("59820001", "Blood vessel"), (216, 101, 79)),
    "lung": (("39607008", "Lung"), (197, 165, 145)),
    "heart": (("80891009", "Heart"), (206, 110, 84)),
    "trachea": (("44567001", "Trachea"), (182, 228, 255)),
    "brain": (("12738006", "Brain"), (250, 250, 225)),
    "hippocampus": (("5366008", "Hippocampus"), (230, 200, 120)),
    "thalamus": (("42695009", "Thalamus"), (120, 180, 140)),
    "putamen": (("89278009", "Putamen"), (236, 120, 180)),
    "caudate": (("11000004", "Caudate nucleus"), (122, 186, 220)),
    "lateral ventricle": (("66720007", "Lateral ventricle"), (120, 140, 210)),
    "cerebellum": (("113305005", "Cerebellum"), (194, 195, 164)),
    "spinal cord": (("2748008", "Spinal cord"), (244, 214, 49)),
    "spine": (("421060004", "Spine"), (226, 202, 134)),
    "vertebra": (("51282000", "Vertebra"), (226, 202, 134)),
    "rib": (("113197003", "Rib"), (253, 232, 158)),
    "femur": (("71341001", "Femur"), (255, 238, 170)),
    "bone": (("272673000", "Bone"), (241, 214, 145)),
    "muscle": (("71616004", "Muscle"), (192, 104, 88)),
    "urinary bladder": (("89837001", "Bladder"), (222, 154, 132)),
    "prostate": (("41216001", "Prostate"), (230, 158, 140)),
    "uterus": (("35039007", "Uterus"), (255, 181, 158)),
    "ovary": (("15497006", "Ovary"), (240, 170, 170)),
    "breast": (("76752008", "Breast"), (250, 190, 170)),
    "parotid gland": (("45289007", "Parotid gland"), (190, 170, 110)),
    "lymph node": (("59441001", "Lymph node"), (68, 172, 100)),
    "eye": (("81745001", "Eye"), (194, 142, 220)),
}

_LESIONS: dict[str, tuple[Code, Colour]] = {
    "tumour": (("108369006", "Neoplasm"), (144, 238, 144)),
    "metastasis": (("14799000", "Neoplasm, Secondary"), (170, 230, 110)),
    "cyst": (("367643001", "Cyst"), (205, 205, 100)),
    "nodule": (("27925004", "Nodule"), (150, 220, 170)),
    "mass": (("4147007", "Mass"), (144, 238, 144)),
    "lesion": (("52988006", "Lesion"), (144, 238, 144)),
    "oedema": (("79654002", "Edema"), (140, 224, 228)),
    "haemorrhage": (("50960005", "Hemorrhage"), (188, 65, 28)),
    "abscess": (("44132006", "Abscess"), (160, 180, 90)),
}

_SYNONYMS = {
    "tumor": "tumour",
    "neoplasm": "tumour",
    "cancer": "tumour",
    "carcinoma": "tumour",
    "sarcoma": "tumour",
    "gtv": "tumour",
    "metastases": "metastasis",
    "edema": "oedema",
    "hemorrhage": "haemorrhage",
    "gall bladder": "gallbladder",
    "bladder": "urinary bladder",
    "oesophagus": "esophagus",
    "adrenal": "adrenal gland",
    "ivc": "inferior vena cava",
    "vena cava": "inferior vena cava",
    "small intestine": "small bowel",
    "large bowel": "colon",
    "vertebrae": "vertebra",
    "vertebral column": "spine",
    "kidneys": "kidney",
    "lungs": "lung",
    "cord": "spinal cord",
    "vessels": "vessel",
    "hepatic": "liver",
    "renal": "kidney",
    "splenic": "spleen",
    "pulmonary": "lung",
}


def terminology_for(name: str) -> Terminology | None:
    """The codes of a structure by its everyday English name.

    Order, case, punctuation and numbers do not matter: "Left kidney", "kidney_L" and "KIDNEY LEFT 2" are the same.  A
    lesion's name may hold its organ ("liver tumour").

    Returns:
        ``None`` when the name holds no known structure.
    """
    words = [word for word in re.split(r"[^a-z]+", name.lower()) if word]
    side = next((_SIDES[key] for key in _SIDES if key in words or (key[0] in words and len(words) > 1)), None)
    text = f" {' '.join(words)} "
    organ = _longest_match(text, _STRUCTURES)
    lesion = _longest_match(text, _LESIONS)
    if lesion is not None:
        code, colour = _LESIONS[lesion]
        return Terminology(_ALTERED, code, colour, side, _STRUCTURES[organ][0] if organ else None)
    if organ is None:
        return None
    code, colour = _STRUCTURES[organ]
    return Terminology(_ANATOMICAL, code, colour, side)


def _longest_match(text: str, terms: dict[str, tuple[Code, Colour]]) -> str | None:
    """The known term named in a text; the longest one, since "gall bladder" also holds "bladder"."""
    found = [(len(term), term) for term in terms if f" {term} " in text]
    found += [(len(word), term) for word, term in _SYNONYMS.items() if term in terms and f" {word} " in text]
    return max(found)[1] if found else None
