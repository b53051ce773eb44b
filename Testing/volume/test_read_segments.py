"""Segmentations and structure sets come back onto the grid of their scan, or are refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from dicom_variants import PRIVATE_WORDS, write_variant
from MedSAMSegmentLib.errors import InputError
from MedSAMSegmentLib.export import ExportedObject, write_results
from MedSAMSegmentLib.volume import Geometry, Volume, read_labelmap, read_volume
from MedSAMSegmentLib.volume.readers.segments import read_segments

SERIES = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "dicom_series"


@pytest.fixture(scope="module")
def scan(tmp_path_factory: pytest.TempPathFactory) -> Volume:
    series = write_variant("doubly oblique", tmp_path_factory.mktemp("scan") / "series")
    return read_volume(series.path)


@pytest.fixture(scope="module")
def objects(scan: Volume) -> list[ExportedObject]:
    k, j, i = np.indices(scan.voxels.shape)
    liver = ((j - 18) / 12) ** 2 + ((i - 20) / 15) ** 2 + ((k - 4) / 3) ** 2 < 1
    liver &= ~((j > 16) & (j < 20) & (i > 18) & (i < 22))
    spleen = (k > 2) & (j > 30) & (i > 38)
    return [ExportedObject("liver", liver), ExportedObject("spleen", spleen)]


@pytest.fixture
def stored(scan: Volume, objects: list[ExportedObject], tmp_path: Path) -> dict[str, Path]:
    """The same objects as a segmentation and as a structure set."""
    targets = [f"{tmp_path}/seg.dcm", f"rtstruct:{tmp_path}/rtstruct.dcm"]
    seg, structures = write_results(targets, scan, objects).paths
    return {"seg": seg, "rtstruct": structures}


def edit(path: Path, change: Any) -> None:
    data = pydicom.dcmread(path)
    change(data)
    data.save_as(path)


def regrid(scan: Volume, order: tuple[int, int, int], flips: tuple[int, ...]) -> tuple[Volume, Any]:
    """The scan as another program may store it, with axes exchanged and turned round, and what does so to a mask."""

    def turned(array: np.ndarray) -> np.ndarray:
        return np.ascontiguousarray(np.flip(array.transpose(order), flips))

    shape = tuple(scan.voxels.shape[axis] for axis in order)
    affine = np.eye(4)
    origin = np.zeros(3)
    for new, old in enumerate(order):
        affine[:3, 2 - new] = scan.geometry.affine[:3, 2 - old]
        if new in flips:
            origin[2 - old] = scan.voxels.shape[old] - 1
            affine[:3, 2 - new] *= -1
    affine[:3, 3] = scan.geometry.index_to_lps(origin)
    return Volume(turned(scan.voxels), Geometry(shape, affine)), turned


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1), (1, 2, 0)])
@pytest.mark.parametrize("flips", [(), (0,), (1, 2)])
def test_a_segmentation_finds_its_voxels_however_the_scan_is_stored(
    scan: Volume,
    objects: list[ExportedObject],
    stored: dict[str, Path],
    order: tuple[int, int, int],
    flips: tuple[int, ...],
) -> None:
    other, turned = regrid(scan, order, flips)
    found = read_segments(stored["seg"], other)
    assert not found.notes
    for segment, item in zip(found.segments, objects, strict=True):
        assert np.array_equal(segment.mask, turned(item.mask))


def test_a_finer_grid_of_the_same_place_gets_the_nearest_voxels_and_a_note(
    scan: Volume, objects: list[ExportedObject], stored: dict[str, Path]
) -> None:
    affine = scan.geometry.affine.copy()
    affine[:3, :2] /= 2
    affine[:3, 3] -= affine[:3, :2].sum(axis=1) / 2
    shape = (scan.voxels.shape[0], scan.voxels.shape[1] * 2, scan.voxels.shape[2] * 2)
    found = read_segments(stored["seg"], Volume(np.zeros(shape, np.int16), Geometry(shape, affine)))
    assert "nearest voxel" in found.notes[0]
    assert np.array_equal(found.segments[0].mask, objects[0].mask.repeat(2, axis=1).repeat(2, axis=2))


def test_a_hole_may_be_a_contour_of_its_own(scan: Volume, objects: list[ExportedObject], tmp_path: Path) -> None:
    """Other programs draw the outline of a hole instead of joining it by a keyhole."""
    hole = ExportedObject("hole", np.zeros(scan.voxels.shape, bool))
    hole.mask[4, 17:20, 19:22] = True
    full = ExportedObject("full", np.zeros(scan.voxels.shape, bool))
    full.mask[4, 10:30, 10:30] = True
    path = write_results([f"rtstruct:{tmp_path}/a.dcm"], scan, [full, hole]).paths[0]

    def join(data: pydicom.Dataset) -> None:
        first, second = data.ROIContourSequence
        first.ContourSequence.append(second.ContourSequence[0])
        for contour in first.ContourSequence:
            del contour.ContourImageSequence  # optional, and often missing

    edit(path, join)
    assert np.array_equal(read_segments(path, scan).segments[0].mask, full.mask & ~hole.mask)


def test_points_and_lines_are_passed_over_with_a_note(scan: Volume, stored: dict[str, Path]) -> None:
    def point(data: pydicom.Dataset) -> None:
        contour = data.ROIContourSequence[0].ContourSequence[0]
        contour.ContourGeometricType, contour.ContourData = "POINT", contour.ContourData[:3]

    edit(stored["rtstruct"], point)
    assert "1 contour(s)" in read_segments(stored["rtstruct"], scan).notes[0]


@pytest.mark.parametrize("kind", ["seg", "rtstruct"])
def test_segments_of_another_scan_are_refused(scan: Volume, stored: dict[str, Path], kind: str) -> None:
    def elsewhere(data: pydicom.Dataset) -> None:
        data.FrameOfReferenceUID = "1.2.3"
        for region in data.get("StructureSetROISequence") or ():
            region.ReferencedFrameOfReferenceUID = "1.2.3"

    edit(stored[kind], elsewhere)
    with pytest.raises(InputError) as caught:
        read_segments(stored[kind], scan)
    assert caught.value.code == "OTHER_FRAME_OF_REFERENCE"


def test_contours_between_slices_are_refused(scan: Volume, stored: dict[str, Path]) -> None:
    normal = np.cross(scan.geometry.direction[:, 0], scan.geometry.direction[:, 1])

    def lift(data: pydicom.Dataset) -> None:
        for contour in data.ROIContourSequence[0].ContourSequence:
            points = np.array(contour.ContourData, float).reshape(-1, 3) + normal * 1.2
            contour.ContourData = [f"{value:.8g}" for value in points.ravel()]

    edit(stored["rtstruct"], lift)
    with pytest.raises(InputError) as caught:
        read_segments(stored["rtstruct"], scan)
    assert caught.value.code == "OTHER_GRID"


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])


def _too_few_pixels(path: Path) -> None:
    edit(path, lambda data: setattr(data, "PixelData", data.PixelData[:100]))


def _absurd(path: Path) -> None:
    edit(path, lambda data: setattr(data, "NumberOfFrames", 2_000_000))


def _no_position(path: Path) -> None:
    edit(path, lambda data: data.PerFrameFunctionalGroupsSequence[0].__delattr__("PlanePositionSequence"))


def _name_for_a_number(path: Path) -> None:
    raw = path.read_bytes()
    group = pydicom.dcmread(path).SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
    spacing = "\\".join(str(value) for value in group.PixelSpacing).encode()
    assert raw.count(spacing) == 1
    path.write_bytes(raw.replace(spacing, b"Quellmalz"[: len(spacing)].ljust(len(spacing))))


@pytest.mark.parametrize(
    ("damage", "codes"),
    [
        (_cut, ("TRUNCATED_FILE", "UNREADABLE_FILE")),
        (_too_few_pixels, ("TRUNCATED_FILE",)),
        (_absurd, ("TOO_BIG",)),
        (_no_position, ("NO_GEOMETRY",)),
        (_name_for_a_number, ("NO_GEOMETRY", "UNREADABLE_FILE")),
        (lambda path: path.write_text("no DICOM"), ("UNREADABLE_FILE",)),
        (lambda path: path.unlink(), ("FILE_NOT_FOUND",)),
    ],
)
def test_damaged_files_are_refused_without_telling_what_they_hold(
    scan: Volume, stored: dict[str, Path], damage: Any, codes: tuple[str, ...]
) -> None:
    damage(stored["seg"])
    with pytest.raises(InputError) as caught:
        read_segments(stored["seg"], scan)
    assert caught.value.code in codes
    assert not any(word in str(caught.value) for word in PRIVATE_WORDS)


def test_an_image_is_no_segmentation(scan: Volume) -> None:
    with pytest.raises(InputError) as caught:
        read_segments(scan.source[0].path, scan)
    assert caught.value.code == "NOT_A_SEGMENTATION"


@pytest.mark.parametrize(
    "variant", ["doubly oblique", "gantry tilt", "two distances", "uneven distances", "enhanced CT"]
)
@pytest.mark.parametrize("suffix", [".seg.nrrd", ".nii.gz"])
def test_files_without_dicom_come_back_voxel_for_voxel(variant: str, suffix: str, tmp_path: Path) -> None:
    series = write_variant(variant, tmp_path / "series")
    scan = read_volume(series.path, **series.options)
    k, j, i = np.indices(scan.voxels.shape)
    kidney = ((j - 18) / 12) ** 2 + ((i - 20) / 15) ** 2 < 1
    lesion = (j > 16) & (j < 20) & (i > 18) & (i < 22) & (k > 1)
    objects = [ExportedObject("left kidney", kidney, colour=(10, 200, 30)), ExportedObject("a\\b ^ lesion", lesion)]
    (path,) = write_results([f"{tmp_path}/prior{suffix}"], scan, objects).paths
    found = read_segments(path, scan)
    assert not found.notes and found.named == (suffix == ".seg.nrrd")
    if found.named:
        assert [np.array_equal(a.mask, b.mask) for a, b in zip(found.segments, objects, strict=True)] == [True, True]
        assert [segment.name for segment in found.segments] == [item.name for item in objects]
        assert found.segments[0].colour == (10, 200, 30) and found.segments[0].codes.type_modifier[2] == "Left"
        assert found.segments[0].codes.type == ("64033007", "SCT", "Kidney")
    else:
        assert [segment.name for segment in found.segments] == ["label 1", "label 2"]
        assert np.array_equal(found.segments[0].mask, kidney & ~lesion)
        assert np.array_equal(found.segments[1].mask, lesion)


def test_a_segmentation_that_slicer_cropped_and_turned_finds_its_place(
    scan: Volume, objects: list[ExportedObject], tmp_path: Path
) -> None:
    import SimpleITK as sitk

    (path,) = write_results([f"{tmp_path}/whole.seg.nrrd"], scan, objects).paths
    image = sitk.ReadImage(str(path))
    turned = sitk.Flip(sitk.PermuteAxes(image[5:, 4:40, 1:], (2, 0, 1)), (True, False, True))
    for key in image.GetMetaDataKeys():
        if key.startswith("Segment"):
            turned.SetMetaData(key, image.GetMetaData(key))
    sitk.WriteImage(turned, str(tmp_path / "turned.seg.nrrd"))
    found = read_segments(tmp_path / "turned.seg.nrrd", scan)
    kept = np.zeros(scan.voxels.shape, bool)
    kept[1:, 4:40, 5:] = True
    assert not found.notes
    for segment, item in zip(found.segments, objects, strict=True):
        assert segment.name == item.name and np.array_equal(segment.mask, item.mask & kept)


def test_labels_on_another_grid_are_carried_over_with_a_remark(
    scan: Volume, objects: list[ExportedObject], tmp_path: Path
) -> None:
    affine = scan.geometry.affine.copy()
    affine[:3, 3] += 0.3 * affine[:3, 0]
    moved = Volume(scan.voxels, Geometry(scan.voxels.shape, affine))
    (path,) = write_results([f"{tmp_path}/a.nii.gz"], moved, objects[:1]).paths
    found = read_segments(path, scan)
    assert "nearest voxel" in found.notes[0]
    assert np.array_equal(found.segments[0].mask, objects[0].mask)


def test_a_scan_is_no_label_map(scan: Volume, tmp_path: Path) -> None:
    import SimpleITK as sitk

    sitk.WriteImage(sitk.GetImageFromArray(np.arange(2000, dtype=np.int16).reshape(2, 20, 50)), f"{tmp_path}/a.nrrd")
    with pytest.raises(InputError) as caught:
        read_segments(tmp_path / "a.nrrd", scan)
    assert caught.value.code == "NOT_A_LABELMAP"


needs_series = pytest.mark.skipif(not SERIES.is_dir(), reason="the shared DICOM series are not here")


@needs_series
def test_a_segmentation_of_another_program_is_read_voxel_for_voxel() -> None:
    """dcmqi's own example: three slices of a real CT, and its liver as NRRD."""
    scan = read_volume(SERIES / "dcmqi_ct3" / "ct-3slice")
    found = read_segments(SERIES / "dcmqi_ct3" / "liver.dcm", scan)
    truth = read_labelmap(SERIES / "dcmqi_ct3" / "liver_seg.nrrd")
    assert not found.notes and found.segments[0].name == "Liver" and found.segments[0].colour == (221, 130, 101)
    assert np.array_equal(found.segments[0].mask, truth.voxels > 0)


@needs_series
@pytest.mark.parametrize("modality", ["CT", "MR_T1"])
def test_a_structure_set_of_a_clinic_covers_what_others_make_of_it(modality: str) -> None:
    scan = read_volume(SERIES / "sts_002" / modality / "image")
    (found,) = read_segments(SERIES / "sts_002" / modality / "mask" / "RS.dcm", scan).segments
    truth = read_labelmap(SERIES / "sts_002_nifti" / f"{modality}_mask.nii.gz")
    centres = np.stack([scan.geometry.voxel_centres_lps(0, k) for k in range(scan.voxels.shape[0])])
    index = np.rint(truth.geometry.lps_to_index(centres)).astype(int)[..., ::-1]
    inside = ((index >= 0) & (index < truth.voxels.shape)).all(axis=-1)
    expected = np.zeros(scan.voxels.shape, bool)
    expected[inside] = truth.voxels[tuple(index[inside].T)] > 0
    overlap = 2 * np.count_nonzero(found.mask & expected) / (found.mask.sum() + expected.sum())
    assert overlap > 0.97
