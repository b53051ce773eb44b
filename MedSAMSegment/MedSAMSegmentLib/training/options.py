"""Everything a training run depends on, as one value that is saved with its checkpoints."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from ..errors import UsageError

BODIES = 0.6
"""How many of the whole boxes are drawn in computed bodies, unless a run says otherwise."""

KINDS = ("volumes", "clicks", "slices", "sequences", "details", "rectangles")


@dataclass(frozen=True)
class Stage:
    """A stretch of training.

    Args:
        kind: ``"volumes"`` (the coarse network on whole boxes), ``"clicks"`` (the network that corrects it),
            ``"slices"`` (every slice on its own), ``"sequences"`` (with the network's memory), ``"details"`` (slices,
            given what the coarse network finds in the whole box) or ``"rectangles"`` (slices, given a rectangle).
        steps: optimiser steps.
        samples, slices: samples a batch, slices a sample (consecutive ones, but for details and rectangles); for whole
            boxes, cells along the slice axis.
        size: rows and columns of the crop in pixels; for whole boxes, cells along the rows and columns.
    """

    kind: str
    steps: int
    samples: int
    slices: int = 1
    size: int = 128

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise UsageError(
                "BAD_STAGE", f"Unknown kind of training stage: {self.kind}.", f"Use one of {', '.join(KINDS)}."
            )
        step = 8 if self.shows_boxes else 16
        if min(self.steps, self.samples, self.slices) < 1 or self.size % step:
            raise UsageError("BAD_STAGE", f"A stage needs positive numbers and a crop size divisible by {step}.")
        if self.shows_boxes and self.slices % step:
            raise UsageError("BAD_STAGE", f"Whole boxes need a number of slices divisible by {step}.")

    @property
    def shows_boxes(self) -> bool:
        """Whether its samples are whole boxes."""
        return self.kind in ("volumes", "clicks")

    @classmethod
    def parse(cls, text: str) -> Stage:
        """A stage written ``KIND:STEPS:SAMPLESxSLICESxSIZE``.

        Raises:
            UsageError: ``BAD_STAGE``.
        """
        try:
            kind, steps, shape = text.split(":")
            samples, slices, size = map(int, shape.split("x"))
            return cls(kind, int(steps), samples, slices, size)
        except ValueError:
            raise UsageError(
                "BAD_STAGE",
                f"Not a training stage: {text}.",
                "Write KIND:STEPS:SAMPLESxSLICESxSIZE, for example slices:1200:24x2x96.",
            ) from None


@dataclass(frozen=True)
class TrainingOptions:
    """A run: network, data stream, schedule.

    Args:
        seed: fixes the initial weights and every batch.
        learning_rate: peak of the one-cycle schedule (warm-up, then cosine to a hundredth) over all stages.
        average: decay of the running average of the weights, which is what is saved as the result.
        network: hyper-parameters given to `build_embedded`.
        bodies: how many of the whole boxes are drawn in computed bodies, 0..1; the others hold random shapes.
        initial_weights: safetensors file whose weights the run begins with; parts that it lacks begin at random.
    """

    seed: int = 0
    learning_rate: float = 1.5e-3
    weight_decay: float = 0.02
    warm_up: int = 150
    average: float = 0.997
    gradient_norm: float = 1.0
    bodies: float = BODIES
    network: dict[str, Any] = dataclasses.field(
        default_factory=lambda: {
            "coarse_channels": [16, 32, 64, 128],
            "coarse_regions": True,
            "coarse_looks_again": True,
        }
    )
    initial_weights: str = ""
    stages: tuple[Stage, ...] = (
        Stage("volumes", 1800, samples=8, slices=24, size=40),
        Stage("volumes", 450, samples=4, slices=32, size=56),
        Stage("clicks", 1200, samples=8, slices=16, size=32),
        Stage("slices", 1200, samples=24, slices=2, size=96),
        Stage("sequences", 1200, samples=8, slices=5, size=96),
        Stage("details", 900, samples=8, slices=6, size=96),
        Stage("rectangles", 900, samples=8, slices=5, size=96),
    )

    @property
    def corrects(self) -> bool:
        """Whether the network has the part that corrects: it belongs to the coarse part that it was trained with."""
        return any(stage.kind == "clicks" for stage in self.stages)

    @property
    def knows_rectangles(self) -> bool:
        """Whether the network has the part for rectangles."""
        return any(stage.kind == "rectangles" for stage in self.stages)

    @property
    def steps(self) -> int:
        return sum(stage.steps for stage in self.stages)

    def stage_at(self, step: int) -> Stage:
        """The stage a step (counted from 0 over the whole run) belongs to."""
        for stage in self.stages:
            if step < stage.steps:
                return stage
            step -= stage.steps
        return self.stages[-1]

    def as_dict(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> TrainingOptions:
        stages = tuple(Stage(**stage) for stage in values["stages"])
        return cls(**{**values, "stages": stages})
