"""What a caller may say about an export beyond the masks themselves."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from ..volume import Window

if TYPE_CHECKING:
    from .deidentify import Deidentification


@dataclass(frozen=True)
class SheetStyle:
    """How a contact sheet is drawn.

    Attributes:
        axis: array axis across the slices; default the acquisition plane.
        window: grey values; default ``auto``.
        title, subtitle: first and second line of the head; the legend follows.
        slices: at most so many, evenly spaced between the first and the last slice of any mask or box.
    """

    axis: int | None = None
    window: Window | None = None
    title: str = ""
    subtitle: str = ""
    slices: int = 12


@dataclass(frozen=True)
class Algorithm:
    """Who made the masks, for the files that record it (DICOM).

    Attributes:
        name: of the model.
        version: of this software.
        weights: SHA-256 of the checkpoint, or another identity of what computed the masks; may be empty.
        automatic: whether no user took part; a mask from a box or clicks is semi-automatic (PS3.3 C.8.20.2).
    """

    name: str = "MedSAMSegment"
    version: str = ""
    weights: str = ""
    automatic: bool = False

    @property
    def kind(self) -> str:
        """Segment Algorithm Type (0062,0008)."""
        return "AUTOMATIC" if self.automatic else "SEMIAUTOMATIC"


@dataclass(frozen=True)
class WriteOptions:
    """Everything optional about writing results.

    Attributes:
        labels: label map (k, j, i) for formats without overlap; default :func:`~.objects.label_map`.
        sheet: of contact sheets.
        algorithm: what made the masks.
        creator: person who made them, ``Family^Given``, for DICOM's Content Creator's Name; may be empty.
        deidentification: for DICOM results that shall not say who the patient is; they name no creator either.
    """

    labels: np.ndarray | None = None
    sheet: SheetStyle = field(default_factory=SheetStyle)
    algorithm: Algorithm = field(default_factory=Algorithm)
    creator: str = ""
    deidentification: Deidentification | None = None

    @property
    def person(self) -> str:
        """Who is named as creator."""
        return "" if self.deidentification is not None else self.creator
