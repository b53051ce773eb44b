"""The organs of the abdomen, with their vessels.

Positions are mm from the middle of the body: x to the patient's left, y to the back, z to the head.  Attenuation is
that of a contrast-enhanced scan in the portal venous phase.
"""

from __future__ import annotations

import numpy as np

from .body import ORGANS, Body
from .scene import Scene
from .shapes import Points, Vector, blend, bounds_of, capsule, cylinder_shell, ellipsoid, rough, tube, without


def paint_organs(scene: Scene, body: Body) -> None:
    """Paint the organs; what is painted later covers what was there."""
    _bowel(scene, body)
    _vessels(scene)
    _kidneys(scene, body)
    _pancreas(scene, body)
    _spleen(scene, body)
    _stomach(scene, body)
    _liver(scene, body)
    _gallbladder(scene, body)


def _bowel(scene: Scene, body: Body) -> None:
    """Colon on both sides and across, loops of small bowel in between."""
    ascending = [body.near(-98, 18, -110), body.near(-100, 14, -70), body.near(-94, 6, -38)]
    descending = [body.near(104, 30, -110), body.near(108, 34, -60), body.near(102, 30, -12)]
    transverse = [body.near(-82, -38, -48), body.near(-30, -60, -58), body.near(35, -60, -52), body.near(88, -22, -22)]
    for path, radius in ((ascending, 21.0), (descending, 14.0), (transverse, 16.0)):
        phase = body.phase()
        bounds = bounds_of(path, radius + 6.0)
        wall = scene.paint(
            lambda points, path=path, radius=radius, phase=phase: rough(
                points, tube(points, path, [radius] * len(path)), 3.0, 34.0, phase
            ),
            bounds,
            72.0,
        )
        scene.paint(lambda points, wall=wall: wall + 2.2, bounds, 18.0)
        # Gas collects in front, under the wall.
        surface = float(np.mean([point[1] for point in path])) - 0.15 * radius
        scene.paint(
            lambda points, wall=wall, surface=surface: np.maximum(wall + 3.0, points.y - surface), bounds, -880.0
        )
    for _ in range(11):
        start = body.generator.uniform((-62, -58, -100), (70, 4, -42))
        turns = body.generator.normal(0, 16, (4, 3)).cumsum(axis=0)
        path = [tuple(map(float, np.clip(start + turn, (-74, -66, -104), (80, 12, -34)))) for turn in turns]
        bounds = bounds_of(path, 12.0)
        wall = scene.paint(lambda points, path=path: tube(points, path, (10.0, 11.0, 10.5, 9.0)), bounds, 98.0)
        scene.paint(lambda points, wall=wall: wall + 2.4, bounds, float(body.generator.uniform(12, 48)))


def _vessels(scene: Scene) -> None:
    aorta = [(8.0, 38.0, 110.0), (7.0, 34.0, 20.0), (4.0, 34.0, -60.0), (3.0, 36.0, -110.0)]
    cava = [(-28.0, 22.0, 110.0), (-26.0, 26.0, 30.0), (-24.0, 33.0, -60.0), (-23.0, 36.0, -110.0)]
    lumen = scene.paint(
        lambda points: tube(points, aorta, (12.0, 11.0, 10.0, 9.5)), bounds_of(aorta, 15.0), 175.0, ORGANS["aorta"]
    )
    # Calcified plaques in the wall of the aorta.
    plaques = [(15.0, 41.0, -38.0), (-4.0, 40.0, -66.0), (14.0, 30.0, 12.0)]
    for place in plaques:
        scene.paint(
            lambda points, place=place: np.maximum(ellipsoid(points, place, (3.4, 3.4, 7.0)), np.abs(lumen) - 1.3),
            bounds_of(aorta, 15.0),
            620.0,
        )
    flat = 1.25
    scene.paint(
        lambda points: tube(
            Points((points.x + 25.0) / np.float32(flat) - 25.0, points.y, points.z), cava, (11.0, 10.5, 10.0, 9.0)
        ),
        bounds_of(cava, 18.0),
        148.0,
        ORGANS["inferior vena cava"],
    )
    superior = [(2.0, 23.0, 12.0), (4.0, 6.0, -8.0), (5.0, -8.0, -50.0), (8.0, -14.0, -100.0)]
    scene.paint(lambda points: tube(points, superior, (4.0, 4.0, 3.6, 3.0)), bounds_of(superior, 8.0), 170.0)
    mesenteric = [(-8.0, 4.0, 0.0), (-8.0, -8.0, -50.0), (-6.0, -14.0, -100.0)]
    scene.paint(lambda points: tube(points, mesenteric, (5.0, 4.6, 4.0)), bounds_of(mesenteric, 8.0), 155.0)


def _kidneys(scene: Scene, body: Body) -> None:
    for name, side, level in (("left kidney", 1.0, -2.0), ("right kidney", -1.0, -18.0)):
        centre = body.near(side * 66.0, 44.0, level)
        size = body.size
        radii = (27.0 * size, 26.0 * size, 53.0 * size)
        sinus = (centre[0] - side * 15.0, centre[1] - 8.0, centre[2])
        bounds = bounds_of([centre], 60.0 * size)
        phase = body.phase()

        def outline(points: Points, side: float = side, centre: Vector = centre, radii: Vector = radii) -> np.ndarray:
            return ellipsoid(points, centre, radii, tilt=-8.0, turn=side * -28.0)

        def hilum(points: Points, side: float = side, sinus: Vector = sinus) -> np.ndarray:
            return ellipsoid(points, (sinus[0] - side * 12.0, sinus[1] - 5.0, sinus[2]), (17.0, 11.0, 19.0))

        surface = scene.paint(
            lambda points, phase=phase: rough(points, without(outline(points), hilum(points)), 0.9, 38.0, phase),
            bounds,
            178.0,
            ORGANS[name],
        )

        def pyramids(points: Points, centre: Vector = centre, surface: np.ndarray = surface) -> np.ndarray:
            turn = np.arctan2(points.y - centre[1], points.x - centre[0])
            rays = np.cos(turn * 4.0 + points.z * np.float32(0.09)) * np.sin(points.z * np.float32(0.24) + turn)
            return np.maximum(surface + 8.0, (0.05 - rays) * np.float32(7.0))

        scene.paint(pyramids, bounds, 138.0)
        scene.paint(
            lambda points, sinus=sinus, surface=surface: np.maximum(
                ellipsoid(points, sinus, (13.0, 9.0, 27.0)), surface + 5.0
            ),
            bounds,
            -70.0,
        )
        pelvis = (sinus[0] - side * 2.0, sinus[1] - 1.0, sinus[2])
        scene.paint(lambda points, pelvis=pelvis: ellipsoid(points, pelvis, (9.0, 5.0, 13.0)), bounds, 14.0)
        vein = [pelvis, (side * 22.0, 26.0, centre[2] + 10.0), (-18.0 if side < 0 else 0.0, 22.0, centre[2] + 14.0)]
        scene.paint(lambda points, vein=vein: tube(points, vein, (4.0, 4.4, 4.8)), bounds_of(vein, 8.0), 150.0)


def _pancreas(scene: Scene, body: Body) -> None:
    path = [
        body.near(-34, 4, -26),
        body.near(-26, -4, -2),
        body.near(6, -10, 8),
        body.near(46, 6, 18),
        body.near(84, 26, 30),
    ]
    phase = body.phase()
    bounds = bounds_of(path, 18.0)
    gland = scene.paint(
        lambda points: rough(points, tube(points, path, (14.0, 13.0, 9.0, 10.0, 8.0)), 2.6, 15.0, phase),
        bounds,
        98.0,
        ORGANS["pancreas"],
    )
    scene.paint(lambda points: np.maximum(tube(points, path, (1.6, 1.6, 1.4, 1.2, 1.0)), gland + 3.0), bounds, 20.0)
    splenic = [(point[0], point[1] + 11.0, point[2] + 3.0) for point in path[1:]] + [(96.0, 34.0, 40.0)]
    scene.paint(lambda points: tube(points, splenic, (4.6, 4.4, 4.2, 3.8, 3.4)), bounds_of(splenic, 8.0), 155.0)


def _spleen(scene: Scene, body: Body) -> None:
    centre = body.near(100, 32, 42)
    size = body.size
    phase = body.phase()

    def spleen(points: Points) -> np.ndarray:
        outline = ellipsoid(points, centre, (27.0 * size, 50.0 * size, 46.0 * size), tilt=18.0, turn=22.0)
        inner = (centre[0] - 30.0, centre[1] - 12.0, centre[2] - 4.0)
        return rough(
            points, without(outline, ellipsoid(points, inner, (26.0, 34.0, 40.0), turn=22.0)), 1.6, 46.0, phase
        )

    scene.paint(spleen, bounds_of([centre], 62.0), 122.0, ORGANS["spleen"])


def _stomach(scene: Scene, body: Body) -> None:
    path = [body.near(62, 0, 70), body.near(66, -30, 36), body.near(42, -48, 8), body.near(2, -46, 0)]
    phase = body.phase()
    bounds = bounds_of(path, 44.0)
    wall = scene.paint(
        lambda points: rough(points, tube(points, path, (34.0, 31.0, 22.0, 13.0)), 2.2, 40.0, phase),
        bounds,
        86.0,
        ORGANS["stomach"],
    )
    scene.paint(lambda points: rough(points, wall + 4.2, 1.2, 13.0, phase), bounds, 22.0)
    scene.paint(lambda points: np.maximum(wall + 5.0, points.y + 38.0 + 0.0 * points.x), bounds, -930.0)


def _liver(scene: Scene, body: Body) -> None:
    dx, dy, dz = (float(value) for value in body.liver_offset)
    size = body.size
    phase = body.phase()
    right: Vector = (-70.0 + dx, 0.0 + dy, 32.0 + dz)
    left: Vector = (4.0 + dx, -42.0 + dy, 50.0 + dz)
    bounds = bounds_of([right, left], 102.0)

    def liver(points: Points) -> np.ndarray:
        main = ellipsoid(points, right, (62.0 * size, 74.0 * size, 82.0 * size), tilt=8.0, turn=-8.0)
        side = ellipsoid(points, left, (68.0 * size, 30.0 * size, 36.0 * size), turn=6.0)
        organ = rough(points, blend(main, side, 22.0), 2.6, 62.0, phase)
        # The back is hollowed by the kidney, the middle by the vena cava and the caudate fissure.
        kidney = ellipsoid(points, (-62.0, 60.0, -26.0), (36.0, 40.0, 62.0))
        cava = capsule(points, (-26.0, 26.0, -40.0), (-28.0, 22.0, 120.0), 11.0)
        spine = capsule(points, (0.0, 62.0, -40.0), (0.0, 62.0, 120.0), 34.0)
        porta = ellipsoid(points, (-34.0 + dx, -2.0 + dy, 2.0 + dz), (20.0, 10.0, 16.0), turn=30.0)
        organ = without(without(organ, kidney), np.minimum(cava, spine))
        return np.maximum(without(organ, porta), cylinder_shell(points, 131.0, 80.0) + 1.5)

    surface = scene.paint(liver, bounds, 112.0, ORGANS["liver"])
    gate = (-34.0 + dx, -2.0 + dy, 14.0 + dz)
    portal = [
        [(-16.0, 2.0, -6.0), gate, (-62.0 + dx, 4.0 + dy, 24.0 + dz), (-92.0 + dx, 16.0 + dy, 34.0 + dz)],
        [(-62.0 + dx, 4.0 + dy, 24.0 + dz), (-84.0 + dx, -22.0 + dy, 40.0 + dz), (-98.0 + dx, -38.0 + dy, 48.0 + dz)],
        [(-62.0 + dx, 4.0 + dy, 24.0 + dz), (-86.0 + dx, 12.0 + dy, 2.0 + dz), (-96.0 + dx, 10.0 + dy, -18.0 + dz)],
        [
            gate,
            (-22.0 + dx, -26.0 + dy, 34.0 + dz),
            (-2.0 + dx, -42.0 + dy, 46.0 + dz),
            (34.0 + dx, -46.0 + dy, 52.0 + dz),
        ],
    ]
    root = (-29.0, 14.0, 88.0)
    hepatic = [
        [root, (-64.0 + dx, 8.0 + dy, 74.0 + dz), (-98.0 + dx, 10.0 + dy, 52.0 + dz)],
        [root, (-52.0 + dx, -22.0 + dy, 76.0 + dz), (-66.0 + dx, -50.0 + dy, 56.0 + dz)],
        [root, (-22.0 + dx, -24.0 + dy, 72.0 + dz), (4.0 + dx, -46.0 + dy, 62.0 + dz)],
    ]
    for tree, widest, value in ((portal, 6.5, 168.0), (hepatic, 5.2, 160.0)):
        for path in tree:
            radii = np.linspace(widest if path[0] != portal[1][0] else 4.6, 1.8, len(path))
            scene.paint(lambda points, path=path, radii=radii: tube(points, path, radii), bounds_of(path, 9.0), value)
    _tumour(scene, body, surface, bounds)


def _tumour(scene: Scene, body: Body, liver: np.ndarray, bounds: tuple[Vector, Vector]) -> None:
    """A metastasis: darker than the liver, a paler rim, a necrotic middle."""
    radius = body.tumour_radius
    phase, inner_phase = body.phase(), body.phase()

    def tumour(points: Points) -> np.ndarray:
        shape = ellipsoid(points, body.tumour_centre, (radius, radius * 0.9, radius * 1.05), turn=25.0)
        return np.maximum(rough(points, shape, 1.8, 24.0, phase), liver)

    rim = scene.paint(tumour, bounds, 88.0, ORGANS["liver tumour"])
    scene.paint(lambda points: rim + 2.8, bounds, 66.0)
    scene.paint(lambda points: rough(points, rim + radius * 0.62, 1.6, 17.0, inner_phase), bounds, 34.0)


def _gallbladder(scene: Scene, body: Body) -> None:
    neck = body.near(-40, -22, -8, 2.0)
    bottom = (neck[0] - 12.0, neck[1] - 30.0, neck[2] - 24.0)
    bounds = bounds_of([neck, bottom], 20.0)
    wall = scene.paint(lambda points: capsule(points, neck, bottom, 6.5, 14.0), bounds, 58.0, ORGANS["gallbladder"])
    scene.paint(lambda points: wall + 1.8, bounds, 9.0)
