"""Every kind of prompt through a session: alone, together, on several slices, before and after segmenting."""

from __future__ import annotations

import json

import numpy as np
import pytest
from intensity_predictor import IntensityPredictor
from MedSAMSegmentLib import InputError, Session, UsageError
from MedSAMSegmentLib.inference import Settings
from scenes import WINDOW
from session_scene import KEY, SCENE, at, same, session
from small_networks import ARCHITECTURES, small_model

MIDDLE = np.asarray(SCENE.volume.geometry.lps_to_index(SCENE.box.centre))


def place(i: float, j: float, k: float) -> tuple[float, float, float]:
    return at(i, j, k)[0]


def without_box(predictor=None, **options) -> Session:
    made = Session(SCENE.volume, predictor or IntensityPredictor(), window=WINDOW, **options)
    made.add_object("object")
    return made


def dice(a: np.ndarray, b: np.ndarray) -> float:
    return 2 * (a & b).sum() / (a.sum() + b.sum())


def test_a_diameter_alone_is_enough() -> None:
    i, j, _ = MIDDLE
    s = without_box()
    s.add_line("object", place(i - 15, j, KEY), place(i + 15, j, KEY))
    result = s.segment("object")
    prompt = s.predictor.prompts[KEY]
    assert result.key_slice == KEY and prompt.prompted and len(prompt.points) == 5 and prompt.labels.all()
    frame = prompt.frame
    corners = frame.to_slice(np.array(prompt.rectangle).reshape(2, 2))
    np.testing.assert_allclose(corners, [(i - 15, j - 15), (i + 15, j + 15)], atol=1e-6)
    assert dice(result.mask[KEY], SCENE.truth[KEY]) > 0.95
    assert s.predictor.prompts[KEY + 1].rectangle is None and not s.predictor.prompts[KEY + 1].prompted
    assert s.box("object").size == pytest.approx([27.0, 27.0, 27.0])


def test_clicks_alone_are_enough_and_search_the_whole_scan() -> None:
    s = without_box()
    s.add_points("object", [place(*MIDDLE[:2], KEY)])
    result = s.segment("object")
    frame = s.states["object"].track.frame
    assert (frame.x0, frame.y0, frame.x1, frame.y1) == (-0.5, -0.5, 63.5, 63.5)
    assert dice(result.mask, SCENE.truth) > 0.9
    assert s.predictor.prompts[KEY].rectangle is None


def test_a_rectangle_on_a_slice_stands_in_for_the_boxes() -> None:
    s = session()
    s.segment("object")
    s.add_slice_box("object", KEY + 4, (20.0, 22.0, 40.0, 44.0))
    s.segment("object")
    prompt = s.predictor.prompts[KEY + 4]
    corners = prompt.frame.to_slice(np.array(prompt.rectangle).reshape(2, 2))
    np.testing.assert_allclose(corners, [(20.0, 22.0), (40.0, 44.0)], atol=1e-6)
    assert prompt.prompted and prompt.own is None  # begun afresh
    assert s.predictor.prompts[KEY + 5].rectangle != prompt.rectangle


def test_no_mask_reaches_beyond_a_rectangle_but_for_the_margin_of_boxes() -> None:
    s = session()
    first = s.segment("object")
    s.add_slice_box("object", KEY + 4, (25.5, 24.5, 33.5, 40.5))
    second = s.segment("object")
    rows, columns = np.nonzero(second.mask[KEY + 4])
    margin = s.settings.cleanup.margin_mm / 0.9
    assert first.mask[KEY + 4].sum() > second.mask[KEY + 4].sum() > 0
    assert columns.min() >= 25.5 - margin and columns.max() <= 33.5 + margin
    assert rows.min() >= 24.5 - margin and rows.max() <= 40.5 + margin
    assert abs(int(first.mask[KEY + 6].sum()) - int(second.mask[KEY + 6].sum())) < 20


def test_a_rectangle_after_a_click_counts_and_the_click_stays() -> None:
    s = session()
    s.segment("object")
    s.refine("object", at(32, 32, KEY + 4), positive=False)
    s.add_slice_box("object", KEY + 4, (20.0, 22.0, 40.0, 44.0))
    s.segment("object")
    prompt = s.predictor.prompts[KEY + 4]
    assert len(prompt.points) == 1 and prompt.own is None and prompt.rectangle is not None


def test_a_scribble_corrects_every_slice_that_it_visits() -> None:
    s = session(cleanup=False)
    first = s.segment("object")
    s.add_scribble("object", [place(30, 28, KEY + 2), place(34, 36, KEY + 5)], positive=False)
    second = s.segment("object")
    for k in range(KEY + 2, KEY + 6):
        assert s.predictor.prompts[k].prompted and not s.predictor.prompts[k].labels.any()
        assert second.mask[k].sum() < first.mask[k].sum()
    np.testing.assert_array_equal(second.mask[KEY - 3], first.mask[KEY - 3])


def test_several_kinds_on_several_slices_at_once() -> None:
    drawn = np.zeros((64, 64), bool)
    drawn[28:38, 28:36] = True
    s = session()
    s.add_points("object", at(32, 32, KEY + 3) + at(32, 32, KEY - 3))
    s.add_scribble("object", [place(20, 20, KEY + 3), place(20, 44, KEY + 3)], positive=False)
    s.add_slice_box("object", KEY - 5, (18.0, 20.0, 44.0, 46.0))
    s.add_mask("object", KEY + 6, drawn)
    result = s.segment("object")
    asked = s.predictor.prompts
    assert all(asked[k].prompted for k in (KEY - 5, KEY - 3, KEY + 3, KEY + 6))
    assert asked[KEY + 3].labels.tolist().count(True) == 1 and asked[KEY + 3].labels.tolist().count(False) == 8
    np.testing.assert_array_equal(result.mask[KEY + 6], drawn)
    assert sum(entry.conditioning for entry in s.predictor.banks[KEY + 1]) >= 2


def test_corrections_on_a_second_slice_are_followed_from_there() -> None:
    s = session()
    s.refine("object", at(32, 32, KEY + 6), positive=False)
    s.predictor.forget_calls()
    s.refine("object", at(30, 30, KEY - 6), positive=False)
    assert {KEY - 6, KEY - 7, KEY - 8} <= set(s.predictor.predicted)
    assert KEY + 6 not in s.predictor.predicted
    sources = {entry.slices for entry in s.predictor.banks[KEY - 8] if entry.conditioning}
    assert 2 in sources  # the corrected slice, and the key slice
    assert len(sources) == 2


def test_an_object_may_be_added_when_others_are_segmented() -> None:
    s = session()
    first = s.segment("object")
    s.predictor.forget_calls()
    s.add_object("later")
    s.add_line("later", place(26, 32, KEY + 3), place(38, 32, KEY + 3))
    results = s.segment()
    assert list(results) == ["object", "later"] and same(results["object"], first)
    alone = without_box()
    alone.add_line("object", place(26, 32, KEY + 3), place(38, 32, KEY + 3))
    assert same(results["later"], alone.segment("object"))


def everything() -> Session:
    """All kinds of prompts in two rounds, and objects with and without a box."""
    s = session()
    s.add_scribble("object", [place(30, 28, KEY + 2), place(34, 36, KEY + 3)])
    s.add_object("by diameter")
    s.add_line("by diameter", place(26, 32, KEY + 3), place(38, 32, KEY + 3))
    s.add_object("by click")
    s.add_points("by click", [place(32, 32, KEY)])
    s.segment()
    s.add_slice_box("object", KEY - 4, (20.0, 22.0, 40.0, 44.0))
    s.add_scribble("by diameter", [place(30, 28, KEY), place(34, 28, KEY)], positive=False)
    s.segment()
    return s


def test_a_session_file_replays_every_kind_of_prompt(tmp_path) -> None:
    s = everything()
    s.save(tmp_path / "case.json")
    again = Session.load(tmp_path / "case.json", SCENE.volume, IntensityPredictor())
    results = again.segment()
    assert list(results) == ["object", "by diameter", "by click"]
    assert all(same(result, s.results[name]) for name, result in results.items())
    again.save(tmp_path / "copy.json")
    assert (tmp_path / "copy.json").read_bytes() == (tmp_path / "case.json").read_bytes()


def test_a_file_of_the_first_version_is_still_read(tmp_path) -> None:
    s = session()
    s.add_points("object", at(32, 32, KEY + 3), positive=False)
    path = tmp_path / "case.json"
    s.save(path)
    content = json.loads(path.read_text())
    content["version"] = 1
    content["settings"].pop("official")
    for item in content["objects"]:
        for prompts in item["rounds"]:
            for kind in ("boxes", "scribbles", "lines"):
                prompts.pop(kind)
    path.write_text(json.dumps(content))
    again = Session.load(path, SCENE.volume, IntensityPredictor())
    assert again.settings == s.settings and same(again.segment("object"), s.segment("object"))


def test_the_result_tells_all_prompts_it_was_made_from() -> None:
    origin = everything().results["by diameter"].provenance
    assert origin["box"] is None and len(origin["lines"]) == 1 and len(origin["scribbles"]) == 1
    assert Settings.from_dict(origin["settings"]).official is False


def test_prompts_are_taken_back_one_by_one() -> None:
    s = session()
    first = s.segment("object")
    s.add_line("object", place(26, 32, KEY + 3), place(38, 32, KEY + 3))
    s.add_slice_box("object", KEY - 4, (20.0, 22.0, 40.0, 44.0))
    s.undo()
    assert s.prompts("object").boxes == () and len(s.prompts("object").lines) == 1
    s.undo()
    assert s.prompts("object").lines == () and s.results["object"] is first


def test_an_object_and_its_diameter_are_one_step() -> None:
    ends = place(26, 32, KEY + 3), place(38, 32, KEY + 3)
    s, apart = without_box(), session()
    s.undo()
    s.add_object("object", SCENE.box, ends)
    apart.add_line("object", *ends)
    assert same(s.segment("object"), apart.segment("object"))
    s.undo()
    assert s.objects == () and not s.can_undo
    across = place(26, 32, KEY + 6)
    for refused, code in (((across, ends[0]), "LINE_ACROSS_SLICES"), ((ends[0], ends[0]), "BAD_PROMPT")):
        with pytest.raises(InputError) as caught:
            s.add_object("object", SCENE.box, refused)
        assert caught.value.code == code and s.objects == ()


def test_an_accepted_slice_refuses_every_kind_of_prompt() -> None:
    s = session()
    s.segment("object")
    s.accept("object", [KEY + 3])
    for give in (
        lambda: s.add_scribble("object", [place(30, 28, KEY + 2), place(34, 36, KEY + 5)]),
        lambda: s.add_line("object", place(26, 32, KEY + 3), place(38, 32, KEY + 3)),
        lambda: s.add_slice_box("object", KEY + 3, (20.0, 22.0, 40.0, 44.0)),
    ):
        with pytest.raises(UsageError) as caught:
            give()
        assert caught.value.code == "SLICE_ACCEPTED"


def test_an_object_of_which_nothing_is_known_is_not_segmented() -> None:
    s = without_box()
    for act in (lambda: s.segment("object"), lambda: s.candidates("object"), lambda: s.box("object")):
        with pytest.raises(InputError) as caught:
            act()
        assert caught.value.code == "NOTHING_PROMPTED"
    s.add_points("object", at(2, 2, 1), positive=False)  # in any order
    s.add_points("object", at(32, 32, KEY))
    assert s.segment("object").mask[KEY].any()


def test_a_network_that_needs_a_box_says_so() -> None:
    s = without_box(small_model("embedded"))
    s.add_points("object", at(32, 32, KEY))
    with pytest.raises(UsageError) as caught:
        s.segment("object")
    assert caught.value.code == "BOX_NEEDED" and "'small'" in caught.value.message
    s.add_line("object", place(20, 32, KEY), place(44, 32, KEY))
    assert s.segment("object").complete


def tell(s: Session) -> None:
    """Prompts that every model understands, in two rounds."""
    s.add_object("by box", SCENE.box)
    s.add_object("by diameter")
    s.add_line("by diameter", place(22, 32, KEY), place(42, 32, KEY))
    s.segment()
    s.add_slice_box("by box", KEY + 3, (20.0, 22.0, 40.0, 44.0))
    s.add_mask("by diameter", KEY + 1, SCENE.truth[KEY + 1])
    s.segment()


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_model_is_the_only_change(architecture: str, tmp_path) -> None:
    """The same words serve every model, and a session file of one can be done over again with another."""
    model = small_model(architecture, name=architecture)
    s = Session(SCENE.volume, model, window=WINDOW)
    tell(s)
    assert [len(state.rounds) for state in s.states.values()] == [2, 2]
    assert all(result.complete and result.provenance["model"]["name"] == architecture for result in s.results.values())
    np.testing.assert_array_equal(s.results["by diameter"].mask[KEY + 1], SCENE.truth[KEY + 1])

    other = Session(SCENE.volume, small_model("sam2", seed=1, name="another"), window=WINDOW)
    tell(other)
    other.save(tmp_path / "case.json")
    replayed = Session.load(tmp_path / "case.json", SCENE.volume, model)
    assert all(same(result, s.results[name]) for name, result in replayed.segment().items())


def test_another_model_that_does_not_understand_the_prompts_of_a_file_says_so(tmp_path) -> None:
    s = session(small_model("sam2", name="knows clicks"))
    s.add_points("object", at(32, 32, KEY))
    s.save(tmp_path / "case.json")
    with pytest.raises(UsageError) as caught:
        Session.load(tmp_path / "case.json", SCENE.volume, small_model("sam", name="boxes", prompts=["box"]))
    assert caught.value.code == "PROMPT_NOT_TRAINED"


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_all_masks_a_model_offers_can_be_seen_and_one_be_taken(architecture: str) -> None:
    s = session(small_model(architecture))
    offered = s.candidates("object", KEY)
    assert len(offered) == (1 if architecture == "embedded" else 3)
    assert all(c.mask.shape == (64, 64) and 0.0 <= c.score <= 1.0 for c in offered)
    assert [c.score for c in offered] == sorted((c.score for c in offered), reverse=True)
    assert s.results == {} and not s.prompts("object").masks
    s.add_mask("object", KEY, offered[-1].mask)
    np.testing.assert_array_equal(s.segment("object").mask[KEY], offered[-1].mask)
    with pytest.raises(UsageError):
        s.candidates("object", 99)
