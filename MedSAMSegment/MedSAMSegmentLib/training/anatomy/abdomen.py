"""The organs and vessels of the abdomen and the pelvis of a computed body.

Positions are millimetres: x to the patient's left, y to the back, z to the head, from the middle of the body at the
level of the vertebrae L1 and L2. Solid organs come first and hollow ones press into them, as in people.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..shapes import Level, difference, superellipsoid, tube
from .abdomen_bowel import (
    add_colon,
    add_duodenum,
    add_inside,
    add_small_bowel,
    add_stomach,
    add_tube,
    cavity,
    patches,
    rough,
    waves,
)
from .structures import SIDES, Body, Vector, common, grown, smooth_union, tilted
from .torso_frame import dome_drop


def add_abdomen(body: Body) -> None:
    """Paint what lies in the cavity and behind it, into fat; spine, muscles and diaphragm are there already."""
    _spleen(body)
    _liver(body)
    add_small_bowel(body)
    kidneys = {name: _kidney(body, name, side) for name, side in SIDES}
    _great_vessels(body)
    for name, side in SIDES:
        _renal_vessels(body, side, kidneys[name])
        _adrenal_gland(body, name, side)
    _pancreas(body)
    _pelvis(body)
    add_colon(body, body.near(100, 14, -10, 4))
    add_duodenum(body, add_stomach(body))
    _gallbladder(body)
    _lymph_nodes(body)


def _ellipsoid(centre: Vector, radii: Vector, rotation: Tensor | None = None, exponent: float = 2.0) -> Level:
    turn = torch.eye(3) if rotation is None else rotation
    return superellipsoid(torch.tensor(centre), turn, torch.tensor(radii), exponent)


def _spleen(body: Body) -> None:
    """A crescent against the left wall, hollow towards the stomach and the kidney."""
    size = body.vary(1.0, 0.13)
    x, y, z = body.near(101, 30, 40, 4)
    radii = (32.0 * size, 51.0 * size, 48.0 * body.vary(size, 0.08))
    turn = tilted(x=body.vary(-18.0, 0.4), z=body.vary(22.0, 0.3))
    outline = _ellipsoid((x, y, z), radii, turn, 2.2)
    hollow = _ellipsoid((x - 36.0, y - 14.0, z - 4.0), (26.0, 36.0, 44.0), turn)
    spleen = rough(common(difference(outline, hollow), cavity), 1.3, body.vary(46.0), body.randomness)
    reach = max(radii) + 4.0
    body.add("spleen", "spleen", spleen, (x - 45, y - reach, z - reach), (min(x + 45, 136), y + reach, z + reach))


def _liver(body: Body) -> None:
    """A wedge below the diaphragm: thick on the right, thin across the midline in front."""
    randomness = body.randomness
    dome, reach = randomness.uniform(94.0, 105.0), randomness.uniform(112.0, 145.0)
    # Planes by their normals and distances from the origin: what faces down and left, the back of the left lobe, and
    # the right lobe's side towards the spine.
    slope, lean = randomness.uniform(0.38, 0.58), randomness.uniform(-0.3, 0.0)
    below = torch.nn.functional.normalize(torch.tensor([-slope, lean, 1.0]), dim=0)
    behind = torch.nn.functional.normalize(torch.tensor([randomness.uniform(-0.6, -0.3), -0.8, 0.1]), dim=0)
    normals = torch.stack([below, behind, torch.tensor([-0.95, -0.3, 0.0])])
    left_back, bottom = randomness.uniform(-12.0, 2.0), randomness.uniform(-12.0, 4.0)
    through = torch.tensor([[-20.0, 0.0, bottom], [0.0, left_back, 20.0], [-20.0, 24.0, 0.0]])
    offsets = (normals * through).sum(1)[:, None]

    def dome_level(points: Tensor) -> Tensor:
        # Close below the diaphragm: highest in the middle of the right side, falling off to all sides.
        drop = dome_drop(-64.0 - points[0], points[1], reach)
        return (dome - drop).sub_(points[2]).mul_(0.6)

    def wedge(points: Tensor) -> Tensor:
        planes = torch.addmm(offsets.to(points), normals.to(points), points, beta=-1.0)
        # Unions of what is outside, so that edges are rounded.
        outside = smooth_union(-planes[0], -torch.maximum(planes[1], planes[2]), 20.0)
        return smooth_union(outside, -dome_level(points), 8.0).neg_()

    level = rough(common(wedge, cavity), 1.8, body.vary(60.0), randomness)
    low, high = (-134.0, -87.0, -80.0), (72.0, 78.0, dome + 4.0)
    body.add("liver", "liver", level, low, high)
    gate = body.near(-40, -4, 22, 2)
    fork, root = body.near(-66, 2, 28, 3), body.near(-32, 12, 78, 2)
    paths: list[list[Vector]] = [
        [gate, fork, body.near(-92, 18, 38, 6), body.near(-112, 22, 46, 6)],
        [fork, body.near(-86, -22, 42, 6), body.near(-100, -38, 50, 6)],
        [fork, body.near(-88, 14, 4, 6), body.near(-100, 10, -18, 6)],
        [gate, body.near(-22, -26, 38, 5), body.near(0, -44, 48, 6), body.near(28, -52, 54, 6)],
        [root, body.near(-66, 8, 70, 5), body.near(-100, 10, 46, 6), body.near(-108, 4, 10, 6)],
        [root, body.near(-52, -22, 70, 5), body.near(-64, -50, 50, 6)],
        [root, body.near(-22, -24, 70, 5), body.near(6, -46, 62, 6)],
    ]
    middle = torch.tensor([[-75.0], [-2.0], [34.0]])
    for number, path in enumerate(paths):
        places = torch.tensor(path).T
        for _ in range(4):
            # Veins that would leave the liver are drawn back into it.
            places = torch.where(level(places) < 9.0, torch.lerp(places, middle, 0.25), places)
        widest = body.vary(6.0 if number in (0, 3) else 4.8)
        thick = torch.linspace(widest, 1.8, len(path)).tolist()
        body.pipe("liver", "vein", places.T.tolist(), thick)


def _kidney(body: Body, name: str, side: float) -> Vector:
    """Cortex, medulla, and the sinus with fat and urine; returns the hilum (mm)."""
    randomness = body.randomness
    size = body.vary(1.0, 0.06)
    centre = body.near(side * 64.0, 42.0, -2.0 if side > 0 else -18.0, 4)
    turn = tilted(x=body.vary(-10.0, 0.4), y=-side * body.vary(12.0, 0.3), z=side * body.vary(32.0, 0.3))
    radii = (28.0 * size, 24.0 * size, 54.0 * body.vary(size, 0.05))
    fat = body.vary(7.0, 0.5)
    body.solid("", "fat", centre, [radius + fat for radius in radii], turn, 2.2)
    outline = rough(_ellipsoid(centre, radii, turn, 2.15), 0.9, body.vary(34.0), randomness)
    reach = (turn.abs() @ torch.tensor(radii) + 2.0).tolist()
    low = [middle - half for middle, half in zip(centre, reach, strict=True)]
    high = [middle + half for middle, half in zip(centre, reach, strict=True)]
    label = f"{name} kidney"
    body.add(label, "kidney cortex", outline, low, high)
    pyramids, share = waves(body.vary(21.0), randomness), randomness.uniform(-0.1, 0.15)
    add_inside(body, body.structures[-1], "kidney medulla", body.vary(6.0), patches(pyramids, -share, 5.0))

    def place(inwards: float, up: float = 0.0) -> Vector:
        moved = torch.tensor(centre) + turn @ torch.tensor([-side * inwards * size, 0.0, up])
        return (float(moved[0]), float(moved[1]), float(moved[2]))

    body.solid("", "fat", place(18.0), (body.vary(16.0), body.vary(8.0), body.vary(23.0)), turn)
    wide = body.vary(4.0, 0.3) if randomness.chance(0.85) else randomness.uniform(6.0, 9.0)
    pelvis = place(17.0, -3.0)
    body.solid("", "urine", pelvis, (9.0, wide, 2.2 * wide), turn)
    ureter = [place(26.0, -8.0), (side * 38.0, 30.0, -65.0), (side * 36.0, 24.0, -130.0), (side * 42.0, 40.0, -180.0)]
    body.pipe("", "urine" if wide > 6.0 else "soft organ", [pelvis, *ureter], body.vary(2.2))
    return place(24.0, 5.0)


def _renal_vessels(body: Body, side: float, hilum: Vector) -> None:
    """Artery behind the vein, from the aorta (the right one behind the vena cava) to the hilum (mm)."""
    x, y, z = hilum
    body.pipe("", "artery", [(8.0 + side * 6.0, 30.0, z + 6.0), (side * 24.0, 36.0, z + 4.0), (x, y + 3.0, z)], 2.6)
    start: Vector = (-16.0, 16.0, z + 9.0) if side > 0 else (-30.0, 24.0, z + 8.0)
    # The left vein passes in front of the aorta.
    between: Vector = (20.0, 15.0, z + 8.0) if side > 0 else (-36.0, 28.0, z + 6.0)
    body.pipe("", "vein", [start, between, (x, y - 3.0, z)], [4.6, 4.4, 3.6])


def _adrenal_gland(body: Body, name: str, side: float) -> None:
    """Thin limbs that open to the back, with a ridge in front: a Y or a V."""
    randomness = body.randomness
    x, y, z = body.near(29, 37, 36, 3) if side > 0 else body.near(-31, 40, 38, 3)
    thick, length, height = body.vary(2.9, 0.15), body.vary(11.0), body.vary(15.0)
    spread = body.vary(24.0, 0.3)
    lean = randomness.uniform(-12.0, 12.0)
    limbs = []
    for degrees, share in ((-spread, 1.0), (spread, randomness.uniform(0.7, 1.0))):
        turn = tilted(x=lean, z=degrees + side * -12.0)
        half = torch.tensor([0.0, length * share, 0.0])
        middle = torch.tensor([x, y, z - 2.0]) + turn @ half
        limbs.append(superellipsoid(middle, turn, torch.tensor([thick, length * share + 2.5, height * share]), 2.4))
    if randomness.chance(0.7):
        limbs.append(_ellipsoid((x, y - 4.0, z + 2.0), (thick + 0.6, 8.0, 0.8 * height), tilted(z=side * -12.0)))

    def level(points: Tensor) -> Tensor:
        return torch.stack([limb(points) for limb in limbs]).amax(0)

    body.solid("", "fat", (x, y + 8.0, z), (14.0, 18.0, 20.0))
    body.add(f"{name} adrenal gland", "gland", level, (x - 26, y - 16, z - 24), (x + 26, y + 32, z + 24))


def _great_vessels(body: Body) -> None:
    """Aorta and vena cava with what they divide into, the crura of the diaphragm, coeliac and mesenteric arteries."""
    randomness = body.randomness
    for side in (1.0, -1.0):
        crus = [(side * 13.0, 36.0, -30.0), (side * 17.0, 36.0, 20.0), (side * 15.0, 26.0, 60.0), (2.0, 14.0, 84.0)]
        body.pipe("", "muscle", crus, [3.0, 6.5, 5.5, 4.0])
    wide, old = body.vary(9.6, 0.12), randomness.chance(0.4)
    bend = randomness.uniform(2.0, 7.0) if old else 1.0
    low, end = body.near(2, 31, -60, bend), body.near(2, 31, -110, 3)
    course = [body.near(24, 50, 200, 2), body.near(18, 44, 140, 2), body.near(8, 31, 75, 2), body.near(6, 29, 10, 2)]
    body.pipe(
        "aorta", "artery", [*course, low, end], [wide + 2.2, wide + 1.8, wide + 0.8, wide, wide - 0.8, wide - 1.2]
    )
    aorta = body.structures[-1]
    if old:
        plaques, share = waves(body.vary(22.0), randomness), randomness.uniform(0.6, 1.0)
        # Calcium in the wall alone.
        add_inside(
            body,
            aorta,
            "calcification",
            0.0,
            common(patches(plaques, share, 5.0), lambda points: aorta.level(points).neg_().add_(2.4)),
        )
    vein_end = body.near(-22, 36, -118, 2)
    for name, side in SIDES:
        groin = body.near(side * 72.0, -24.0, -258.0, 4)
        common_end, outer = body.near(side * 34.0, 46.0, -160.0, 3), body.near(side * 55.0, 22.0, -205.0, 3)
        artery, vein = f"{name} iliac artery", f"{name} iliac vein"
        behind: list[Vector] = [(place[0] - 4 * side, place[1] + 9, place[2]) for place in (common_end, outer, groin)]
        body.pipe(vein, "vein", [vein_end, *behind], [7.5, 7.0, 6.0, 5.5])
        body.pipe(vein, "vein", [behind[0], (side * 44.0, 68.0, -195.0), (side * 40.0, 66.0, -220.0)], [5.5, 4.5, 3.0])
        body.pipe(artery, "artery", [end, common_end, outer, groin], [6.0, 5.4, 4.6, 4.3])
        body.pipe(
            artery, "artery", [common_end, (side * 42.0, 60.0, -190.0), (side * 38.0, 60.0, -215.0)], [4.0, 3.2, 2.4]
        )
    flat = randomness.uniform(1.0, 1.9)
    course = [vein_end, body.near(-23, 31, -60, 2), body.near(-25, 25, 10, 2), body.near(-29, 21, 60, 2)]
    course += [body.near(-30, 12, 92, 2), body.near(-30, 2, 112, 2)]
    path = torch.tensor(course)
    stretch = torch.tensor([1.0, flat, 1.0])
    thick = torch.tensor([8.0, 8.5, 9.5, 10.5, 11.0, 11.0]) * body.vary(flat**0.5, 0.1)
    round_tube = tube(path * stretch, thick)
    reach = float(thick.max())
    body.add(
        "inferior vena cava",
        "vein",
        lambda points: round_tube(points * stretch.to(points)[:, None]),
        (path.amin(0) - reach).tolist(),
        (path.amax(0) + reach).tolist(),
    )
    coeliac = body.near(6, 4, 28, 2)
    body.pipe("", "artery", [(7.0, 24.0, 24.0), coeliac, body.near(-26, -2, 22, 2), (-40.0, -8.0, 24.0)], 2.6)
    body.pipe("", "artery", [coeliac, body.near(40, 12, 28, 3), body.near(84, 26, 38, 3)], 2.2)


def _pancreas(body: Body) -> None:
    """Head in the duodenum's bend, body across the great vessels, tail to the spleen; with the veins behind it."""
    randomness = body.randomness
    size = body.vary(1.0, 0.12)
    rise = randomness.uniform(-12.0, 12.0)
    head, neck = body.near(-36, 3, -22, 3), body.near(-20, -4, -2, 2)
    trunk, back = body.near(8, -6, 8 + 0.3 * rise, 2), body.near(46, 8, 16 + rise, 3)
    tail = body.near(80, 24, 26 + rise, 3)
    join = (neck[0] + 8.0, neck[1] + 13.0, neck[2] + 2.0)
    radii = [size * radius for radius in (19.0, 13.5, 12.5, 13.5, 11.5)]
    roughness = (1.5, randomness.uniform(9.0, 14.0))
    add_tube(body, "pancreas", "pancreas", [head, neck, trunk, back, tail], radii, roughness)
    gland = body.structures[-1].level
    add_tube(body, "pancreas", "pancreas", [head, body.near(-14, 10, -30, 2)], [12.0 * size, 6.0 * size], roughness)
    duct = torch.tensor([head, neck, trunk, back, tail])
    wide = body.vary(1.2, 0.2) if randomness.chance(0.85) else randomness.uniform(2.5, 4.0)
    low, high = (duct.amin(0) - wide).tolist(), (duct.amax(0) + wide).tolist()
    body.add("pancreas", "water", common(tube(duct, torch.full((5,), wide)), grown(gland, -2.0)), low, high)
    name = "portal vein and splenic vein"
    body.pipe(name, "vein", [join, (-24.0, 2.0, 12.0), body.near(-40, -4, 22, 1)], [7.0, 6.8, 6.2])
    behind: list[Vector] = [(place[0], place[1] + 13.0 * size, place[2] + 3.0) for place in (trunk, back, tail)]
    body.pipe(name, "vein", [join, *behind, body.near(92, 28, 36, 2)], [5.0, 4.6, 4.4, 4.0, 3.2])
    x, y, z = join
    vein_low, artery_low = body.near(-8, -14, -60, 3), body.near(8, -12, -60, 3)
    body.pipe(
        "", "vein", [join, (x + 1.0, y - 6.0, z - 24.0), vein_low, body.near(-14, -18, -100, 5)], [5.5, 5.2, 4.4, 3.0]
    )
    artery = [(6.0, 22.0, 10.0), (x + 17.0, y - 1.0, z - 14.0), artery_low, body.near(6, -18, -100, 5)]
    body.pipe("", "fat", artery[:3], 6.0)
    body.pipe("", "artery", artery, [3.8, 3.6, 3.2, 2.2])
    for degrees in (-30.0, 30.0):
        # Branches to the loops, in the fat of the mesentery.
        turn = tilted(y=degrees) @ torch.tensor([0.0, -14.0, -45.0])
        for tissue, start in (("artery", artery_low), ("vein", vein_low)):
            body.pipe(
                "", tissue, [start, (torch.tensor(start) + turn + 3.0 * randomness.normal(3)).tolist()], [2.6, 1.6]
            )


def _gallbladder(body: Body) -> None:
    """A pear below the right lobe, with stones at times, or collapsed."""
    randomness = body.randomness
    collapsed = randomness.chance(0.15)
    size = 0.45 if collapsed else body.vary(1.0, 0.18)
    neck = body.near(-44, -14, 0, 3)
    bottom = (neck[0] - body.vary(12.0, 0.4), neck[1] - body.vary(30.0, 0.2), neck[2] - body.vary(26.0, 0.2))
    between = (0.4 * neck[0] + 0.6 * bottom[0], 0.4 * neck[1] + 0.6 * bottom[1] + 3.0, 0.5 * (neck[2] + bottom[2]))
    wall = randomness.uniform(2.5, 3.5) if collapsed else randomness.uniform(1.2, 3.0)
    radii = [5.0 * size + 1.0, 14.5 * size, 17.0 * size]
    layers = ((0.0, "soft organ"), (wall, "bile"))
    outer = add_tube(body, "gallbladder", layers, [neck, between, bottom], radii, (0.6, 25.0), None, cavity)
    if randomness.chance(0.25):
        stone = randomness.pick({"calcification": 0.5, "soft organ": 0.5})
        for _ in range(randomness.integer(1, 4)):
            radius = randomness.uniform(1.5, 6.0)
            share = randomness.uniform(0.2, 1.0)
            # Stones lie at the back.
            spot = [neck[axis] + share * (bottom[axis] - neck[axis]) for axis in range(3)]
            spot[1] += 13.0 * size * share - radius - wall
            body.add(
                "gallbladder",
                stone,
                common(_ellipsoid((spot[0], spot[1], spot[2]), (radius, radius, radius)), grown(outer.level, -wall)),
                [each - radius for each in spot],
                [each + radius for each in spot],
            )


def _pelvis(body: Body) -> None:
    """Bladder, with the prostate and seminal vesicles or the uterus and ovaries."""
    randomness = body.randomness
    size = randomness.log_uniform(24.0, 46.0)
    floor = -240.0
    bladder = (body.vary(0.0), -38.0 + 0.2 * size, floor + 0.85 * size)
    male = randomness.chance(0.5)
    if male:
        large = randomness.log_uniform(0.85, 1.5)
        body.solid(
            "prostate", "gland", (0.0, -6.0, floor - 6.0), (23.0 * large, 16.0 * large, 17.0 * large), exponent=2.3
        )
        body.solid("prostate", "soft organ", (0.0, -10.0, floor - 3.0), (11.0 * large, 9.0 * large, 11.0 * large))
        for side in (1.0, -1.0):
            nodes = [
                (side * 4.0, 8.0, floor + 12.0),
                (side * 18.0, 13.0, floor + 18.0),
                (side * 28.0, 13.0, floor + 22.0),
            ]
            add_tube(body, "prostate", "soft organ", nodes, [4.0, 6.0, 4.0], (1.0, 8.0))
    else:
        lean, long = randomness.uniform(-10.0, 60.0), body.vary(34.0, 0.15)
        turn = tilted(x=lean)
        centre = torch.tensor([float(body.vary(0.0)), 14.0, floor + 14.0]) + turn @ torch.tensor([0.0, 0.0, 0.8 * long])
        body.solid("uterus", "soft organ", centre.tolist(), (0.8 * long, 0.62 * long, long), turn)
        body.solid("uterus", "water", centre.tolist(), (0.4 * long, 2.0, 0.5 * long), turn)
        body.pipe("uterus", "soft organ", [centre.tolist(), (0.0, 14.0, floor + 8.0)], [15.0, 11.0])
        for side in (1.0, -1.0):
            body.solid("", "soft organ", body.near(side * 46.0, 16.0, floor + 40.0), (12.0, 9.0, 14.0))
    wall = randomness.uniform(2.0, 5.0)
    flat = randomness.uniform(0.7, 0.95)
    layers = ((0.0, "muscle"), (wall, "urine"))
    radii = (1.1 * size, size * flat, 0.95 * size)
    body.solid("urinary bladder", layers, bladder, radii, tilted(x=body.vary(10.0, 0.8)), randomness.uniform(2.0, 2.6))


def _lymph_nodes(body: Body) -> None:
    """Beside the aorta, in some people; not named."""
    randomness = body.randomness
    if not randomness.chance(0.4):
        return
    large = randomness.log_uniform(2.5, 9.0)
    for _ in range(randomness.integer(2, 6)):
        place = body.near(randomness.uniform(-6.0, 22.0), 26.0, randomness.uniform(-105.0, 0.0), 4.0)
        body.solid("", "soft organ", place, [body.vary(large, 0.2) for _ in range(3)])
