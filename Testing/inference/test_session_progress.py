"""Progress, the first mask, cancelling and failures of a session."""

from __future__ import annotations

import numpy as np
import pytest
from intensity_predictor import IntensityPredictor
from MedSAMSegmentLib import (
    CancelledError,
    InferenceError,
)
from session_scene import KEY, at, same, session


def test_the_key_slice_comes_first_and_the_others_outwards_in_turn():
    predictor, seen, shown = IntensityPredictor(), [], []
    s = session(predictor)
    result = s.segment(
        "object",
        progress=lambda done, total, name: seen.append((done, total, name)),
        on_slice=lambda name, index, mask: shown.append((index, mask)),
    )
    key = result.key_slice
    assert [index for index, _ in shown][:5] == [key, key + 1, key - 1, key + 2, key - 2]
    assert shown[0][1].shape == (64, 64) and shown[0][1].sum() > 100
    assert seen[0] == (1, len(seen), "object") and seen[-1] == (len(seen), len(seen), "object")
    assert len(seen) == len(shown) == len(result.scores)
    assert 0 < result.timings["first_mask"] < result.timings["total"]
    assert all(0 <= score <= 1 for score in result.scores.values())


def test_cancelling_keeps_what_is_done_and_going_on_asks_only_for_the_rest():
    whole = session().segment("object")
    predictor = IntensityPredictor()
    s = session(predictor)
    with pytest.raises(CancelledError):
        s.segment("object", cancel=lambda: len(predictor.predicted) >= 7)
    part = s.results["object"]
    assert not part.complete and len(part.scores) == 7 and s.needs_segmenting("object")
    done = sorted(part.scores)
    np.testing.assert_array_equal(part.mask[done], whole.mask[done])
    others = sorted(set(range(30)) - set(done))
    assert not part.mask[others].any()
    predictor.forget_calls()
    rest = s.segment("object")
    assert rest.complete and same(rest, whole) and not s.needs_segmenting("object")
    assert not set(predictor.predicted) & set(done)
    assert len(predictor.predicted) == len(whole.scores) - 7


def test_cancelling_a_correction_keeps_the_other_slices_of_the_earlier_mask():
    predictor = IntensityPredictor()
    s = session(predictor)
    first = s.segment("object")
    s.add_points("object", at(32, 32, KEY + 5), positive=False)
    predictor.forget_calls()
    with pytest.raises(CancelledError):
        s.segment("object", cancel=lambda: len(predictor.predicted) >= 1)
    part = s.results["object"]
    assert part.mask[KEY + 5].sum() < first.mask[KEY + 5].sum()
    others = [k for k in range(30) if k != KEY + 5]
    np.testing.assert_array_equal(part.mask[others], first.mask[others])
    assert not part.complete and s.segment("object").complete


def test_a_network_that_fails_gives_a_typed_error_and_keeps_what_was_done():
    class Failing(IntensityPredictor):
        def predict(self, features, prompt, bank):
            if len(self.predicted) == 4:
                raise RuntimeError("cuDNN error: something low-level\nat line 3")
            return super().predict(features, prompt, bank)

    s = session(Failing())
    with pytest.raises(InferenceError) as caught:
        s.segment("object")
    assert caught.value.code == "NETWORK_FAILED" and "\n" not in caught.value.message
    assert len(s.results["object"].scores) == 4 and not s.results["object"].complete
