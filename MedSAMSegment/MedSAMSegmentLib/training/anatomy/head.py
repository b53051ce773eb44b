"""Computed heads: skin, skull, brain, eyes, sinuses, jaws and the first vertebrae; none of them a person's.

Positions and lengths are mm; the origin lies between the two thalami.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..fields import Randomness
from ..shapes import tube
from .brain import (
    FLUID,
    Hulls,
    Person,
    add_cerebrum,
    add_hind_brain,
    add_nuclei,
    ellipsoid,
)
from .structures import SIDES, Body, smooth_union
from .temporal_lobe import add_temporal_lobe

_BOTTOM, _END = -126.0, -117.0
"""Where the neck is cut off, and where what runs down in it ends."""

BONE = ((0.0, "cortical bone"), (1.3, "spongy bone"))


def head(randomness: Randomness) -> Body:
    """One random person's head."""
    person = Person.random(randomness)
    hulls = Hulls.of(person)
    _add_soft_parts(person, hulls)
    _add_neck(person)
    _add_face(person)
    _add_skull(person, hulls)
    _add_orbits(person)
    add_cerebrum(person, hulls)
    add_nuclei(person)
    add_hind_brain(person, hulls)
    add_temporal_lobe(person)
    _add_about_the_sella(person)
    return person.body


def _add_soft_parts(person: Person, hulls: Hulls) -> None:
    """Skin, fat below it, and muscle wherever nothing else will be."""
    body = person.body
    sx, sy, sz = person.scale
    scalp = person.vary(13.0, 0.12)
    face = ellipsoid((0, -34 * sy, -60 * sz), (person.vary(64 * sx, 0.05), person.vary(64 * sy, 0.03), 64 * sz))
    neck = tube(torch.tensor([[0.0, 6.0, -60.0], [0.0, 14.0, -150.0]]), torch.full((2,), person.vary(58.0, 0.08)))
    temples = [(x * sx, y * sy, -18 * sz) for x, y in ((-48, -54), (-28, -71), (28, -71), (48, -54))]
    brow = tube(torch.tensor(temples), torch.tensor([16.0, 17.0, 17.0, 16.0]))

    def level(points: Tensor) -> Tensor:
        outside = smooth_union(hulls.cavity(points).add_(scalp), face(points), 16.0)
        outside = smooth_union(outside, brow(points), 10.0)
        return smooth_union(outside, neck(points), 16.0).minimum(points[2] - _BOTTOM)

    low, high = [-90 * sx, -108 * sy, _BOTTOM], [90 * sx, 112 * sy, 94 * sz]
    fat = 2.0 + body.randomness.log_uniform(2.0, 8.0)
    nose = [(0, -84, -26), (0, -98, -48), (0, -88, -58)]
    person.pipe("", ((0.0, "skin"), (2.0, "cartilage")), nose, (4.0, 9.0, 8.0))
    for _, sign in SIDES:
        person.solid("", ((0.0, "skin"), (1.5, "cartilage")), (76, 14, -36), (9, 16, 30), sign, (0, -12, 20))
    body.add("", ((0.0, "skin"), (1.8, "fat"), (fat, "muscle")), level, low, high)


def _add_neck(person: Person) -> None:
    """Vertebrae with their canal, the throat, vessels and glands."""
    gap = person.vary(18.0, 0.06)
    person.pipe("", "gas", ((0, -28, -52), (0, -16, -70), (0, -14, -95), (0, -16, _END)), (9.0, 8.0, 7.0, 8.0))
    for side, sign in SIDES:
        for centre, radii in (
            ((24, 52, -88), (20, 14, 34)),
            ((42, 22, -94), (10, 16, 30)),
            ((14, 2, -96), (9, 6, 30)),
        ):
            fascia = ((0.0, "fat"), (1.2, "muscle"))
            person.solid("", fascia, centre, radii, sign)
        person.pipe("", "artery", ((20, 2, _END), (22, 2, -80), (24, 4, -50)), (3.5, 2.8, 2.5), sign)
        person.pipe("", "vein", ((28, 8, _END), (28, 8, -80), (27, 12, -52)), (5.5, 4.5, 4.0), sign)
        gland = f"{side} parotid gland"
        person.solid(gland, "gland", (57, 4, -66), (11, 15, 24), sign, (0, 8, 20))
        person.solid(gland, "gland", (61, -14, -62), (5, 16, 13), sign, (0, 6, 12))
        person.solid(f"{side} submandibular gland", "gland", (32, -26, -104), (8, 16, 11), sign)
    for number in range(1, 4):
        name, z = f"vertebra C{number}", -70.0 - gap * (number - 1)
        if number > 1:
            person.solid(name, BONE, (0, 5, z), (9.5, 8, 7.5), exponent=3.0)
            person.pipe(name, BONE, ((0, 38, z - 3), (0, 52, z - 7)), (4.0, 4.5))
        if number == 2:
            person.pipe(name, BONE, ((0, 4, z), (0, 3, z + 24)), (6.0, 4.5))
            person.solid("", "disc", (0, 5, z - 0.5 * gap), (8.5, 7.5, 2.6), exponent=3.0)
        for _, sign in SIDES:
            arch = ((0, -5, z), (18, 4, z), (22, 16, z), (12, 32, z), (0, 37, z))
            nodes = arch if number == 1 else arch[1:]
            person.pipe(name, BONE, nodes, (3.5, 5.5, 5.5, 3.2, 3.2)[-len(nodes) :], sign)
            wing = 38 if number == 1 else 27
            person.pipe(name, BONE, ((20, 12, z), (wing, 11, z)), (4.5, 3.5), sign)
            person.pipe("", "artery", ((26, 9, z - 9), (26, 9, z + 9)), (2.0, 2.0), sign)
    canal = [(0, 21, -52), (0, 21, -75), (0, 20, -98), (0, 20, _END)]
    person.pipe("", FLUID, canal, (12.0, 10.0, 9.0, 9.0), spread=0.3)


def _add_face(person: Person) -> None:
    """Jaws, teeth, tongue, chewing muscles and the hollow spaces of the nose."""
    wide = person.size("face", 0.05)
    person.solid("", "fat", (0, -60, -92), (44 * wide, 32, 26))
    person.solid("tongue", "muscle", (0, -54, -90), (23 * wide, 28, 19), turn=(-15, 0, 0))
    person.solid("", BONE, (0, -66, -60), (32 * wide, 24, 20), exponent=3.0)
    aired = person.body.randomness.chance(0.85)
    for side, sign in SIDES:
        fascia = ((0.0, "fat"), (1.2, "muscle"))
        person.solid("", "fat", (44, -50, -62), (12, 14, 18), sign)
        person.solid("", fascia, (62, -18, -10), (6, 32, 34), sign, (0, 10, 0))
        person.solid(f"{side} masseter", fascia, (53, -20, -76), (8, 17, 29), sign, (10, 8, 10))
        person.solid("", fascia, (34, -16, -60), (10, 15, 15), sign, (0, 0, 25))
        person.solid("", fascia, (34, -14, -80), (7, 12, 24), sign, (0, -20, 20))
        jaw = ((51, -5, -45), (50, -4, -62), (46, -8, -92), (38, -34, -104), (22, -66, -108), (0, -80, -108))
        person.pipe("mandible", BONE, jaw, (4.5, 4.5, 6.0, 6.5, 7.0, 8.0), sign)
        person.pipe("mandible", BONE, ((48, -20, -50), (46, -22, -78), (38, -40, -98)), (2.5, 4.0, 6.0), sign)
        person.pipe("", BONE, ((60, -4, -40), (63, -28, -44), (52, -58, -46), (36, -72, -46)), (3.2, 3.2, 5, 7), sign)
        for z, out in ((-82.0, 1.0), (-94.0, 0.94)):
            teeth = [(26 * out, -44, z), (24 * out, -60, z), (15 * out, -74, z), (0, -79, z)]
            person.pipe("", "cortical bone", teeth, (4.5, 4.5, 4.0, 3.8), sign)
        sinus = ((0.0, "cortical bone"), (1.0, "gas" if aired else "soft organ"), (2.5, "gas"))
        person.solid("", sinus, (28 * wide, -60, -58), (14, 17, 17), sign, exponent=2.6)
        person.solid("", "gas", (6, -62, -55), (5.5, 28, 18), sign, exponent=2.6)
        for z in (-48, -58, -67):
            person.pipe("", "soft organ", ((7.5, -78, z), (7.5, -42, z)), (2.6, 2.6), sign)


def _add_skull(person: Person, hulls: Hulls) -> None:
    """The vault with its two tables and the base; then what it holds is fluid until the brain is painted."""
    body = person.body
    sx, sy, sz = person.scale
    thick = person.vary(6.5, 0.15)
    table = person.vary(1.7, 0.15)
    layers = ((0.0, "cortical bone"), (table, "spongy bone"), (thick - table, "cortical bone"))
    low, high = [-82 * sx, -96 * sy, -80 * sz], [82 * sx, 102 * sy, 86 * sz]
    body.add("skull", layers, lambda points: hulls.cavity(points).add_(thick), low, high, 0.5)
    person.solid("skull", BONE, (0, -26, -28), (17, 22, 13), exponent=3.0, weight=0.5)
    person.pipe("skull", BONE, ((0, -12, -26), (0, -3, -40), (0, 7, -54)), (8.0, 7.0, 4.5), weight=0.5)
    person.pipe("skull", BONE, ((0, -81, -18), (0, -87, -38)), (4.5, 2.5), weight=0.5)
    for _, sign in SIDES:
        person.pipe("skull", BONE, ((0, -79, -12), (28, -73, -13), (50, -55, -14)), (5.0, 5.0, 4.5), sign, 0.5)
    body.add("", FLUID, hulls.cavity, low, high)
    # Hard membranes between the halves of the brain show as nothing at these cells; the base rises into the cavity.
    for _, sign in SIDES:
        petrous = ((12, 2, -36), (34, 14, -36), (54, 26, -36))
        person.pipe("skull", ((0.0, "cortical bone"), (3.5, "spongy bone")), petrous, (5.0, 8.0, 12.0), sign, 0.5)
        person.solid("skull", BONE, (60, 28, -50), (9, 12, 16), sign, weight=0.5)
        for cell in ((58, 24, -38), (60, 32, -46), (62, 24, -52), (52, 18, -38), (54, 32, -40)):
            person.solid("", "gas", cell, (3.5, 4, 4.5), sign)
        person.pipe("", "gas", ((48, 14, -38), (76, 8, -40)), (3.0, 3.5), sign)
        person.pipe("skull", BONE, ((12, -26, -18), (34, -36, -16), (54, -38, -8)), (3.5, 3.0, 2.5), sign, 0.5)
    person.pipe("", FLUID, ((0, 20, -44), (0, 21, -66)), (13.0, 12.0))
    cord = ((0.0, "spinal cord"), (2.6, "cord grey matter"))
    nodes = ((0, 21, -62), (0, 21, -75), (0, 20, -98), (0, 20, _END))
    person.pipe("spinal cord", cord, nodes, (5.6, 5.2, 5.2, 5.2), spread=0.3)
    hollow = ((0.0, "cortical bone"), (1.0, "gas"))
    for _, sign in SIDES:
        person.solid("", hollow, (8, -32, -31), (9, 12, 9), sign, exponent=2.5)
        if body.randomness.chance(0.8):
            person.solid("", hollow, (10, -86, -6), (12, 6, 11), sign, (15, 0, 8))
        for y in (-46, -57, -68):
            person.solid("", hollow, (5.5, y, -34), (6, 6.5, 9), sign, exponent=3.0)


def _add_orbits(person: Person) -> None:
    """Eyes with lens and optic nerve, in fat with muscles, in bone."""
    apart = person.size("apart", 0.03)
    for side, sign in SIDES:
        cone = ((31 * apart, -63, -33), (26, -48, -30), (15, -28, -24))
        person.pipe("", ((0.0, "cortical bone"), (1.6, "fat")), cone, (17.5, 15.5, 6.5), sign, spread=0.4)
        eye, apex = (32 * apart, -66, -33), (14, -28, -24)
        for dx, dz in ((0, 11), (0, -11), (11, 0), (-10, 0)):
            middle = (26 + dx, -48, -30 + dz)
            person.pipe(
                "", "muscle", (apex, middle, (eye[0] + dx, -64, eye[2] + dz)), (1.2, 2.4, 1.3), sign, spread=0.3
            )
        nerve = (eye, (25, -46, -30), apex, (7, -16, -17), (0, -10, -14))
        person.pipe(f"{side} optic nerve", "white matter", nerve[:3], (2.2, 2.0, 2.0), sign, spread=0.3)
        ball = ((0.0, "muscle"), (1.2, "vitreous"))
        person.solid(f"{side} eye", ball, eye, (11.9, 11.9, 11.9), sign, weight=1.5)
        person.solid(f"{side} eye", "cartilage", (eye[0], eye[1] - 8.0, eye[2]), (4.6, 2.2, 4.6), sign, weight=1.5)
        person.solid("", "gland", (eye[0] + 11, -66, -23), (3, 6, 5), sign)


def _add_about_the_sella(person: Person) -> None:
    """Pituitary gland with its stalk, crossing optic nerves, and arteries at the base of the brain."""
    person.solid("pituitary gland", "gland", (0, -17, -25), (6.5, 5, 4))
    person.pipe("", "gland", ((0, -16, -22), (0, -10, -12)), (1.2, 1.4), spread=0.3)
    for _, sign in SIDES:
        person.pipe(
            "", "white matter", ((14, -28, -22), (6, -15, -16), (0, -10, -14)), (2.0, 2.2, 2.2), sign, spread=0.3
        )
        person.pipe("", "white matter", ((0, -10, -14), (11, -1, -10), (18, 8, -5)), (2.2, 1.8, 1.6), sign, spread=0.3)
        vessel = ((11, -12, -38), (11, -16, -26), (12, -20, -16), (24, -19, -14), (38, -14, -6))
        person.pipe("", "artery", vessel, (2.5, 2.5, 2.0, 1.4, 1.2), sign)
    person.pipe("", "artery", ((0, 6, -50), (0, -3, -32), (0, -4, -18)), (1.6, 1.7, 1.6), spread=0.4)
