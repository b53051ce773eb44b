"""Index and millimetres: every voxel lies where the file says, however the grid is turned."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from MedSAMSegmentLib.errors import InputError
from MedSAMSegmentLib.volume import Geometry
from random_scans import geometries, quick


@quick
@given(geometries(), st.lists(st.tuples(*[st.floats(-50, 50)] * 3), min_size=1, max_size=5))
def test_index_to_millimetres_and_back_is_exact(geometry: Geometry, points: list) -> None:
    there = geometry.index_to_lps(points)
    assert there.shape == (len(points), 3)
    np.testing.assert_allclose(geometry.lps_to_index(there), points, atol=1e-9)


@quick
@given(geometries(), st.sampled_from([0, 1, 2]))
def test_slice_centres_are_the_voxel_centres(geometry: Geometry, axis: int) -> None:
    index = geometry.shape[axis] - 1
    k, j, i = np.indices(geometry.shape)
    expected = geometry.index_to_lps(np.stack([i, j, k], axis=-1)).take(index, axis=axis)
    np.testing.assert_allclose(geometry.voxel_centres_lps(axis, index), expected, atol=1e-9)


@quick
@given(geometries(sheared=False))
def test_parts_rebuild_the_geometry(geometry: Geometry) -> None:
    again = Geometry.from_parts(geometry.shape, geometry.spacing, geometry.origin, geometry.direction)
    assert again.is_close(geometry, 1e-9)
    assert not geometry.is_sheared()
    assert geometry.is_left_handed == (np.linalg.det(geometry.direction) < 0)
    np.testing.assert_allclose(geometry.voxel_volume, np.prod(geometry.spacing))


@quick
@given(geometries(sheared=False))
def test_three_planes_have_three_axes(geometry: Geometry) -> None:
    axes = [geometry.axis_of_plane(plane) for plane in ("axial", "coronal", "sagittal")]
    assert sorted(axes) == [0, 1, 2]


def test_planes_and_orientation_of_a_sagittal_series() -> None:
    # i runs to the back, j to the feet, k to the left: how sagittal MR is stored.
    direction = np.array([[0, 0, 1], [1, 0, 0], [0, -1, 0]])
    geometry = Geometry.from_parts((20, 200, 180), (1, 1, 4), (0, 0, 0), direction)
    assert geometry.orientation_code == "PIL"
    assert geometry.axis_of_plane("sagittal") == 0
    assert geometry.axis_of_plane("axial") == 1
    assert geometry.axis_of_plane("coronal") == 2
    assert geometry.slice_axis == 0


def test_slices_lie_along_k_unless_another_axis_is_much_coarser() -> None:
    assert Geometry.from_parts((10, 10, 10), (1, 5, 1)).slice_axis == 1
    assert Geometry.from_parts((10, 10, 10), (3, 1, 1)).slice_axis == 2
    assert Geometry.from_parts((10, 10, 10), (1, 1, 1)).slice_axis == 0
    assert Geometry.from_parts((300, 512, 512), (0.98, 0.98, 0.5)).slice_axis == 0  # thin-slice CT
    assert Geometry.from_parts((10, 10, 10), (1, 1.004, 1)).slice_axis == 0
    assert Geometry.from_parts((1, 10, 10), (2, 2, 0.1)).slice_axis == 0


def test_shear_is_noticed() -> None:
    affine = np.eye(4)
    affine[0, 2] = 0.1
    assert Geometry((2, 2, 2), affine).is_sheared()
    assert not Geometry((2, 2, 2), affine).is_sheared(0.2)


def test_geometry_is_immutable_and_keeps_its_own_copy() -> None:
    affine = np.eye(4)
    geometry = Geometry((2, 3, 4), affine)
    affine[0, 0] = 7
    assert geometry.spacing == (1, 1, 1)
    with pytest.raises(ValueError):
        geometry.affine[0, 0] = 2
    assert geometry == Geometry((2, 3, 4), np.eye(4)) and hash(geometry) == hash(Geometry((2, 3, 4), np.eye(4)))
    assert geometry != Geometry((2, 3, 5), np.eye(4))


@pytest.mark.parametrize(
    ("shape", "change", "code"),
    [
        ((0, 4, 4), None, "EMPTY_VOLUME"),
        ((4, 4, -1), None, "EMPTY_VOLUME"),
        ((4, 4, 4), ((0, 3), np.nan), "BAD_AFFINE"),
        ((4, 4, 4), ((2, 2), np.inf), "BAD_AFFINE"),
        ((4, 4, 4), ((1, 1), 0.0), "BAD_SPACING"),
        ((4, 4, 4), ((3, 0), 1.0), "BAD_AFFINE"),
    ],
)
def test_impossible_geometries_are_refused(shape: tuple, change: tuple | None, code: str) -> None:
    affine = np.eye(4)
    if change:
        affine[change[0]] = change[1]
    with pytest.raises(InputError) as error:
        Geometry(shape, affine)
    assert error.value.code == code and error.value.hint


def test_axes_in_one_plane_are_refused() -> None:
    affine = np.eye(4)
    affine[:3, 2] = affine[:3, 0]
    with pytest.raises(InputError) as error:
        Geometry((2, 2, 2), affine)
    assert error.value.code == "BAD_AFFINE"


@pytest.mark.parametrize("spacing", [(1, 0, 1), (1, -1, 1), (1, np.nan, 1), (1, 1)])
def test_spacing_must_be_positive(spacing: tuple) -> None:
    with pytest.raises(InputError) as error:
        Geometry.from_parts((2, 2, 2), spacing)
    assert error.value.code == "BAD_SPACING"
