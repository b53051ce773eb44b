"""Who is scanned: the structures with a truth, and the sizes and places that differ between two people."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .shapes import Vector

#: Name -> label value of every structure with a truth mask.
ORGANS = {
    "liver": 1,
    "liver tumour": 2,
    "left kidney": 3,
    "right kidney": 4,
    "spleen": 5,
    "aorta": 6,
    "inferior vena cava": 7,
    "gallbladder": 8,
    "stomach": 9,
    "pancreas": 10,
    "spine": 11,
}

#: Structures that lie inside another one and belong to it.
PARTS = {"liver": ("liver tumour",)}


@dataclass
class Body:
    """One person: sizes and places that vary with the seed.

    Attributes:
        generator: source of all variation.
        size: of the organs, around 1.
        liver_offset, tumour_centre, tumour_radius: mm.
    """

    generator: np.random.Generator
    size: float
    liver_offset: np.ndarray
    tumour_centre: Vector
    tumour_radius: float

    @classmethod
    def from_seed(cls, seed: int) -> Body:
        generator = np.random.default_rng(seed)
        offset = generator.uniform(-5, 5, 3)
        middle = np.array((-88.0, -8.0, 22.0)) + offset + generator.uniform(-12, 12, 3)
        return cls(
            generator,
            float(generator.uniform(0.95, 1.05)),
            offset,
            (float(middle[0]), float(middle[1]), float(middle[2])),
            float(generator.uniform(13, 18)),
        )

    def near(self, x: float, y: float, z: float, spread: float = 3.0) -> Vector:
        """A point moved a little."""
        moved = np.array((x, y, z)) + self.generator.uniform(-spread, spread, 3)
        return float(moved[0]), float(moved[1]), float(moved[2])

    def phase(self) -> Vector:
        a, b, c = self.generator.uniform(0, 2 * np.pi, 3)
        return float(a), float(b), float(c)
