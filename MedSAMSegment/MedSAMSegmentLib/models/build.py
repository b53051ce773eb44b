"""From a model specification to a network (with arbitrary weights: ``checkpoints`` fills them in).

Hyper-parameters are grouped by part; each group holds keyword arguments of that part's class, so a new family member
is a new set of numbers.  A new family is one function here.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from torch import nn

from ..errors import CheckpointError
from .embedding_neck import SingleLevelNeck
from .fpn_neck import FPNNeck
from .hiera import Hiera
from .image_encoder import ImageEncoder
from .mask_decoder import MaskDecoder
from .memory_attention import MemoryAttention
from .memory_encoder import MemoryEncoder
from .prompt_encoder import PromptEncoder
from .sam import SAM
from .sam2 import SAM2, SAM2Options
from .specification import ModelSpec
from .tiny_vit import TinyViT
from .two_way_transformer import TwoWayTransformer, sam_feed_forward
from .vision_transformer import VisionTransformer

_Part = TypeVar("_Part")


def build_model(spec: ModelSpec) -> nn.Module:
    """The network of ``spec``, in evaluation mode.

    Raises:
        CheckpointError: ``UNKNOWN_ARCHITECTURE`` or ``INVALID_MODEL_SPEC`` (a hyper-parameter no part knows).
    """
    builder = _ARCHITECTURES.get(spec.architecture)
    if builder is None:
        raise CheckpointError(
            "UNKNOWN_ARCHITECTURE",
            f"Model '{spec.name}' needs the architecture '{spec.architecture}', which this version does not have.",
            f"Known architectures: {', '.join(sorted(_ARCHITECTURES))}.",
        )
    groups = HyperParameters(spec.name, spec.hyper_parameters)
    network = builder(groups)
    groups.finish()
    return network.eval()


class HyperParameters:
    """The groups of one specification; each may be used once and none may be left over."""

    def __init__(self, model: str, groups: Mapping[str, Any]) -> None:
        self.model = model
        self.groups = dict(groups)

    def take(self, group: str) -> dict[str, Any]:
        """The keyword arguments of one group; an absent group has none."""
        value = self.groups.pop(group, {})
        if not isinstance(value, Mapping):
            raise self._error(f"'{group}' is not a group of hyper-parameters")
        return dict(value)

    def make(self, part: Callable[..., _Part], group: str, *arguments: Any, **given: Any) -> _Part:
        """``part(*arguments, **given, **group)``, with a clear error for arguments it does not take."""
        return self.call(part, group, self.take(group), *arguments, **given)

    def make_whole(self, build: Callable[..., _Part]) -> _Part:
        """``build(**parameters)`` for an architecture whose parameters are not grouped."""
        chosen, self.groups = self.groups, {}
        return self.call(build, "hyper_parameters", chosen)

    def call(
        self, part: Callable[..., _Part], group: str, chosen: dict[str, Any], *arguments: Any, **given: Any
    ) -> _Part:
        """The same for keyword arguments already taken."""
        unknown = sorted(set(chosen) - set(inspect.signature(part).parameters))
        if unknown:
            raise self._error(f"'{group}' has no parameter '{unknown[0]}'")
        twice = sorted(set(chosen) & set(given))
        if twice:
            raise self._error(f"'{group}.{twice[0]}' follows from the other parts and cannot be set")
        try:
            return part(*arguments, **given, **chosen)
        except (TypeError, ValueError, ZeroDivisionError, IndexError) as error:
            raise self._error(f"'{group}' makes no sense ({error})") from error

    def number(self, name: str, default: int) -> int:
        """A top-level whole number, such as ``hidden_dim``."""
        value = self.groups.pop(name, default)
        if not isinstance(value, int) or isinstance(value, bool) or value <= 0:
            raise self._error(f"'{name}' must be a positive whole number")
        return value

    def finish(self) -> None:
        if self.groups:
            raise self._error(f"'{next(iter(self.groups))}' is not a part of this architecture")

    def _error(self, problem: str) -> CheckpointError:
        return CheckpointError(
            "INVALID_MODEL_SPEC",
            f"Model '{self.model}': hyper-parameters: {problem}.",
            "Correct the catalog or reinstall the package.",
        )


def build_sam2(parameters: HyperParameters) -> SAM2:
    """SAM 2 with a Hiera trunk: groups ``trunk``, ``neck``, ``prompt_encoder``, ``transformer``, ``mask_decoder``,
    ``memory_attention``, ``memory_encoder``, ``options``, numbers ``hidden_dim`` and ``memory_dim``.

    Without any, this is SAM 2.1 tiny (and MedSAM2).
    """
    dim = parameters.number("hidden_dim", 256)
    trunk = parameters.make(Hiera, "trunk")
    neck = parameters.make(FPNNeck, "neck", dim, trunk.channels)
    return _with_memory(parameters, dim, ImageEncoder(trunk, neck, dim, discard=1))


def build_efficient_tam(parameters: HyperParameters) -> SAM2:
    """SAM 2 that looks through a plain vision transformer and decodes without finer features (Xiong et al.,
    "Efficient Track Anything", 2024, arXiv:2411.18933): the groups of :func:`build_sam2`; without any, the tiny one.
    """
    dim = parameters.number("hidden_dim", 256)
    chosen = {"embed_dim": 192, "heads": 3, "position_grid": 14} | parameters.take("trunk")
    fixed = {"class_token_position": True, "relative_positions": False, "perceptron_keys": "layers"}
    trunk = parameters.call(VisionTransformer, "trunk", chosen, **fixed)
    encoder = ImageEncoder(trunk, SingleLevelNeck(dim, trunk.channels), dim)
    # As SAM 2.0, pointers do not tell their distance and slices without the object are not marked.
    options = {"encode_pointer_time": False, "absent_object_embedding": False}
    return _with_memory(parameters, dim, encoder, options, high_resolution=False)


def _with_memory(
    parameters: HyperParameters,
    dim: int,
    image_encoder: ImageEncoder,
    options: Mapping[str, Any] | None = None,
    **decoder: Any,
) -> SAM2:
    """The image encoder with all that follows it in SAM 2."""
    memory_dim = parameters.number("memory_dim", 64)
    transformer = parameters.make(TwoWayTransformer, "transformer", dim)
    return SAM2(
        image_encoder,
        parameters.make(PromptEncoder, "prompt_encoder", dim),
        parameters.make(MaskDecoder, "mask_decoder", dim, transformer, **decoder),
        parameters.make(MemoryAttention, "memory_attention", dim, memory_dim),
        parameters.make(MemoryEncoder, "memory_encoder", dim, memory_dim, stride=image_encoder.stride),
        parameters.make(SAM2Options, "options", **(options or {})),
    )


def build_sam(parameters: HyperParameters) -> SAM:
    """SAM, MedSAM, MedicoSAM: groups ``trunk``, ``prompt_encoder``, ``transformer``, ``mask_decoder``, number
    ``hidden_dim``.  Without any, this is ViT-B.
    """
    dim = parameters.number("hidden_dim", 256)
    return _without_memory(parameters, dim, parameters.make(VisionTransformer, "trunk", neck_dim=dim))


def build_sam_tiny_vit(parameters: HyperParameters) -> SAM:
    """MobileSAM and LiteMedSAM: the groups of :func:`build_sam`; without any, this is MobileSAM."""
    dim = parameters.number("hidden_dim", 256)
    return _without_memory(parameters, dim, parameters.make(TinyViT, "trunk", neck_dim=dim))


def _without_memory(parameters: HyperParameters, dim: int, image_encoder: nn.Module) -> SAM:
    """The image encoder with the head of SAM as it was published first."""
    transformer = parameters.make(TwoWayTransformer, "transformer", dim, feed_forward=sam_feed_forward)
    decoder = parameters.make(
        MaskDecoder,
        "mask_decoder",
        dim,
        transformer,
        iou_sigmoid=False,
        high_resolution=False,
        object_score=False,
        stability=None,
    )
    return SAM(image_encoder, parameters.make(PromptEncoder, "prompt_encoder", dim), decoder)


def _build_embedded(parameters: HyperParameters) -> nn.Module:
    from .embedded import build_embedded

    return parameters.make_whole(build_embedded)


_ARCHITECTURES: dict[str, Callable[[HyperParameters], nn.Module]] = {
    "sam": build_sam,
    "sam-tiny-vit": build_sam_tiny_vit,
    "sam2": build_sam2,
    "efficient-tam": build_efficient_tam,
    "embedded": _build_embedded,
}
