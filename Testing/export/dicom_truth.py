"""Objects with known pixels on the acquired planes of a series, and independent readers to find them again."""

from __future__ import annotations

import importlib.util
import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
from dicom_variants import VariantSeries
from MedSAMSegmentLib.export import ExportedObject
from MedSAMSegmentLib.volume import Volume
from MedSAMSegmentLib.volume.acquisition import ImagePlane, mask_from_planes


def _dcmqi() -> Path | None:
    """The program inside the wheel: its Python wrapper takes longer to start than to read."""
    found = importlib.util.find_spec("dcmqi")
    if found is None or found.origin is None:
        return None
    return next(Path(found.origin).parent.glob("bin/segimage2itkimage*"), None)


DCMQI = _dcmqi()

#: Names of the objects; the last but one says its side twice, in two languages.
LIVER, LESION, KIDNEY, SPLEEN = "Liver", "Liver lesion 1", "Linke Niere, left kidney", "spleen"


def true_masks(series: VariantSeries) -> dict[str, np.ndarray]:
    """Masks (planes, rows, columns): one with a hole, one inside another, one on a single plane, one at the border."""
    count = len(series.planes)
    rows, columns = series.planes[0].values.shape
    r, c = np.mgrid[:rows, :columns]
    liver = np.stack([((r - 15 - k) / 9) ** 2 + ((c - 17 - k) / 12) ** 2 < 1 for k in range(count)])
    lesion = np.zeros_like(liver)
    lesion[count // 3 : count // 3 + 3, 13:18, 17:21] = True
    liver[count // 3, 21, 20] = False
    kidney = np.zeros_like(liver)
    kidney[count // 2, 30:36, 30:41] = True
    kidney[count // 2, 33, 35] = False
    spleen = np.zeros_like(liver)
    spleen[:, 0:6, 40:48] = True
    spleen[:, 2, 42] = False
    return {LIVER: liver, LESION: lesion & liver, KIDNEY: kidney, SPLEEN: spleen}


def planes_of(series: VariantSeries) -> list[ImagePlane]:
    """The true planes as the program has them."""
    from dicom_variants import PIXEL_SPACING

    return [
        ImagePlane(p.position, np.asarray(p.row), np.asarray(p.column), PIXEL_SPACING, p.values.shape)
        for p in series.planes
    ]


def exported(series: VariantSeries, volume: Volume, masks: dict[str, np.ndarray]) -> list[ExportedObject]:
    """The masks as results of a segmentation: on the scan's grid, with probabilities."""
    planes = planes_of(series)
    objects = []
    for number, (name, mask) in enumerate(masks.items()):
        on_grid = mask_from_planes(mask, planes, volume.geometry)
        noise = np.random.default_rng(number).random(on_grid.shape).astype(np.float32)
        objects.append(ExportedObject(name, on_grid, probabilities=np.where(on_grid, 0.5 + noise / 2, noise / 2)))
    return objects


def by_highdicom(path: Path, series: VariantSeries) -> np.ndarray:
    """What highdicom finds for the source images: (planes, rows, columns, segments), stored numbers or 0..1."""
    import highdicom

    read = highdicom.seg.segread(path)
    fractional = read.segmentation_type.value == "FRACTIONAL"
    arguments = {"assert_missing_frames_are_empty": True, "rescale_fractional": fractional}
    if series.planes[0].frame_number is not None:
        return read.get_pixels_by_source_frame(
            series.planes[0].sop_instance_uid, [plane.frame_number for plane in series.planes], **arguments
        )
    return read.get_pixels_by_source_instance([plane.sop_instance_uid for plane in series.planes], **arguments)


def by_dcmqi(path: Path, series: VariantSeries, folder: Path) -> dict[str, np.ndarray]:
    """What dcmqi, the library inside 3D Slicer, finds at the patient positions of the true pixels."""
    import SimpleITK as sitk

    folder.mkdir()
    subprocess.run(
        [DCMQI, "--inputDICOM", path, "--outputDirectory", folder, "--outputType", "nrrd"],
        check=True,
        capture_output=True,
        timeout=60,
    )
    places = np.stack([plane.pixel_places() for plane in series.planes])
    found: dict[str, np.ndarray] = {}
    for number, group in enumerate(json.loads((folder / "meta.json").read_text())["segmentAttributes"], start=1):
        if not (folder / f"{number}.nrrd").exists():  # it may give up without saying so
            continue
        image = sitk.ReadImage(str(folder / f"{number}.nrrd"))
        labels = sitk.GetArrayFromImage(image)
        steps = np.array(image.GetDirection()).reshape(3, 3) * np.array(image.GetSpacing())
        index = np.rint((places - np.array(image.GetOrigin())) @ np.linalg.inv(steps).T).astype(int)[..., ::-1]
        inside = ((index >= 0) & (index < labels.shape)).all(axis=-1)
        values = np.zeros(places.shape[:-1], labels.dtype)
        values[inside] = labels[tuple(index[inside].T)]
        for segment in group:
            found[segment["SegmentLabel"]] = values == segment["labelID"]
    return found


def by_plastimatch(path: Path, series: VariantSeries, folder: Path) -> dict[str, np.ndarray]:
    """What plastimatch fills from a structure set, at the patient positions of the true pixels."""
    import SimpleITK as sitk

    images = folder / "images"
    images.mkdir(parents=True)
    for file in series.files:
        shutil.copy(file, images)
    subprocess.run(
        [
            *("plastimatch", "convert", "--input", path, "--referenced-ct", images),
            *("--output-prefix", folder / "masks", "--prefix-format", "nrrd"),
        ],
        check=True,
        capture_output=True,
        timeout=120,
    )
    places = np.stack([plane.pixel_places() for plane in series.planes])
    found = {}
    for file in (folder / "masks").glob("*.nrrd"):
        image = sitk.ReadImage(str(file))
        labels = sitk.GetArrayFromImage(image)
        steps = np.array(image.GetDirection()).reshape(3, 3) * np.array(image.GetSpacing())
        index = np.rint((places - np.array(image.GetOrigin())) @ np.linalg.inv(steps).T).astype(int)[..., ::-1]
        inside = ((index >= 0) & (index < labels.shape)).all(axis=-1)
        values = np.zeros(places.shape[:-1], bool)
        values[inside] = labels[tuple(index[inside].T)] > 0
        found[file.stem] = values
    return found


def dciodvfy_errors(path: Path) -> list[str]:
    """What the DICOM validator of dicom3tools calls an error."""
    done = subprocess.run(["dciodvfy", "-new", path], capture_output=True, timeout=60)
    lines = (done.stderr + done.stdout).decode("utf-8", "replace").splitlines()
    return [line for line in lines if line.startswith("Error")]
