"""Random geometries and boxes for the property tests: oblique, anisotropic, mirrored, sheared, large and tiny."""

from __future__ import annotations

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st
from MedSAMSegmentLib.volume import Geometry, OrientedBox

#: Few examples, no deadline: the tests share slow machines.
quick = settings(max_examples=60, deadline=None)

angles = st.floats(-np.pi, np.pi, allow_nan=False)


def rotation(alpha: float, beta: float, gamma: float) -> np.ndarray:
    """A 3x3 rotation from three Euler angles about z, y and x."""
    (ca, sa), (cb, sb), (cc, sc) = ((np.cos(v), np.sin(v)) for v in (alpha, beta, gamma))
    about_z = np.array([[ca, -sa, 0], [sa, ca, 0], [0, 0, 1]])
    about_y = np.array([[cb, 0, sb], [0, 1, 0], [-sb, 0, cb]])
    about_x = np.array([[1, 0, 0], [0, cc, -sc], [0, sc, cc]])
    return about_z @ about_y @ about_x


@st.composite
def geometries(draw: st.DrawFn, sheared: bool = True) -> Geometry:
    shape = tuple(draw(st.integers(1, 9)) for _ in range(3))
    spacing = np.array([draw(st.floats(0.2, 6.0)) for _ in range(3)])
    direction = rotation(draw(angles), draw(angles), draw(angles))
    if draw(st.booleans()):
        direction = direction * (1, 1, -1)  # left-handed
    affine = np.eye(4)
    affine[:3, :3] = direction * spacing
    if sheared and draw(st.booleans()):
        affine[:3, 2] += draw(st.floats(-0.5, 0.5)) * affine[:3, 1]
    affine[:3, 3] = [draw(st.floats(-800, 800)) for _ in range(3)]
    return Geometry(shape, affine)


@st.composite
def scans_with_box(draw: st.DrawFn) -> tuple[Geometry, OrientedBox]:
    """A geometry and a rotated box in or near it."""
    geometry = draw(geometries())
    place = [draw(st.floats(-2.0, n + 1.0)) for n in geometry.shape[::-1]]
    size = [draw(st.floats(0.3, 25.0)) for _ in range(3)]
    axes = rotation(draw(angles), draw(angles), draw(angles))
    return geometry, OrientedBox(geometry.index_to_lps(place), axes, size)
