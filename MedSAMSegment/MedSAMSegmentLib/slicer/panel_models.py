"""What the panel says about models and windows before any network is loaded."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import slicer
from slicer.i18n import tr as _

from ..checkpoints import list_models
from ..errors import MedSAMSegmentError

if TYPE_CHECKING:
    from ..models.specification import ModelSpec

TRACKED = ("embedded", "sam2", "efficient-tam", "sam", "sam-tiny-vit")
"""Architectures that segment volumes."""


def choosable_models() -> list[ModelSpec]:
    """The models of the catalog that segment volumes, the default one first."""
    return [spec for spec in list_models() if spec.architecture in TRACKED]


def chosen_model(name: str) -> ModelSpec:
    """One of :func:`choosable_models`."""
    return next(spec for spec in choosable_models() if spec.name == name)


def is_here(spec: ModelSpec) -> bool:
    """Whether the weights are on this computer."""
    from ..checkpoints import cached_checkpoint

    try:
        cached_checkpoint(spec)
    except (MedSAMSegmentError, ImportError):
        return False
    return True


def size_text(spec: ModelSpec) -> str:
    """Size of the weight file in words."""
    known = spec.checkpoint.bytes
    if spec.checkpoint.is_bundled:
        return _("comes with the extension")
    return _("size not known") if known is None else _("{size:.0f} MB").format(size=known / 1e6)


def describe(spec: ModelSpec, checkpoint: str) -> str:
    """Size and licence of a model, and whether it can be used now."""
    if checkpoint:
        state = _("your own weights")
    elif is_here(spec):
        state = _("ready")
    else:
        state = _("not downloaded yet")
    return _("Weights: {size}, {state}. Licence: {licence}. {summary}").format(
        size=size_text(spec),
        state=state,
        licence=spec.licence.identifier,
        summary=spec.licence.summary,
    )


def windows() -> list[tuple[str, str]]:
    """Choices of a window: value and text."""
    from ..volume.window import CT_PRESETS

    presets = [(name, f"{name.capitalize()} ({level:g}/{width:g} HU)") for name, (width, level) in CT_PRESETS.items()]
    return [
        ("auto", _("Automatic")),
        *presets,
        ("percentile", _("Percentiles (MR, PET)")),
        ("display", _("As displayed now")),
        ("custom", _("Level / width:")),
    ]


def agrees_to_download(terms: Any) -> bool:
    """Whether the user wants to download weights, knowing from where, how large they are and under which licence."""
    size = _("size not known") if terms["bytes"] is None else _("{size:.0f} MB").format(size=terms["bytes"] / 1e6)
    question = _(
        "Download the weights of {title} ({size}) from {hosts}?\n\nLicence: {licence}. {summary}\n\n{checked}\n"
        "They go to {folder}. Nothing of your data is sent."
    ).format(
        title=terms["title"],
        size=size,
        hosts=", ".join(terms["hosts"]),
        licence=terms["licence"],
        summary=terms["summary"],
        checked=terms["checked_by"],
        folder=terms["folder"],
    )
    return bool(slicer.util.confirmOkCancelDisplay(question, windowTitle=_("Download weights")))
