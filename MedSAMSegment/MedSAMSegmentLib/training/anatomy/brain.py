"""Computed brains: folded hemispheres, nuclei and ventricles, the hind brain.

Positions and lengths are mm; numbers are written for the left side and mirrored for the right one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ..fields import Randomness
from ..shapes import Level, squared_norm, tube
from .structures import SIDES, Body, Layers, grown, smooth_union, tilted

WHITE, GREY, DEEP_GREY, FLUID = "white matter", "grey matter", "deep grey matter", "cerebrospinal fluid"


@dataclass
class Person:
    """What all parts of one head share.

    Attributes:
        scale: how much longer than usual everything is along x, y and z.
        age: 0 (full brain) to 1 (shrunken one, with wide fluid spaces).
        sizes: factors already drawn, so that left and right are alike.
        drawn: numbers that :meth:`draw` will give.
    """

    body: Body
    scale: tuple[float, float, float]
    age: float
    sizes: dict[str, float] = field(default_factory=dict)
    drawn: list[float] = field(default_factory=list)

    @classmethod
    def random(cls, randomness: Randomness) -> Person:
        body = Body(randomness)
        overall = body.vary(1.0, 0.03)
        scale = (body.vary(overall, 0.025), body.vary(overall, 0.025), body.vary(overall, 0.025))
        return cls(body, scale, randomness.uniform(0.0, 1.0) ** 1.5)

    def draw(self) -> float:
        """A normal number between -2 and 2; drawn many at a time, since a body takes a thousand of them."""
        if not self.drawn:
            self.drawn = self.body.randomness.normal(512).clamp(-2.0, 2.0).tolist()
        return self.drawn.pop()

    def vary(self, value: float, share: float = 0.12) -> float:
        """As `Body.vary`."""
        return value * (1.0 + share * self.draw())

    def size(self, key: str, share: float = 0.05) -> float:
        """A factor that differs from person to person, hardly from side to side."""
        if key not in self.sizes:
            self.sizes[key] = self.vary(1.0, share)
        return self.vary(self.sizes[key], 0.03)

    def at(self, place: Sequence[float], sign: float = 1.0, spread: float = 0.6) -> list[float]:
        """A place given for the left side, moved by about ``spread`` mm and mirrored where ``sign`` is -1."""
        x, y, z = (each * factor + spread * self.draw() for each, factor in zip(place, self.scale, strict=True))
        return [sign * x, y, z]

    def path(self, nodes: Sequence[Sequence[float]], sign: float = 1.0, spread: float = 0.6) -> Tensor:
        """As :meth:`at`, for several places: (n, 3)."""
        return torch.tensor([self.at(node, sign, spread) for node in nodes])

    def solid(
        self,
        name: str,
        tissue: Layers,
        centre: Sequence[float],
        radii: Sequence[float],
        sign: float = 1.0,
        turn: tuple[float, float, float] = (0.0, 0.0, 0.0),
        exponent: float = 2.0,
        weight: float = 1.0,
    ) -> Level:
        """Paint an ellipsoid turned by degrees about x, y and z."""
        size = self.size(f"{name.split(' ', 1)[-1]} {centre}")
        radii = [self.vary(size * each * factor, 0.03) for each, factor in zip(radii, self.scale, strict=True)]
        more = self.vary(1.0)
        rotation = tilted(more * turn[0], sign * more * turn[1], sign * more * turn[2]) if any(turn) else None
        place = self.at(centre, sign)
        if centre[0] == 0.0:
            place[0] *= 0.3
        return self.body.solid(name, tissue, place, radii, rotation, exponent, weight)

    def pipe(
        self,
        name: str,
        tissue: Layers,
        nodes: Sequence[Sequence[float]],
        radii: Sequence[float],
        sign: float = 1.0,
        weight: float = 1.0,
        spread: float = 0.6,
    ) -> Level:
        """Paint a chain of segments."""
        size = self.size(f"{name.split(' ', 1)[-1]} {nodes[0]}")
        places = [self.at(node, sign, spread) for node in nodes]
        return self.body.pipe(name, tissue, places, [each * size for each in radii], weight)


def _length(vectors: Tensor) -> Tensor:
    """(3, n) to (n,); `torch.linalg.vector_norm` takes far longer along the first axis."""
    return squared_norm(vectors).sqrt_()


def ellipsoid(centre: Sequence[float], radii: Sequence[float]) -> Level:
    """As `superellipsoid`, but in mm to the surface along all axes, for what has layers of an even thickness."""
    middle = torch.tensor([float(each) for each in centre])[:, None]
    inverse = 1.0 / torch.tensor([float(each) for each in radii])[:, None]

    def level(points: Tensor) -> Tensor:
        local = (points - middle.to(points)).mul_(inverse.to(points))
        norm = _length(local)
        slope = _length(local.mul_(inverse.to(points))).clamp_(min=1e-4)
        return (1.0 - norm).mul_(norm.add_(1e-3)).div_(slope)

    return level


@dataclass
class Hulls:
    """Smooth outlines that skull and brain share; both sides are alike but for what is drawn later."""

    vault: Level
    temporal: Level
    fossa: Level
    cerebellum: Level
    gap: float

    @classmethod
    def of(cls, person: Person) -> Hulls:
        vary = person.vary
        sx, sy, sz = person.scale

        def part(x: float, y: float, z: float, a: float, b: float, c: float) -> Level:
            radii = (vary(a * sx, 0.02), vary(b * sy, 0.02), vary(c * sz, 0.02))
            return ellipsoid((x * sx, y * sy, z * sz), radii)

        front, back = part(0, -25, 26, 55, 57, 44), part(0, 22, 24, 66, 66, 50)
        temporal = part(43, 5, -19, 24, 46, 25)
        lobe, vermis = part(23, 53, -33, 30, 29, 23), part(0, 48, -26, 13, 25, 24)
        return cls(
            vault=lambda points: smooth_union(front(points), back(points), 25.0),
            temporal=lambda points: temporal(_folded(points)),
            fossa=part(0, 47, -32, 57, 38, 29),
            cerebellum=lambda points: smooth_union(lobe(_folded(points)), vermis(points), 8.0),
            gap=1.5 + 2.5 * person.age,
        )

    def cavity(self, points: Tensor) -> Tensor:
        """What the skull holds."""
        upper = smooth_union(self.vault(points), self.temporal(points), 6.0)
        return smooth_union(upper, self.fossa(points), 14.0)


def _folded(points: Tensor) -> Tensor:
    """The right half mirrored to the left."""
    folded = points.clone()
    folded[0].abs_()
    return folded


def _folds(randomness: Randomness, centre: Tensor, radii: Tensor, wavelength: float) -> Level:
    """Distance in mm to sheets that stand upright on a hemisphere's surface, where its sulci are."""
    count = 8
    directions = torch.nn.functional.normalize(randomness.normal(count, 3), dim=1)
    waves = directions * (2.0 * math.pi / wavelength) * (0.8 + 0.4 * randomness.rand(count, 1))
    phases = 2.0 * math.pi * randomness.rand(count, 1)

    def level(points: Tensor) -> Tensor:
        outward = points - centre.to(points)
        # Every place is looked up where it would lie on the surface, so that sulci go straight inwards.
        share = _length(outward / radii.to(points)).clamp_(min=0.55)
        # ... though not quite straight.
        sway = torch.sin(0.31 * outward[0] + 0.23 * outward[1] - 0.27 * outward[2]).mul_(0.6)
        angles = torch.addmm(phases.to(points), waves.to(points), outward.div_(share)).add_(sway)
        height = angles.sin().sum(0).abs_()
        slope = _length(waves.to(points).T @ angles.cos_()).clamp_(min=0.1)
        return height.div_(slope).mul_(share)

    return level


def _hemisphere(person: Person, hulls: Hulls, sign: float) -> Level:
    """The pial surface of one hemisphere, positive inside: all that follows is white matter some mm deeper."""
    randomness, vary = person.body.randomness, person.vary
    sx, sy, sz = person.scale
    centre = torch.tensor([[28.0 * sx * sign], [2.0 * sy], [16.0 * sz]])
    folds = _folds(randomness, centre, torch.tensor([[36.0], [82.0], [52.0]]), vary(24.0, 0.08))
    gyrus_nodes = [(23, -17, -25), (25, 0, -24), (24, 18, -19), (17, 38, -8)]
    gyrus = tube(person.path(gyrus_nodes, sign), torch.tensor([9.0, 9.0, 9.0, 8.0]))
    cistern = ellipsoid((0.0, 7.0 * sy, -24.0 * sz), (18.5 * sx, 25.0 * sy, 19.0 * sz))
    half_fissure = 0.7 + 1.2 * person.age
    half_sulcus = 0.35 + 1.0 * person.age * randomness.uniform(0.5, 1.0)
    half_sylvian = 0.8 + 1.8 * person.age * randomness.uniform(0.4, 1.0)
    depth, swing, phase = vary(9.5, 0.1), vary(4.0), randomness.uniform(0.0, 6.28)
    rise, insula, bulge = vary(0.45), vary(40.0, 0.03) * sx, vary(0.006)
    collateral = vary(34.0, 0.05) * sx

    def level(points: Tensor) -> Tensor:
        x, y, z = points[0] * sign, points[1], points[2]
        hull = smooth_union(hulls.vault(points), hulls.temporal(points), 4.0).sub_(hulls.gap)
        hull = torch.maximum(hull, gyrus(points))
        hull = torch.minimum(hull, x - half_fissure)
        hull = torch.minimum(hull, hulls.cerebellum(points).neg_().sub_(2.0))
        hull = torch.minimum(hull, -cistern(points))
        deepest = depth + swing * torch.sin(0.09 * y + 0.11 * z + phase)
        pia = torch.minimum(hull, torch.maximum(folds(points) - half_sulcus, hull - deepest))
        # The lateral fissure: a sheet that rises backwards, in front also between frontal and temporal lobe ...
        inner = 37.0 * sx - 22.0 * ((-15.0 - y) * 0.1).clamp_(0.0, 1.0)
        uneven = 2.5 * torch.sin(0.13 * y + 0.11 * x + phase)
        sheet = torch.maximum(((z - 1.0 - rise * (y + 2.0) - uneven) * 0.9).abs_(), torch.maximum(inner - x, y - 29.0))
        # ... and at its bottom another one, over the insula.
        aside = (x - insula + bulge * ((y + 4.0).square_() + (z - 6.0).square_())).abs_()
        across = torch.sqrt(((y + 4.0) / 25.0).square_() + ((z - 6.0) / 19.0).square_()).sub_(1.0).mul_(19.0)
        fissure = torch.minimum(sheet, torch.maximum(aside, across)).sub_(half_sylvian)
        # The collateral sulcus bounds the parahippocampal gyrus.
        below = torch.maximum((x - collateral - 0.3 * (z + 30.0)).abs_() - half_sulcus, z + 26.0)
        return torch.minimum(torch.minimum(pia, fissure), torch.maximum(below, (y - 10.0).abs_() - 32.0))

    return level


def add_cerebrum(person: Person, hulls: Hulls) -> None:
    """Cortex, white matter and corpus callosum."""
    body = person.body
    sx, sy, sz = person.scale
    for side, sign in SIDES:
        pia = _hemisphere(person, hulls, sign)
        thickness = person.vary(3.0 - 0.5 * person.age, 0.06)
        low, high = [0.0, -86.0 * sy, -48.0 * sz], [72.0 * sx, 94.0 * sy, 80.0 * sz]
        if sign < 0:
            low[0], high[0] = -high[0], 0.0
        body.add(f"{side} cerebral cortex", GREY, pia, low, high, 0.5)
        white = f"{side} cerebral white matter"
        body.add(white, WHITE, grown(pia, -thickness), low, high, 0.5)
        # Nothing folds between the ventricles and the insula.
        person.solid(white, WHITE, (16.5, -3, 7), (16, 38, 21), sign, weight=0.5)
        person.solid(white, WHITE, (22, 34, 10), (14, 26, 13), sign, weight=0.5)
        person.pipe(white, WHITE, ((26, -14, -10), (32, 4, -8), (33, 22, -2)), (8.0, 7.0, 9.0), sign, weight=0.5)
    nodes = [(0, -17, -1), (0, -33, 0), (0, -39, 8), (0, -30, 19), (0, -8, 25), (0, 14, 25), (0, 29, 17), (0, 31, 11)]
    path = person.path(nodes, spread=1.0)
    path[:, 0] = 0.0
    thick = torch.tensor([1.5, 3.0, 5.0, 3.6, 3.0, 3.0, 4.5, 5.0]) * person.vary(1.0 - 0.3 * person.age, 0.1)
    arch, reach = tube(path, thick), 16.0 * sx

    def callosum(points: Tensor) -> Tensor:
        flat = points.clone()
        flat[0] = 0.0
        return torch.minimum(arch(flat), reach - points[0].abs())

    low, high = (path.amin(0) - 6.0).tolist(), (path.amax(0) + 6.0).tolist()
    body.add("corpus callosum", WHITE, callosum, [-reach, *low[1:]], [reach, *high[1:]])


def add_nuclei(person: Person) -> None:
    """Ventricles and what lies about them; their order says which of them covers which."""
    body, age = person.body, person.age
    wide = body.randomness.uniform(0.75, 1.05) + 0.75 * age
    # Fluid below the septum, then the septum and the fornix themselves.
    for side, sign in SIDES:
        ventricle = f"{side} lateral ventricle"
        wider = person.vary(wide, 0.08)
        horn = [
            (7, -32, 6),
            (7, -20, 11),
            (8, -4, 17),
            (11, 12, 18),
            (18, 27, 13),
            (24, 35, 5),
            (21, 50, 4),
            (19, 60, 4),
        ]
        radii = [3.2, 5.0, 4.2, 4.2, 5.0, 6.0, 3.2, 1.2]
        person.pipe(ventricle, FLUID, horn, [each * wider for each in radii], sign, spread=0.9)
        inferior = [(24, 34, 6), (31, 27, -5), (33, 14, -12)]
        person.pipe(ventricle, FLUID, inferior, [5.5 * wider, 3.6 * wider, 2.0 * wider], sign)
        person.solid(f"{side} thalamus", DEEP_GREY, (10, 3, 6), (8.8, 12.5, 9.5), sign, (0, 0, -20))
        person.solid(f"{side} thalamus", DEEP_GREY, (14, 13, 5), (10, 10, 9.5), sign, (0, 0, -25))
        caudate = f"{side} caudate"
        person.solid(caudate, DEEP_GREY, (13, -23, 5), (5.5, 11, 8.5), sign, (20, 0, -14))
        body_nodes = [(13, -18, 9), (16, -6, 17), (19, 8, 20), (24, 21, 17), (28, 28, 8)]
        person.pipe(caudate, DEEP_GREY, body_nodes, [4.5, 3.6, 2.8, 2.2, 1.6], sign)
        person.pipe(caudate, DEEP_GREY, ((28, 28, 8), (33, 22, -2), (34, 8, -8)), [1.6, 1.3, 1.1], sign)
        person.solid("", GREY, (33, -10, 3), (1.2, 17, 14), sign, (0, 8, -8))
        person.solid(f"{side} putamen", DEEP_GREY, (25.5, -11, 2), (5.8, 17.3, 11.8), sign, (0, 12, -17))
        person.solid(f"{side} pallidum", "pallidum", (19.5, -7, 0), (4.4, 10.5, 8.0), sign, (0, 18, -24))
        person.solid("", DEEP_GREY, (10, -21, -5), (5, 6, 5), sign)
    person.pipe("", WHITE, ((0, -24, 8), (0, -10, 14), (0, 10, 17)), (1.2, 1.6, 1.8), spread=0.4)
    person.pipe("third ventricle", FLUID, ((0, -8, -3), (0, 2, -1)), [(1.6 + 1.6 * age)] * 2, spread=0.4)
    person.solid("third ventricle", FLUID, (0, 2, -1), (1.6 + 2.0 * age, 13, 9), turn=(0.01, 0, 0))


def add_hind_brain(person: Person, hulls: Hulls) -> None:
    """Brainstem and cerebellum with the fluid about them."""
    body, age = person.body, person.age
    sx, sy, sz = person.scale
    vary = person.vary
    # In front of the brainstem and below the third ventricle.
    person.solid("", FLUID, (0, -11, -21), (13, 12, 12))
    person.pipe("", FLUID, ((0, 30, -2), (0, 30, -10)), [7.0 + 2.0 * age, 6.0])
    for side, sign in SIDES:
        # About the midbrain, up to the medial face of the temporal lobe.
        ambient = ((15, -3, -15), (17, 6, -13), (16, 17, -8), (11, 27, -3))
        person.pipe("", FLUID, ambient, [3.0, 3.2, 3.4, 4.0], sign)
        spacing, start, width = vary(0.34, 0.08), vary(1.0, 0.5), 0.25 + 0.5 * age
        hub_y, hub_z = 37.0 * sy, -33.0 * sz

        def folia(
            points: Tensor,
            sign: float = sign,
            spacing: float = spacing,
            start: float = start,
            width: float = width,
            hub_y: float = hub_y,
            hub_z: float = hub_z,
        ) -> Tensor:
            """Fissures that fan out from the fourth ventricle, deep ones and many shallow ones between them."""
            hull = torch.minimum(hulls.cerebellum(points), points[0] * sign)
            back, up = points[1] - hub_y, points[2] - hub_z
            turn = torch.atan2(up, back).add_(0.004 * points[0].abs() + start).div_(spacing)
            reach = torch.sqrt(back.square_() + up.square_()).mul_(spacing)
            deep = (turn - turn.round()).abs_().mul_(reach).sub_(width)
            fine = turn.mul_(3.0)
            fine = (fine - fine.round()).abs_().mul_(reach / 3.0).sub_(0.6 * width)
            fine = torch.maximum(fine, hull - 4.0)
            return torch.minimum(hull, torch.minimum(torch.maximum(deep, hull - 11.0), fine))

        low, high = [0.0, 20.0 * sy, -60.0 * sz], [58.0 * sx, 86.0 * sy, 3.0 * sz]
        if sign < 0:
            low[0], high[0] = -high[0], 0.0
        layers = ((0.0, GREY), (1.7, WHITE))
        body.add(f"{side} cerebellum", layers, folia, low, high)
        person.solid(f"{side} cerebellum", WHITE, (15, 42, -33), (12, 11, 8), sign)
        person.pipe(f"{side} cerebellum", WHITE, ((12, 17, -32), (21, 29, -34)), [5.5, 6.0], sign)
        person.solid(f"{side} cerebellum", DEEP_GREY, (14, 43, -32), (5, 6, 3), sign)
        person.solid(f"{side} cerebellum", GREY, (6, 40, -52), (6, 9, 8), sign)
    stem = "brainstem"
    person.solid(stem, "spinal cord", (0, 11, -30), (15.5, 11.5, 13.5))
    for _, sign in SIDES:
        person.pipe("", WHITE, ((14, -1, -2), (11, 2, -8)), [3.0, 4.8], sign)
        person.pipe(stem, WHITE, ((11, 2, -8), (9, 3, -14), (7, 6, -24)), [5.0, 5.0, 5.5], sign)
        person.pipe("", DEEP_GREY, ((4, 5, -8), (11, 9, -6)), [1.3, 1.3], sign)
    person.pipe(stem, "spinal cord", ((0, 10, -7), (0, 12, -14)), [8.5, 9.5], spread=0.4)
    person.pipe(stem, "spinal cord", ((0, 15, -38), (0, 19, -52), (0, 21, -66)), [8.0, 6.6, 5.6], spread=0.4)
    person.solid("fourth ventricle", FLUID, (0, 28, -34), (6.0 + 2.0 * age, 4.5 + age, 11.0), turn=(12, 0, 0))
    person.pipe("", FLUID, ((0, 16, 2), (0, 19, -12), (0, 25, -26)), [0.8 + 0.4 * age] * 3, spread=0.2)
