"""Masks written to files are the masks that other programs read, voxel for voxel and at the same place."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from MedSAMSegmentLib.errors import OutputError, UsageError
from MedSAMSegmentLib.export import ExportedObject, check_output, label_map, output_format, write_result
from MedSAMSegmentLib.phantom import phantom_geometry
from MedSAMSegmentLib.volume import Geometry, Volume, read_labelmap

GEOMETRIES = {
    "straight": phantom_geometry((7, 9, 11), (0.7, 0.7, 3.0)),
    "oblique": phantom_geometry((7, 9, 11), (0.7, 1.3, 3.0), (20, -35, 10)),
    "left-handed": phantom_geometry((7, 9, 11), (0.7, 0.7, 3.0), (5, 0, 0), left_handed=True),
    "far away": Geometry.from_parts((7, 9, 11), (0.5, 0.5, 1.0), (-512.25, 1024.5, -2048.125)),
}


@pytest.fixture(params=GEOMETRIES, ids=str)
def volume(request: pytest.FixtureRequest) -> Volume:
    voxels = np.random.default_rng(1).integers(-1000, 1000, (7, 9, 11)).astype(np.int16)
    return Volume(voxels, GEOMETRIES[request.param], "CT", "test")


def masks(shape: tuple[int, ...]) -> list[ExportedObject]:
    """A large object, a small one inside it, and one beside both."""
    large, small, other = (np.zeros(shape, bool) for _ in range(3))
    large[1:6, 2:8, 1:7] = True
    small[2:4, 3:5, 2:4] = True
    other[0:7, 0:9, 8:11] = True
    return [ExportedObject("Liver", large), ExportedObject("liver tumour", small), ExportedObject("Spleen", other)]


def itk_affine(image) -> np.ndarray:
    """Index -> LPS of a SimpleITK image of three dimensions."""
    affine = np.eye(4)
    affine[:3, :3] = np.reshape(image.GetDirection(), (3, 3)) * image.GetSpacing()
    affine[:3, 3] = image.GetOrigin()
    return affine


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_nifti_is_read_back_by_other_libraries_at_the_same_place(volume: Volume, tmp_path: Path, suffix: str) -> None:
    import nibabel
    import SimpleITK as sitk

    objects = masks(volume.voxels.shape)
    path = write_result(tmp_path / f"mask{suffix}", volume, objects)
    expected = label_map(objects)
    image = sitk.ReadImage(str(path))
    assert image.GetPixelID() == sitk.sitkUInt8
    assert np.array_equal(sitk.GetArrayFromImage(image), expected)
    assert np.abs(itk_affine(image) - volume.geometry.affine).max() < 2e-4
    other = nibabel.load(path)
    assert np.abs(np.diag([-1, -1, 1, 1]) @ other.affine - volume.geometry.affine).max() < 2e-4
    assert other.header["sform_code"] == other.header["qform_code"] == 1
    ours = read_labelmap(path)
    assert np.array_equal(ours.voxels, expected) and ours.geometry.is_close(volume.geometry)


def test_nifti_keeps_the_shear_of_a_gantry_tilt(tmp_path: Path) -> None:
    import nibabel

    affine = np.array([[0.8, 0, 0, 1], [0, 0.8, 0.6, 2], [0, 0, 2.5, 3], [0, 0, 0, 1]])
    volume = Volume(np.zeros((4, 5, 6), np.int16), Geometry((4, 5, 6), affine))
    mask = np.zeros((4, 5, 6), bool)
    mask[1, 2, 3] = True
    path = write_result(tmp_path / "mask.nii.gz", volume, [ExportedObject("a", mask)])
    header = nibabel.load(path).header
    assert header["qform_code"] == 0, "a qform cannot hold shear and must not claim to"
    assert read_labelmap(path).geometry.is_close(volume.geometry, 1e-4)


def test_where_objects_overlap_a_label_map_shows_the_smaller_one() -> None:
    labels = label_map(masks((7, 9, 11)))
    assert labels[3, 4, 3] == 2 and labels[1, 2, 1] == 1 and labels[0, 0, 9] == 3


def test_label_maps_of_many_objects_need_two_bytes() -> None:
    objects = []
    for number in range(300):
        mask = np.zeros((1, 20, 20), bool)
        mask[0, number // 20, number % 20] = True
        objects.append(ExportedObject(f"cell {number}", mask))
    labels = label_map(objects)
    assert labels.dtype == np.uint16 and labels.max() == 300


def test_slicer_segmentation_holds_every_mask_whole(volume: Volume, tmp_path: Path) -> None:
    """Read by ITK: layers are the components of a vector image, and the metadata says which segment is where."""
    import SimpleITK as sitk

    objects = masks(volume.voxels.shape)
    path = write_result(tmp_path / "result.seg.nrrd", volume, objects)
    image = sitk.ReadImage(str(path))
    array = sitk.GetArrayFromImage(image)
    assert array.shape == (*volume.voxels.shape, 2), "the tumour overlaps the liver, so it needs a layer of its own"
    assert np.allclose(itk_affine(image), volume.geometry.affine, atol=1e-9)
    data = {key: image.GetMetaData(key) for key in image.GetMetaDataKeys()}
    for number, item in enumerate(objects):
        layer, label = int(data[f"Segment{number}_Layer"]), int(data[f"Segment{number}_LabelValue"])
        assert np.array_equal(array[..., layer] == label, item.mask)
        assert data[f"Segment{number}_Name"] == item.name
        i0, i1, j0, j1, k0, k1 = map(int, data[f"Segment{number}_Extent"].split())
        block = np.zeros_like(item.mask)
        block[k0 : k1 + 1, j0 : j1 + 1, i0 : i1 + 1] = True
        assert not (item.mask & ~block).any() and block.any(axis=(1, 2)).sum() == item.mask.any(axis=(1, 2)).sum()
    assert data["Segmentation_ReferenceImageExtentOffset"] == "0 0 0"
    assert data["Segmentation_MasterRepresentation"] == "Binary labelmap"
    assert len({data[f"Segment{number}_Color"] for number in range(3)}) == 3


def test_segments_that_do_not_overlap_share_one_layer(volume: Volume, tmp_path: Path) -> None:
    import SimpleITK as sitk

    objects = [item for item in masks(volume.voxels.shape) if item.name != "liver tumour"]
    path = write_result(tmp_path / "result.seg.nrrd", volume, objects)
    image = sitk.ReadImage(str(path))
    assert image.GetNumberOfComponentsPerPixel() == 1
    assert np.array_equal(sitk.GetArrayFromImage(image), label_map(objects))


def test_names_survive_the_segmentation_header(volume: Volume, tmp_path: Path) -> None:
    import SimpleITK as sitk

    mask = np.ones(volume.voxels.shape, bool)
    name = "Läsion\\5 := left"
    path = write_result(tmp_path / "result.seg.nrrd", volume, [ExportedObject(name, mask)])
    header = path.read_bytes().split(b"\n\n")[0].decode()
    assert "Segment0_Name:=Läsion\\\\5 := left" in header
    assert sitk.ReadImage(str(path)).GetMetaData("Segment0_Name").replace("\\\\", "\\") == name


def test_an_empty_mask_is_written_as_an_empty_segment(volume: Volume, tmp_path: Path) -> None:
    import SimpleITK as sitk

    path = write_result(
        tmp_path / "e.seg.nrrd", volume, [ExportedObject("nothing", np.zeros(volume.voxels.shape, bool))]
    )
    image = sitk.ReadImage(str(path))
    assert image.GetMetaData("Segment0_Extent") == "0 -1 0 -1 0 -1"
    assert not sitk.GetArrayFromImage(image).any()


@pytest.mark.parametrize("name", ["a.nii.gz", "a.seg.nrrd", "a.png"])
def test_the_same_masks_give_the_same_bytes(volume: Volume, tmp_path: Path, name: str) -> None:
    objects = masks(volume.voxels.shape)
    first = write_result(tmp_path / name, volume, objects).read_bytes()
    assert write_result(tmp_path / name, volume, objects).read_bytes() == first


def test_a_picture_gets_its_mask_as_a_picture(tmp_path: Path) -> None:
    from PIL import Image

    volume = Volume(np.zeros((1, 30, 40), np.uint8), Geometry.from_parts((1, 30, 40), (1, 1, 1)))
    first, second = np.zeros((2, 1, 30, 40), bool)
    first[0, 2:9, 3:20] = True
    second[0, 20:25, 25:35] = True
    objects = [ExportedObject("cell a", first), ExportedObject("cell b", second)]
    mask = Image.open(write_result(tmp_path / "mask.png", volume, objects))
    assert mask.size == (40, 30) and np.array_equal(np.asarray(mask), label_map(objects)[0])
    shown = np.asarray(mask.convert("RGB"))
    assert shown[5, 10].any() and shown[22, 30].any() and not shown[0, 0].any()
    sheet = Image.open(write_result(f"sheet:{tmp_path / 'sheet.png'}", volume, objects))
    assert sheet.mode == "RGB" and sheet.width > 300


@pytest.mark.parametrize("name", ["mask", "mask.nrrd", "rtstruct:mask.nii", "sheet:mask.nii", "nii.gz"])
def test_unknown_formats_are_refused_before_any_work(name: str) -> None:
    with pytest.raises(UsageError) as caught:
        output_format(name)
    assert caught.value.code == "UNKNOWN_OUTPUT_FORMAT" and ".nii.gz" in caught.value.hint


def test_an_output_in_a_missing_folder_is_refused_before_any_work(tmp_path: Path) -> None:
    with pytest.raises(OutputError) as caught:
        check_output(tmp_path / "nowhere" / "mask.nii.gz")
    assert caught.value.code == "NO_FOLDER" and caught.value.exit_status == 3


def test_a_mask_of_another_grid_is_refused(volume: Volume, tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        write_result(tmp_path / "m.nii.gz", volume, [ExportedObject("a", np.ones((2, 3, 4), bool))])
    assert caught.value.code == "MASK_SHAPE" and not list(tmp_path.iterdir())
