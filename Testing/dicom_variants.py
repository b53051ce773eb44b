"""DICOM series of every kind a hospital sends, small, with the true place and value of each pixel.

``VARIANTS`` names them; ``write_variant(name, folder)`` writes one and says what is true of it.  All carry the same
planted patient data (``PRIVATE``), to be looked for in everything that must not hold it.
"""

from __future__ import annotations

import tempfile
import warnings
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate, generate_frames
from pydicom.fileset import FileSet
from pydicom.uid import (
    UID,
    CTImageStorage,
    DeflatedExplicitVRLittleEndian,
    EnhancedCTImageStorage,
    EnhancedMRImageStorage,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    MRImageStorage,
    RLELossless,
    generate_uid,
)

#: Planted in every file; none of it may appear in a message, a log or a file that needs no patient.
PRIVATE = {
    "PatientName": "Quellmalz^Annegret",
    "PatientID": "PID-7719-XQ",
    "PatientBirthDate": "19410923",
    "PatientAddress": "Zwinglistrasse 99",
    "AccessionNumber": "ACC55501X",
    "InstitutionName": "Klinik Sonnenhalde",
    "ReferringPhysicianName": "Obermoser^Ulf",
    "OperatorsName": "Tappert^Io",
    "StudyDescription": "Verlauf Quellmalz",
    "SeriesDescription": "Leber Quellmalz venoes",
    "ProtocolName": "Protokoll Tappert",
    "DeviceSerialNumber": "SN-448812",
    "StationName": "STATION-ZW9",
    "StudyID": "ST-QX-12",
}
#: Pieces of it that would give it away.
PRIVATE_WORDS = (
    "Quellmalz",
    "Annegret",
    "7719",
    "19410923",
    "Zwingli",
    "ACC55501",
    "Sonnenhalde",
    "Obermoser",
    "Tappert",
    "448812",
    "STATION-ZW9",
    "QX-12",
)

ROWS, COLUMNS = 40, 48
PIXEL_SPACING = (0.8, 0.7)
STEP = 2.5
COUNT = 8


@dataclass(frozen=True, eq=False)
class TruePlane:
    """One acquired plane: LPS mm of its first pixel, directions of rows and columns, rescaled values, identity."""

    position: np.ndarray
    row: np.ndarray
    column: np.ndarray
    values: np.ndarray
    sop_instance_uid: str
    frame_number: int | None = None

    def pixel_places(self) -> np.ndarray:
        """LPS positions of all pixels, (rows, columns, 3)."""
        r, c = np.mgrid[: self.values.shape[0], : self.values.shape[1]]
        return (
            self.position + c[..., None] * self.row * PIXEL_SPACING[1] + r[..., None] * self.column * PIXEL_SPACING[0]
        )


@dataclass(frozen=True, eq=False)
class VariantSeries:
    """What was written.

    Attributes:
        path: what a user gives to the program: a folder, a file, a DICOMDIR or an archive.
        options: keyword arguments that ``read_volume`` needs for it.
        planes: the planes to be read, in order along row x column.
        grid: ``"planes"``: the volume's slices are the planes; ``"sheared"``: they are, and lean; ``"filled"``: the
            volume has further slices between them; ``"resampled"``: it has slices of its own.
        files: the DICOM files of the series, in the order of acquisition.
    """

    path: Path
    options: dict[str, Any]
    planes: list[TruePlane]
    grid: str
    files: list[Path] = field(default_factory=list)


@dataclass
class _Recipe:
    """How a series of single-frame images is made; ``change`` sees each data set before it is compressed and saved."""

    row: Sequence[float] = (1, 0, 0)
    column: Sequence[float] = (0, 1, 0)
    places: Sequence[float] = tuple(range(COUNT))
    step: Sequence[float] | None = None
    modality: str = "CT"
    rescale: Callable[[int], tuple[float, float] | None] = lambda n: (1, -1024)
    signed: bool = False
    bits: int = 16
    syntax: UID = ExplicitVRLittleEndian
    numbers: Callable[[int], int] = lambda n: n + 1
    file_name: Callable[[int], str] = lambda n: f"IM{n:04d}.dcm"
    change: Callable[[Dataset, int], None] | None = None
    seed: int = 0


def stored_pixels(seed: int, index: int, signed: bool = False, bits: int = 16) -> np.ndarray:
    """Pixels of a bright ellipse that moves from slice to slice, with noise: nothing about them is symmetric."""
    rng = np.random.default_rng((seed, index))
    r, c = np.mgrid[:ROWS, :COLUMNS]
    inside = ((r - 16 - index) / 11) ** 2 + ((c - 20 - 0.7 * index) / 14) ** 2 < 1
    values = 900 + 300 * inside + 2 * r + c + rng.integers(0, 60, (ROWS, COLUMNS))
    if bits == 8:
        return (values // 8).astype(np.uint8)
    return (values - 1500).astype("<i2") if signed else values.astype("<u2")


def _identity(data: Dataset, uids: tuple[str, str, str], modality: str) -> None:
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data.SpecificCharacterSet = "ISO_IR 192"
    for keyword, value in PRIVATE.items():
        setattr(data, keyword, value)
    data.PatientSex, data.StudyDate, data.StudyTime = "F", "20261102", "101500"
    data.SeriesDate, data.SeriesTime = "20261102", "101700"
    data.Manufacturer, data.ManufacturerModelName = "Acme", "Scanner 1"
    data.StudyInstanceUID, data.SeriesInstanceUID, data.FrameOfReferenceUID = uids
    data.SOPInstanceUID = generate_uid()
    data.PositionReferenceIndicator = ""
    data.Modality, data.SeriesNumber, data.AcquisitionNumber = modality, 3, 1


def _pixels(data: Dataset, stored: np.ndarray, signed: bool) -> None:
    bits = stored.dtype.itemsize * 8
    data.Rows, data.Columns = stored.shape[-2:]
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
    data.BitsAllocated = data.BitsStored = bits
    data.HighBit, data.PixelRepresentation = bits - 1, int(signed)
    data.PixelData = stored.tobytes()
    data["PixelData"].VR = "OW" if bits > 8 else "OB"


def _write(
    folder: Path, recipe: _Recipe, uids: tuple[str, str, str] | None = None
) -> tuple[list[TruePlane], list[Path]]:
    folder.mkdir(parents=True, exist_ok=True)
    row, column = (np.asarray(v, np.float64) for v in (recipe.row, recipe.column))
    step = np.cross(row, column) * STEP if recipe.step is None else np.asarray(recipe.step, np.float64)
    uids = uids or (generate_uid(), generate_uid(), generate_uid())
    planes, files = [], []
    for n, place in enumerate(recipe.places):
        position = np.array((-30.0, -40.0, 100.0)) + place * step
        data = Dataset()
        _identity(data, uids, recipe.modality)
        data.SOPClassUID = CTImageStorage if recipe.modality == "CT" else MRImageStorage
        data.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
        data.InstanceNumber = recipe.numbers(n)
        data.ImagePositionPatient = [decimal(v) for v in position]
        data.ImageOrientationPatient = [decimal(v) for v in (*row, *column)]
        data.PixelSpacing = [str(v) for v in PIXEL_SPACING]
        data.SliceThickness = "3"  # wrong on purpose: thickness is not distance
        rescale = recipe.rescale(n)
        slope, intercept = rescale or (1, 0)
        if rescale is not None:
            data.RescaleSlope, data.RescaleIntercept = f"{slope:g}", f"{intercept:g}"
            data.RescaleType = "HU"
        stored = stored_pixels(recipe.seed, n, recipe.signed, recipe.bits)
        _pixels(data, stored, recipe.signed)
        if recipe.change:
            recipe.change(data, n)
        file = folder / recipe.file_name(n)
        save(data, file, recipe.syntax)
        values = stored.astype(np.float64) * slope + intercept
        # What the file says, not what was meant: a decimal string has sixteen characters.
        said = np.array([float(v) for v in data.ImagePositionPatient])
        planes.append(TruePlane(said, row, column, values, str(data.SOPInstanceUID)))
        files.append(file)
    return in_order(planes), files


def in_order(planes: list[TruePlane]) -> list[TruePlane]:
    """Planes along their normal."""
    normal = np.cross(planes[0].row, planes[0].column)
    return sorted(planes, key=lambda plane: float(plane.position @ normal))


def decimal(value: float) -> str:
    """A number as Decimal String (PS3.5 6.2)."""
    return f"{value:.10g}"[:16]


def save(data: Dataset, file: Path, syntax: UID = ExplicitVRLittleEndian) -> None:
    """Save in a transfer syntax, compressing where that is what it means."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if syntax == JPEGLosslessSV1:
            _compress_jpeg_lossless(data)
        elif syntax.is_encapsulated:
            data.compress(syntax, generate_instance_uid=False)
        elif syntax == ExplicitVRBigEndian:
            data.PixelData = np.frombuffer(data.PixelData, "<u2").astype(">u2").tobytes()
        data.file_meta.TransferSyntaxUID = syntax
        data.save_as(file, enforce_file_format=True)


def _compress_jpeg_lossless(data: Dataset) -> None:
    """By the encoder inside SimpleITK, the only permissive one at hand."""
    import SimpleITK as sitk

    image = sitk.GetImageFromArray(np.frombuffer(data.PixelData, "<u2").reshape(1, data.Rows, data.Columns))
    writer = sitk.ImageFileWriter()
    with tempfile.TemporaryDirectory() as folder:
        writer.SetFileName(str(Path(folder) / "a.dcm"))
        writer.SetImageIO("GDCMImageIO")
        writer.UseCompressionOn()
        writer.SetCompressor("JPEG")
        writer.Execute(image)
        import pydicom

        made = pydicom.dcmread(Path(folder) / "a.dcm")
    assert made.file_meta.TransferSyntaxUID == JPEGLosslessSV1
    data.PixelData = encapsulate([next(generate_frames(made.PixelData, number_of_frames=1))])
    data["PixelData"].VR = "OB"


# --- single-frame series


def _plain(
    grid: str = "planes", options: dict[str, Any] | None = None, **recipe: Any
) -> Callable[[Path], VariantSeries]:
    def write(folder: Path) -> VariantSeries:
        planes, files = _write(folder, _Recipe(**recipe))
        return VariantSeries(folder, options or {}, planes, grid, files)

    return write


def _rotated(*angles: float) -> dict[str, Any]:
    """Directions of rows and columns turned about x, y and z, degrees."""
    matrix = np.eye(3)
    for axis, angle in enumerate(np.radians(angles)):
        turn = np.eye(3)
        a, b = (axis + 1) % 3, (axis + 2) % 3
        turn[a, a] = turn[b, b] = np.cos(angle)
        turn[a, b], turn[b, a] = -np.sin(angle), np.sin(angle)
        matrix = turn @ matrix
    return {"row": matrix[:, 0], "column": matrix[:, 1]}


def _tilt(degrees: float) -> dict[str, Any]:
    """Slices leaning by an angle while the table moves straight on."""
    angle = np.radians(degrees)
    return {"column": (0, np.cos(angle), np.sin(angle)), "step": (0, 0, STEP)}


def _jitter(folder: Path) -> VariantSeries:
    offsets = np.random.default_rng(5).uniform(-0.004, 0.004, COUNT)
    return _plain(places=tuple(np.arange(COUNT) + offsets))(folder)


def _duplicate_file(folder: Path) -> VariantSeries:
    planes, files = _write(folder, _Recipe())
    (folder / "copy.dcm").write_bytes(files[3].read_bytes())
    return VariantSeries(folder, {}, planes, "planes", files)


def _localizer(folder: Path) -> VariantSeries:
    uids = (generate_uid(), generate_uid(), generate_uid())
    planes, files = _write(folder, _Recipe(), uids)

    def scout(data: Dataset, n: int) -> None:
        data.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]

    _write(
        folder,
        _Recipe(column=(0, 0, -1), places=(0,), change=scout, file_name=lambda n: "AAscout.dcm", seed=9),
        uids,
    )
    return VariantSeries(folder, {}, planes, "planes", files)


def _phases(
    change: Callable[[int], Callable[[Dataset, int], None]], modality: str = "CT"
) -> Callable[..., VariantSeries]:
    """Two phases in one series, of which the second is to be read."""

    def write(folder: Path) -> VariantSeries:
        uids = (generate_uid(), generate_uid(), generate_uid())
        rescale = (lambda n: None) if modality == "MR" else (lambda n: (1, -1024))
        made = [
            _write(
                folder,
                _Recipe(
                    modality=modality,
                    rescale=rescale,
                    change=change(phase),
                    seed=phase,
                    numbers=lambda n, phase=phase: phase * COUNT + n + 1,
                    file_name=lambda n, phase=phase: f"IM{n:03d}-{phase}.dcm",
                ),
                uids,
            )
            for phase in range(2)
        ]
        return VariantSeries(folder, {"phase": 2}, made[1][0], "planes", made[1][1])

    return write


def _acquisition(phase: int) -> Callable[[Dataset, int], None]:
    return lambda data, n: setattr(data, "AcquisitionNumber", phase + 1)


def _echo(phase: int) -> Callable[[Dataset, int], None]:
    return lambda data, n: setattr(data, "EchoTime", str((9.2, 80)[phase]))


def _only_numbers(phase: int) -> Callable[[Dataset, int], None]:
    def change(data: Dataset, n: int) -> None:
        del data.AcquisitionNumber

    return change


def _two_series(folder: Path) -> VariantSeries:
    _write(folder / "a", _Recipe(seed=1))
    planes, files = _write(folder / "b", _Recipe(seed=2))
    return VariantSeries(folder, {"series": 2}, planes, "planes", files)


#: Stored value of pixels outside the reconstructed circle in the variant with padding.
PADDING = 63536


def _padding(folder: Path) -> VariantSeries:
    """Pixels outside the field of view carry a mark that would be by far the brightest value of the scan."""
    outside = np.zeros((ROWS, COLUMNS), bool)
    outside[:5], outside[:, -4:] = True, True

    def mark(data: Dataset, n: int) -> None:
        stored = np.frombuffer(data.PixelData, "<u2").reshape(ROWS, COLUMNS).copy()
        stored[outside] = PADDING
        data.PixelData = stored.tobytes()
        data.PixelPaddingValue = PADDING
        data["PixelPaddingValue"].VR = "US"

    planes, files = _write(folder, _Recipe(change=mark))
    lowest = min(float(plane.values[~outside].min()) for plane in planes)
    for plane in planes:
        plane.values[outside] = lowest
    return VariantSeries(folder, {}, planes, "planes", files)


def _unreadable(folder: Path) -> VariantSeries:
    planes, files = _write(folder, _Recipe())
    files[3].write_bytes(files[3].read_bytes()[:200])
    return VariantSeries(folder, {"skip_unreadable": True}, planes[:3] + planes[4:], "filled", files)


def _zip(folder: Path) -> VariantSeries:
    planes, files = _write(folder / "content", _Recipe())
    archive = folder / "scan.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as target:
        for file in files:
            target.write(file, f"export/{file.name}")
            file.unlink()
        target.writestr("export/readme.txt", "viewer")
    (folder / "content").rmdir()
    return VariantSeries(archive, {}, planes, "planes")


def _dicomdir(folder: Path) -> VariantSeries:
    """A medium with two series, listed in a DICOMDIR; the second one is to be read."""
    _, first = _write(folder / "loose", _Recipe(seed=1, modality="MR", rescale=lambda n: None))
    planes, second = _write(folder / "loose", _Recipe(file_name=lambda n: f"B{n}.dcm"))
    medium = FileSet()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for file in (*first, *second):
            medium.add(file)
        medium.write(folder / "medium")
    for file in (*first, *second):
        file.unlink()
    (folder / "loose").rmdir()
    return VariantSeries(folder / "medium" / "DICOMDIR", {"series": 2}, planes, "planes")


# --- enhanced multi-frame objects


def _enhanced(
    modality: str = "CT",
    syntax: UID = ExplicitVRLittleEndian,
    times: int = 1,
    shared_orientation: bool = True,
    tilt: bool = False,
) -> Callable[[Path], VariantSeries]:
    def write(folder: Path) -> VariantSeries:
        folder.mkdir(parents=True, exist_ok=True)
        row, column = np.array((1.0, 0, 0)), np.array((0, 1.0, 0))
        step = np.array((0, 0, STEP))
        if tilt:
            column = np.asarray(_tilt(18)["column"])
        data = Dataset()
        _identity(data, (generate_uid(), generate_uid(), generate_uid()), modality)
        data.SOPClassUID = EnhancedCTImageStorage if modality == "CT" else EnhancedMRImageStorage
        data.ImageType = ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"]
        data.InstanceNumber, data.ContentDate, data.ContentTime = 1, "20261102", "101700"
        shared, frames, stored, planes = Dataset(), [], [], []
        shared.PixelMeasuresSequence = [Dataset()]
        shared.PixelMeasuresSequence[0].PixelSpacing = [str(v) for v in PIXEL_SPACING]
        shared.PixelMeasuresSequence[0].SliceThickness = "3"
        orientation = [decimal(v) for v in (*row, *column)]
        if shared_orientation:
            shared.PlaneOrientationSequence = [Dataset()]
            shared.PlaneOrientationSequence[0].ImageOrientationPatient = orientation
        # Frames lie in no spatial order: the last slice comes first.
        for time in range(times):
            for place in reversed(range(COUNT)):
                frame, content = Dataset(), Dataset()
                content.StackID, content.InStackPositionNumber = "1", place + 1
                if times > 1:
                    content.TemporalPositionIndex = time + 1
                content.DimensionIndexValues = [1, place + 1, time + 1]
                frame.FrameContentSequence = [content]
                where = Dataset()
                where.ImagePositionPatient = [decimal(v) for v in (-30, -40, 100) + place * step]
                frame.PlanePositionSequence = [where]
                if not shared_orientation:
                    turned = Dataset()
                    turned.ImageOrientationPatient = orientation
                    frame.PlaneOrientationSequence = [turned]
                slope, intercept = (1, -1024) if modality == "CT" else (0.5 if place % 2 else 2, 3)
                change = Dataset()
                change.RescaleSlope, change.RescaleIntercept = f"{slope:g}", f"{intercept:g}"
                change.RescaleType = "HU" if modality == "CT" else "US"
                frame.PixelValueTransformationSequence = [change]
                frames.append(frame)
                pixels = stored_pixels(time, place)
                stored.append(pixels)
                if time == times - 1:
                    values = pixels.astype(np.float64) * slope + intercept
                    position = np.array([float(v) for v in where.ImagePositionPatient])
                    planes.append(TruePlane(position, row, column, values, str(data.SOPInstanceUID), len(frames)))
        data.NumberOfFrames = len(frames)
        data.SharedFunctionalGroupsSequence, data.PerFrameFunctionalGroupsSequence = [shared], frames
        _pixels(data, np.stack(stored), signed=False)
        file = folder / "enhanced.dcm"
        save(data, file, syntax)
        options = {"phase": times} if times > 1 else {}
        return VariantSeries(folder, options, in_order(planes), "sheared" if tilt else "planes", [file])

    return write


VARIANTS: dict[str, Callable[[Path], VariantSeries]] = {
    "axial up": _plain(),
    "axial down": _plain(step=(0, 0, -STEP)),
    "reversed instance numbers": _plain(numbers=lambda n: COUNT - n),
    "file names without order": _plain(file_name=lambda n: f"{(n * 5 + 3) % COUNT}-x"),
    "oblique": _plain(**_rotated(0, 0, 25)),
    "doubly oblique": _plain(**_rotated(40, 25, -15)),
    "coronal": _plain(row=(1, 0, 0), column=(0, 0, -1)),
    "sagittal": _plain(row=(0, 1, 0), column=(0, 0, -1)),
    "prone": _plain(row=(-1, 0, 0), column=(0, -1, 0)),
    "columns up": _plain(row=(1, 0, 0), column=(0, -1, 0)),
    "slope of a half": _plain(rescale=lambda n: (0.5, -1024)),
    "slope of each slice": _plain(rescale=lambda n: (0.5 + n / 4, -1024 - n)),
    "signed": _plain(signed=True, rescale=lambda n: (1, 0)),
    "eight bits": _plain(bits=8, rescale=lambda n: (4, -1024)),
    "MR without rescale": _plain(modality="MR", rescale=lambda n: None),
    "positions off by micrometres": _jitter,
    "implicit VR": _plain(syntax=ImplicitVRLittleEndian),
    "big endian": _plain(syntax=ExplicitVRBigEndian),
    "deflated": _plain(syntax=DeflatedExplicitVRLittleEndian),
    "RLE": _plain(syntax=RLELossless),
    "JPEG 2000": _plain(syntax=JPEG2000Lossless),
    "JPEG-LS": _plain(syntax=JPEGLSLossless),
    "JPEG lossless": _plain(syntax=JPEGLosslessSV1),
    "gantry tilt": _plain("sheared", **_tilt(18)),
    "gantry tilt the other way": _plain("sheared", **_tilt(-12)),
    "two distances": _plain("filled", places=(0, 1, 2, 3, 5, 7, 9)),
    "uneven distances": _plain("resampled", places=(0, 1, 2.3, 3.4, 4.9, 6, 7.2)),
    "slice missing": _plain("filled", {"skip_unreadable": True}, places=(0, 1, 2, 4, 5, 6, 7)),
    "unreadable slice": _unreadable,
    "duplicate file": _duplicate_file,
    "localizer in the series": _localizer,
    "two acquisitions": _phases(_acquisition),
    "two echoes": _phases(_echo, "MR"),
    "two phases by number only": _phases(_only_numbers),
    "two series": _two_series,
    "padding": _padding,
    "one slice": _plain(places=(0,)),
    "enhanced CT": _enhanced(),
    "enhanced CT, leaning": _enhanced(tilt=True),
    "enhanced MR, rescale of each frame": _enhanced("MR", shared_orientation=False),
    "enhanced MR, RLE": _enhanced("MR", RLELossless),
    "enhanced CT, JPEG 2000": _enhanced("CT", JPEG2000Lossless),
    "enhanced MR of two times": _enhanced("MR", times=2),
    "DICOMDIR": _dicomdir,
    "zip": _zip,
}


def write_variant(name: str, folder: Path) -> VariantSeries:
    """Write one of ``VARIANTS`` into a new folder."""
    return VARIANTS[name](folder)
