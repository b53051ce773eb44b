"""In place of a box something is drawn on one slice: exactly, where the object is largest."""

from __future__ import annotations

import numpy as np
import pytest
from MedSAMSegmentLib.errors import UsageError
from MedSAMSegmentLib.evaluation import Case, LabelSource, Manifest, TruthObject, evaluate_clicks
from MedSAMSegmentLib.evaluation.drawn import PROMPTS, drawn_on_slice
from MedSAMSegmentLib.evaluation.methods import SessionMethod
from MedSAMSegmentLib.export import write_nifti_array
from MedSAMSegmentLib.phantom import make_phantom, phantom_geometry
from MedSAMSegmentLib.prompts import LinePrompt, MaskPrompt, SliceBoxPrompt, SlicePlane

SHAPE = (12, 30, 40)
GEOMETRY = phantom_geometry(SHAPE, (0.8, 1.2, 3.0), (10, 20, 30), left_handed=True)


def plate() -> np.ndarray:
    """Slanted across i and j, thickest on slice 5, from row 8 to 19 and column 10 to 33 there."""
    mask = np.zeros(SHAPE, bool)
    mask[4:7, 8:16, 10:30] = True
    mask[5, 8:20, 10:30] = True
    mask[5, 12:14, 30:34] = True
    return mask


def test_the_rectangle_holds_the_largest_slice_and_the_drawn_slice_is_it() -> None:
    plane = SlicePlane.of(GEOMETRY)
    rectangle = drawn_on_slice("rectangle", plate(), GEOMETRY, plane)
    assert isinstance(rectangle, SliceBoxPrompt)
    assert (rectangle.axis, rectangle.slice_index, rectangle.rectangle) == (0, 5, (9.5, 7.5, 33.5, 19.5))
    rectangles = drawn_on_slice("rectangles", plate(), GEOMETRY, plane)
    assert isinstance(rectangles, tuple) and [one.slice_index for one in rectangles] == [4, 5, 6]
    assert rectangles[1] == rectangle and rectangles[0].rectangle == rectangles[2].rectangle == (9.5, 7.5, 29.5, 15.5)
    drawn = drawn_on_slice("slice", plate(), GEOMETRY, plane)
    assert isinstance(drawn, MaskPrompt) and drawn.slice_index == 5
    np.testing.assert_array_equal(drawn.mask, plate()[5])


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_the_diameter_joins_the_two_pixels_furthest_apart_in_millimetres(axis: int) -> None:
    truth = plate()
    plane = SlicePlane.along(GEOMETRY, axis)
    line = drawn_on_slice("diameter", truth, GEOMETRY, plane)
    assert isinstance(line, LinePrompt)
    ends = np.array([line.start, line.end])
    indices = np.rint(np.asarray(GEOMETRY.lps_to_index(ends))).astype(int)
    index = int(truth.sum(axis=tuple(a for a in range(3) if a != axis)).argmax())
    assert (indices[:, 2 - axis] == index).all()
    assert all(truth[k, j, i] for i, j, k in indices)
    places = np.argwhere(truth)[:, ::-1]
    points = np.asarray(GEOMETRY.index_to_lps(places[places[:, 2 - axis] == index]))
    furthest = np.linalg.norm(points[:, None] - points[None], axis=-1).max()
    assert np.linalg.norm(ends[1] - ends[0]) == pytest.approx(furthest)


def test_one_pixel_has_a_diameter_too() -> None:
    truth = np.zeros(SHAPE, bool)
    truth[3, 4, 5] = True
    line = drawn_on_slice("diameter", truth, GEOMETRY, SlicePlane.of(GEOMETRY))
    middle = GEOMETRY.lps_to_index((np.array(line.start) + line.end) / 2)
    np.testing.assert_allclose(middle, (5, 4, 3), atol=1e-6)
    assert np.linalg.norm(np.subtract(line.start, line.end)) == pytest.approx(0.8)


@pytest.fixture(scope="module")
def kidney(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    folder, phantom = tmp_path_factory.mktemp("kidney"), make_phantom(0)
    geometry = phantom.volume.geometry
    write_nifti_array(folder / "image.nii", phantom.volume.voxels, geometry)
    write_nifti_array(folder / "labels.nii", phantom.mask("left kidney").astype(np.uint8), geometry)
    objects = (TruthObject("left kidney", (1,)),)
    return Manifest("phantom", folder, (Case("phantom", "CT", "image.nii", LabelSource("labels.nii"), objects),))


@pytest.mark.parametrize("prompt", PROMPTS)
def test_one_slice_is_enough_for_a_kidney_of_the_phantom(kidney: Manifest, prompt: str) -> None:
    reports = evaluate_clicks(kidney, SessionMethod("embedded", device="cpu"), 1, surfaces=False, prompt=prompt)
    assert [(report.prompt, report.clicks) for report in reports] == [(prompt, 0), (prompt, 1)]
    assert reports[0].mean_dice() > 0.85 and reports[0].as_dict()["prompt"] == prompt


def test_what_cannot_be_drawn_is_refused(kidney: Manifest) -> None:
    for options, code in (
        ({"prompt": "star"}, "UNKNOWN_PROMPT"),
        ({"prompt": "slice", "jitter": 5}, "OPTION_CONFLICT"),
    ):
        with pytest.raises(UsageError) as caught:
            evaluate_clicks(kidney, SessionMethod("embedded", device="cpu"), 0, **options)
        assert caught.value.code == code
