"""Tumours, cysts, metastases and enlarged nodes in computed bodies."""

from __future__ import annotations

import torch
from torch import Tensor

from ..shapes import random_solid
from .structures import Body, Structure, grown

LESION = "lesion"

_FAMILIES = {"lobulated": 0.55, "ellipsoid": 0.4, "crescent": 0.05}

_TRIES = 400


def add_lesion(body: Body, hosts: list[Structure], largest: float) -> bool:
    """Paint a lesion called `LESION` into one of some structures, or at its border.

    Args:
        hosts: in which it may lie.
        largest: its half-size in mm at most.

    Returns:
        whether a place was found.
    """
    randomness = body.randomness
    if not hosts:
        return False
    host = hosts[randomness.integer(0, len(hosts) - 1)]
    place = _inside(body, host)
    if place is None:
        return False
    size = randomness.log_uniform(min(4.0, largest), largest)
    # Tumours between muscles and along vessels are longer than wide.
    stretch = torch.tensor([1.0, 1.0, randomness.log_uniform(0.7, 1.8)])
    solid = random_solid(randomness, randomness.pick(_FAMILIES))
    keeps_within = randomness.uniform(0.0, 0.35) * size if randomness.chance(0.6) else None

    def level(points: Tensor) -> Tensor:
        local = (points - place[:, None]) / (size * stretch)[:, None]
        found = solid(local).mul_(size)
        return found if keeps_within is None else torch.minimum(found, host.level(points) + keeps_within)

    reach = 1.6 * size * stretch
    low, high = (place - reach).tolist(), (place + reach).tolist()
    if randomness.chance(0.2):
        rim = randomness.uniform(0.15, 0.8) * size
        wide = reach + rim
        body.add("", "oedema", grown(level, rim), (place - wide).tolist(), (place + wide).tolist())
    kind = randomness.pick({"solid": 0.45, "core": 0.3, "cyst": 0.12, "patchy": 0.13})
    layers = {
        "solid": ((0.0, "lesion"),),
        "core": ((0.0, "lesion"), (randomness.uniform(0.1, 0.5) * size, "lesion core")),
        "cyst": ((0.0, "lesion core"),),
        "patchy": ((0.0, "lesion"),),
    }[kind]
    body.add(LESION, layers, level, low, high)
    if kind == "patchy":
        for _ in range(randomness.integer(1, 4)):
            spot = place + 0.5 * size * randomness.normal(3).clamp(-1.2, 1.2)
            radius = randomness.uniform(0.12, 0.4) * size
            tissue = "lesion core" if randomness.chance(0.75) else "calcification"

            def patch(points: Tensor, spot: Tensor = spot, radius: float = radius) -> Tensor:
                return torch.minimum(radius - (points - spot[:, None]).norm(dim=0), level(points) - 0.5)

            body.add(LESION, tissue, patch, (spot - radius).tolist(), (spot + radius).tolist())
    return True


def _inside(body: Body, host: Structure) -> Tensor | None:
    """(3,) a place in mm inside a structure, any depth being as likely."""
    share = body.randomness.rand(3, _TRIES)
    points = host.low[:, None] + (host.high - host.low)[:, None] * share
    within = torch.nonzero(host.level(points.clone()) > 0.0)[:, 0]
    return points[:, within[0]] if len(within) else None
