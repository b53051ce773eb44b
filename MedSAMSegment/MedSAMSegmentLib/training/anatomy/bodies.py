"""Which computed body a training sample comes from, and round what in it a box is drawn."""

from __future__ import annotations

import re
from collections.abc import Callable

from ..fields import Randomness
from .head import head
from .lesions import LESION, add_lesion
from .limb import limb
from .scene import AnatomyScene
from .structures import Body, Structure
from .torso import torso

_BODIES: dict[str, Callable[[Randomness], Body]] = {"torso": torso, "head": head, "limb": limb}
_CHANCES = {"torso": 0.5, "head": 0.27, "limb": 0.23}

# How often the box is drawn round a lesion, and how large one is at most: half of its size in mm.
_LESIONS = {"torso": (0.2, 35.0), "head": (0.12, 22.0), "limb": (0.75, 60.0)}

# What tumours grow in, by tissue.
_HOSTS = (
    "liver",
    "lung",
    "spleen",
    "kidney cortex",
    "pancreas",
    "muscle",
    "white matter",
    "grey matter",
    "gland",
    "soft organ",
    "spongy bone",
    "bowel wall",
)


def random_anatomy(randomness: Randomness) -> AnatomyScene:
    """A body of a random kind about a random one of its structures, of which something can be seen."""
    while True:
        kind = randomness.pick(_CHANCES)
        body = _BODIES[kind](randomness)
        chance, largest = _LESIONS[kind]
        if randomness.chance(chance):
            hosts = [each for each in body.structures if each.name and each.layers[0][1] in _HOSTS]
            if not add_lesion(body, hosts, largest):
                continue
            target = LESION
        else:
            target = _drawn_round(body, randomness)
        scene = AnatomyScene.of(body, target, randomness, brain=kind == "head")
        if scene is not None:
            return scene


def _drawn_round(body: Body, randomness: Randomness) -> str:
    """A structure's name; each kind of structure is as likely, of which there may be many (ribs, vertebrae)."""
    kinds: dict[str, list[Structure]] = {}
    for structure in body.structures:
        if structure.name:
            kinds.setdefault(_kind(structure.name), []).append(structure)
    weights = {kind: max(each.weight for each in members) for kind, members in kinds.items()}
    members = sorted({each.name for each in kinds[randomness.pick(weights)]})
    return members[randomness.integer(0, len(members) - 1)]


def _kind(name: str) -> str:
    """The name without its side and its number."""
    return re.sub(r"\b(left|right|[A-Z]?\d+(/[A-Z]?\d+)?)\b", "", name).strip()
