"""The scan and the object that the tests of sessions share."""

from __future__ import annotations

import numpy as np
from intensity_predictor import IntensityPredictor
from MedSAMSegmentLib import Session
from scenes import WINDOW, ellipsoid

SCENE = ellipsoid(21, shape=(30, 64, 64), oblique=False, half_axes=(14.0, 11.0, 24.0))
KEY = 15


def session(predictor=None, **options) -> Session:
    made = Session(SCENE.volume, predictor or IntensityPredictor(), window=WINDOW, **options)
    made.add_object("object", SCENE.box)
    return made


def at(i: float, j: float, k: float) -> list[tuple[float, float, float]]:
    return [tuple(SCENE.volume.geometry.index_to_lps((i, j, k)))]


def same(a, b) -> bool:
    return bool((a.mask == b.mask).all() and (a.logits == b.logits).all() and dict(a.scores) == dict(b.scores))


def corrected_session() -> Session:
    """Two rounds of clicks, a drawn slice, a locked one and a second object."""
    s = session()
    s.segment("object")
    s.refine("object", at(32, 32, KEY + 6), positive=False)
    s.accept("object", [KEY - 5])
    drawn = np.zeros((64, 64), bool)
    drawn[25:40, 25:35] = True
    s.add_mask("object", KEY - 8, drawn)
    s.add_object("second", SCENE.box.expanded(-4.0))
    s.segment()
    s.refine("object", at(30, 34, KEY + 2), positive=False)
    return s
