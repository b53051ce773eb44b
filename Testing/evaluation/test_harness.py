"""An evaluation measures what the method returns, on the cases the manifest lists."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from MedSAMSegmentLib.errors import InferenceError, InputError
from MedSAMSegmentLib.evaluation import (
    Case,
    LabelSource,
    Manifest,
    Observation,
    TruthObject,
    evaluate,
    evaluate_clicks,
    load_cases,
    load_manifest,
)
from MedSAMSegmentLib.evaluation.baselines import BASELINES, ellipsoid, filled_box
from MedSAMSegmentLib.evaluation.clicks import next_click
from MedSAMSegmentLib.evaluation.plots import write_box_plots
from MedSAMSegmentLib.evaluation.report import write_csv, write_json
from MedSAMSegmentLib.evaluation.sheets import WorstCases
from MedSAMSegmentLib.evaluation.table import results_table
from MedSAMSegmentLib.export import write_nifti_array
from MedSAMSegmentLib.phantom import phantom_geometry
from MedSAMSegmentLib.volume import OrientedBox, Volume

pytest.importorskip("monai", reason="surface distances come from MONAI (extra 'evaluation')")
pytest.importorskip("skimage", reason="some baselines come from scikit-image (extra 'evaluation')")

SHAPE = (16, 48, 48)


def ball(centre: tuple[int, int, int], radii: tuple[float, float, float]) -> np.ndarray:
    grid = np.ogrid[tuple(slice(0, size) for size in SHAPE)]
    return sum(((axis - c) / r) ** 2 for axis, c, r in zip(grid, centre, radii, strict=True)) <= 1


@pytest.fixture
def manifest(tmp_path: Path) -> Manifest:
    """Two oblique scans with bright ellipsoids on noise."""
    rng = np.random.default_rng(0)
    cases = []
    for number, handed in enumerate((False, True)):
        geometry = phantom_geometry(SHAPE, (1.0, 1.2, 3.0), (10, 20, 30), left_handed=handed)
        labels = np.zeros(SHAPE, np.uint8)
        labels[ball((7, 14, 14), (5.5, 8.5, 9.5))] = 1
        labels[ball((9, 34, 33), (4.5, 7.5, 6.5))] = 2
        image = np.where(labels > 0, 100, 0) + rng.normal(0, 12, SHAPE)
        write_nifti_array(tmp_path / f"image{number}.nii.gz", image.astype(np.float32), geometry)
        write_nifti_array(tmp_path / f"labels{number}.nii.gz", labels, geometry)
        objects = (TruthObject("first", (1,)), TruthObject("second", (2,)))
        cases.append(
            Case(
                f"scan {number}",
                f"group {number}",
                f"image{number}.nii.gz",
                LabelSource(f"labels{number}.nii.gz"),
                objects,
            )
        )
    return Manifest("bright ellipsoids", tmp_path, tuple(cases))


def truth_of(volume: Volume, boxes: Sequence[OrientedBox]) -> list[np.ndarray]:
    return [(volume.voxels > 50) & box.mask(volume.geometry) for box in boxes]


def test_a_good_method_scores_well_and_a_poor_one_does_not(manifest: Manifest) -> None:
    good, poor = evaluate(manifest, truth_of), evaluate(manifest, filled_box)
    assert good.mean_dice() > 0.99 and good.group("group 0").nsd == 1.0
    assert 0.5 < poor.mean_dice() < 0.75 and poor.group("group 1").nsd < 0.7
    assert [summary.count for summary in good.groups()] == [2, 2]
    assert good.method == "truth_of"


@pytest.mark.parametrize("name", [name for name in BASELINES if name != "filled-box"])
def test_every_baseline_finds_a_bright_ellipsoid(manifest: Manifest, name: str) -> None:
    report = evaluate(manifest, BASELINES[name], name=name)
    assert report.mean_dice() > 0.9


@pytest.mark.parametrize("name", list(BASELINES))
def test_baselines_return_a_mask_also_where_there_is_nothing_to_see(name: str) -> None:
    geometry = phantom_geometry((1, 8, 8), (1, 1, 1))
    flat = Volume(np.zeros((1, 8, 8), np.int16), geometry)
    boxes = [OrientedBox.from_index_range(geometry, *box) for box in ((2, 2, 0, 3, 3, 1), (0, 0, 0, 8, 8, 1))]
    for mask, box in zip(BASELINES[name](flat, boxes), boxes, strict=True):
        assert mask.dtype == bool and mask.any() and not (mask & ~box.mask(geometry)).any()


def test_rotated_boxes_hold_rotated_ellipsoids() -> None:
    geometry = phantom_geometry((20, 40, 40), (1, 1, 1))
    turn = np.sqrt(0.5)
    axes = np.array([[turn, -turn, 0], [turn, turn, 0], [0, 0, 1]])
    box = OrientedBox(np.zeros(3), axes, (30, 10, 12))
    volume = Volume(np.zeros((20, 40, 40), np.int16), geometry)
    mask = next(iter(ellipsoid(volume, [box])))
    assert mask.sum() == pytest.approx(np.pi / 6 * 30 * 10 * 12, rel=0.05)
    assert not (mask & ~box.mask(geometry)).any()


def test_loaded_cases_give_the_same_report_as_the_files(manifest: Manifest) -> None:
    first = evaluate(manifest, filled_box, jitter=4, seed=2)
    second = evaluate(load_cases(manifest), filled_box, jitter=4, seed=2)
    strip = [(s.case, s.object, s.box, s.dice, s.nsd) for s in first.scores]
    assert strip == [(s.case, s.object, s.box, s.dice, s.nsd) for s in second.scores]
    one_case = evaluate(manifest.select(cases=["scan 1"]), filled_box, jitter=4, seed=2)
    assert [s.box for s in one_case.scores] == [s.box for s in first.scores[2:]]


def test_jitter_costs_overlap(manifest: Manifest) -> None:
    assert evaluate(manifest, ellipsoid, jitter=5).mean_dice() < evaluate(manifest, ellipsoid).mean_dice() - 0.02


def test_all_objects_of_a_scan_come_in_one_call(manifest: Manifest) -> None:
    calls = []

    def method(volume: Volume, boxes: Sequence[OrientedBox]) -> list[np.ndarray]:
        calls.append(len(boxes))
        return truth_of(volume, boxes)

    seen: list[tuple[int, int]] = []
    evaluate(manifest, method, surfaces=False, progress=lambda done, total, case: seen.append((done, total)))
    assert calls == [2, 2] and seen == [(1, 4), (2, 4), (3, 4), (4, 4)]


def test_a_cancelled_run_reports_what_it_has(manifest: Manifest) -> None:
    seen: list[Observation] = []
    report = evaluate(manifest, truth_of, observer=seen.append, cancel=lambda: len(seen) == 3)
    assert len(report.scores) == 3 and not report.complete
    assert evaluate(manifest, truth_of, cancel=lambda: False).complete


class Learner:
    """Begins with the filled box and believes a click within some voxels of it."""

    def __init__(self, truths: list[np.ndarray]) -> None:
        self.truths = truths
        self.clicks: list[tuple[np.ndarray, bool]] = []

    def begin(self, volume: Volume) -> Learner:
        self.volume = volume
        return self

    def segment(self, box: OrientedBox) -> np.ndarray:
        self.mask = box.mask(self.volume.geometry)
        return self.mask.copy()

    def click(self, position_lps: tuple[float, float, float], inside: bool) -> np.ndarray:
        i, j, k = np.rint(self.volume.geometry.lps_to_index(np.array(position_lps))).astype(int)
        assert self.mask[k, j, i] != inside, "what is right is not clicked on"
        assert inside == bool(self.volume.voxels[k, j, i] > 50)
        self.clicks.append((np.array([k, j, i]), inside))
        near = ball((k, j, i), (3, 6, 6))
        self.mask = np.where(near, self.volume.voxels > 50, self.mask)
        return self.mask.copy()


def test_clicks_lie_where_the_mask_is_wrong_and_every_number_of_them_is_scored(manifest: Manifest) -> None:
    learner, done = Learner([]), []
    reports = evaluate_clicks(manifest, learner, 4, name="learner", progress=lambda *state: done.append(state))
    assert [report.clicks for report in reports] == [0, 1, 2, 3, 4]
    assert [len(report.scores) for report in reports] == [4] * 5 and len(learner.clicks) == 16
    overlaps = [report.mean_dice() for report in reports]
    assert overlaps == sorted(overlaps) and overlaps[-1] > overlaps[0] + 0.1
    assert reports[0].mean_dice() == pytest.approx(evaluate(manifest, filled_box).mean_dice())
    assert [report.title for report in reports[:3]] == ["learner", "learner, 1 click", "learner, 2 clicks"]
    assert done[-1][:2] == (4, 4)


def test_what_is_perfect_is_not_clicked_on(manifest: Manifest) -> None:
    class Oracle(Learner):
        def segment(self, box: OrientedBox) -> np.ndarray:
            return next(self.truths)

    cases = load_cases(manifest)
    oracle = Oracle(iter([case.truth(item) for case in cases for item in case.case.objects]))
    reports = evaluate_clicks(cases, oracle, 2)
    assert oracle.clicks == [] and [report.mean_dice() for report in reports] == [1.0] * 3


@pytest.mark.parametrize("inside", [True, False])
def test_the_next_click_is_the_middle_of_the_largest_error(inside: bool) -> None:
    truth = ball((8, 24, 24), (6, 12, 12))
    error = ball((8, 24, 18), (2.2, 4.2, 4.2)) if inside else ball((3, 40, 40), (2.2, 4.2, 4.2))
    small = np.zeros(SHAPE, bool)
    small[8, 24, 30] = True
    mask = truth ^ error ^ small
    assert next_click(truth, mask, (1.0, 1.0, 1.0)) == (((8, 24, 18) if inside else (3, 40, 40)), inside)
    assert next_click(truth, truth, (1.0, 1.0, 1.0)) is None


def test_at_the_border_of_the_scan_the_middle_is_within_it() -> None:
    truth = np.zeros(SHAPE, bool)
    truth[:, :, :9] = True
    assert next_click(truth, np.zeros(SHAPE, bool), (1.0, 1.0, 1.0))[0][2] == 4


@pytest.mark.parametrize("result", [[], [np.zeros(SHAPE)], [np.zeros((1, 2, 3), bool)]], ids=["none", "float", "shape"])
def test_what_is_no_mask_is_refused(manifest: Manifest, result: list[np.ndarray]) -> None:
    with pytest.raises(InferenceError) as caught:
        evaluate(manifest, lambda volume, boxes: result)
    assert caught.value.code == "BAD_MASK"


def test_unknown_pixel_sizes_give_no_surface_score(manifest: Manifest) -> None:
    from dataclasses import replace

    cases = tuple(replace(case, millimetres=False) for case in manifest.cases)
    report = evaluate(replace(manifest, cases=cases), filled_box)
    assert report.groups()[0].nsd is None and report.groups()[0].dice > 0


def test_reports_become_tables_pictures_and_files(manifest: Manifest, tmp_path: Path) -> None:
    from PIL import Image
    from rich.console import Console

    worst = WorstCases(1)
    reports = [
        evaluate(manifest, BASELINES[name], name=name, observer=worst.add) for name in ("filled-box", "ellipsoid")
    ]
    for shown in (reports[:1], reports):
        console = Console(width=120, record=True, file=io.StringIO())
        console.print(results_table(shown))
        text = console.export_text()
        assert "group 0" in text and f"{reports[0].groups()[0].dice:.3f}" in text
    write_json(reports, tmp_path / "r.json")
    content = json.loads((tmp_path / "r.json").read_text())
    assert content["reports"][1]["groups"][0]["dice"] == reports[1].groups()[0].dice
    write_csv(reports, tmp_path / "r.csv")
    rows = list(csv.DictReader((tmp_path / "r.csv").read_text().splitlines()))
    assert len(rows) == 8 and rows[0]["method"] == "filled-box" and rows[0]["box"].count(":") == 3
    write_box_plots(reports, tmp_path / "p.png")
    assert Image.open(tmp_path / "p.png").width > 500
    pictures = worst.write(tmp_path)
    assert [path.name for path in pictures] == ["group-0-1.png", "group-1-1.png"]
    assert worst.kept()[0].score.dice == min(s.dice for r in reports for s in r.scores if s.group == "group 0")


def test_manifests_are_read_back_as_written(manifest: Manifest, tmp_path: Path) -> None:
    (tmp_path / "lists").mkdir()
    manifest.write(tmp_path / "lists" / "m.json")
    again = load_manifest(tmp_path / "lists" / "m.json")
    assert again.cases == manifest.cases and again.root.resolve() == tmp_path.resolve()
    elsewhere = load_manifest(tmp_path / "lists" / "m.json", root=tmp_path / "other")
    assert elsewhere.path("a") == tmp_path / "other" / "a"


@pytest.mark.parametrize(
    "change",
    [
        lambda m: m.update(format="other"),
        lambda m: m.update(cases=[]),
        lambda m: m["cases"][0].pop("image"),
        lambda m: m["cases"][0].update(label=5),
        lambda m: m["cases"][0].update(objects=[{"name": "x", "labels": []}]),
        lambda m: m["cases"][0].update(objects=[{"name": "x", "labels": ["1"]}]),
        lambda m: m["cases"].append(m["cases"][0]),
        lambda m: m["cases"].append("text"),
    ],
)
def test_bad_manifests_are_refused(manifest: Manifest, tmp_path: Path, change) -> None:
    path = tmp_path / "m.json"
    manifest.write(path)
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
    with pytest.raises(InputError) as caught:
        load_manifest(path)
    assert caught.value.code == "BAD_MANIFEST"


def test_missing_things_are_named(manifest: Manifest, tmp_path: Path) -> None:
    from dataclasses import replace

    with pytest.raises(InputError) as caught:
        load_manifest(tmp_path / "none.json")
    assert caught.value.code == "NOT_FOUND"
    with pytest.raises(InputError) as caught:
        manifest.select(groups=["no such group"])
    assert caught.value.code == "EMPTY_SELECTION" and "group 1" in caught.value.hint
    absent = replace(manifest.cases[0], objects=(TruthObject("ghost", (9,)),))
    with pytest.raises(InputError) as caught:
        evaluate(replace(manifest, cases=(absent,)), filled_box)
    assert caught.value.code == "EMPTY_OBJECT"
    swapped = replace(manifest.cases[0], label=LabelSource("image0.nii.gz"))
    with pytest.raises(InputError):
        evaluate(replace(manifest, cases=(swapped,)), filled_box)


def test_components_of_a_picture_are_objects(tmp_path: Path) -> None:
    from MedSAMSegmentLib.evaluation.labels import read_labels
    from PIL import Image

    picture = np.zeros((20, 20), np.uint8)
    picture[2:5, 2:5] = 255
    picture[5:8, 5:8] = 255  # touches the first at a corner: the same component
    picture[12:18, 12:18] = 255
    picture[0, 19] = 100
    Image.fromarray(picture).save(tmp_path / "p.png")
    labels = read_labels(tmp_path / "p.png", LabelSource("p.png", components_above=127))
    assert labels.shape == (1, 20, 20) and labels.max() == 2
    assert labels[0, 3, 3] == labels[0, 6, 6] == 1 and labels[0, 15, 15] == 2
