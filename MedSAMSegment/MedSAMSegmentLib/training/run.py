"""A training run from beginning to end: logs, pictures, resumable state and the checkpoint."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Callable
from pathlib import Path

from ..allocator import keep_freed_memory
from .options import TrainingOptions
from .pictures import OVERLAPS, draw_curve, draw_samples, draw_volumes
from .trainer import StepReport, Trainer

LOG_FILE = "log.csv"
COLUMNS = ["step", "kind", "loss", *OVERLAPS, "learning_rate", "seconds", "seconds_waiting"]


class _Log:
    """CSV and, where the package is installed, TensorBoard."""

    def __init__(self, folder: Path, step: int) -> None:
        self.path = folder / LOG_FILE
        kept: list[dict[str, str]] = []
        if self.path.exists():
            # A killed run may have logged steps after its last saved state: those are made again.
            with self.path.open(newline="") as file:
                kept = [row for row in csv.DictReader(file) if int(row["step"]) <= step]
        self.file = self.path.open("w", newline="")
        self.writer = csv.DictWriter(self.file, COLUMNS)
        self.writer.writeheader()
        self.writer.writerows(kept)
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            self.board = None
        else:
            self.board = SummaryWriter(str(folder / "tensorboard"), purge_step=step)

    def write(self, report: StepReport) -> None:
        values = {"loss": report.loss, **report.dice, "learning_rate": report.learning_rate}
        row = {name: f"{value:.6g}" for name, value in values.items()}
        times = {"seconds": f"{report.seconds:.3f}", "seconds_waiting": f"{report.seconds_waiting:.3f}"}
        self.writer.writerow({"step": report.step, "kind": report.kind, **row, **times})
        self.file.flush()
        if self.board is not None:
            for name, value in values.items():
                self.board.add_scalar(f"{report.kind}/{name}", value, report.step)

    def close(self) -> None:
        self.file.close()
        if self.board is not None:
            self.board.close()


def save_checkpoint(trainer: Trainer, target: Path) -> None:
    """The averaged weights as half-precision safetensors, written under a temporary name first."""
    import torch
    from safetensors.torch import save_file

    weights = {name: value.cpu() for name, value in trainer.weights().items()}
    weights = {name: value.half() if value.dtype == torch.float32 else value for name, value in weights.items()}
    temporary = target.with_name(f".{target.name}.{os.getpid()}")
    save_file(weights, temporary, metadata={"format": "pt", "training": json.dumps(trainer.options.as_dict())})
    os.replace(temporary, target)


def run_training(
    options: TrainingOptions,
    folder: Path,
    device: str = "cpu",
    workers: int = 1,
    save_every: int = 100,
    until: int | None = None,
    progress: Callable[[StepReport, int], None] | None = None,
) -> Path:
    """Trains (or goes on training) in ``folder`` and returns the checkpoint's path.

    Args:
        save_every: steps between saved states and pictures.
        until: stop after this step, e.g. to go on another day; the schedule stays that of the whole run.
        progress: called after every step with its report and the number of all steps.
    """
    keep_freed_memory()
    trainer = Trainer(options, folder, device, workers)
    log = _Log(folder, trainer.step)

    def after_step(report: StepReport) -> None:
        log.write(report)
        if progress is not None:
            progress(report, options.steps)
        if report.step % save_every == 0:
            keep()

    def keep() -> None:
        trainer.save()
        draw_curve(folder / LOG_FILE, folder / "curve.png")
        network = trainer.evaluation_network()
        draw_samples(network, folder / "samples.png", options.seed)
        if network.coarse is not None:
            draw_volumes(network.coarse, folder / "volumes.png", options.seed, bodies=options.bodies)

    try:
        trainer.run(after_step, until)
        keep()
    finally:
        log.close()
    checkpoint = folder / "embedded.safetensors"
    save_checkpoint(trainer, checkpoint)
    return checkpoint
