"""Series of every kind times every DICOM result: exact for this program, highdicom, dcmqi and plastimatch.

The independent readers are the dcmqi wheel (3D Slicer reads segmentations with it), plastimatch and dciodvfy (Debian
packages plastimatch and dicom3tools); where one of them is missing, its part is skipped.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from dicom_truth import (
    DCMQI,
    LESION,
    LIVER,
    by_dcmqi,
    by_highdicom,
    by_plastimatch,
    dciodvfy_errors,
    exported,
    true_masks,
)
from dicom_variants import VariantSeries, write_variant
from MedSAMSegmentLib.export import Algorithm, WriteOptions, write_results
from MedSAMSegmentLib.volume import Volume, read_volume
from MedSAMSegmentLib.volume.readers.segments import read_segments

VARIANTS = [
    "axial up",
    "axial down",
    "reversed instance numbers",
    "oblique",
    "doubly oblique",
    "coronal",
    "sagittal",
    "prone",
    "columns up",
    "slope of each slice",
    "MR without rescale",
    "positions off by micrometres",
    "implicit VR",
    "RLE",
    "JPEG 2000",
    "gantry tilt",
    "gantry tilt the other way",
    "two distances",
    "uneven distances",
    "slice missing",
    "duplicate file",
    "localizer in the series",
    "two acquisitions",
    "two series",
    "one slice",
    "enhanced CT",
    "enhanced CT, leaning",
    "enhanced MR, rescale of each frame",
    "enhanced MR of two times",
    "zip",
]

#: dcmqi 1.5 rebuilds an upright, even stack, whatever the frames say; the program warns when it writes these.
LEANING = ("gantry tilt", "gantry tilt the other way", "enhanced CT, leaning")
UNEVEN = ("uneven distances",)

#: plastimatch reads the images itself, with GDCM, which cannot read these, or not as they lie.
NOT_FOR_PLASTIMATCH = (
    *LEANING,
    "two distances",
    "uneven distances",
    "slice missing",
    "one slice",
    "zip",
    "RLE",
    "JPEG 2000",
)

#: dciodvfy 1.00~20220618 is older than label maps, and takes their SegmentNumber 0 (background) for an error.
LABEL_MAP_UNKNOWN = ("Information Object Not found", "SegmentNumber not monotonically increasing from one")

FILES = {
    "BINARY": "{}/binary.dcm",
    "LABELMAP": "labelmap:{}/labelmap.dcm",
    "FRACTIONAL": "fractional:{}/fractional.dcm",
    "rtstruct": "rtstruct:{}/rtstruct.dcm",
}
OPTIONS = WriteOptions(algorithm=Algorithm("embedded", "0.2.0", "f" * 64), creator="Doe^Jane")


class Written:
    """One series with all results written beside it."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name = name
        self.folder = folder
        self.series: VariantSeries = write_variant(name, folder / "series")
        self.volume: Volume = read_volume(self.series.path, **self.series.options)
        self.masks = true_masks(self.series)
        self.objects = exported(self.series, self.volume, self.masks)
        targets = [target.format(folder) for target in FILES.values()]
        self.notes = write_results(targets, self.volume, self.objects, OPTIONS).notes

    def file(self, kind: str) -> Path:
        return self.folder / FILES[kind].rpartition("/")[2]

    def expected(self, kind: str) -> dict[str, np.ndarray]:
        """True masks as a format can hold them: in a label map the lesion is cut out of the liver."""
        if kind != "LABELMAP":
            return self.masks
        return {**self.masks, LIVER: self.masks[LIVER] & ~self.masks[LESION]}


@pytest.fixture(scope="module", params=VARIANTS)
def written(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Written:
    return Written(request.param, tmp_path_factory.mktemp("matrix"))


@pytest.mark.parametrize("kind", ["BINARY", "LABELMAP", "FRACTIONAL"])
def test_highdicom_finds_every_voxel_on_its_source_image(written: Written, kind: str) -> None:
    found = by_highdicom(written.file(kind), written.series)
    for number, (name, mask) in enumerate(written.expected(kind).items()):
        assert np.array_equal(found[..., number] >= 0.5, mask), name


@pytest.mark.parametrize("kind", ["BINARY", "LABELMAP", "FRACTIONAL", "rtstruct"])
def test_reading_back_gives_the_masks_on_our_grid(written: Written, kind: str) -> None:
    stored = read_segments(written.file(kind), written.volume)
    assert [item.name for item in stored.segments] == [item.name for item in written.objects] and not stored.notes
    for segment, item in zip(stored.segments, written.objects, strict=True):
        expected = item.mask
        if kind == "LABELMAP" and item.name == LIVER:
            expected = item.mask & ~written.objects[1].mask
        assert np.array_equal(segment.mask, expected), item.name


@pytest.mark.skipif(DCMQI is None, reason="the dcmqi wheel is not installed")
@pytest.mark.parametrize("kind", ["BINARY", "LABELMAP"])
def test_dcmqi_finds_every_voxel_in_the_patient(written: Written, kind: str, tmp_path: Path) -> None:
    found = by_dcmqi(written.file(kind), written.series, tmp_path / "out")
    exact = all(np.array_equal(found.get(name), mask) for name, mask in written.expected(kind).items())
    if written.name in LEANING:
        assert not exact and any("gantry tilt" in note for note in written.notes)
    elif written.name in UNEVEN:
        assert any("uneven" in note for note in written.notes)
    else:
        assert exact and not any("gantry tilt" in note for note in written.notes)


@pytest.mark.skipif(shutil.which("plastimatch") is None, reason="the Debian package plastimatch is not installed")
def test_plastimatch_fills_the_contours_to_the_same_masks(written: Written, tmp_path: Path) -> None:
    if written.name in NOT_FOR_PLASTIMATCH or written.series.planes[0].frame_number is not None:
        pytest.skip("plastimatch cannot read these images, or not as they lie")
    found = by_plastimatch(written.file("rtstruct"), written.series, tmp_path)
    assert len(found) == len(written.masks)
    for mask in written.masks.values():
        assert any(np.array_equal(other, mask) for other in found.values())


@pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="the Debian package dicom3tools is not installed")
@pytest.mark.parametrize("kind", list(FILES))
def test_the_validator_has_nothing_to_object(written: Written, kind: str) -> None:
    errors = dciodvfy_errors(written.file(kind))
    if kind == "LABELMAP":
        errors = [line for line in errors if not any(known in line for known in LABEL_MAP_UNKNOWN)]
    assert errors == []


@pytest.mark.skipif(DCMQI is None, reason="the dcmqi wheel is not installed")
@pytest.mark.parametrize("name", [*LEANING, *UNEVEN, "oblique"])
def test_an_upright_segmentation_is_where_programs_that_rebuild_a_stack_look(name: str, tmp_path: Path) -> None:
    """Within half a voxel: by dcmqi, which misplaces the one on the acquired slices."""
    import SimpleITK as sitk

    series = write_variant(name, tmp_path / "series")
    volume = read_volume(series.path, **series.options)
    objects = exported(series, volume, true_masks(series))[:1]
    written = write_results([f"upright:{tmp_path}/upright.dcm"], volume, objects, OPTIONS)
    assert any("upright" in note for note in written.notes)
    (tmp_path / "out").mkdir()
    command = [DCMQI, "--inputDICOM", written.paths[0], "--outputDirectory", tmp_path / "out", "--outputType", "nrrd"]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    image = sitk.ReadImage(str(tmp_path / "out" / "1.nrrd"))
    voxels = np.argwhere(sitk.GetArrayFromImage(image) > 0)[:, ::-1]
    steps = np.array(image.GetDirection()).reshape(3, 3) * np.array(image.GetSpacing())
    places = volume.geometry.lps_to_index(voxels @ steps.T + np.array(image.GetOrigin()))
    nearest = np.rint(places).astype(int)[:, ::-1]
    assert np.abs(places - np.rint(places)).max() <= 0.5 + 1e-6
    assert objects[0].mask[tuple(nearest.T)].all()
    assert len(voxels) == pytest.approx(np.count_nonzero(objects[0].mask), rel=0.03)
    if shutil.which("dciodvfy") is not None:
        assert dciodvfy_errors(written.paths[0]) == []
