"""Stomach, duodenum, small bowel and colon of a computed body, and solids that other organs are made of as well.

Positions are millimetres: x to the patient's left, y to the back, z to the head. The body lies on its back, so gas
collects at low y.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import torch
from torch import Tensor

from ..fields import Randomness
from ..shapes import Level, tube
from .structures import Body, Layers, Structure, Vector, common

CAVITY_WIDTH, CAVITY_DEPTH, CAVITY_MIDDLE = 133.0, 82.0, -4.0
"""Half-width, half-depth and y of the middle of the abdominal cavity in mm."""


def cavity(points: Tensor) -> Tensor:
    """Level of the abdominal cavity, without top and bottom."""
    squares = (points[0] / CAVITY_WIDTH).square() + ((points[1] - CAVITY_MIDDLE) / CAVITY_DEPTH).square()
    return (1.0 - squares.sqrt()) * CAVITY_DEPTH


def waves(wavelength: float, randomness: Randomness) -> Level:
    """Smooth values of about -1 to 1 that change over about ``wavelength`` mm in every direction."""
    turn = randomness.rotation() * (2.0 * math.pi / wavelength)
    phase = (randomness.rand(3) * (2.0 * math.pi))[:, None]

    def value(points: Tensor) -> Tensor:
        return torch.addmm(phase.to(points), turn.to(points), points).sin_().sum(0).mul_(0.5)

    return value


def patches(values: Level, threshold: float, slope: float) -> Level:
    """What lies where values (see :func:`waves`) are above a threshold; ``slope``: mm a unit."""
    return lambda points: values(points).sub_(threshold).mul_(slope)


def rough(level: Level, amount: float, wavelength: float, randomness: Randomness) -> Level:
    """A solid with a surface that goes up and down by about ``amount`` mm."""
    ripple = waves(wavelength, randomness)
    return lambda points: level(points).add_(ripple(points), alpha=amount)


def folded(nodes: Tensor, radii: Tensor, pitch: float, depth: float) -> Level:
    """A tube through ``nodes`` (n, 3) that narrows by ``depth`` mm at every ``pitch`` mm of its way."""
    axes = nodes[1:] - nodes[:-1]
    lengths = axes.norm(dim=1)
    starts = (lengths.cumsum(0) - lengths).tolist()

    def level(points: Tensor) -> Tensor:
        best = torch.full_like(points[0], -1e6)
        way = torch.zeros_like(best)
        for index, start in enumerate(starts):
            segment, length = axes[index].to(points), float(lengths[index])
            offset = points - nodes[index].to(points)[:, None]
            share = (segment @ offset).div_(length * length).clamp_(0.0, 1.0)
            offset.addcmul_(segment[:, None], share[None], value=-1.0)
            growth = float(radii[index + 1] - radii[index])
            inside = share * growth + float(radii[index]) - offset.norm(dim=0)
            nearer = inside > best
            best = torch.where(nearer, inside, best)
            way = torch.where(nearer, share.mul_(length).add_(start), way)
        # Sharp folds inwards between round pouches.
        return best.sub_((way.mul_(math.pi / pitch).cos_().abs_()).square_().square_().mul_(depth))

    return level


def add_tube(
    body: Body,
    name: str,
    tissue: Layers,
    nodes: Sequence[Vector],
    radii: Sequence[float],
    roughness: tuple[float, float] | None = None,
    folds: tuple[float, float] | None = None,
    within: Level | None = None,
) -> Structure:
    """Paint a tube and return it.

    Args:
        roughness: height and length of the surface's waves in mm.
        folds: pitch and depth of the folds in mm.
        within: what the tube must not leave.
    """
    path, thick = torch.tensor(nodes), torch.tensor(radii)
    level = tube(path, thick) if folds is None else folded(path, thick, *folds)
    if roughness is not None:
        level = rough(level, *roughness, body.randomness)
    reach = float(thick.max()) + (0.0 if roughness is None else 1.5 * roughness[0])
    low, high = (path.amin(0) - reach).tolist(), (path.amax(0) + reach).tolist()
    body.add(name, tissue, level if within is None else common(level, within), low, high)
    return body.structures[-1]


def add_inside(body: Body, outer: Structure, tissue: str, depth: float, extra: Level | None = None) -> None:
    """Paint what lies at least ``depth`` mm under a structure's surface and inside of ``extra``, with its name."""

    def level(points: Tensor) -> Tensor:
        inner = outer.level(points).sub_(depth)
        return inner if extra is None else torch.minimum(inner, extra(points))

    body.add(outer.name, tissue, level, outer.low.tolist(), outer.high.tolist())


def in_front_of(surface: float) -> Level:
    """Where y is less than ``surface`` mm: gas above a flat level of fluid."""
    return lambda points: surface - points[1]


def add_small_bowel(body: Body) -> None:
    """Loops that fill the middle and the lower part of the cavity, one beside the other."""
    randomness = body.randomness
    # People with much fat in the mesentery have thinner loops with more space in between.
    spacing = randomness.uniform(23.5, 29.0)
    calibre = spacing * randomness.uniform(0.5, 0.62)
    places = _bowel_places(body, spacing)
    contents = {"bowel content": 1.0, "collapsed": randomness.uniform(0.1, 0.8), "gas": randomness.uniform(0.0, 0.3)}
    if randomness.chance(0.3):
        contents["oral contrast"] = randomness.uniform(0.5, 3.0)
    dice = iter(randomness.rand(4 * len(places) + 400).tolist())

    def neighbours(cell: tuple[int, int, int]) -> list[tuple[int, int, int]]:
        x, y, z = cell
        around = ((x - 1, y, z), (x + 1, y, z), (x, y - 1, z), (x, y + 1, z), (x, y, z - 1), (x, y, z + 1))
        return [each for each in around if each in places]

    wall = randomness.uniform(1.8, 3.2)
    while places:
        cells = list(places)
        cell = cells[int(next(dice, 0.5) * len(cells))]
        way = [places.pop(cell)]
        while len(way) < 7 and (onward := neighbours(cell)):
            # First to places that would otherwise be left alone.
            cell = min(onward, key=lambda each: len(neighbours(each)) + 2.5 * next(dice, 0.5))
            way.append(places.pop(cell))
        if len(way) == 1:
            x, y, z = way[0]
            way.append((x + 0.5 * spacing, y, z))
        content = randomness.pick(contents)
        thin = 0.7 if content == "collapsed" else 1.0
        radii = [calibre * thin * (0.88 + 0.24 * next(dice, 0.5)) for _ in way]
        inner = {"collapsed": "soft organ", "gas": "bowel content"}.get(content, content)
        layers = ((0.0, "bowel wall"), (wall * (1.6 if content == "collapsed" else 1.0), inner))
        outer = add_tube(body, "small bowel", layers, way, radii)
        if content == "gas":
            front = min(place[1] for place in way) - calibre
            add_inside(body, outer, "gas", wall, in_front_of(front + randomness.uniform(0.8, 3.0) * calibre))


def _bowel_places(body: Body, spacing: float) -> dict[tuple[int, int, int], Vector]:
    """Places about ``spacing`` mm from each other where small bowel can be, by their number along each axis."""
    randomness = body.randomness
    width, front = body.vary(94.0, 0.08), randomness.uniform(0.75, 0.88)
    top, floor = randomness.uniform(-38.0, -18.0), randomness.uniform(-212.0, -185.0)
    start = (randomness.rand(3) * spacing).tolist()
    cells = list(itertools.product(range(-8, 9), range(-5, 3), range(-11, 1)))
    places: dict[tuple[int, int, int], Vector] = {}
    jitter = ((randomness.rand(len(cells), 3) - 0.5) * (0.4 * spacing)).tolist()
    for cell, moved in zip(cells, jitter, strict=True):
        x, y, z = (number * spacing + start[axis] + moved[axis] for axis, number in enumerate(cell))
        # Every other layer is moved, so that loops lie in the furrows of others.
        x += 0.5 * spacing * (cell[2] % 2)
        # The loops reach higher on the left; the pelvis is narrower.
        inner = 55.0 if z < -160.0 else width
        back = 35.0 if z < -140.0 else 8.0 + 0.35 * max(abs(x) - 25.0, 0.0)
        if floor < z < top + 0.15 * x and abs(x) < inner and y < back:
            depth = CAVITY_DEPTH * (0.75 if z < -160.0 else front)
            if (x / (inner + 25.0)) ** 2 + (min(y - CAVITY_MIDDLE, 0.0) / depth) ** 2 < 1.0:
                places[cell] = (x, y, z)
    return places


def add_colon(body: Body, splenic_flexure: Vector) -> None:
    """Ascending, transverse, descending and sigmoid colon, and the rectum; ends inside of each other."""
    randomness = body.randomness
    calibre = randomness.uniform(0.85, 1.15)
    sag = randomness.uniform(-25.0, 35.0)
    right = body.near(-84, -12, -60, 5)
    caecum, ileal = body.near(-82, -12, -158, 6), body.near(-93, 8, -125, 4)
    crossing = body.near(2, -60, -58 - sag, 5)
    left = body.near(102, 34, -105, 4)
    fossa = body.near(84, 14, -152, 4)
    junction = body.near(0, 44, -172, 3)
    loop = randomness.uniform(0.0, 30.0)
    parts: list[tuple[list[Vector], list[float]]] = [
        ([caecum, ileal, body.near(-104, 14, -88, 4), right], [25.0, 24.0, 22.0, 20.0]),
        ([right, body.near(-48, -52, -62 - 0.6 * sag, 5), crossing], [20.0, 19.0, 18.0]),
        ([crossing, body.near(45, -54, -48 - 0.6 * sag, 5), splenic_flexure], [18.0, 17.0, 16.0]),
        ([splenic_flexure, body.near(109, 34, -50, 3), left, fossa], [16.0, 14.0, 13.0, 13.0]),
        (
            [fossa, body.near(48, -8, -176 + loop, 8), body.near(8, -8, -168 + 1.5 * loop, 8), junction],
            [13.0, 14.0, 14.0, 14.0],
        ),
        (
            [junction, body.near(0, 56, -205, 3), body.near(0, 45, -240, 2), (0.0, 40.0, -262.0)],
            [15.0, 18.0, 15.0, 9.0],
        ),
    ]
    wall = randomness.uniform(2.0, 3.5)
    for number, (nodes, widths) in enumerate(parts):
        content = randomness.pick(
            {"stool": 0.45, "gas": 0.3, "bowel content": 0.15, "oral contrast": 0.05, "none": 0.2}
        )
        size = calibre * randomness.uniform(0.85, 1.15) * (0.65 if content == "none" else 1.0)
        radii = [width * size for width in widths]
        inner = {"gas": "stool", "none": "soft organ"}.get(content, content)
        folds = (randomness.uniform(20.0, 32.0), 0.3 * radii[0]) if number < 5 else None
        layers = ((0.0, "bowel wall"), (wall, inner))
        outer = add_tube(body, "colon", layers, nodes, radii, (1.2, randomness.uniform(25.0, 45.0)), folds, cavity)
        if content == "none":
            continue
        if number in (1, 2, 3):
            # No wall across the way where two pieces meet.
            body.solid("colon", inner, nodes[0], [0.75 * radii[0]] * 3)
        if content == "stool":
            pockets, share = waves(randomness.uniform(9.0, 18.0), randomness), randomness.uniform(0.2, 0.9)
            speck = "gas" if randomness.chance(0.7) else "bowel content"
            add_inside(body, outer, speck, wall + 1.5, patches(pockets, share, 3.0))
        elif content == "gas" or randomness.chance(0.4):
            middle = sum(node[1] for node in nodes) / len(nodes)
            add_inside(body, outer, "gas", wall, in_front_of(middle + randomness.uniform(-0.5, 1.5) * radii[0]))


def add_stomach(body: Body) -> Vector:
    """From below the left dome to the front and across the midline; returns the pylorus (mm)."""
    randomness = body.randomness
    collapsed = randomness.chance(0.25)
    size = randomness.uniform(0.5, 0.65) if collapsed else randomness.uniform(0.75, 1.08)
    pylorus = body.near(-24, -30, -2, 4)
    sag = randomness.uniform(-10.0, 22.0)
    nodes = [
        body.near(60, 4, 54 + 4.0 / size, 3),
        body.near(62, -13, 34, 4),
        body.near(54, -34, 8 - 0.4 * sag, 4),
        body.near(26, -48, -12 - sag, 4),
        pylorus,
    ]
    radii = [36.0 * size, 36.0 * size, 29.0 * size, 20.0 * size, 9.0]
    wall = randomness.uniform(5.0, 8.0) if collapsed else randomness.uniform(2.8, 4.5)
    outer = add_tube(body, "stomach", "bowel wall", nodes, radii, (1.8, 45.0), None, cavity)
    content = randomness.pick({"bowel content": 0.5, "water": 0.25, "oral contrast": 0.15, "stool": 0.1})
    folds = waves(randomness.uniform(9.0, 15.0), randomness)
    height = 2.0 if collapsed else 1.0

    def lumen(points: Tensor) -> Tensor:
        return outer.level(points).sub_(wall).add_(folds(points), alpha=height)

    body.add("stomach", content, lumen, outer.low.tolist(), outer.high.tolist())
    if content == "bowel content" and randomness.chance(0.6):
        # A meal: lumps in the fluid.
        lumps = waves(randomness.uniform(10.0, 22.0), randomness)
        add_inside(body, outer, "stool", wall + 1.0, patches(lumps, 0.3, 4.0))
    if randomness.chance(0.85):
        surface = randomness.uniform(-55.0, -40.0) if collapsed else randomness.uniform(-58.0, -22.0)
        add_inside(body, outer, "gas", wall, in_front_of(surface))
    return pylorus


def add_duodenum(body: Body, pylorus: Vector) -> None:
    """A C round the head of the pancreas, then to the left between the aorta and the mesenteric vessels."""
    randomness = body.randomness
    size = randomness.uniform(0.8, 1.1)
    x, y, z = pylorus
    down, low = body.near(-54, 6, -16, 3), body.near(-50, 14, -52, 3)
    layers = ((0.0, "bowel wall"), (2.6, randomness.pick({"bowel content": 0.6, "oral contrast": 0.15, "water": 0.25})))
    first: list[Vector] = [(x - 6.0, y + 2.0, z + 2.0), body.near(-46, -16, 3, 3), down, low]
    second: list[Vector] = [low, body.near(-18, 8, -62, 2), body.near(14, 9, -54, 2), body.near(32, 2, -26, 3)]
    for path, radii in ((first, [11.0, 13.0, 12.0, 11.0]), (second, [11.0, 9.0, 9.5, 11.0])):
        outer = add_tube(body, "duodenum", layers, path, [size * radius for radius in radii], (0.8, 14.0))
        if randomness.chance(0.3):
            add_inside(body, outer, "gas", 2.6, in_front_of(min(place[1] for place in path) + 2.0))
