"""Which parts of a network another runtime than torch may compute.

Each is a function of tensors alone that keeps nothing between calls and does most of the work of its stage: the image
encoder, the reading and the writing of the memory, and the mask decoder.  All tensors have the batch first; a batch of
one serves all objects.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from ..models.mask_decoder import OBJECTS_AT_ONCE

ENCODER = "image_encoder"


@dataclass(frozen=True)
class Part:
    """One method of one module.

    Attributes:
        name: of the part, as files and messages name it.
        module: whose method it is.
        method: its name; it takes tensors.
        single: it returns one tensor, not several.
        compared: which of the results is compared with torch's.
        tolerates_bfloat16: computed in bfloat16 it changes masks only a little.
        varying: (argument, axis) of every length that differs from slice to slice; all other lengths follow from the
            picture's size.
        together: so many objects are worth a computation of their own, other numbers are computed one by one.
    """

    name: str
    module: nn.Module
    method: str
    single: bool = False
    compared: int = 0
    tolerates_bfloat16: bool = False
    varying: tuple[tuple[int, int], ...] = ()
    together: int = 1

    @property
    def exact(self) -> Callable[..., Any]:
        """The method as its class defines it: torch in single precision."""
        method: Callable[..., Any] = getattr(type(self.module), self.method).__get__(self.module)
        return method

    def size(self, given: tuple[Tensor, ...]) -> str:
        """The lengths that a graph is made for: all that do not vary, in one word."""
        objects = ".".join(str(len(tensor)) for tensor in given)
        first = [n for axis, n in enumerate(given[0].shape) if axis > 0 and (0, axis) not in self.varying]
        return f"{objects}-{'x'.join(map(str, first))}"

    def amount(self, given: tuple[Tensor, ...]) -> str:
        """The lengths that vary, each to the next power of two."""
        bits = dict.fromkeys(given[argument].shape[axis].bit_length() for argument, axis in self.varying)
        return "".join(f"-under{1 << length}" for length in bits)


def parts_of(network: nn.Module) -> tuple[Part, ...]:
    """The parts of a network of the SAM family, the image encoder first."""
    parts = [Part(ENCODER, network.get_submodule(ENCODER), "forward", compared=-1, tolerates_bfloat16=True)]
    for name in ("mask_decoder", "sam_mask_decoder"):
        if hasattr(network, name):
            parts.append(
                Part(name, network.get_submodule(name), "compute", varying=((2, 1),), together=OBJECTS_AT_ONCE)
            )
    if hasattr(network, "memory_attention"):
        tokens = ((1, 1), (2, 1), (5, 1), (6, 1))
        reading = network.get_submodule("memory_attention")
        parts.append(Part("memory_attention", reading, "attend", single=True, tolerates_bfloat16=True, varying=tokens))
        parts.append(Part("memory_encoder", network.get_submodule("memory_encoder"), "forward", single=True))
    return tuple(parts)
