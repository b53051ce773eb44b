"""Volume files: every format gives the same voxels at the same place, and damaged ones are refused with a code."""

from __future__ import annotations

import gzip
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
from MedSAMSegmentLib.errors import InputError, UsageError
from MedSAMSegmentLib.volume import Geometry, Volume, read_labelmap, read_volume
from PIL import Image
from random_scans import rotation

RNG = np.random.default_rng(0)
VOXELS = RNG.integers(-900, 900, (5, 6, 7)).astype(np.int16)
GRID = Geometry.from_parts(VOXELS.shape, (0.7, 0.8, 2.5), (-100, 20, 33), rotation(0.3, -0.2, 0.5) * (1, 1, -1))
FORMATS = [
    "scan.nii",
    "scan.nii.gz",
    "scan.nrrd",
    "scan.nhdr",
    "scan.mha",
    "scan.mhd",
    "scan.mgz",
    "scan.mgh",
    "scan.npz",
]


def write(path: Path, voxels: np.ndarray = VOXELS, geometry: Geometry = GRID) -> Path:
    """Write a scan with the libraries others use."""
    name = path.name
    if name.endswith((".nii", ".nii.gz", ".mgz", ".mgh")):
        affine = np.diag([-1, -1, 1, 1]) @ geometry.affine
        kind = nibabel.MGHImage if ".mg" in name else nibabel.Nifti1Image
        nibabel.save(kind(voxels.T, affine), path)
    elif name.endswith(".npz"):
        parts = {"spacing": geometry.spacing, "origin": geometry.origin, "direction": geometry.direction.reshape(-1)}
        np.savez_compressed(path, imgs=voxels, gts=(voxels > 0).astype(np.uint8), **parts)
    else:
        image = sitk.GetImageFromArray(voxels)
        image.SetSpacing(geometry.spacing)
        image.SetOrigin(geometry.origin)
        image.SetDirection(geometry.direction.reshape(-1))
        sitk.WriteImage(image, str(path), useCompression=True)
    return path


def refuse(path: Path, code: str, capfd: pytest.CaptureFixture[str] | None = None) -> InputError:
    """Reading fails with this code and a hint, and no library prints anything."""
    if capfd:
        capfd.readouterr()
    with pytest.raises(InputError) as error:
        read_volume(path)
    assert error.value.code == code, error.value
    assert error.value.hint and error.value.exit_status == 3
    if capfd:
        assert capfd.readouterr() == ("", "")
    return error.value


@pytest.mark.parametrize("name", FORMATS)
def test_formats_agree_in_voxels_and_place(tmp_path: Path, name: str) -> None:
    path = write(tmp_path / name)
    before = path.read_bytes()
    volume = read_volume(path)
    np.testing.assert_array_equal(volume.voxels, VOXELS)
    assert volume.geometry.is_close(GRID, 1e-3)
    assert volume.voxels.dtype == np.int16 and not volume.voxels.flags.writeable
    assert volume.name == "scan" and volume.modality == "" and volume.source is None
    assert path.read_bytes() == before


def test_gipl(tmp_path: Path) -> None:
    geometry = Geometry.from_parts(VOXELS.shape, GRID.spacing, GRID.origin)
    for name in ("scan.gipl", "scan.gipl.gz"):
        volume = read_volume(write(tmp_path / name, geometry=geometry))
        np.testing.assert_array_equal(volume.voxels, VOXELS)
        assert volume.geometry.is_close(geometry, 1e-3)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        *((name, kind) for name in ("scan.nii.gz", "scan.nrrd") for kind in ("u1", "u2", "i4", "f4", "f8")),
        ("scan.nii", ">i2"),
        ("scan.nii.gz", ">f8"),
    ],
)
def test_types(tmp_path: Path, name: str, kind: str) -> None:
    voxels = np.abs(VOXELS).astype(np.uint8).astype(kind)
    np.testing.assert_array_equal(read_volume(write(tmp_path / name, voxels)).voxels, voxels)


@pytest.mark.parametrize(
    ("slope", "intercept", "kept"), [(2, -1024, np.int16), (0.5, 10, np.float32), (100, 0, np.int32)]
)
def test_nifti_scaling(tmp_path: Path, slope: float, intercept: float, kept: type) -> None:
    path = write(tmp_path / "scan.nii")
    raw = bytearray(path.read_bytes())
    raw[112:120] = np.array([slope, intercept], "<f4").tobytes()
    path.write_bytes(raw)
    volume = read_volume(path)
    np.testing.assert_array_equal(volume.voxels, VOXELS * np.float64(slope) + intercept)
    assert volume.voxels.dtype == kept


def test_nifti_pair_and_units_and_disagreeing_forms(tmp_path: Path) -> None:
    affine = np.diag([-1, -1, 1, 1]) @ GRID.affine
    nibabel.save(nibabel.Nifti1Pair(VOXELS.T, affine), tmp_path / "pair.img")
    for name in ("pair.img", "pair.hdr"):
        np.testing.assert_array_equal(read_volume(tmp_path / name).voxels, VOXELS)
    image = nibabel.Nifti1Image(VOXELS.T, affine)
    image.header.set_xyzt_units("micron")
    nibabel.save(image, tmp_path / "um.nii")
    assert read_volume(tmp_path / "um.nii").geometry.spacing == pytest.approx(np.array(GRID.spacing) / 1000)
    image.header.set_xyzt_units("mm")
    image.set_sform(affine, 1)
    image.set_qform(np.diag([1, 1, 1, 1.0]), 1)
    nibabel.save(image, tmp_path / "two.nii")
    volume = read_volume(tmp_path / "two.nii")
    assert volume.geometry.is_close(GRID) and "sform" in volume.notes[0]


def test_nrrd_in_ras_is_the_same_place(tmp_path: Path) -> None:
    path = write(tmp_path / "scan.nrrd")
    raw = path.read_bytes()
    assert b"left-posterior-superior" in raw
    turned = tmp_path / "ras.nrrd"
    turned.write_bytes(raw.replace(b"left-posterior-superior", b"right-anterior-superior"))
    mirrored = read_volume(turned).geometry.affine
    np.testing.assert_allclose(mirrored, np.diag([-1, -1, 1, 1]) @ GRID.affine, atol=1e-9)


@pytest.mark.parametrize("name", ["flat.nii", "flat.nrrd", "flat.mha", "flat.npz"])
def test_one_slice_is_a_volume(tmp_path: Path, name: str) -> None:
    geometry = Geometry((1, 6, 7), GRID.affine)
    volume = read_volume(write(tmp_path / name, VOXELS[:1], geometry))
    assert volume.geometry.is_close(geometry, 1e-3)
    if name != "flat.npz":
        sitk.WriteImage(sitk.GetImageFromArray(VOXELS[0]), str(tmp_path / name))
    np.testing.assert_array_equal(read_volume(tmp_path / name).voxels, VOXELS[:1])


@pytest.mark.parametrize("name", ["a.nii.gz", "a.nrrd", "a.mha", "a.npz"])
def test_time_series_and_colours_are_refused(tmp_path: Path, name: str) -> None:
    four, colour = RNG.integers(0, 255, (2, 4, 5, 6), np.uint8), RNG.integers(0, 255, (4, 5, 6, 3), np.uint8)
    path = tmp_path / name
    for array, code in ((four, "FOUR_DIMENSIONAL"), (colour, "RGB_VOLUME")):
        if name.endswith("npz"):
            np.savez(path, imgs=array)
        else:
            sitk.WriteImage(sitk.GetImageFromArray(array, isVector=code == "RGB_VOLUME"), str(path))
        refuse(path, code)


def test_rgb_type_of_nifti_is_refused(tmp_path: Path) -> None:
    kind = np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")])
    nibabel.save(nibabel.Nifti1Image(np.zeros((3, 4, 5), kind), np.eye(4)), tmp_path / "a.nii")
    refuse(tmp_path / "a.nii", "RGB_VOLUME")
    nibabel.save(nibabel.Nifti1Image(np.zeros((3, 4, 5), np.complex64), np.eye(4)), tmp_path / "a.nii")
    refuse(tmp_path / "a.nii", "UNSUPPORTED_VOXELS")


def test_a_fourth_dimension_of_one_is_dropped(tmp_path: Path) -> None:
    nibabel.save(nibabel.Nifti1Image(VOXELS.T[..., None], np.eye(4)), tmp_path / "a.nii.gz")
    volume = read_volume(tmp_path / "a.nii.gz")
    np.testing.assert_array_equal(volume.voxels, VOXELS)
    assert "dropped" in volume.notes[0]


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("name", ["a.nii.gz", "a.nrrd", "a.mha", "a.mgz", "a.npz"])
def test_non_finite_voxels_are_refused(tmp_path: Path, name: str, value: float) -> None:
    voxels = VOXELS.astype(np.float32)
    voxels[2, 3, 4] = value
    refuse(write(tmp_path / name, voxels), "NON_FINITE_VOXELS")


@pytest.mark.parametrize("keep", [0.98, 0.6, 0.05])
@pytest.mark.parametrize(
    "name",
    [
        *(name for name in FORMATS if name not in ("scan.nhdr", "scan.mhd")),
        *("scan.gipl", "scan.gipl.gz", "scan.png", "scan.jpg", "scan.tif"),
    ],
)
def test_truncated_files_are_refused_silently(
    tmp_path: Path, name: str, keep: float, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / name
    if name.endswith((".png", ".jpg", ".tif")):
        Image.fromarray(RNG.integers(0, 255, (60, 70), np.uint8)).save(path)
    else:
        write(path, RNG.integers(-900, 900, (9, 16, 16)).astype(np.int16), Geometry((9, 16, 16), np.eye(4)))
    raw = path.read_bytes()
    path.write_bytes(raw[: int(len(raw) * keep)])
    capfd.readouterr()
    with pytest.raises(InputError) as error:
        read_volume(path)
    assert error.value.code in ("TRUNCATED_FILE", "UNREADABLE_FILE", "WRONG_FORMAT")
    assert capfd.readouterr() == ("", "")


def test_cut_or_missing_voxel_files_of_headers(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    for name in ("a.mhd", "a.nhdr"):
        header = write(tmp_path / name)
        [data] = [p for p in tmp_path.iterdir() if p.suffix in (".raw", ".zraw", ".gz")]
        data.write_bytes(data.read_bytes()[:40])
        refuse(header, "UNREADABLE_FILE", capfd)
        data.unlink()
        refuse(header, "UNREADABLE_FILE", capfd)


def test_a_wrong_checksum_is_noticed(tmp_path: Path) -> None:
    path = write(tmp_path / "a.nii.gz")
    raw = path.read_bytes()
    path.write_bytes(raw[:-8] + bytes(4) + raw[-4:])
    refuse(path, "UNREADABLE_FILE")


def patched_nifti(path: Path, offset: int, values: list, kind: str) -> Path:
    write(path)
    raw = bytearray(path.read_bytes())
    data = np.array(values, kind).tobytes()
    raw[offset : offset + len(data)] = data
    path.write_bytes(raw)
    return path


@pytest.mark.parametrize(
    ("offset", "values", "kind", "code"),
    [
        (80, [0, 0.8, 2.5], "<f4", "BAD_SPACING"),
        (80, [0.7, np.nan, 2.5], "<f4", "BAD_SPACING"),
        (280, [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], "<f4", "BAD_SPACING"),
        (280, [np.nan], "<f4", "BAD_AFFINE"),
        (280, [1, 1, 0, 0, 1, 1, 0, 0, 0, 0, 1, 0], "<f4", "BAD_AFFINE"),
        (40, [3, 7, 0, 5], "<i2", "EMPTY_VOLUME"),
        (40, [3, 7, -6, 5], "<i2", "EMPTY_VOLUME"),
        (40, [3, 32000, 32000, 3200], "<i2", "TOO_BIG"),
        (40, [3, 70, 60, 50], "<i2", "TRUNCATED_FILE"),
        (40, [9, 7, 6, 5], "<i2", "UNREADABLE_FILE"),
        (70, [999], "<i2", "UNREADABLE_FILE"),
        (344, [0], "<i4", "WRONG_FORMAT"),
    ],
)
def test_damaged_nifti_headers_are_refused(
    tmp_path: Path, offset: int, values: list, kind: str, code: str, capfd: pytest.CaptureFixture[str]
) -> None:
    refuse(patched_nifti(tmp_path / "a.nii", offset, values, kind), code, capfd)


def test_a_small_file_cannot_ask_for_much_memory(tmp_path: Path) -> None:
    path = patched_nifti(tmp_path / "a.nii", 40, [3, 1200, 1200, 1000], "<i2")
    (tmp_path / "a.nii.gz").write_bytes(gzip.compress(path.read_bytes()))
    refuse(tmp_path / "a.nii.gz", "TRUNCATED_FILE")


@pytest.mark.parametrize(
    ("name", "old", "new", "code"),
    [
        ("a.mha", b"ElementSpacing = 1 1 1", b"ElementSpacing = 1 0 1", "BAD_SPACING"),
        ("a.mha", b"ElementSpacing = 1 1 1", b"ElementSpacing = 1 -1 1", "BAD_SPACING"),
        ("a.mha", b"TransformMatrix = 1 0 0 0 1 0", b"TransformMatrix = 1 0 0 1 0 0", "BAD_AFFINE"),
        ("a.mha", b"DimSize = 7 6 5", b"DimSize = 9999 9999 9999", "TOO_BIG"),
        ("a.mha", b"DimSize = 7 6 5", b"DimSize = 7 0 5", "EMPTY_VOLUME"),
        ("a.nrrd", b"(1,0,0) (0,1,0) (0,0,1)", b"(1,0,0) (0,0,0) (0,0,1)", "BAD_SPACING"),
        ("a.nrrd", b"(1,0,0) (0,1,0) (0,0,1)", b"(1,0,0) (1,0,0) (0,0,1)", "BAD_AFFINE"),
        ("a.nrrd", b"(1,0,0) (0,1,0) (0,0,1)", b"(nan,0,0) (0,1,0) (0,0,1)", "UNREADABLE_FILE"),
        ("a.nrrd", b"sizes: 7 6 5", b"sizes: 99999 99999 9999", "TOO_BIG"),
    ],
)
def test_damaged_itk_headers_are_refused(
    tmp_path: Path, name: str, old: bytes, new: bytes, code: str, capfd: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path / name, geometry=Geometry(VOXELS.shape, np.eye(4)))
    raw = path.read_bytes()
    assert old in raw
    path.write_bytes(raw.replace(old, new))
    refuse(path, code, capfd)


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz", "a.nrrd", "a.mha", "a.npz", "a.png", "a.mgz", "a.dcm", "a.gipl"])
def test_wrong_content_is_refused(tmp_path: Path, name: str, capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / name
    path.write_text("this is a letter, not a scan. " * 50)
    refuse(path, "WRONG_FORMAT", capfd)
    path.write_bytes(b"")
    refuse(path, "EMPTY_FILE", capfd)


def test_other_paths_are_refused(tmp_path: Path) -> None:
    refuse(tmp_path / "none.nii", "FILE_NOT_FOUND")
    refuse(tmp_path, "NO_SERIES")
    (tmp_path / "a.docx").write_text("letter")
    refuse(tmp_path / "a.docx", "UNSUPPORTED_FORMAT")
    (tmp_path / "a.nii.gz").write_bytes(gzip.compress(b"letter" * 999))
    refuse(tmp_path / "a.nii.gz", "WRONG_FORMAT")
    write(tmp_path / "b.nii")
    with pytest.raises(UsageError):
        read_volume(tmp_path / "b.nii", series=1)


def test_content_decides_before_the_suffix(tmp_path: Path) -> None:
    write(tmp_path / "a.nrrd").rename(tmp_path / "a.mha")
    np.testing.assert_array_equal(read_volume(tmp_path / "a.mha").voxels, VOXELS)


# --- MedSAM .npz and pictures


def test_npz_without_spacing_and_with_wrong_content(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    np.savez(path, imgs=VOXELS)
    volume = read_volume(path)
    assert volume.geometry.spacing == (1, 1, 1) and "spacing" in volume.notes[0]
    for arrays, code in (
        ({"pixels": VOXELS}, "WRONG_FORMAT"),
        ({"imgs": np.array([{}, {}], dtype=object)}, "UNREADABLE_FILE"),
        ({"imgs": VOXELS, "spacing": (0, 1, 1)}, "BAD_SPACING"),
        ({"imgs": VOXELS, "spacing": (1, 1)}, "BAD_SPACING"),
        ({"imgs": np.zeros((0, 4, 4))}, "EMPTY_VOLUME"),
    ):
        np.savez(path, **arrays)
        refuse(path, code)


def test_pictures_are_one_slice(tmp_path: Path) -> None:
    grey = RNG.integers(0, 255, (30, 40), np.uint8)
    deep = RNG.integers(0, 60000, (30, 40)).astype(np.uint16)
    for name, array in (("a.png", grey), ("a.tif", grey), ("a.bmp", grey), ("b.png", deep), ("b.tif", deep)):
        Image.fromarray(array).save(tmp_path / name)
        volume = read_volume(tmp_path / name)
        np.testing.assert_array_equal(volume.voxels, array[None])
        assert volume.geometry.spacing == (1, 1, 1)


def test_colour_pictures_become_luminance(tmp_path: Path) -> None:
    colours = np.zeros((10, 10, 3), np.uint8)
    colours[:5, :, 1] = 255
    Image.fromarray(colours).save(tmp_path / "a.png")
    volume = read_volume(tmp_path / "a.png")
    assert volume.voxels[0, 0, 0] == 150 and volume.voxels[0, 9, 9] == 0  # 0.587 of 255
    assert any("luminance" in note for note in volume.notes)


def test_tiff_stacks(tmp_path: Path) -> None:
    pages = [Image.fromarray(RNG.integers(0, 255, (30, 40), np.uint8)) for _ in range(3)]
    pages[0].save(tmp_path / "a.tif", save_all=True, append_images=pages[1:])
    np.testing.assert_array_equal(read_volume(tmp_path / "a.tif").voxels, np.stack([np.asarray(p) for p in pages]))
    pages[0].save(tmp_path / "b.tif", save_all=True, append_images=[pages[1].resize((5, 5))])
    refuse(tmp_path / "b.tif", "NOT_A_VOLUME")
    colour = [page.convert("RGB") for page in pages]
    colour[0].save(tmp_path / "c.tif", save_all=True, append_images=colour[1:])
    refuse(tmp_path / "c.tif", "RGB_VOLUME")


# --- label maps


def labels() -> Volume:
    return Volume((VOXELS > 0).astype(np.uint8) * 7, GRID)


@pytest.mark.parametrize("kind", [np.uint8, np.int16, np.float32, np.float64])
def test_labels_are_integers_whatever_type_they_were_stored_in(tmp_path: Path, kind: type) -> None:
    path = write(tmp_path / "a.nii.gz", labels().voxels.astype(kind))
    read = read_labelmap(path)
    assert read.voxels.dtype.kind in "iu" and read.geometry.is_close(GRID)
    np.testing.assert_array_equal(read.voxels, labels().voxels)


def test_labels_of_npz_and_pictures(tmp_path: Path) -> None:
    np.testing.assert_array_equal(read_labelmap(write(tmp_path / "a.npz")).voxels, VOXELS > 0)
    palette = Image.fromarray(np.array([[0, 3], [7, 1]], np.uint8)).convert("P")
    palette.putpalette([v for n in range(256) for v in (255 - n, n, 9)])
    palette.save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_labelmap(tmp_path / "a.png").voxels, [[[0, 3], [7, 1]]])
    Image.fromarray(RNG.integers(0, 255, (4, 4, 3), np.uint8)).save(tmp_path / "b.png")
    with pytest.raises(InputError) as error:
        read_labelmap(tmp_path / "b.png")
    assert error.value.code == "RGB_VOLUME"


def test_a_scan_is_no_label_map(tmp_path: Path) -> None:
    with pytest.raises(InputError) as error:
        read_labelmap(write(tmp_path / "a.nii", VOXELS + np.float32(0.5)))
    assert error.value.code == "NOT_A_LABELMAP"
