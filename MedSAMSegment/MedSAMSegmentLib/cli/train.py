"""``medsamsegment train``: train the embedded network on synthetic volumes; stop and go on at any time."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .console import Output
from .options import Device, Json

if TYPE_CHECKING:
    from ..training.trainer import StepReport


def train(
    folder: Annotated[Path, typer.Argument(help="Folder of the run; an existing run goes on where it stopped.")],
    seed: Annotated[int, typer.Option(help="Fixes the first weights and every batch.", min=0)] = 0,
    scale: Annotated[float, typer.Option(help="Steps of every stage relative to the published run.", min=0.001)] = 1.0,
    until: Annotated[int | None, typer.Option(help="Stop after this step; go on another day.", min=1)] = None,
    save_every: Annotated[int, typer.Option(help="Steps between saved states and pictures.", min=1)] = 100,
    workers: Annotated[int, typer.Option(help="Processes that generate volumes; 0: none.", min=0)] = 1,
    threads: Annotated[int | None, typer.Option(help="CPU threads of the network.", min=1)] = None,
    initial_weights: Annotated[
        Path | None, typer.Option(help="Begin a new run with these weights (safetensors) instead of random ones.")
    ] = None,
    stage: Annotated[
        list[str] | None,
        typer.Option(
            help="Train these stages only, in this order: KIND:STEPS:SAMPLESxSLICESxSIZE, "
            "for example volumes:1800:8x24x40 or slices:1200:24x2x96."
        ),
    ] = None,
    learning_rate: Annotated[float | None, typer.Option(help="Peak of the schedule.", min=1e-6)] = None,
    average: Annotated[
        float | None, typer.Option(help="Decay of the weights' running average a step.", min=0.0, max=0.99999)
    ] = None,
    bodies: Annotated[
        float | None,
        typer.Option(
            min=0.0, max=1.0, help="How many whole boxes are drawn in computed bodies, not round random shapes."
        ),
    ] = None,
    device: Device = "auto",
    json: Json = False,
) -> None:
    """Train the embedded network on synthetic volumes only: no patient data, no network.

    Writes a resumable state, log.csv, TensorBoard files, curve.png, samples.png, volumes.png and, at the end,
    embedded.safetensors.
    """
    import dataclasses

    import torch

    from ..checkpoints.loading import choose_device
    from ..errors import OutputError
    from ..training.options import Stage, TrainingOptions
    from ..training.run import run_training

    printer = Output(json)
    place = str(choose_device(device))
    options = TrainingOptions(seed=seed, initial_weights="" if initial_weights is None else str(initial_weights))
    if stage:
        options = dataclasses.replace(options, stages=tuple(map(Stage.parse, stage)))
    if learning_rate is not None:
        options = dataclasses.replace(options, learning_rate=learning_rate)
    if average is not None:
        options = dataclasses.replace(options, average=average)
    if bodies is not None:
        options = dataclasses.replace(options, bodies=bodies)
    stages = tuple(dataclasses.replace(part, steps=max(1, round(part.steps * scale))) for part in options.stages)
    options = dataclasses.replace(options, stages=stages)
    if threads is not None:
        torch.set_num_threads(threads)
    with printer.progress("training") as update:

        def progress(report: StepReport, total: int) -> None:
            reached = ", ".join(f"{name} {value:.2f}" for name, value in report.dice.items())
            update(report.step, total, f"{report.kind}: loss {report.loss:.2f}, Dice {reached}")

        try:
            checkpoint = run_training(options, folder, place, workers, save_every, until, progress)
        except OSError as error:
            raise OutputError(
                "NOT_WRITTEN", f"The run cannot be written to {folder}: {error.strerror}.", "Choose another folder."
            ) from error
    printer.say(f"checkpoint: {checkpoint}")
    printer.say(f"try it: medsamsegment segment SCAN --box … -o mask.nii.gz --checkpoint {checkpoint}")
    printer.emit({"checkpoint": str(checkpoint), "folder": str(folder), "seed": seed})
