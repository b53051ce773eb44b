"""Computed medial temporal lobes: hippocampus and amygdala, which are outlined more than any other part of a brain.

Positions and lengths are mm; numbers are written for the left side and mirrored for the right one.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..shapes import Level, tube
from .brain import FLUID, GREY, WHITE, Person
from .structures import SIDES, Vector


def add_temporal_lobe(person: Person) -> None:
    """Hippocampus and amygdala with what touches them."""
    body, age = person.body, person.age
    sx, sy, sz = person.scale
    shrunk = 1.0 - 0.18 * age
    for side, sign in SIDES:
        # From the uncus, which is bent inwards, over head and body to the tail under the splenium.
        nodes = [(19.5, -4, -17), (23, -8, -18), (27, -4, -17), (27, 6, -14), (26, 15, -11), (23, 23, -6), (17, 28, 1)]
        bend = person.at((0.0, 0.0, 0.0), 1.0, 1.3)
        places = person.path(nodes, sign, 0.5) + torch.tensor(bend)
        size = person.size("hippocampus", 0.06) * shrunk
        thick = torch.tensor([5.1, 6.3, 6.9, 5.9, 5.4, 4.5, 3.1]) * size
        flatter = person.vary(1.3, 0.06)
        stretch = torch.tensor([1.0, 1.0, flatter])
        ripples, waviness = person.vary(1.1, 0.1), body.randomness.uniform(0.1, 0.5)

        def along(
            offset: tuple[float, float, float],
            more: float,
            first: int = 0,
            wavy: float = 0.0,
            places: Tensor = places,
            thick: Tensor = thick,
            stretch: Tensor = stretch,
            sign: float = sign,
            ripples: float = ripples,
        ) -> tuple[Level, list[float], list[float]]:
            """A pipe flatter than wide, beside the hippocampus, thicker by ``more`` mm; with a box that holds it."""
            moved = places[first:] + torch.tensor(offset) * torch.tensor([sign, 1.0, 1.0])
            inside = (thick[first:] + more).clamp(min=0.4)
            pipe = tube(moved * stretch, inside)
            reach = inside.max() + wavy

            def level(points: Tensor) -> Tensor:
                depth = pipe(points * stretch.to(points)[:, None])
                if wavy:
                    depth = depth.add_(torch.sin(points[0] * ripples + points[1] * 0.4), alpha=wavy)
                return depth

            return level, (moved.amin(0) - reach).tolist(), (moved.amax(0) + reach).tolist()

        def beside(nodes: list[Vector], bend: list[float] = bend, sign: float = sign) -> list[Vector]:
            """Places that have moved with the hippocampus."""
            return [(x + sign * bend[0] / sx, y + bend[1] / sy, z + bend[2] / sz) for x, y, z in nodes]

        white, horn = f"{side} cerebral white matter", body.randomness.uniform(0.2, 1.2) + 2.0 * age
        body.add(white, WHITE, *along((0.8, 0.5, -2.2), 0.6, 1))
        body.add(white, WHITE, *along((3.0, 0.0, 1.5), 1.5 + 0.5 * horn, 2))
        body.add(f"{side} lateral ventricle", FLUID, *along((0.6 + 0.4 * horn, -0.5, 0.8), 0.2 + 0.4 * horn, 1))
        # The choroid fissure: fluid between the hippocampus, the thalamus and the cistern.
        fissure = beside([(20.5, 3, -12), (20.5, 13, -8), (18.5, 23, -2)])
        person.pipe("", FLUID, fissure, [2.0 + age, 2.2 + age, 2.2 + age], sign)
        radii = [each * shrunk**0.5 for each in (7.9, 8.5, 7.8)]
        person.solid(f"{side} amygdala", GREY, (22.0, -12.5, -14.5), radii, sign, (20, 0, -10), weight=1.5)
        body.add("", WHITE, *along((0.3, -0.1, 0.7), 0.2, 2))
        low_high = along((0.0, 0.0, 0.0), 0.0, 0, waviness)
        body.add(f"{side} hippocampus", GREY, *low_high, 4.0)
        fimbria = beside([(21.5, 4, -11), (21.5, 14, -7.5), (19, 23, -1.5), (13, 29, 8)])
        person.pipe("", WHITE, fimbria, [1.0, 1.2, 1.3, 1.4], sign, spread=0.4)
