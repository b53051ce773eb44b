"""A computed thigh, lower leg or upper arm: bones, muscles with fat between them, vessels and nerves.

Millimetres: x to the left, y to the back, z to the head; the origin lies in the limb's middle.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..fields import Randomness
from ..shapes import Level
from .structures import Body


def limb(randomness: Randomness) -> Body:
    """A limb of its own length, girth and fatness."""
    body = Body(randomness)
    half_length = randomness.uniform(130.0, 220.0)
    girth = randomness.uniform(42.0, 82.0)
    taper = randomness.uniform(0.0, 0.3)
    flat = randomness.uniform(0.85, 1.15)
    fat = randomness.log_uniform(3.0, 32.0)

    def outline(points: Tensor, wider: float) -> Tensor:
        """About mm to a tapering elliptic cylinder ``wider`` mm outside of the muscles."""
        radius = (girth * (1.0 + taper * points[2] / half_length)) + wider
        return radius - torch.sqrt(points[0].square() / flat**2 + points[1].square() * flat**2 + 1e-6)

    reach = 1.5 * (girth + fat) + 10.0
    low, high = (-reach, -reach, -half_length), (reach, reach, half_length)
    body.add("", ((0.0, "skin"), (1.8, "fat")), lambda points: outline(points, fat + 1.8), low, high)
    muscles = body.add("", "muscle", lambda points: outline(points, 0.0), low, high)
    bones = _bone_places(body, girth)
    _add_muscles(body, girth, half_length, muscles)
    _add_vessels(body, girth, half_length, bones)
    for number, (x, y, radius) in enumerate(bones):
        _add_bone(body, "femur" if number == 0 else "fibula", x, y, radius, half_length)
    return body


def _bone_places(body: Body, girth: float) -> list[tuple[float, float, float]]:
    """One bone (thigh, upper arm) or two (lower leg, forearm): x, y and radius of each in mm."""
    first = body.near(0.0, 0.0, 0.0, 0.12 * girth)
    thick = body.randomness.uniform(0.16, 0.24) * girth
    if body.randomness.chance(0.6):
        return [(first[0], first[1], thick)]
    angle = body.randomness.uniform(0.0, 2.0 * math.pi)
    apart = 0.55 * girth
    second = (apart * math.cos(angle), apart * math.sin(angle), 0.55 * thick)
    return [(-0.5 * second[0], -0.5 * second[1], thick), second]


def _add_muscles(body: Body, girth: float, half_length: float, inside: Level) -> None:
    """Muscles that fill the limb under its fascia, side by side, each in a thin layer of fat."""
    randomness = body.randomness
    septum = randomness.uniform(0.2, 2.0)
    count = randomness.integer(6, 13)
    start = randomness.uniform(0.0, 2.0 * math.pi)
    outer = max(4, round(0.65 * count))
    places = []
    for number in range(count):
        ring, turn = (0.72, number / outer) if number < outer else (0.34, (number - outer) / (count - outer))
        angle = start + 2.0 * math.pi * turn + randomness.uniform(-0.3, 0.3)
        places.append([girth * ring * math.cos(angle), girth * ring * math.sin(angle)])
    middles = torch.tensor(places) + 0.06 * girth * randomness.normal(count, 2)
    # Where a muscle lies changes along the limb, and it gives way to others towards its ends.
    slopes = 0.12 * randomness.normal(count, 2)
    centres = 0.5 * half_length * randomness.normal(count)
    fullness = (0.1 * girth * randomness.normal(count)).clamp(min=-0.15 * girth) * girth
    endings = randomness.rand(count) * 0.45 * (girth / half_length) ** 2

    def scores(points: Tensor) -> Tensor:
        """(muscles, n) half the squared distances to the muscles' middles, the nearest the largest."""
        x, y, z = points
        across = (x - middles[:, :1] - slopes[:, :1] * z).square() + (y - middles[:, 1:] - slopes[:, 1:] * z).square()
        return 0.5 * (fullness[:, None] - across - endings[:, None] * (z - centres[:, None]).square())

    low, high = (-1.5 * girth, -1.5 * girth, -half_length), (1.5 * girth, 1.5 * girth, half_length)
    body.add("", "fat", lambda points: inside(points) - 0.5, low, high)
    apart = torch.cdist(middles, middles).fill_diagonal_(1.0).clamp(min=4.0)
    for number in range(count):

        def level(points: Tensor, number: int = number) -> Tensor:
            every = scores(points)
            ahead = (every[number] - every) / apart[number][:, None]
            ahead[number] = inside(points)
            return ahead.amin(dim=0) - 0.5 * septum

        body.add(f"muscle {number + 1}", "muscle", level, low, high, weight=0.5)


def _add_vessels(body: Body, girth: float, half_length: float, bones: list[tuple[float, float, float]]) -> None:
    """Artery, vein and nerve in their bed of fat, and veins under the skin."""
    randomness = body.randomness
    angle = randomness.uniform(0.0, 2.0 * math.pi)
    away = bones[0][2] + randomness.uniform(8.0, 18.0)
    x, y = bones[0][0] + away * math.cos(angle), bones[0][1] + away * math.sin(angle)
    ends = (-half_length, 0.0, half_length)
    path = [body.near(x, y, z, 3.0) for z in ends]
    body.pipe("", "fat", path, randomness.uniform(7.0, 11.0))
    body.pipe("artery", "artery", path, body.vary(3.2, 0.25))
    body.pipe("vein", "vein", [(px + 5.0, py + 4.0, pz) for px, py, pz in path], body.vary(4.0, 0.3))
    nerve = [body.near(-1.3 * x, -1.3 * y, z, 3.0) for z in ends]
    body.pipe("", "fat", nerve, 8.0)
    body.pipe("", "tendon", nerve, body.vary(3.5, 0.3))
    for _ in range(randomness.integer(0, 4)):
        turned = randomness.uniform(0.0, 2.0 * math.pi)
        under = girth + randomness.uniform(3.0, 6.0)
        body.pipe("", "vein", [body.near(under * math.cos(turned), under * math.sin(turned), z) for z in ends], 1.6)


def _add_bone(body: Body, name: str, x: float, y: float, radius: float, half_length: float) -> None:
    """A shaft with a marrow cavity; at one end it may widen to a joint."""
    shell = body.randomness.uniform(0.25, 0.45) * radius
    bend = body.randomness.uniform(-8.0, 8.0)
    path = [(x, y, -half_length), (x + bend, y - bend, 0.0), (x, y, half_length)]
    widths = [body.vary(radius), radius, body.vary(radius)]
    body.pipe(name, ((0.0, "cortical bone"), (shell, "bone marrow")), path, widths)
    if body.randomness.chance(0.4):
        end = half_length * (1.0 if body.randomness.chance(0.5) else -1.0) * 0.8
        layers = ((0.0, "cortical bone"), (1.8, "spongy bone"))
        body.solid(name, layers, (x, y, end), (2.3 * radius, 2.0 * radius, 2.6 * radius))
