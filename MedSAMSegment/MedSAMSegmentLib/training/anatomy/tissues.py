"""What tissues look like on CT and on MRI, about; and the contrasts a scan of a computed body is given."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..fields import Randomness


@dataclass(frozen=True)
class Tissue:
    """Typical values.

    Attributes:
        hounsfield: on CT without contrast agent.
        enhanced: Hounsfield units that contrast agent adds, at most about this many.
        t1, t2: signal on T1- and T2-weighted MRI, 0 (black) to 1.
    """

    hounsfield: float
    enhanced: float
    t1: float
    t2: float


TISSUES = {
    "air": Tissue(-1000, 0, 0.0, 0.0),
    "gas": Tissue(-950, 0, 0.0, 0.0),
    "lung": Tissue(-820, 15, 0.06, 0.08),
    "skin": Tissue(25, 15, 0.5, 0.35),
    "fat": Tissue(-100, 0, 0.95, 0.75),
    "muscle": Tissue(55, 12, 0.38, 0.2),
    "tendon": Tissue(80, 5, 0.1, 0.08),
    "cartilage": Tissue(110, 5, 0.42, 0.4),
    "cortical bone": Tissue(900, 0, 0.04, 0.03),
    "spongy bone": Tissue(260, 10, 0.6, 0.45),
    "bone marrow": Tissue(60, 5, 0.85, 0.6),
    "disc": Tissue(85, 3, 0.33, 0.18),
    "disc nucleus": Tissue(75, 3, 0.33, 0.7),
    "water": Tissue(5, 0, 0.12, 1.0),
    "bile": Tissue(8, 0, 0.25, 0.95),
    "urine": Tissue(6, 0, 0.12, 1.0),
    "artery": Tissue(42, 150, 0.15, 0.08),
    "vein": Tissue(42, 110, 0.2, 0.15),
    "heart muscle": Tissue(45, 70, 0.4, 0.3),
    "liver": Tissue(58, 55, 0.5, 0.25),
    "spleen": Tissue(48, 70, 0.35, 0.45),
    "kidney cortex": Tissue(34, 145, 0.48, 0.5),
    "kidney medulla": Tissue(32, 90, 0.35, 0.62),
    "pancreas": Tissue(38, 55, 0.52, 0.35),
    "gland": Tissue(40, 45, 0.42, 0.5),
    "soft organ": Tissue(40, 50, 0.4, 0.5),
    "bowel wall": Tissue(38, 50, 0.4, 0.35),
    "bowel content": Tissue(18, 5, 0.35, 0.65),
    "stool": Tissue(-10, 0, 0.55, 0.45),
    "oral contrast": Tissue(250, 0, 0.5, 0.6),
    "grey matter": Tissue(38, 4, 0.5, 0.55),
    "deep grey matter": Tissue(40, 4, 0.6, 0.48),
    "pallidum": Tissue(41, 4, 0.7, 0.36),
    "white matter": Tissue(29, 2, 0.75, 0.38),
    "cerebrospinal fluid": Tissue(6, 0, 0.12, 1.0),
    "spinal cord": Tissue(34, 2, 0.6, 0.4),
    "cord grey matter": Tissue(37, 2, 0.55, 0.5),
    "vitreous": Tissue(8, 0, 0.12, 1.0),
    "lesion": Tissue(38, 35, 0.35, 0.6),
    "lesion core": Tissue(18, 5, 0.25, 0.8),
    "oedema": Tissue(20, 0, 0.45, 0.75),
    "calcification": Tissue(450, 0, 0.1, 0.05),
}

_CT_WINDOWS = {"abdomen": (40.0, 400.0), "mediastinum": (50.0, 350.0), "liver": (60.0, 150.0), "wide": (300.0, 1500.0)}
_CT_CHANCES = {"abdomen": 0.72, "mediastinum": 0.12, "liver": 0.08, "wide": 0.08}


@dataclass(frozen=True)
class Contrast:
    """How tissues appear in one picture.

    Attributes:
        means: (tissues,) mean grey value of each.
        windowed: whether 0 is black and 1 white already, with darker and brighter tissues beyond.
        inverted: how often black and white change places, where it is not.
    """

    means: Tensor
    windowed: bool
    inverted: float = 0.1


def computed_tomography(names: list[str], randomness: Randomness, brain: bool = False) -> Contrast:
    """Hounsfield units, with or without contrast agent, in a usual window; ``names`` are keys of `TISSUES`."""
    tissues = [TISSUES[name] for name in names]
    plain = torch.tensor([tissue.hounsfield for tissue in tissues])
    enhanced = torch.tensor([tissue.enhanced for tissue in tissues])
    phase = 0.0 if randomness.chance(0.4) else randomness.uniform(0.3, 1.2)
    units = plain + phase * enhanced * (0.6 + 0.7 * randomness.rand(len(names)))
    units = units + randomness.normal(len(names)) * (4.0 + 0.12 * plain.abs().clamp(max=400.0))
    level, width = (35.0, 90.0) if brain else _CT_WINDOWS[randomness.pick(_CT_CHANCES)]
    return Contrast((units - level) / width + 0.5, True)


def magnetic_resonance(names: list[str], randomness: Randomness) -> Contrast:
    """T1- or T2-weighted, or in between; fat and fluid suppressed at times."""
    tissues = [TISSUES[name] for name in names]
    kind = randomness.pick({"t1": 0.45, "t2": 0.35, "between": 0.2})
    share = {"t1": 0.0, "t2": 1.0, "between": randomness.uniform(0.2, 0.8)}[kind]
    means = torch.tensor([(1.0 - share) * tissue.t1 + share * tissue.t2 for tissue in tissues])
    if randomness.chance(0.25):
        means = torch.where(torch.tensor([name in ("fat", "bone marrow") for name in names]), 0.25 * means, means)
    if kind != "t1" and randomness.chance(0.25):
        fluid = torch.tensor([tissue.hounsfield < 12 and tissue.t2 > 0.9 for tissue in tissues])
        means = torch.where(fluid, 0.08 * means, means)
    return Contrast((means + 0.05 * randomness.normal(len(names))).clamp(min=0.0), False)


def any_contrast(names: list[str], randomness: Randomness) -> Contrast:
    """Tissues of any grey value, the air darkest (domain randomisation, as SynthSeg; Billot et al., 2023)."""
    means = randomness.rand(len(names))
    dark = torch.tensor([name in ("air", "gas") for name in names])
    return Contrast(torch.where(dark, means.min() - 0.1, means), False)
