"""Small CT and MR series with known truth, written by pydicom."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, MRImageStorage, generate_uid

ROWS, COLUMNS = 40, 48
PIXEL_SPACING = (0.8, 0.7)
STEP = 2.5


@dataclass
class Phantom:
    """What was written: the folder, data sets in slice order, true values [k, j, i], and slice positions (LPS mm)."""

    folder: Path
    datasets: list[Dataset]
    values: np.ndarray
    positions: np.ndarray
    row: np.ndarray
    column: np.ndarray

    def file(self, number: int) -> Path:
        return self.folder / f"IM{number:04d}.dcm"

    def save(self, number: int) -> None:
        self.datasets[number].save_as(self.file(number), enforce_file_format=True)

    def positions_of(self, k: int) -> np.ndarray:
        """True LPS positions of the pixels of slice k, (rows, columns, 3)."""
        r, c = np.mgrid[:ROWS, :COLUMNS]
        return (
            self.positions[k]
            + c[..., None] * self.row * PIXEL_SPACING[1]
            + r[..., None] * self.column * PIXEL_SPACING[0]
        )


def write_series(
    folder: Path,
    *,
    row: tuple = (1, 0, 0),
    column: tuple = (0, 1, 0),
    places: tuple = (0, 1, 2, 3, 4, 5),
    step: tuple | None = None,
    modality: str = "CT",
    rescale: Callable[[int], tuple[float, float]] = lambda n: (1, -1024),
    change: Callable[[Dataset, int], None] | None = None,
    syntax: str | None = None,
    seed: int = 0,
) -> Phantom:
    """Write one file a slice; slice thickness is wrong and instance numbers run backwards on purpose."""
    folder.mkdir(parents=True, exist_ok=True)
    row, column = np.array(row, float), np.array(column, float)
    direction = np.cross(row, column) * STEP if step is None else np.array(step, float)
    positions = np.array((-30.0, -40.0, 100.0)) + np.array(places, float)[:, None] * direction
    rng = np.random.default_rng(seed)
    study, series, frame = generate_uid(), generate_uid(), generate_uid()
    datasets, values = [], []
    for n, position in enumerate(positions):
        slope, intercept = rescale(n) if modality == "CT" else (1, 0)
        stored = rng.integers(0, 3000, (ROWS, COLUMNS)).astype(np.uint16)
        values.append(stored * float(slope) + float(intercept))
        data = Dataset()
        data.file_meta = FileMetaDataset()
        data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        data.SOPClassUID = CTImageStorage if modality == "CT" else MRImageStorage
        data.SOPInstanceUID = generate_uid()
        data.SeriesInstanceUID, data.StudyInstanceUID, data.FrameOfReferenceUID = series, study, frame
        data.Modality = modality
        data.PatientName, data.PatientID = "Mueller^Anna", "SECRET-17"
        data.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
        data.InstanceNumber = len(positions) - n
        data.AcquisitionNumber = 1
        data.ImagePositionPatient = [f"{v:.10g}"[:16] for v in position]
        data.ImageOrientationPatient = [f"{v:.10g}"[:16] for v in (*row, *column)]
        data.PixelSpacing = [str(v) for v in PIXEL_SPACING]
        data.SliceThickness = "3"
        data.Rows, data.Columns = ROWS, COLUMNS
        data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
        data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 16, 16, 15, 0
        if modality == "CT":
            data.RescaleSlope, data.RescaleIntercept = f"{slope:g}", f"{intercept:g}"
        data.PixelData = stored.tobytes()
        data["PixelData"].VR = "OW"
        if change:
            change(data, n)
        if syntax:
            data.compress(syntax, generate_instance_uid=False)
        datasets.append(data)
    phantom = Phantom(folder, datasets, np.array(values), positions, row, column)
    for n in range(len(datasets)):
        phantom.save(n)
    return phantom
