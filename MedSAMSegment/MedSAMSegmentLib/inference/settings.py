"""How a session segments: plain values that travel with every result and every session file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from ..errors import UsageError
from ..prompts.plane import PLANE_NAMES

STRATEGIES = ("auto", "propagate", "per-slice", "hybrid")


@dataclass(frozen=True)
class TrackingSettings:
    """How the object is followed from slice to slice.

    Attributes:
        strategy: ``"auto"``: the whole box at once where the network can see it so, else propagate;
            ``"propagate"``: from the key slice outwards with memory; ``"per-slice"``: the box's rectangle
            prompts every slice on its own; ``"hybrid"``: propagate, and prompt again where confidence falls.
        minimum_iou: a tracked slice is remembered only when its estimated overlap is at least this.
        minimum_object_score: ... and its object score (a logit) is above this.
        memory_stride_mm: remembered slices lie at least this far apart, so that thin slices do not fill the memory
            with copies of the same picture.  The neighbouring slice is always recalled.
        memory_reach_mm: tracked slices further away are not recalled.
        stop_empty_slices, stop_empty_mm: a direction ends after this many empty slices in a row that also span at
            least so many mm.
        reprompt_below: ``"hybrid"`` prompts a slice again when estimated overlap x stability is below this.
    """

    strategy: str = "auto"
    minimum_iou: float = 0.5
    minimum_object_score: float = 0.0
    memory_stride_mm: float = 2.0
    memory_reach_mm: float = 60.0
    stop_empty_slices: int = 3
    stop_empty_mm: float = 6.0
    reprompt_below: float = 0.6

    def __post_init__(self) -> None:
        if self.strategy not in STRATEGIES:
            raise UsageError(
                "UNKNOWN_STRATEGY",
                f"There is no strategy {self.strategy!r}.",
                f"Use one of {', '.join(STRATEGIES)}.",
            )


@dataclass(frozen=True)
class CleanupSettings:
    """What is done to the logits before they become a mask; every step can be switched off.

    Attributes:
        clip: cut off what lies outside the oriented box grown by ``margin_mm``.
        margin_mm: boxes are drawn by hand, and tightly.
        smooth: smooth in 3-D where the network is in doubt.
        smoothing_mm: standard deviation of the Gaussian, the same in all directions.
        keep_component: keep what is connected to the key slice's mask, to drawn masks and to positive clicks.
        fill_holes: fill enclosed cavities up to ``largest_hole`` of the object's volume, unless clicked as outside.
        largest_hole: see above, a fraction.
    """

    clip: bool = True
    margin_mm: float = 3.0
    smooth: bool = True
    smoothing_mm: float = 0.7
    keep_component: bool = True
    fill_holes: bool = True
    largest_hole: float = 0.1

    @classmethod
    def none(cls) -> CleanupSettings:
        """The network's mask as it is."""
        return cls(clip=False, smooth=False, keep_component=False, fill_holes=False)


@dataclass(frozen=True)
class Settings:
    """Everything that, with the prompts and the weights, decides a mask.

    Attributes:
        window: as the user gave it: ``"auto"``, a preset's name or ``"LEVEL/WIDTH"``.
        plane: ``"auto"``, ``"axial"``, ``"sagittal"`` or ``"coronal"``.
        full_slice: show whole slices, stretched, as the official programs do, instead of the box with context.
        official: do exactly what the official programs of the model do, for comparison with published results; see
            ``inference.official_runner``.  Whole slices only.
        slice_margin_mm: track this far beyond the box's ends.
        tracking, cleanup: see there.
    """

    window: str = "auto"
    plane: str = "auto"
    full_slice: bool = False
    official: bool = False
    slice_margin_mm: float = 0.0
    tracking: TrackingSettings = field(default_factory=TrackingSettings)
    cleanup: CleanupSettings = field(default_factory=CleanupSettings)

    def __post_init__(self) -> None:
        if self.plane not in PLANE_NAMES:
            raise UsageError(
                "UNKNOWN_PLANE", f"There is no plane {self.plane!r}.", f"Use one of {', '.join(PLANE_NAMES)}."
            )
        if self.official and not self.full_slice:
            raise UsageError(
                "OPTION_CONFLICT", "The official programs show the model whole slices.", "Ask for whole slices, too."
            )

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Settings:
        """Read :meth:`as_dict`'s form.

        Raises:
            TypeError, ValueError, KeyError: an unknown or missing entry.
            UsageError: an unknown strategy or plane.
        """
        return cls(
            **{name: data[name] for name in ("window", "plane", "full_slice", "slice_margin_mm")},
            official=bool(data.get("official", False)),  # files of the first version know no other way
            tracking=_exactly(TrackingSettings, data["tracking"]),
            cleanup=_exactly(CleanupSettings, data["cleanup"]),
        )


def _exactly(kind: Any, data: Mapping[str, Any]) -> Any:
    """``kind(**data)`` where every field is given: a default must not change what an old file meant."""
    missing = {item.name for item in fields(kind)} - set(data)
    if missing:
        raise KeyError(", ".join(sorted(missing)))
    return kind(**data)
