"""Results on the scan's grid, and several of them in one label map."""

from __future__ import annotations

import numpy as np
import pytest
from MedSAMSegmentLib import Geometry, Result, UsageError, labelmap

GEOMETRY = Geometry.from_parts((6, 8, 9), (2.0, 1.0, 5.0), (0, 0, 0), np.eye(3))


def result(name, extent, logits, geometry=GEOMETRY, **more) -> Result:
    logits = np.broadcast_to(np.asarray(logits, np.float16), tuple(s.stop - s.start for s in extent))
    return Result(name, geometry, extent, logits > 0, logits, axis=0, key_slice=2, **{"scores": {}, **more})


def test_the_mask_fills_the_scan_and_is_measured_in_millilitres():
    r = result("a", (slice(1, 3), slice(2, 4), slice(5, 9)), 3.0)
    assert r.mask.shape == (6, 8, 9) and r.mask.sum() == r.voxels == 16
    assert r.mask[1:3, 2:4, 5:9].all()
    assert r.millilitres == pytest.approx(16 * 10 / 1000)


def test_the_worst_slices_that_hold_a_mask_are_offered_for_review():
    logits = np.ones((5, 8, 9), np.float16)
    logits[3] = -1.0
    r = result("a", (slice(1, 6), slice(0, 8), slice(0, 9)), logits, scores={1: 0.9, 2: 0.3, 3: 0.8, 4: 0.0, 5: 0.5})
    assert r.slices_for_review(2) == (2, 5)  # slice 4 has the lowest score, but no mask


def test_shared_voxels_go_to_the_surer_object():
    a = result("a", (slice(0, 4), slice(0, 8), slice(0, 6)), 2.0)
    b = result("b", (slice(2, 6), slice(0, 8), slice(3, 9)), 5.0)
    c = result("c", (slice(3, 4), slice(0, 2), slice(4, 5)), 3.0)
    labels = labelmap([a, b, c])
    assert labels.dtype == np.uint8
    assert (labels[2:6, :, 3:9] == 2).all() and (labels[:2, :, :6] == 1).all() and not (labels == 3).any()
    assert (labels[3, :2, 4] == 2).all()
    np.testing.assert_array_equal(labelmap({"b": b, "a": a}) == 1, labels == 2)


def test_nothing_and_results_of_two_scans_make_no_label_map():
    with pytest.raises(UsageError):
        labelmap([])
    other = Geometry.from_parts((6, 8, 9), (2.0, 1.0, 4.0), (0, 0, 0), np.eye(3))
    extent = (slice(0, 1), slice(0, 1), slice(0, 1))
    with pytest.raises(UsageError) as caught:
        labelmap([result("a", extent, 1.0), result("b", extent, 1.0, geometry=other)])
    assert caught.value.code == "MIXED_SCANS"
