"""What carries the organs: table, skin, fat, muscle, spine and ribs, and the lungs above.

Positions are mm from the middle of the body: x to the patient's left, y to the back, z to the head.
"""

from __future__ import annotations

import numpy as np

from .body import ORGANS, Body
from .scene import Scene
from .shapes import Points, Vector, bounds_of, capsule, cylinder_shell, ellipsoid, rough, tube, union

BODY_HALF_WIDTH, BODY_HALF_DEPTH = 163.0, 112.0
EVERYWHERE: tuple[Vector, Vector] = ((-1e4, -1e4, -1e4), (1e4, 1e4, 1e4))
VERTEBRA_PITCH = 33.0


def paint_frame(scene: Scene, body: Body) -> None:
    """Paint everything but the organs of the abdomen, from the outside in."""
    _table(scene)
    _wall(scene, body)
    _lungs(scene)
    _muscles(scene)
    _spine(scene)
    _ribs(scene)


def _table(scene: Scene) -> None:
    bounds = ((-260.0, 100.0, -1e4), (260.0, 190.0, 1e4))

    def top(points: Points) -> np.ndarray:
        # A shallow trough the body lies in.
        return np.abs(points.y - (122.0 - points.x**2 * np.float32(0.0006)) - 9.0) - 9.0 + 0.0 * points.z

    def within(points: Points) -> np.ndarray:
        return np.maximum(top(points), np.abs(points.x) - 215.0)

    scene.paint(within, bounds, 90.0)
    scene.paint(lambda points: within(points) + 2.5, bounds, -860.0)


def _wall(scene: Scene, body: Body) -> None:
    phase = body.phase()

    def skin(points: Points) -> np.ndarray:
        waist = 1.0 - 0.035 * np.cos(points.z * np.float32(0.02))
        return cylinder_shell(points, BODY_HALF_WIDTH * waist, BODY_HALF_DEPTH * waist)

    def cavity(points: Points) -> np.ndarray:
        inner = Points(points.x, points.y + np.float32(4.0), points.z)
        return cylinder_shell(inner, 134.0, 84.0)

    distance = scene.paint(skin, EVERYWHERE, 15.0)
    scene.paint(lambda points: distance + 2.2, EVERYWHERE, -104.0)
    inside = scene.paint(lambda points: rough(points, cavity(points), 2.5, 70.0, phase) - 13.0, EVERYWHERE, 52.0)
    # Three layers of the side wall, with fat between them.
    scene.paint(lambda points: np.abs(inside + 7.0) - 0.7, EVERYWHERE, -20.0)
    scene.paint(lambda points: inside + 13.0, EVERYWHERE, -98.0)


def _lungs(scene: Scene) -> None:
    for side in (-1.0, 1.0):
        centre = (side * 72.0, 28.0, 128.0)
        scene.paint(
            lambda points, centre=centre: ellipsoid(points, centre, (62.0, 56.0, 62.0)),
            bounds_of([centre], 62.0),
            -850.0,
        )


def _muscles(scene: Scene) -> None:
    for side in (-1.0, 1.0):
        psoas = [(side * 32.0, 58.0, 30.0), (side * 40.0, 56.0, -30.0), (side * 50.0, 48.0, -110.0)]
        scene.paint(lambda points, path=psoas: tube(points, path, (6.0, 15.0, 21.0)), bounds_of(psoas, 25.0), 62.0)
        centre = (side * 36.0, 88.0, 0.0)
        bounds = ((centre[0] - 40.0, 60.0, -1e4), (centre[0] + 40.0, 115.0, 1e4))
        erector = scene.paint(
            lambda points, centre=centre: ellipsoid(points, centre, (30.0, 19.0, 900.0)) * np.float32(0.3),
            bounds,
            58.0,
        )
        # A fatty seam between the bundles of the back muscle.
        scene.paint(
            lambda points, centre=centre, body=erector: np.maximum(
                np.abs(points.x - centre[0] - (points.y - 88.0) * np.float32(0.4)) - 0.9, body + 2.0
            ),
            bounds,
            -40.0,
        )


def _spine(scene: Scene) -> None:
    label = ORGANS["spine"]
    column = ((-50.0, 40.0, -1e4), (50.0, 118.0, 1e4))

    def height(points: Points) -> np.ndarray:
        """Height within a vertebra and its disc, from -pitch/2 to pitch/2; the disc is at the ends."""
        return np.mod(points.z + np.float32(VERTEBRA_PITCH / 2), np.float32(VERTEBRA_PITCH)) - VERTEBRA_PITCH / 2

    def disc(points: Points) -> np.ndarray:
        radius = np.sqrt((points.x / np.float32(24.0)) ** 2 + ((points.y - 62.0) / np.float32(17.5)) ** 2)
        return (radius - 1) * 20.0 + 0.0 * points.z

    def vertebral_body(points: Points) -> np.ndarray:
        level = height(points)
        waist = 1.0 + 0.0007 * level**2
        radius = np.sqrt((points.x / (22.5 * waist)) ** 2 + ((points.y - 62.0) / (16.0 * waist)) ** 2)
        return np.maximum((radius - 1) * 19.0, np.abs(level) - 12.8)

    def arch(points: Points) -> np.ndarray:
        level = height(points)
        local = Points(np.abs(points.x), points.y, level)
        lamina = capsule(local, (14.0, 74.0, 0.0), (4.0, 93.0, -4.0), 5.5)
        spinous = capsule(local, (0.0, 94.0, -4.0), (0.0, 111.0, -8.0), 4.2)
        transverse = capsule(local, (15.0, 76.0, 2.0), (40.0, 82.0, 2.0), 4.8, 3.2)
        return union(lamina, spinous, transverse)

    scene.paint(disc, column, 88.0, label)
    bone = scene.paint(vertebral_body, column, 520.0, label)
    scene.paint(lambda points: bone + 2.0, column, 185.0)
    posterior = scene.paint(arch, column, 480.0, label)
    scene.paint(lambda points: posterior + 2.4, column, 230.0)

    def canal(points: Points) -> np.ndarray:
        return np.hypot(points.x / np.float32(1.15), points.y - 82.5) - 8.0 + 0.0 * points.z

    channel = scene.paint(canal, column, 12.0, 0)
    scene.paint(lambda points: channel + 3.6, column, 42.0)


def _ribs(scene: Scene) -> None:
    """Ribs run in the wall, each one lower in front than at the back."""

    def ribs(points: Points) -> np.ndarray:
        inner = Points(points.x, points.y + np.float32(4.0), points.z)
        outwards = cylinder_shell(inner, 134.0, 84.0) - 6.5
        angle = np.arctan2(np.abs(points.x), points.y)  # 0 at the back, pi in front
        level = points.z + angle * np.float32(30.0)
        pitch = np.float32(30.0)
        along = np.mod(level, pitch) - pitch / 2
        shape = np.sqrt((outwards * np.float32(1.3)) ** 2 + (along * np.float32(0.75)) ** 2) - 4.6
        # No ribs below the costal margin, nor in the spine, nor where the cartilage begins.
        ending = np.maximum(25.0 - level, np.maximum(0.30 - angle, angle - 2.35) * 60.0)
        return np.maximum(shape, ending)

    bounds = ((-160.0, -112.0, -60.0), (160.0, 108.0, 1e4))
    bone = scene.paint(ribs, bounds, 420.0)
    scene.paint(lambda points: bone + 2.0, bounds, 200.0)
