"""The bones of a computed torso: spine with what its canal holds, ribs, breastbone, shoulders and pelvis.

All lengths are mm. What comes in pairs is described once, for the left side, and mirrored.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..shapes import Level, superellipsoid
from .structures import SIDES, Vector, tilted
from .torso_frame import BONE, TOP, Path, Person, chains, paint, pair, pipes, radial

_PITCH = {"L5": 34.0, "L4": 35.0, "L3": 35.0, "L2": 34.0, "L1": 33.0, "T12": 30.0, "T11": 28.0, "T10": 26.5}
"""Height of a vertebra with the disc below it; the others of the chest grow from 20 to 26."""


def vertebra_places(person: Person) -> dict[str, tuple[float, float]]:
    """Height (z) of the middle of every vertebra's body and its pitch; the disc L1/L2 is at 0."""
    names = [f"L{number}" for number in range(5, 0, -1)] + [f"T{number}" for number in range(12, 0, -1)]
    stature = person.body.vary(0.99, 0.025)
    pitches = [stature * _PITCH.get(name, 19.0 + 0.75 * int(name[1:])) for name in names]
    base = -sum(pitches[:4])
    return {name: (base + sum(pitches[:at]) + pitches[at] / 2.0, pitches[at]) for at, name in enumerate(names)}


def add_pelvis(person: Person) -> None:
    """Hip bones, femora and sacrum."""
    body = person.body
    size, blade = body.vary(1.0, 0.04), body.vary(5.0, 0.1)
    along = torch.nn.functional.normalize(torch.tensor([77.0, -115.0, 12.0]), dim=0)
    normal = torch.nn.functional.normalize(torch.linalg.cross(along, torch.tensor([38.0, 20.0, 120.0])), dim=0)
    axes, middle = torch.stack([along, torch.linalg.cross(normal, along), normal]), torch.tensor([93.0, 25.0, -162.0])
    socket, joint = torch.tensor([88.0 * size, 8.0, -235.0]), body.vary(24.0, 0.06)
    # Pubis, its lower branch, the ischium, and the pillar between socket and wing.
    ring = [(82.0, -8.0, -232.0), (40.0, -36.0, -236.0), (11.0, -44.0, -252.0), (30.0, -20.0, -282.0)]
    ring += [(58.0, 24.0, -300.0), (72.0, 38.0, -270.0), (80.0, 30.0, -235.0), (74.0, 30.0, -200.0)]
    bars = chains([(ring, (11.0, 7.0, 9.0, 6.0, 13.0, 12.0, 13.0, 9.0))])

    def hip(points: Tensor) -> Tensor:
        across, up, out = axes.to(points) @ (points - middle.to(points)[:, None])
        # The wing is hollow towards the belly.
        out = out - (across.square() + 0.6 * up.square() - 1500.0) * 0.004
        rim = 1.0 - ((across / 80.0).square().square() + (up / 62.0).square().square()).sqrt_().sqrt_()
        wing = torch.minimum(rim * 50.0, blade * (1.3 - 0.5 * rim) - out.abs())
        cup = (points - socket.to(points)[:, None]).norm(dim=0)
        solid = torch.maximum(torch.maximum(wing, bars(points)), joint + 9.0 - cup)
        return torch.minimum(solid, cup - joint - 2.5)

    pair(person, "hip bone", BONE, hip, (2.0, -70.0, -318.0), (150.0, 100.0, -88.0))
    outer = [socket.tolist(), (118.0 * size, 22.0, -252.0), (128.0 * size, 22.0, -264.0), (112.0, 18.0, -TOP + 14.0)]
    neck = chains([(outer, (14.0, 13.0, 17.0, 14.0))])
    pair(
        person,
        "femur",
        BONE,
        lambda p: torch.maximum(neck(p), joint - (p - socket.to(p)[:, None]).norm(dim=0)),
        (60.0, -30.0, -TOP),
        (152.0, 50.0, -205.0),
    )

    def sacrum(points: Tensor) -> Tensor:
        # A curved wedge that narrows to the tail.
        down = ((-136.0 - points[2]) / 110.0).clamp(0.0, 1.0)
        level = radial(
            points[0],
            points[1] - (64.0 + 62.0 * down - 26.0 * down.square()),
            size * (58.0 - 50.0 * down),
            20.0 - 11.0 * down,
        )
        return torch.minimum(level, torch.minimum(-136.0 - points[2] + 0.25 * points[1] - 16.0, points[2] + 262.0))

    body.add("sacrum", BONE, sacrum, (-62.0, 35.0, -264.0), (62.0, 125.0, -128.0))


def add_spine(person: Person, levels: dict[str, tuple[float, float]]) -> None:
    """Vertebrae, discs, and what the canal holds: the cord down to L1."""
    body, draw = person.body, person.body.randomness
    size, shrunk = body.vary(1.0, 0.05), draw.uniform(0.75, 1.1)
    names = list(levels)
    canal: list[Vector] = [(0.0, 103.0, -218.0), (0.0, 88.0, -162.0)]
    for at, (name, (z, pitch)) in enumerate(levels.items()):
        lumbar, upper = name[0] == "L" or name == "T12", max(0, at - 5) / 11.0
        width, depth = size * (24.0 if lumbar else 20.0 - 6.0 * upper), size * (16.5 if lumbar else 15.5 - 5.0 * upper)
        disc = shrunk * pitch * (0.27 if lumbar else 0.19)
        middle = person.column(z)
        slope = (person.column(z + 8.0)[1] - person.column(z - 8.0)[1]) / 16.0
        turn = tilted(x=-math.degrees(math.atan(slope)))
        level = _vertebra(torch.tensor(middle), turn, width, depth, (pitch - disc) / 2.0, lumbar)
        # The lowest disc lies on the sacrum.
        below = names[at - 1] if at else "S1"
        ground = person.column(z - pitch / 2.0)
        size_of_disc = (width * 1.04, depth * 1.06, disc / 2.0 + 1.0)
        core = 0.36 * min(size_of_disc) if draw.chance(0.85) else 1e3
        body.solid(
            f"disc {name}/{below}",
            ((0.0, "disc"), (core, "disc nucleus")),
            ground,
            size_of_disc,
            turn,
            4.0 if lumbar else 5.0,
        )
        low = (middle[0] - 48.0, middle[1] - 26.0, z - 38.0)
        high = (middle[0] + 48.0, middle[1] + 66.0, z + 30.0)
        body.add(f"vertebra {name}", ((0.0, "cortical bone"), (1.3, "spongy bone")), level, low, high)
        canal.append((middle[0], middle[1] + depth + 8.0, z))
    canal.append((canal[-1][0], canal[-1][1] - 2.0, TOP))
    # Some draw the canal with all it holds, some the cord, some the cord's white and grey matter.
    whole, white, grey = {
        "canal": ("spinal canal",) * 3,
        "cord": ("", "spinal cord", "spinal cord"),
        "matters": ("", "cord white matter", "cord grey matter"),
    }[draw.pick({"canal": 0.35, "cord": 0.45, "matters": 0.2})]
    radius = body.vary(8.3, 0.08)
    paint(body, whole, ((0.0, "fat"), (1.2, "water")), [(canal, [3.5, 6.5, *[radius] * (len(canal) - 2)])])
    ending = names.index("L1") + 2
    cord = canal[ending:]
    thick = [1.5, *[body.vary(4.6, 0.05) for _ in cord[1:]]]
    paint(body, white, "white matter", [(cord, thick)])
    horns: list[Path] = []
    tails: list[Path] = []
    for side in (-1.0, 1.0):
        for over, back, share in ((1.2, -0.8, 0.27), (1.6, 1.6, 0.16)):
            horns.append(([(x + over * side, y + back, z) for x, y, z in cord], [share * value for value in thick]))
        for root in range(3):
            course = [(x + side * (1.5 + 1.4 * root), y + 2.5 - root, z) for x, y, z in canal[1 : ending + 1]]
            tails.append((course, [0.7] * len(course)))
    paint(body, grey, "grey matter", horns)
    paint(body, whole, "white matter", tails)


def _vertebra(middle: Tensor, turn: Tensor, width: float, depth: float, half: float, lumbar: bool) -> Level:
    """Body, arch and processes of one vertebra, of half height ``half``."""
    share = width / 24.0 if lumbar else width / 20.0
    root, arch = (15.0 if lumbar else 12.5) * share, depth + (18.0 if lumbar else 17.0)
    spread, rise = (41.0, 3.0) if lumbar else (31.0, 5.0)
    tip = (0.0, arch + 18.0, -7.0) if lumbar else (0.0, arch + 14.0, -20.0)
    facet, end = depth + 14.0, (spread * share, depth + (14.0 if lumbar else 21.0), rise)
    lamina = [(root - 1.0, 0.7 * depth, 5.0), (root, depth + 9.0, 2.0), (2.0, arch, -4.0)]
    joint = [(root + 3.0, facet - 2.0, half + 5.0), (root, facet + 2.0, -half - 6.0)]
    sides = chains(
        (
            (lamina, (5.0 * share, 5.2 * share, 4.2 * share)),
            (joint, (4.6, 4.6)),
            ([(root, depth + 8.0, 2.0), end], (5.0 * share, 3.6 * share)),
        )
    )
    # Flat and high, so told in coordinates pressed together along z.
    squeeze = 0.5 if lumbar else 0.75
    spinous = chains([([(0.0, arch, -4.0 * squeeze), (0.0, tip[1], tip[2] * squeeze)], (3.4, 3.8))])

    def level(points: Tensor) -> Tensor:
        x, y, z = turn.T.to(points) @ (points - middle.to(points)[:, None])
        waist = 1.0 + 0.1 * (1.0 - (z / half).square())
        drum = torch.minimum((1.0 - torch.hypot(x / width, y / depth) * waist) * depth, half - z.abs())
        halved, pressed = torch.stack([x.abs(), y, z]), torch.stack([x, y, squeeze * z])
        return torch.maximum(torch.maximum(drum, sides(halved)), spinous(pressed))

    return level


def add_rib_cage(person: Person, levels: dict[str, tuple[float, float]]) -> None:
    """Ribs round the wall, the cartilages from their front ends to the breastbone, shoulder blades, collar bones."""
    body, draw = person.body, person.body.randomness
    calcified, steep = draw.uniform(0.0, 0.7), body.vary(1.0, 0.1)
    place = {number: levels[f"T{number}"][0] for number in range(1, 13)}
    thick = body.vary(5.2, 0.08)
    meeting: Vector | None = None
    gristle: dict[bool, list[Path]] = {True: [], False: []}
    for number in range(1, 13):
        z, fall = place[number], steep * (13.0 if number == 1 else 21.0 + 0.8 * number)
        last = {11: 1.5, 12: 1.0}.get(number, 2.3 if number < 8 else 2.3 - 0.09 * (number - 7)) + draw.uniform(
            -0.08, 0.08
        )
        y = person.column(z)[1]
        nodes = [(17.0, y + 8.0, z + 7.0), (33.0, y + 31.0, z + 5.0)]
        angles = [0.52 + (last - 0.52) * step / 6.0 for step in range(7)]
        nodes += [person.on_wall(angle, z + 5.0 - fall * angle, 5.0) for angle in angles]
        radii = [0.8 * thick, 0.9 * thick, *[thick] * 6, 0.95 * thick]
        pipes(person, f"rib {number}", ((0.0, "cortical bone"), (1.2, "spongy bone")), nodes, radii)
        if number > 10:
            continue
        front = z + 5.0 - fall * last
        if number < 8:
            goal = person.on_wall(math.pi - 0.14, place[number + 2] + 4.0, 5.0)
            bent = person.on_wall(
                0.45 * last + 0.55 * math.pi, min(front, goal[2]) + (2.0 if number < 6 else -6.0), 4.0
            )
        else:
            assert meeting is not None
            goal, bent = meeting, person.on_wall(last + 0.22, front - 3.0, 4.0)
        gristle[draw.chance(calcified)].append(([nodes[-1], bent, goal], (0.95 * thick, 5.0, 4.6)))
        meeting = bent
    for side_name, side in SIDES:
        for chalk, paths in gristle.items():
            tissue = ((0.0, "calcification"), (1.2, "cartilage")) if chalk else ((0.0, "cartilage"),)
            own = [([(side * x, y, z) for x, y, z in nodes], radii) for nodes, radii in paths]
            paint(body, f"costal cartilage {side_name}", tissue, own)
    _breastbone(person, place)


def _breastbone(person: Person, place: dict[int, float]) -> None:
    """Sternum with its sword of cartilage, collar bones and shoulder blades."""
    body, draw = person.body, person.body.randomness
    low, high = place[9] + 2.0, place[3] + 6.0
    wide, flat = body.vary(15.0, 0.1), body.vary(6.0, 0.1)

    def sternum(points: Tensor) -> Tensor:
        _, depth, middle = person.section(points[2])
        up = ((points[2] - low) / (high - low)).clamp(0.0, 1.0)
        # The handle on top is broader.
        width = wide * (0.9 + 1.0 * (up - 0.68).clamp(min=0.0) / 0.32)
        level = torch.minimum(flat - (points[1] - (middle - depth - 5.5)).abs(), width - points[0].abs())
        return torch.minimum(level, torch.minimum(points[2] - low, high - points[2]))

    front = min(person.on_wall(math.pi, z, 12.0)[1] for z in (low, high)) - 4.0
    body.add("sternum", BONE, sternum, (-35.0, front, low), (35.0, 10.0, high))
    sword = [person.on_wall(math.pi, z, 5.0) for z in (low + 4.0, low - draw.uniform(12.0, 30.0))]
    body.pipe("", "cartilage", sword, (5.0, 3.0))
    inner, outer = person.on_wall(2.75, high, 9.0), (person.width + 4.0, 30.0, high + 26.0)
    pipes(person, "clavicle", BONE, [inner, (62.0, inner[1] - 4.0, high + 14.0), outer], [9.0, 6.5, 7.0])
    # The blade lies on the ribs, as a plate square to the wall.
    middle = person.on_wall(0.85, 0.5 * (place[4] + place[3]) - 30.0, 19.0)
    solid = superellipsoid(torch.tensor(middle), tilted(12.0, 0.0, -36.0), torch.tensor([48.0, 4.0, 68.0]), 2.5)
    tip = (person.width - 4.0, 48.0, middle[2] + 58.0)
    x, y, z = middle
    ridge = chains([([(x - 34.0, y + 14.0, z + 28.0), (x + 8.0, y + 12.0, z + 44.0), tip], (4.0, 5.5, 11.0))])
    pair(
        person,
        "scapula",
        BONE,
        lambda p: torch.maximum(solid(p), ridge(p)),
        (20.0, 0.0, middle[2] - 75.0),
        (person.width + 12.0, 120.0, middle[2] + 80.0),
    )
