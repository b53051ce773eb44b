"""A Volume never changes, and refuses voxels no network should see."""

from __future__ import annotations

import pickle
import subprocess
import sys

import numpy as np
import pytest
from MedSAMSegmentLib.errors import InputError
from MedSAMSegmentLib.volume import Geometry, SourceInstance, Volume

SHAPE = (3, 4, 5)
GRID = Geometry.from_parts(SHAPE, (1, 2, 3))


def test_voxels_cannot_be_written() -> None:
    volume = Volume(np.zeros(SHAPE, np.int16), GRID)
    for array in (volume.voxels, volume.slice_array(0, 1), pickle.loads(pickle.dumps(volume)).voxels):
        with pytest.raises(ValueError):
            array[...] = 1
    assert pickle.loads(pickle.dumps(volume)).geometry == GRID


def test_slices_are_views_in_the_order_of_the_remaining_axes() -> None:
    voxels = np.arange(60, dtype=np.int16).reshape(SHAPE)
    volume = Volume(voxels, GRID)
    np.testing.assert_array_equal(volume.slice_array(0, 2), voxels[2])
    np.testing.assert_array_equal(volume.slice_array(1, 3), voxels[:, 3])
    np.testing.assert_array_equal(volume.slice_array(2, 4), voxels[:, :, 4])
    assert np.shares_memory(volume.slice_array(2, 4), voxels)


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        (np.uint8, np.uint8),
        (np.int16, np.int16),
        (">i2", np.int16),
        (np.int32, np.int32),
        (np.int64, np.int32),
        (np.uint32, np.int32),
        (bool, np.uint8),
        (np.float32, np.float32),
        (np.float64, np.float32),
        (np.float16, np.float32),
        (">f8", np.float32),
    ],
)
def test_types_are_kept_small(given: object, kept: type) -> None:
    voxels = (np.arange(60).reshape(SHAPE) % 2).astype(given)
    volume = Volume(voxels, GRID)
    assert volume.voxels.dtype == kept and volume.voxels.dtype.isnative
    np.testing.assert_array_equal(volume.voxels, voxels)


def test_integers_beyond_32_bits_become_floats() -> None:
    volume = Volume(np.full(SHAPE, 2**40, np.int64), GRID)
    assert volume.voxels.dtype == np.float32 and volume.voxels[0, 0, 0] == 2.0**40


def test_no_copy_is_made_of_a_fitting_array() -> None:
    voxels = np.zeros(SHAPE, np.int16)
    assert np.shares_memory(Volume(voxels, GRID).voxels, voxels)


@pytest.mark.parametrize(
    ("voxels", "code"),
    [
        (np.full(SHAPE, np.nan), "NON_FINITE_VOXELS"),
        (np.full(SHAPE, -np.inf, np.float32), "NON_FINITE_VOXELS"),
        (np.full(SHAPE, 1e300), "NON_FINITE_VOXELS"),
        (np.zeros(SHAPE, complex), "UNSUPPORTED_VOXELS"),
        (np.zeros((*SHAPE, 3)), "NOT_A_VOLUME"),
        (np.zeros((2, 4, 5)), "GEOMETRY_MISMATCH"),
    ],
)
def test_unfit_voxels_are_refused(voxels: np.ndarray, code: str) -> None:
    with pytest.raises(InputError) as error:
        Volume(voxels, GRID)
    assert error.value.code == code and error.value.hint


def test_each_slice_has_its_source() -> None:
    source = tuple(SourceInstance("a.dcm", "1.2", f"1.2.{n}") for n in range(3))
    assert Volume(np.zeros(SHAPE), GRID, "CT", source=source).source == source
    with pytest.raises(InputError):
        Volume(np.zeros(SHAPE), GRID, "CT", source=source[:2])


def test_importing_the_package_imports_no_file_library() -> None:
    code = (
        "import sys; import MedSAMSegmentLib.volume; "
        "heavy = ('SimpleITK', 'pydicom', 'nibabel', 'PIL', 'scipy', 'torch', 'matplotlib'); "
        "print([m for m in heavy if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
