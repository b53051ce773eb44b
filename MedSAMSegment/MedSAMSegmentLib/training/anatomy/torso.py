"""A random torso from the root of the neck to the hips: wall, lungs, heart and muscles.

The organs of the belly are in `abdomen.py`, the bones in `skeleton.py`. All lengths are mm.
"""

from __future__ import annotations

import math
from functools import partial

import torch
from torch import Tensor

from ..fields import Randomness
from ..shapes import superellipsoid
from .abdomen import add_abdomen
from .skeleton import add_pelvis, add_rib_cage, add_spine, vertebra_places
from .structures import SIDES, Body, common, grown, tilted
from .torso_frame import TOP, Path, Person, chains, paint, pair, pair_of_ellipsoids, radial


def torso(randomness: Randomness) -> Body:
    """One random person's torso, in the frame of `structures.py`."""
    body = Body(randomness)
    person = Person.random(body)
    levels = vertebra_places(person)
    _outline(person)
    _chest(person, levels)
    _deep_muscles(person)
    add_abdomen(body)
    _wall(person)
    _back_and_hip_muscles(person)
    add_pelvis(person)
    add_spine(person, levels)
    add_rib_cage(person, levels)
    return body


def _outline(person: Person) -> None:
    reach = person.width + person.wall + person.fat + 60.0
    person.body.add(
        "",
        ((0.0, "skin"), (2.0, "fat")),
        lambda points: person.outline(points, person.fat + 2.0),
        (-reach, -reach - 20.0, -TOP),
        (reach, reach + 20.0, TOP),
    )


def _wall(person: Person) -> None:
    """Muscles of the wall; painted after the organs so that none shows through, in three sheets with fat between."""
    reach, sheet = person.width + 60.0, person.wall / 3.0
    person.body.add(
        "",
        ((0.0, "muscle"), (sheet, "fat"), (sheet + 0.8, "muscle")),
        lambda points: torch.minimum(person.outline(points, 0.0), -person.cavity(points)),
        (-reach, -reach, -TOP),
        (reach, reach, TOP),
    )


def _chest(person: Person, levels: dict[str, tuple[float, float]]) -> None:
    """Diaphragm, lungs with their vessels, heart with the great vessels, airways and gullet."""
    body, draw, width = person.body, person.body.randomness, person.width
    box = (-width, -130.0, -30.0), (width, 110.0, 118.0)
    gap = draw.uniform(20.0, 26.0)
    body.add("", "muscle", lambda p: torch.minimum(1.5 - person.diaphragm(p).abs(), person.cavity(p)), *box)

    def lung(points: Tensor, side: float) -> Tensor:
        # The mediastinum is broad before the spine and nearly a seam behind the breastbone.
        middle = gap * (1.0 - ((points[1] - 45.0) / 105.0).square())
        within = torch.minimum(person.cavity(points) - 2.5, points[0] * side - middle)
        return torch.minimum(within, person.diaphragm(points) - 1.5)

    for name, side in SIDES:
        ends = sorted((-2.0 * side, width * side))
        low, high = (ends[0], -120.0, -10.0), (ends[1], 110.0, TOP - 12.0)
        body.add(f"{name} lung", "lung", partial(lung, side=side), low, high)
        root = body.near(34.0 * side, 22.0, 172.0)
        for tissue in ("artery", "vein") * 2:
            paths: list[Path] = []
            for _ in range(5):
                way = torch.nn.functional.normalize(draw.normal(3), dim=0) * torch.tensor([42.0, 60.0, 70.0])
                way[0] = side * way[0].abs()
                bend, tip = torch.tensor(root) + 0.45 * way + 6.0 * draw.normal(3), torch.tensor(root) + way
                paths.append(([root, bend.tolist(), tip.tolist()], (4.5, 2.8, 1.0)))
            paint(body, "", tissue, paths)
        carina = person.column(198.0)[1] - 30.0
        bronchus = [(0.0, carina, 196.0), (18.0 * side, carina - 4.0, 182.0), (44.0 * side, carina - 6.0, 166.0)]
        body.pipe("", ((0.0, "cartilage"), (1.4, "gas")), bronchus, (8.0, 7.0, 4.5))

    spine = {z: person.column(float(z))[1] for z in (TOP, 260, 200, 150, 100)}
    _heart(person)
    trachea = [(0.0, spine[260] - 27.0, TOP - 8.0), (0.0, spine[260] - 28.0, 260.0), (0.0, spine[200] - 30.0, 196.0)]
    body.pipe("trachea", ((0.0, "cartilage"), (1.8, "gas")), trachea, body.vary(10.0))
    gullet = [(2.0, spine[260] - 16.0, TOP - 12.0), (3.0, spine[200] - 21.0, 200.0), (5.0, spine[150] - 28.0, 150.0)]
    inside = "gas" if draw.chance(0.4) else "soft organ"
    body.pipe("oesophagus", ((0.0, "muscle"), (3.5, inside)), [*gullet, body.near(20.0, 18.0, 94.0)], body.vary(7.5))
    arch = [(-6.0, -4.0, 150.0), (-14.0, -6.0, 190.0), (-6.0, 8.0, 214.0), (12.0, spine[200] - 28.0, 216.0)]
    down = [(22.0, spine[200] - 18.0, 196.0), (20.0, spine[150] - 22.0, 150.0), (8.0, 36.0, 98.0)]
    body.pipe("aorta", "artery", arch + down, [body.vary(size, 0.06) for size in (16, 16, 15, 13, 12.5, 12, 11)])
    trunk = [(14.0, -32.0, 158.0), (12.0, -10.0, 186.0), (-2.0, 8.0, 182.0), (-36.0, 20.0, 176.0)]
    body.pipe("pulmonary artery", "artery", trunk, (13.0, 13.0, 11.0, 8.0))
    body.pipe("pulmonary artery", "artery", [trunk[1], (38.0, 22.0, 182.0)], (12.0, 8.0))
    body.pipe("superior vena cava", "vein", [(-24.0, -2.0, 146.0), (-26.0, -4.0, 236.0)], body.vary(10.0))
    body.pipe("inferior vena cava", "vein", [(-27.0, 16.0, 88.0), (-26.0, 6.0, 120.0)], 12.0)
    for x, y in ((-26.0, -6.0), (-14.0, 2.0), (8.0, 6.0), (16.0, 24.0)):
        vein = x < -20.0
        body.pipe("", "vein" if vein else "artery", [(x, y, 214.0), (1.6 * x, y + 12.0, 300.0)], 9.0 if vein else 4.5)


def _heart(person: Person) -> None:
    """Heart in its fat: muscle with four chambers full of blood, which have names of their own or are the heart's."""
    body = person.body
    apart = body.randomness.chance(0.4)
    front = person.on_wall(math.pi, 132.0, 0.0)[1]
    middle, turn = body.near(16.0, front + 56.0, 132.0, 3.0), tilted(0.0, 22.0, -38.0) @ body.randomness.rotation(10.0)
    size = body.vary(1.0, 0.07)
    whole = torch.tensor([60.0, 44.0, 42.0]) * size
    # Fat about it, flattened like the heart itself where it lies against the breastbone.
    for name, tissue, more in (("", "fat", 4.5), ("heart muscle" if apart else "heart", "heart muscle", 0.0)):
        oval = superellipsoid(torch.tensor(middle), turn, whole + more)
        reach, gap = (turn.abs() @ (whole + more)).tolist(), 6.0 - more
        body.add(
            name,
            tissue,
            common(oval, grown(person.cavity, -gap)),
            [centre - half for centre, half in zip(middle, reach, strict=True)],
            [centre + half for centre, half in zip(middle, reach, strict=True)],
        )
    chambers = {
        "left ventricle": ((20.0, 14.0, 2.0), (30.0, 17.0, 19.0), "artery"),
        "right ventricle": ((10.0, -24.0, -6.0), (36.0, 14.0, 26.0), "vein"),
        "left atrium": ((-28.0, 18.0, 12.0), (19.0, 19.0, 20.0), "artery"),
        "right atrium": ((-34.0, -14.0, -4.0), (19.0, 19.0, 24.0), "vein"),
    }
    for name, (offset, radii, blood) in chambers.items():
        centre = torch.tensor(middle) + turn @ (size * torch.tensor(offset))
        own = [size * body.vary(radius, 0.08) for radius in radii]
        body.solid(name if apart else "heart", blood, centre.tolist(), own, turn)


def _deep_muscles(person: Person) -> None:
    """Psoas, quadratus lumborum and iliacus, which the organs lie on."""
    body, thick = person.body, person.body.vary(1.0, 0.2)
    nodes = [body.near(*place, 2.0) for place in ((28, 62, 38), (38, 58, -30), (50, 50, -105), (68, 24, -180))]
    nodes += [(80.0, 2.0, -235.0), (78.0, 25.0, -275.0)]
    psoas = chains([(nodes, [thick * radius for radius in (5.0, 13.0, 19.0, 17.0, 12.0, 8.0)])])
    pair_of_ellipsoids(person, "quadratus lumborum", (62.0, 74.0, -55.0), (20.0, 9.0, 55.0), tilted(0.0, 8.0, 18.0))
    pair_of_ellipsoids(person, "iliacus", (82.0, 18.0, -165.0), (13.0, 58.0, 60.0), tilted(0.0, 24.0, -32.0))
    pair_of_ellipsoids(person, "obturator internus", (66.0, 14.0, -240.0), (9.0, 40.0, 32.0), tilted(0.0, 8.0, 14.0))
    pair(person, "psoas", "muscle", psoas, (15.0, -30.0, -290.0), (100.0, 90.0, 50.0), 1.2)


def _back_and_hip_muscles(person: Person) -> None:
    """Erector spinae, gluteal and straight belly muscles: named parts of the wall, with seams of fat."""
    body, draw = person.body, person.body.randomness
    bulk = body.vary(1.0, 0.1)
    streak, slant = draw.uniform(0.2, 1.6), draw.uniform(-0.5, 0.8)

    def autochthon(points: Tensor) -> Tensor:
        x, y, z = points
        size = 1.0 - ((z + 30.0) / torch.where(z > -30.0, 480.0, 240.0)).square_()
        own = radial(x - 5.0 - 27.0 * bulk * size, y - (95.0 + person.bend(z)), 27.0 * bulk * size, 19.0 * bulk * size)
        return torch.minimum(torch.minimum(own, x - 3.5), person.outline(points, 0.0) - 1.0)

    def seam(points: Tensor) -> Tensor:
        # Fat between the bundles belongs to the muscle, as radiologists draw it.
        plane = points[0] - 34.0 - slant * (points[1] - 95.0)
        return torch.minimum(streak - plane.abs(), autochthon(points) - 1.5)

    low, high = (3.0, 60.0, -225.0), (70.0, 135.0, 310.0)
    pair(person, "autochthon", "muscle", autochthon, low, high, draw.uniform(0.8, 2.5))
    pair(person, "autochthon", "fat", seam, low, high)

    def straight(points: Tensor) -> Tensor:
        within = torch.minimum(person.outline(points, 0.0) - 0.8, -person.cavity(points))
        return torch.minimum(within, 34.0 - (points[0] - 40.0).abs())

    front = person.back - 2.0 * person.depth
    pair(person, "rectus abdominis", "muscle", straight, (5.0, front - 50.0, -240.0), (75.0, -20.0, 90.0), 1.0)
    pair_of_ellipsoids(person, "gluteus medius", (120.0, 38.0, -172.0), (19.0, 52.0, 62.0), tilted(0.0, 12.0, -35.0))
    pair_of_ellipsoids(person, "gluteus minimus", (116.0, 25.0, -185.0), (9.0, 40.0, 42.0), tilted(0.0, 12.0, -32.0))
    pair_of_ellipsoids(person, "gluteus maximus", (78.0, 100.0, -235.0), (68.0, 28.0, 78.0), tilted(-8.0, 25.0, -22.0))
