"""A crop shows the right place and finds back to it, to a fraction of a pixel."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from MedSAMSegmentLib import Geometry
from MedSAMSegmentLib.inference.crop import CropFrame, CropSettings
from MedSAMSegmentLib.prompts import SlicePlane


def plane(shape=(10, 80, 90), spacing=(0.7, 1.1, 3.0)) -> SlicePlane:
    return SlicePlane.of(Geometry.from_parts(shape, spacing, (0, 0, 0), np.eye(3)), "axial")


def blob(shape, x, y, sx, sy) -> np.ndarray:
    rows, columns = np.indices(shape)
    return np.exp(-((columns - x) ** 2) / (2 * sx**2) - ((rows - y) ** 2) / (2 * sy**2))


def centroid(image) -> tuple[float, float]:
    rows, columns = np.indices(image.shape)
    return float((columns * image).sum() / image.sum()), float((rows * image).sum() / image.sum())


frames = st.builds(
    lambda x, y, w, h, n: CropFrame(x, y, x + w, y + h, n),
    st.floats(-20, 40),
    st.floats(-20, 40),
    st.floats(5, 90),
    st.floats(5, 90),
    st.sampled_from([32, 96, 256]),
)


@given(frames, st.floats(-50, 150), st.floats(-50, 150), st.sampled_from([None, 24, 512]))
def test_points_go_there_and_back(frame, x, y, size):
    point = np.array([x, y])
    np.testing.assert_allclose(frame.to_slice(frame.to_crop(point, size), size), point, atol=1e-9)


@given(frames)
def test_the_frame_is_covered_by_its_pixels_from_edge_to_edge(frame):
    np.testing.assert_allclose(frame.to_crop((frame.x0, frame.y0)), (-0.5, -0.5), atol=1e-9)
    np.testing.assert_allclose(frame.to_crop((frame.x1, frame.y1)), (frame.size - 0.5,) * 2, atol=1e-9)


@settings(max_examples=40, deadline=None)
@given(st.floats(35, 50), st.floats(30, 45), st.floats(0.3, 2.5), st.sampled_from([96, 128, 256]), st.floats(-0.5, 0.5))
def test_a_blob_is_seen_where_it_is_and_put_back_where_it_was(x, y, scale, size, shift):
    """Sub-pixel in both directions, magnified or reduced, on anisotropic pixels."""
    half = 12.0 + size * scale * 0.1
    frame = CropFrame(x - half + shift, y - half * 0.8, x + half + shift, y + half * 0.8, size)
    image = blob((80, 90), x, y, 2.6, 2.2)
    seen = frame.to_slice(centroid(frame.sample(image)))
    np.testing.assert_allclose(seen, (x, y), atol=0.02)
    whole = (slice(0, 80), slice(0, 90))
    back = frame.paste(frame.sample(image), *whole)
    np.testing.assert_allclose(centroid(back * (image > 1e-3)), centroid(image * (image > 1e-3)), atol=0.05)


@settings(max_examples=30, deadline=None)
@given(st.floats(-30, 60), st.floats(-30, 60), st.floats(20, 120), st.sampled_from([64, 96, 192]))
def test_reading_only_what_is_needed_gives_the_same_picture(x, y, side, size):
    image = np.random.default_rng(0).normal(size=(50, 70)).astype(np.float32)
    frame = CropFrame(x, y, x + side, y + side * 0.7, size)
    rows, columns = frame.source_window(image.shape)
    np.testing.assert_allclose(frame.sample(image[rows, columns], rows, columns), frame.sample(image), atol=2e-5)


def test_a_magnified_ramp_stays_a_ramp_and_the_edge_repeats_outside():
    rows, columns = np.indices((30, 40))
    frame = CropFrame(5.0, 4.0, 25.0, 24.0, 80)
    centres = frame.to_slice(np.stack(np.meshgrid(np.arange(80), np.arange(80)), axis=-1))
    np.testing.assert_allclose(frame.sample(2.0 * columns - rows), 2 * centres[..., 0] - centres[..., 1], atol=1e-4)
    outside = CropFrame(-40.0, -40.0, -10.0, -10.0, 16).sample(columns + 100.0 * rows + 7.0)
    np.testing.assert_allclose(outside, 7.0, atol=1e-4)


def test_reducing_does_not_alias():
    stripes = np.broadcast_to(np.arange(96) % 2, (96, 96)).astype(np.float32)
    reduced = CropFrame(-0.5, -0.5, 95.5, 95.5, 30).sample(stripes)
    assert np.abs(reduced[:, 1:-1] - 0.5).max() < 0.05  # the image's edge repeats beyond it


def test_the_crop_is_square_in_millimetres_with_the_box_in_its_middle():
    cut = plane()
    frame = CropFrame.around((10.0, 20.0, 50.0, 40.0), cut, CropSettings(context=0.25))
    width, height = (frame.x1 - frame.x0) * cut.column_spacing, (frame.y1 - frame.y0) * cut.row_spacing
    assert width == pytest.approx(height) and width == pytest.approx(40 * 0.7 * 1.5)
    np.testing.assert_allclose(frame.to_crop((30.0, 30.0)), ((frame.size - 1) / 2,) * 2)


def test_the_smallest_size_without_loss_is_chosen():
    cut = plane(shape=(10, 900, 900), spacing=(1.0, 1.0, 3.0))
    chosen = {
        side: CropFrame.around((100.0, 100.0, 100.0 + side, 130.0), cut, CropSettings(context=0.5)).size
        for side in (35, 60, 75, 110, 400)
    }
    assert chosen == {35: 96, 60: 128, 75: 160, 110: 256, 400: 256}


def test_a_tiny_object_is_shown_with_context_not_blown_up():
    cut = plane(spacing=(1.0, 1.0, 3.0))
    frame = CropFrame.around((40.0, 40.0, 43.0, 43.0), cut, CropSettings(largest_magnification=3.0))
    assert frame.size / (frame.x1 - frame.x0) == pytest.approx(3.0)


def test_the_full_slice_is_stretched_from_edge_to_edge():
    frame = CropFrame.whole(plane(), CropSettings(full_slice_size=512))
    assert (frame.x0, frame.y0, frame.x1, frame.y1, frame.size) == (-0.5, -0.5, 89.5, 79.5, 512)
    assert frame.window((80, 90)) == (slice(0, 80), slice(0, 90))


def test_coarse_logits_land_on_the_same_voxels_as_fine_ones():
    frame = CropFrame(10.3, 8.7, 50.3, 48.7, 128)
    image = blob((60, 64), 31.0, 27.0, 5.0, 5.0)
    fine = frame.sample(image)
    coarse = fine.reshape(32, 4, 32, 4).mean(axis=(1, 3))
    rows, columns = frame.window((60, 64))
    a, b = frame.paste(fine, rows, columns), frame.paste(coarse, rows, columns)
    np.testing.assert_allclose(centroid(a), centroid(b), atol=0.02)
    assert np.abs(a - b).max() < 0.06


def test_a_whole_slice_is_stretched_to_a_square_or_filled_up_to_one():
    wide = plane(shape=(10, 60, 90))
    stretched = CropFrame.whole(wide, CropSettings(full_slice_size=128))
    assert (stretched.x0, stretched.y0, stretched.x1, stretched.y1, stretched.size) == (-0.5, -0.5, 89.5, 59.5, 128)
    filled = CropFrame.whole(wide, CropSettings(full_slice_size=128, keeps_aspect=True))
    assert (filled.x0, filled.y0, filled.x1, filled.y1) == (-0.5, -0.5, 89.5, 89.5)
    image = np.random.default_rng(0).normal(size=(60, 90)).astype(np.float32)
    picture = filled.sample(image)
    np.testing.assert_allclose(picture[-1], picture[100], atol=1e-5)  # the last row repeats
