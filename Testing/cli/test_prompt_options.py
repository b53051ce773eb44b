"""From option texts and prompts files to objects in the scan's coordinates."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from MedSAMSegmentLib.cli.prompt_options import PromptOptions
from MedSAMSegmentLib.cli.prompts_file import prompts_schema, read_prompts
from MedSAMSegmentLib.errors import InputError, UsageError
from MedSAMSegmentLib.export import write_nifti_array
from MedSAMSegmentLib.phantom import Phantom
from MedSAMSegmentLib.volume import Geometry, OrientedBox, write_roi

BOX = "3,4,5,10,20,9"
FLIP = np.array((-1, -1, 1))


@pytest.fixture(scope="module")
def geometry(phantom: Phantom) -> Geometry:
    return phantom.volume.geometry


def text(numbers: Any) -> str:
    return ",".join(map(str, numbers))


def refused(geometry: Geometry, **options: Any) -> str:
    with pytest.raises((UsageError, InputError)) as caught:
        PromptOptions(**options).objects(geometry)
    assert caught.value.hint
    return caught.value.code


def test_the_same_box_in_every_coordinate_system_gives_the_same_prompt(geometry: Geometry) -> None:
    low, high = np.array((-20.0, -30.0, -40.0)), np.array((40.0, 10.0, 25.0))
    texts = {"lps": [*low, *high], "ras": [*(low * FLIP), *(high * FLIP)]}
    boxes = {
        space: PromptOptions(boxes=[text(numbers)], space=space).objects(geometry)[0].box
        for space, numbers in texts.items()
    }
    assert np.allclose(boxes["lps"].corners_lps().min(0), low) and np.allclose(boxes["lps"].corners_lps().max(0), high)
    assert np.allclose(boxes["ras"].centre, boxes["lps"].centre) and np.allclose(boxes["ras"].size, boxes["lps"].size)
    by_index = PromptOptions(boxes=[BOX], labels=["a"]).objects(geometry)[0]
    assert by_index.name == "a" and by_index.box.mask(geometry).sum() == 7 * 16 * 4


def test_clicks_scribbles_and_lines_in_every_coordinate_system(geometry: Geometry) -> None:
    places = [geometry.index_to_lps(place) for place in ((4, 6, 7), (8, 15, 7))]
    for space, sign in (("lps", np.ones(3)), ("ras", FLIP)):
        texts = [text(place * sign) for place in places]
        (item,) = PromptOptions(
            space=space,
            points=[texts[0]],
            outside_points=[texts[1]],
            scribbles=[";".join(texts)],
            lines=[";".join(texts)],
        ).objects(geometry)
        assert item.name == "object 1" and item.box is None
        assert [inside for _, inside in item.points] == [True, False]
        assert np.allclose([place for place, _ in item.points], places)
        assert np.allclose(item.scribbles[0][0], places) and np.allclose(item.lines[0], places)
    (by_index,) = PromptOptions(points=["4,6,7"], slice_boxes=["7:3,4,10,20"]).objects(geometry)
    assert np.allclose(by_index.points[0][0], places[0])
    assert by_index.slice_boxes == ((7, (2.5, 3.5, 9.5, 19.5)),)


def test_prompts_belong_to_objects_by_name(geometry: Geometry) -> None:
    options = PromptOptions(
        boxes=[BOX, BOX],
        labels=["liver", "spleen"],
        points=["spleen=4,6,7", "lesion=5,6,7"],
        outside_points=["lesion=9,9,7"],
    )
    liver, spleen, lesion = options.objects(geometry)
    assert (liver.points, len(spleen.points), len(lesion.points)) == ((), 1, 2) and lesion.box is None
    (only,) = PromptOptions(boxes=[BOX], labels=["liver"], points=["4,6,7"]).objects(geometry)
    assert only.name == "liver" and len(only.points) == 1
    (named,) = PromptOptions(labels=["lesion"], lines=["4,6,7;8,9,7"]).objects(geometry)
    assert named.name == "lesion"


def test_names_must_be_clear(geometry: Geometry) -> None:
    assert refused(geometry, boxes=[BOX, BOX], labels=["a", "b", "c"]) == "TOO_MANY_LABELS"
    assert refused(geometry, boxes=[BOX, BOX], labels=["a", "a"]) == "DUPLICATE_NAME"
    assert refused(geometry, boxes=[BOX, BOX], points=["4,6,7"]) == "NAME_NEEDED"
    assert refused(geometry, labels=["a", "b"], points=["4,6,7"]) == "TOO_MANY_LABELS"


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ({"boxes": ["1,2,3,4"]}, "BAD_BOX_TEXT"),
        ({"points": ["1,2"]}, "BAD_POSITION_TEXT"),
        ({"points": ["a,b,c"]}, "BAD_POSITION_TEXT"),
        ({"points": ["nan,0,0"]}, "BAD_POSITION_TEXT"),
        ({"lines": ["1,2,3"]}, "BAD_POSITION_TEXT"),
        ({"slice_boxes": ["1,2,3,4"]}, "BAD_BOX_TEXT"),
        ({"slice_boxes": ["x:1,2,3,4"]}, "BAD_BOX_TEXT"),
        ({"masks": ["none.nii.gz"]}, "FILE_NOT_FOUND"),
        ({"points": ["1,2,3"], "space": "mni"}, "UNKNOWN_SPACE"),
    ],
)
def test_texts_that_say_nothing_are_refused(geometry: Geometry, options: dict[str, Any], code: str) -> None:
    assert refused(geometry, **options) == code


def test_pictures_take_two_numbers_a_position_and_four_a_box() -> None:
    flat = Geometry.from_parts((1, 40, 60), (1.0, 1.0, 1.0))
    (item,) = PromptOptions(boxes=["10,5,29,24"], points=["12,6"]).objects(flat)
    assert item.box.slice_rectangles(flat, 0)[0] == pytest.approx((9.5, 4.5, 29.5, 24.5))
    assert np.allclose(flat.lps_to_index(np.array(item.points[0][0])), (12, 6, 0))


def test_boxes_from_slicer_and_prompt_files(geometry: Geometry, tmp_path: Path) -> None:
    box = OrientedBox.from_corners_lps((-20, -30, -40), (40, 10, 25))
    write_roi(tmp_path / "r.mrk.json", [("liver", box), ("spleen", box)])
    prompts = {
        "space": "ijk",
        "objects": [
            {"name": "a", "box": [3, 4, 5, 10, 20, 9], "points": [{"position": [5, 6, 7], "positive": False}]},
            {"name": "b", "space": "ras", "box": [20, 30, -40, -40, -10, 25]},
        ],
    }
    (tmp_path / "p.json").write_text(json.dumps(prompts))
    found = PromptOptions(
        boxes=[BOX], rois=[tmp_path / "r.mrk.json"], files=[tmp_path / "p.json"], labels=["first", "second"]
    ).objects(geometry)
    assert [item.name for item in found] == ["first", "second", "spleen", "a", "b"]
    ((position, inside),) = found[3].points
    assert np.allclose(position, geometry.index_to_lps((5, 6, 7))) and not inside
    assert np.allclose(found[4].box.centre, box.centre) and np.allclose(found[4].box.size, box.size)


@pytest.fixture
def complete(geometry: Geometry, tmp_path: Path) -> Path:
    """A prompts file with everything a file can hold."""
    labels = np.zeros(geometry.shape, np.uint8)
    labels[7, 10:20, 10:20] = 2
    write_nifti_array(tmp_path / "drawn.nii.gz", labels, geometry)
    entry = {
        "name": "lesion",
        "points": [{"position": [12, 13, 7]}],
        "scribbles": [{"path": [[11, 12, 7], [15, 16, 7]], "positive": True}],
        "lines": [{"start": [10, 10, 7], "end": [19, 19, 7]}],
        "slice_boxes": [{"slice": 7, "rectangle": [10, 10, 20, 20]}],
        "masks": [{"file": "drawn.nii.gz", "label": 2}],
    }
    (tmp_path / "p.json").write_text(json.dumps({"space": "ijk", "objects": [entry]}))
    return tmp_path / "p.json"


def test_a_prompts_file_holds_every_kind_of_prompt(geometry: Geometry, complete: Path) -> None:
    (item,) = read_prompts(complete, geometry)
    assert item.points[0][1] and len(item.scribbles[0][0]) == 2 and len(item.lines) == 1
    assert item.slice_boxes == ((7, (9.5, 9.5, 19.5, 19.5)),)
    assert item.masks[0].sum() == 100 and item.masks[0][7].sum() == 100


def test_drawn_masks_must_fit_the_scan(geometry: Geometry, tmp_path: Path) -> None:
    write_nifti_array(
        tmp_path / "other.nii.gz", np.ones((4, 8, 8), np.uint8), Geometry.from_parts((4, 8, 8), (1, 1, 1))
    )
    assert refused(geometry, masks=[str(tmp_path / "other.nii.gz")]) == "OTHER_GRID"
    write_nifti_array(tmp_path / "empty.nii.gz", np.zeros(geometry.shape, np.uint8), geometry)
    assert refused(geometry, masks=[str(tmp_path / "empty.nii.gz")]) == "EMPTY_MASK"


FAULTS = [
    ("no json", "JSON"),
    ("[]", "an object"),
    ("{}", "needs 'objects'"),
    ('{"objects": []}', "objects must have at least 1"),
    ('{"objects": [7]}', "objects[0] must be an object"),
    ('{"objects": [{"name": ""}]}', "objects[0].name"),
    ('{"objects": [{"bocks": [1, 2, 3, 4, 5, 6]}]}', "'bocks'"),
    ('{"objects": [{"box": [1, 2, 3, 4, 5, "6"]}]}', "objects[0].box[5] must be a number"),
    ('{"objects": [{"box": [1, 2, 3]}]}', "objects[0].box must have 6"),
    ('{"objects": [{"points": [7]}]}', "objects[0].points[0]"),
    ('{"objects": [{"points": [{"position": [1, 2]}]}]}', "position must have 3"),
    ('{"objects": [{"points": [{"position": [1, 2, 3], "positive": 1}]}]}', "positive must be true or false"),
    ('{"objects": [{"scribbles": [{"path": []}]}]}', "path must have at least 1"),
    ('{"objects": [{"lines": [{"start": [1, 2, 3]}]}]}', "needs 'end'"),
    ('{"objects": [{"slice_boxes": [{"slice": -1, "rectangle": [1, 2, 3, 4]}]}]}', "slice must be at least 0"),
    ('{"objects": [{"slice_boxes": [{"slice": 1.5, "rectangle": [1, 2, 3, 4]}]}]}', "a whole number"),
    ('{"space": "mni", "objects": [{}]}', "one of ijk, lps, ras"),
]


@pytest.mark.parametrize(("content", "fault"), [*FAULTS, ('{"objects": [{"box": [1, 2, 3, 4, 5, NaN]}]}', "a number")])
def test_bad_prompt_files_are_refused_and_the_place_is_named(
    geometry: Geometry, tmp_path: Path, content: str, fault: str
) -> None:
    (tmp_path / "p.json").write_text(content)
    with pytest.raises(InputError) as caught:
        read_prompts(tmp_path / "p.json", geometry)
    assert caught.value.code == "BAD_PROMPTS_FILE" and fault in caught.value.message


def test_the_schema_says_the_same_to_any_other_program(complete: Path) -> None:
    jsonschema = pytest.importorskip("jsonschema", reason="jsonschema is not installed")
    validator = jsonschema.Draft202012Validator(prompts_schema())
    validator.check_schema(prompts_schema())
    assert validator.is_valid(json.loads(complete.read_text()))
    for content, _ in FAULTS[1:]:
        assert not validator.is_valid(json.loads(content)), content
