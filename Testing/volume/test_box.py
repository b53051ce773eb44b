"""Rotated boxes: what they contain and how they cut slices, against brute force."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from MedSAMSegmentLib.errors import InputError
from MedSAMSegmentLib.volume import Geometry, OrientedBox
from random_scans import geometries, quick, scans_with_box

#: Index axes along columns and rows, and across, for slices across array axes 0, 1 and 2.
IN_SLICE = {0: (0, 1, 2), 1: (0, 2, 1), 2: (1, 2, 0)}


def plane_points(geometry: Geometry, axis: int, number: int, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """LPS positions of in-slice coordinates."""
    column, row, across = IN_SLICE[axis]
    index = np.empty((*x.shape, 3))
    index[..., column], index[..., row], index[..., across] = x, y, number
    return geometry.index_to_lps(index)


@quick
@given(scans_with_box())
def test_mask_holds_exactly_the_voxel_centres_in_the_box(scan: tuple) -> None:
    geometry, box = scan
    k, j, i = np.indices(geometry.shape)
    centres = geometry.index_to_lps(np.stack([i, j, k], axis=-1))
    depth = np.abs((centres - box.centre) @ box.axes / (box.size / 2)).max(axis=-1)
    assume(np.abs(depth - 1).min() > 1e-7)  # no centre on the very surface, where rounding decides
    np.testing.assert_array_equal(box.mask(geometry), depth <= 1)
    np.testing.assert_array_equal(box.contains(centres), depth <= 1)


@quick
@given(scans_with_box(), st.sampled_from([0, 1, 2]))
def test_slice_polygons_are_exact(scan: tuple, axis: int) -> None:
    geometry, box = scan
    polygons = box.slice_polygons(geometry, axis)
    column, row, across = IN_SLICE[axis]
    limits = np.array(geometry.shape[::-1])[[column, row]] - 0.5
    corners = geometry.lps_to_index(box.corners_lps())
    grid = np.linspace(0, 1, 40)
    for number in range(geometry.shape[axis]):
        # Not too small: wherever the plane crosses a line between two corners, the polygon is there...
        crossings = []
        for a, b in combinations(corners, 2):
            if (a[across] - number) * (b[across] - number) < 0:
                point = a + (number - a[across]) / (b[across] - a[across]) * (b - a)
                crossings.append(point[[column, row]])
        inside = [c for c in crossings if (c > -0.5).all() and (c < limits).all()]
        # ... and so it is at every sample of the slice that lies in the box.
        x, y = np.meshgrid(grid * (limits[0] + 0.5) - 0.5, grid * (limits[1] + 0.5) - 0.5)
        held = box.contains(plane_points(geometry, axis, number, x, y))
        inside += list(np.stack([x[held], y[held]], axis=-1))
        if number not in polygons:
            assert np.ptp(np.array(inside), axis=0).min() < 1e-6 if len(inside) else True
            continue
        polygon = polygons[number]
        x0, y0, x1, y1 = box.slice_rectangles(geometry, axis)[number]
        for px, py in inside:
            assert x0 - 1e-6 <= px <= x1 + 1e-6 and y0 - 1e-6 <= py <= y1 + 1e-6
        # Not too large: each corner of the polygon is a point of the box and of the slice.
        assert (polygon >= -0.5 - 1e-6).all() and (polygon <= limits + 1e-6).all()
        local = box.to_local(plane_points(geometry, axis, number, polygon[:, 0], polygon[:, 1]))
        assert np.abs(local).max() <= 1 + 1e-6
        np.testing.assert_allclose([x0, y0, x1, y1], [*polygon.min(axis=0), *polygon.max(axis=0)])


@quick
@given(scans_with_box(), st.sampled_from([0, 1, 2]))
def test_every_mask_voxel_lies_in_the_rectangle_of_its_slice(scan: tuple, axis: int) -> None:
    geometry, box = scan
    mask = np.moveaxis(box.mask(geometry), axis, 0)
    rectangles = box.slice_rectangles(geometry, axis)
    for number, plane in enumerate(mask):
        rows, columns = np.nonzero(plane)
        if len(rows) < 3 or np.ptp(rows) == 0 or np.ptp(columns) == 0:
            continue
        x0, y0, x1, y1 = rectangles[number]
        assert x0 - 1e-6 <= columns.min() and columns.max() <= x1 + 1e-6
        assert y0 - 1e-6 <= rows.min() and rows.max() <= y1 + 1e-6


@quick
@given(geometries(), st.data())
def test_index_range_means_whole_voxels_upper_end_exclusive(geometry: Geometry, data: st.DataObject) -> None:
    low = [data.draw(st.integers(0, n - 1)) for n in geometry.shape[::-1]]
    high = [data.draw(st.integers(a + 1, n)) for a, n in zip(low, geometry.shape[::-1], strict=True)]
    box = OrientedBox.from_index_range(geometry, *low, *high)
    expected = np.zeros(geometry.shape, dtype=bool)
    expected[low[2] : high[2], low[1] : high[1], low[0] : high[0]] = True
    np.testing.assert_array_equal(box.mask(geometry), expected)
    np.testing.assert_allclose(box.volume, expected.sum() * geometry.voxel_volume, rtol=1e-9)
    rectangles = box.slice_rectangles(geometry, 0)
    assert sorted(rectangles) == list(range(low[2], high[2]))
    for rectangle in rectangles.values():
        np.testing.assert_allclose(rectangle, [low[0] - 0.5, low[1] - 0.5, high[0] - 0.5, high[1] - 0.5], atol=1e-6)


def test_a_turned_square_cuts_a_diamond() -> None:
    geometry = Geometry.from_parts((5, 41, 41), (0.5, 0.5, 2.0))
    quarter = np.sqrt(0.5)
    axes = np.array([[quarter, -quarter, 0], [quarter, quarter, 0], [0, 0, 1]])
    box = OrientedBox((10.0, 10.0, 4.0), axes, (8.0, 8.0, 5.0))
    polygons = box.slice_polygons(geometry, 0)
    assert sorted(polygons) == [1, 2, 3]
    reach = 8 * quarter / 0.5
    np.testing.assert_allclose(
        sorted(map(tuple, polygons[2].round(6))),
        sorted((round(20 + dx * reach, 6), round(20 + dy * reach, 6)) for dx, dy in ((1, 0), (-1, 0), (0, 1), (0, -1))),
    )


def test_rectangle_is_that_of_the_clipped_polygon() -> None:
    # A diamond half outside: its widest point is at the border, but the corner beyond must not count.
    geometry = Geometry.from_parts((1, 20, 20), (1, 1, 1))
    quarter = np.sqrt(0.5)
    axes = np.array([[quarter, -quarter, 0], [quarter, quarter, 0], [0, 0, 1]])
    box = OrientedBox((-5.0, 10.0, 0.0), axes, (10.0, 10.0, 1.0))
    x0, y0, x1, y1 = box.slice_rectangles(geometry, 0)[0]
    reach = 10 * quarter
    np.testing.assert_allclose((x0, x1), (-0.5, reach - 5))
    np.testing.assert_allclose((y0, y1), (10 - (reach - 4.5), 10 + (reach - 4.5)))


@quick
@given(scans_with_box(), st.floats(-0.1, 30.0))
def test_expanding_moves_each_face(scan: tuple, distance: float) -> None:
    _, box = scan
    larger = box.expanded(distance)
    np.testing.assert_allclose(larger.size, box.size + 2 * distance)
    face = box.centre + box.axes[:, 0] * (box.size[0] / 2 + distance)
    np.testing.assert_allclose(larger.to_local(face), [1, 0, 0], atol=1e-9)
    assert larger.contains(box.corners_lps()).all() or distance < 0


def test_corners_in_millimetres_may_come_in_any_order() -> None:
    box = OrientedBox.from_corners_lps((10, -5, 3), (-10, 5, 9))
    np.testing.assert_array_equal(box.centre, (0, 0, 6))
    np.testing.assert_array_equal(box.size, (20, 10, 6))
    np.testing.assert_allclose(sorted(box.corners_lps()[:, 0])[0], -10)


GRID = Geometry.from_parts((10, 20, 30), (1, 1, 3))


@pytest.mark.parametrize(
    ("numbers", "code"),
    [
        ((5, 5, 5, 5, 9, 9), "EMPTY_BOX"),
        ((5, 5, 5, 4, 9, 9), "REVERSED_BOX"),
        ((30, 0, 0, 35, 5, 5), "BOX_OUTSIDE"),
        ((-5, 0, 0, 0, 5, 5), "BOX_OUTSIDE"),
        ((0, 0, 10, 5, 5, 12), "BOX_OUTSIDE"),
        ((0, 0, np.nan, 5, 5, 12), "BAD_BOX"),
    ],
)
def test_impossible_index_boxes_are_refused(numbers: tuple, code: str) -> None:
    with pytest.raises(InputError) as error:
        OrientedBox.from_index_range(GRID, *numbers)
    assert error.value.code == code and error.value.hint and error.value.exit_status == 3


def test_an_index_box_may_reach_over_the_border() -> None:
    box = OrientedBox.from_index_range(GRID, -5, -5, -5, 3, 3, 3)
    assert box.mask(GRID).sum() == 27
    assert box.slice_rectangles(GRID, 0)[0] == pytest.approx((-0.5, -0.5, 2.5, 2.5))


@pytest.mark.parametrize(
    ("make", "code"),
    [
        (lambda: OrientedBox.from_corners_lps((0, 0, 0), (5, 0, 5)), "EMPTY_BOX"),
        (lambda: OrientedBox.from_corners_lps((0, 0, 0), (5, np.inf, 5)), "BAD_BOX"),
        (lambda: OrientedBox((0, 0, 0), np.eye(3), (1, -1, 1)), "EMPTY_BOX"),
        (lambda: OrientedBox((0, 0, 0), np.ones((3, 3)), (1, 1, 1)), "BAD_BOX"),
        (lambda: OrientedBox((0, 0), np.eye(3), (1, 1, 1)), "BAD_BOX"),
        (lambda: OrientedBox.from_corners_lps((0, 0, 0), (2, 2, 2)).expanded(-1), "EMPTY_BOX"),
    ],
)
def test_impossible_boxes_are_refused(make: object, code: str) -> None:
    with pytest.raises(InputError) as error:
        make()  # type: ignore[operator]
    assert error.value.code == code and error.value.hint


def test_overlap_is_checked_with_a_reason() -> None:
    OrientedBox.from_corners_lps((2, 2, 2), (8, 8, 8)).check_overlap(GRID, 0)
    with pytest.raises(InputError) as error:
        OrientedBox.from_corners_lps((2, 2, 3.5), (8, 8, 5.5)).check_overlap(GRID, 0)
    assert error.value.code == "BOX_BETWEEN_SLICES" and "3 mm" in error.value.hint
    for far in ((-50, 2, 2), (2, 200, 2), (2, 2, 31)):
        with pytest.raises(InputError) as error:
            OrientedBox.from_corners_lps(far, np.add(far, 4)).check_overlap(GRID, 0)
        assert error.value.code == "BOX_OUTSIDE"


def test_a_box_elsewhere_has_an_empty_mask() -> None:
    box = OrientedBox.from_corners_lps((500, 500, 500), (510, 510, 510))
    assert not box.mask(GRID).any()
    assert box.slice_rectangles(GRID, 0) == {}
